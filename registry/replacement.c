#include "registry/replacement.h"

#include <stdlib.h>

#include "lib/base/error.h"

typedef struct MembershipSet {
    FolderMembership *items;
    size_t count;
} MembershipSet;

static int compare_memberships(const void *a, const void *b)
{
    const FolderMembership *x = a;
    const FolderMembership *y = b;
    int order = uuid_compare(&x->folder, &y->folder);
    return order != 0 ? order : uuid_compare(&x->document, &y->document);
}

static void membership_set_sort(MembershipSet *set)
{
    if (set->count > 0) {
        qsort(set->items, set->count, sizeof(*set->items), compare_memberships);
    }
}

static bool membership_set_has(const MembershipSet *set, const FolderMembership *membership)
{
    return set->count > 0 && bsearch(membership, set->items, set->count, sizeof(*set->items),
                                     compare_memberships) != NULL;
}

/** A HasMember whose source is outside the submission starts at a registered Folder. */
static bool is_folder_membership(const Association *association)
{
    const ObjectReference *source = &association->source;
    return association->type == ASSOCIATION_HAS_MEMBER &&
           (!source->is_in_submission || source->kind == OBJECT_FOLDER);
}

/** What need not be added: what the submission asks for, and what is there. */
static MembershipSet given_memberships(Arena *arena, const Submission *submission,
                                       const RegistryState *state)
{
    MembershipSet set = {.items =
                             ARENA_ARRAY(arena, FolderMembership,
                                         submission->association_count + state->membership_count)};
    for (size_t i = 0; i < state->membership_count; i++) {
        set.items[set.count++] = state->memberships[i];
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (is_folder_membership(a)) {
            set.items[set.count++] = (FolderMembership){a->source.uuid, a->target.uuid};
        }
    }
    membership_set_sort(&set);
    return set;
}

/** Index of the first membership of this document; they are in order of document. */
static size_t first_membership(const RegistryState *state, Uuid document)
{
    size_t low = 0;
    size_t high = state->membership_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (uuid_compare(&state->memberships[middle].document, &document) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/** Puts the replacement into each Folder of what it replaces. @return false: too many */
static bool add_replacement(MembershipSet *set, const RegistryState *state,
                            const Association *association)
{
    Uuid replaced = association->target.uuid;
    for (size_t i = first_membership(state, replaced);
         i < state->membership_count && uuid_equal(state->memberships[i].document, replaced); i++) {
        if (set->count == MAX_PROPAGATED_MEMBERSHIPS) {
            return false;
        }
        set->items[set->count++] =
            (FolderMembership){state->memberships[i].folder, association->source.uuid};
    }
    return true;
}

/** Drops what is there twice and what is given. */
static void keep_new(MembershipSet *set, const MembershipSet *given)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        const FolderMembership *membership = &set->items[i];
        bool is_repeated = kept > 0 && compare_memberships(membership, &set->items[kept - 1]) == 0;
        if (!is_repeated && !membership_set_has(given, membership)) {
            set->items[kept++] = *membership;
        }
    }
    set->count = kept;
}

int replacement_memberships(Request *req, const Submission *submission, const RegistryState *state,
                            FolderMembership **ret_memberships, size_t *ret_count)
{
    MembershipSet set = {0};
    if (state->membership_count > 0) {
        set.items = ARENA_ARRAY(req->arena, FolderMembership, MAX_PROPAGATED_MEMBERSHIPS);
        for (const Association *a = submission->associations; a != NULL; a = a->next) {
            if (association_type_replaces(a->type) && !add_replacement(&set, state, a)) {
                return error_add(&req->errors, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, NULL,
                                 "the replaced documents are in too many Folders: a submission can "
                                 "add at most %d memberships, send it in parts",
                                 MAX_PROPAGATED_MEMBERSHIPS);
            }
        }
        MembershipSet given = given_memberships(req->arena, submission, state);
        membership_set_sort(&set);
        keep_new(&set, &given);
    }
    *ret_memberships = set.items;
    *ret_count = set.count;
    return 0;
}
