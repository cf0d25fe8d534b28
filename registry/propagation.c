#include "registry/propagation.h"

#include <stdlib.h>

#include "lib/base/error.h"

/** Updated objects by the entryUUID of their previous versions. */
typedef struct PreviousIndex {
    const UpdatedObject **items;
    size_t count;
} PreviousIndex;

static int compare_previous(const void *a, const void *b)
{
    const UpdatedObject *const *x = a;
    const UpdatedObject *const *y = b;
    return uuid_compare(&(*x)->previous->object.entry_uuid, &(*y)->previous->object.entry_uuid);
}

static PreviousIndex index_previous(Arena *arena, const UpdatedObject *updated, size_t count)
{
    PreviousIndex index = {.items = ARENA_ARRAY(arena, const UpdatedObject *, count),
                           .count = count};
    for (size_t i = 0; i < count; i++) {
        index.items[i] = &updated[i];
    }
    if (count > 0) {
        qsort(index.items, count, sizeof(*index.items), compare_previous);
    }
    return index;
}

/** The object whose previous version this is, or NULL. */
static const UpdatedObject *find_by_previous(const PreviousIndex *index, Uuid entry_uuid)
{
    size_t low = 0;
    size_t high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = uuid_compare(&index->items[middle]->previous->object.entry_uuid, &entry_uuid);
        if (order == 0) {
            return index->items[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/** Deprecated or not: it may become Approved again, with all that it holds. */
static bool is_latest_folder(const UpdateState *state, Uuid entry_uuid)
{
    const StoredVersion *folder = update_state_find(state, entry_uuid);
    return folder != NULL && folder->is_latest;
}

/** Whether the link goes on with the new versions. */
static bool is_repeated(const UpdateState *state, const StoredAssociation *link,
                        const UpdatedObject *source, const UpdatedObject *target)
{
    if ((source != NULL && !source->member->propagates) ||
        (target != NULL && !target->member->propagates)) {
        return false;
    }
    if (link->source_kind != OBJECT_FOLDER) {
        return true;
    }
    return source != NULL ? link->is_target_approved : is_latest_folder(state, link->source);
}

/** Parts of an Association get ids of their own, as those of a new version do. */
static int repeat(Registry *registry, Request *req, const StoredAssociation *link, Uuid source,
                  Uuid target, AssociationRows *rows)
{
    Str metadata = link->metadata;
    if (!str_is_empty(metadata) &&
        rendered_renew_ids(req->arena, registry->dictionaries, metadata, &metadata) < 0) {
        return error_add(&req->errors, ERR_CORRUPT, NULL,
                         "stored metadata cannot be read; the operator of the registry has to "
                         "repair it");
    }
    size_t i = rows->count++;
    rows->entry_uuid[i] = uuid_new();
    rows->source[i] = source;
    rows->target[i] = target;
    rows->type[i] = (int32_t)link->type;
    rows->source_kind[i] = (int32_t)link->source_kind;
    rows->target_kind[i] = (int32_t)link->target_kind;
    rows->metadata[i] = metadata;
    return 0;
}

int propagate_links(Registry *registry, Request *req, const UpdateState *state,
                    const UpdatedObject *updated, size_t count, AssociationRows *ret_rows)
{
    const PreviousIndex index = index_previous(req->arena, updated, count);
    size_t repeated = 0;
    for (size_t i = 0; i < state->links.count; i++) {
        const StoredAssociation *link = &state->links.items[i];
        const UpdatedObject *source = find_by_previous(&index, link->source);
        const UpdatedObject *target = find_by_previous(&index, link->target);
        if (!is_repeated(state, link, source, target)) {
            continue;
        }
        if (++repeated > PROPAGATED_MAX) {
            return error_add(&req->errors, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, NULL,
                             "the updated objects have too many Associations: a message can repeat "
                             "at most %d, send it in parts, or with AssociationPropagation no",
                             PROPAGATED_MAX);
        }
        int rc = repeat(registry, req, link, source != NULL ? source->entry_uuid : link->source,
                        target != NULL ? target->entry_uuid : link->target, ret_rows);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
