#include "registry/update_conflicts.h"

#include <stdlib.h>

#include "lib/base/error.h"

/** One run of update_conflicts_check(). */
typedef struct Conflicts {
    Request *req;
    const Submission *submission;
    const UpdateState *state;
    const UpdatedObject *updated;
    size_t updated_count;
    UuidSet replaced; /* targets of submitted RPLC and XFRM_RPLC */
} Conflicts;

static void add_conflict(const Conflicts *conflicts, const RimObject *object, const char *text)
{
    Request *req = conflicts->req;
    error_add(&req->errors, ERR_XDS_METADATA_UPDATE_OPERATION_ERROR,
              str_cstr(req->arena, object->id), "%s: send one message after the other", text);
}

static bool changes_status(const Association *association)
{
    return association->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS;
}

/** Between registered objects. */
static bool is_submitted(const Association *association)
{
    return !changes_status(association) && !association->source.is_in_submission;
}

/* ---- the same twice ---- */

/** A change of status, or an Association that becomes Approved. */
typedef struct Deed {
    AssociationType type;
    Uuid source;
    Uuid target;
    const Association *association; /* of the message */
} Deed;

static int compare_deeds(const void *a, const void *b)
{
    const Deed *x = a;
    const Deed *y = b;
    int order = (x->type > y->type) - (x->type < y->type);
    order = order != 0 ? order : uuid_compare(&x->source, &y->source);
    return order != 0 ? order : uuid_compare(&x->target, &y->target);
}

/** What the change of status makes Approved, if that is an Association. */
static const StoredAssociation *approved_association(const Conflicts *conflicts,
                                                     const Association *association)
{
    bool is_approved = changes_status(association) && !association->target.is_in_submission &&
                       association->new_status == STATUS_APPROVED;
    return is_approved ? update_state_find_association(conflicts->state, association->target.uuid)
                       : NULL;
}

static void check_repeated(const Conflicts *conflicts)
{
    const Submission *submission = conflicts->submission;
    Deed *deeds = ARENA_ARRAY(conflicts->req->arena, Deed, 2 * submission->association_count);
    size_t count = 0;
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        const StoredAssociation *approved = approved_association(conflicts, a);
        if (changes_status(a) || is_submitted(a)) {
            deeds[count++] = (Deed){a->type, a->source.uuid, a->target.uuid, a};
        }
        if (approved != NULL) {
            deeds[count++] = (Deed){approved->type, approved->source, approved->target, a};
        }
    }
    if (count > 0) {
        qsort(deeds, count, sizeof(*deeds), compare_deeds);
    }
    for (size_t i = 1; i < count; i++) {
        if (compare_deeds(&deeds[i - 1], &deeds[i]) == 0) {
            add_conflict(conflicts, deeds[i].association->object,
                         deeds[i].type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS
                             ? "the message changes the status of one object twice"
                             : "two operations of the message give the same objects the same "
                               "Association");
        }
    }
}

/* ---- a replacement beside other changes ---- */

static void collect_replaced(Conflicts *conflicts)
{
    const Association *a = conflicts->submission->associations;
    uuid_set_init(&conflicts->replaced, conflicts->req->arena);
    for (; a != NULL; a = a->next) {
        if (is_submitted(a) && association_type_replaces(a->type)) {
            uuid_set_add(&conflicts->replaced, a->target.uuid);
        }
    }
    uuid_set_close(&conflicts->replaced);
}

/** What is replaced is Deprecated then: nothing else is to be done with it, but for other documents
 * that replace it too. */
static void check_beside_replacement(const Conflicts *conflicts, const Association *association)
{
    const UuidSet *replaced = &conflicts->replaced;
    bool is_of_replaced =
        changes_status(association)
            ? uuid_set_has(replaced, association->target.uuid)
            : is_submitted(association) && (uuid_set_has(replaced, association->source.uuid) ||
                                            (uuid_set_has(replaced, association->target.uuid) &&
                                             !association_type_replaces(association->type)));
    if (is_of_replaced) {
        add_conflict(conflicts, association->object,
                     "the message also replaces an object that this Association concerns");
    }
}

static const UpdatedObject *find_by_previous(const Conflicts *conflicts, Uuid entry_uuid)
{
    for (size_t i = 0; i < conflicts->updated_count; i++) {
        if (uuid_equal(conflicts->updated[i].previous->object.entry_uuid, entry_uuid)) {
            return &conflicts->updated[i];
        }
    }
    return NULL;
}

/** With what is replaced its addenda and transformations become Deprecated (TF-3 4.2.2.2.3). */
static void check_followers(const Conflicts *conflicts)
{
    for (size_t i = 0; i < conflicts->state->links.count; i++) {
        const StoredAssociation *link = &conflicts->state->links.items[i];
        bool is_follower = link->type == ASSOCIATION_XFRM || link->type == ASSOCIATION_APND;
        const UpdatedObject *updated =
            is_follower && uuid_set_has(&conflicts->replaced, link->target)
                ? find_by_previous(conflicts, link->source)
                : NULL;
        if (updated != NULL) {
            add_conflict(conflicts, updated->object,
                         "the message also replaces what this is an addendum to, or a "
                         "transformation of");
        }
    }
}

/** The replacement joins the Folders of what it replaces (TF-3 4.2.2.2.3). */
static void check_folders(const Conflicts *conflicts)
{
    const RegistryState *registry = &conflicts->state->registry;
    for (size_t i = 0; i < registry->membership_count; i++) {
        const FolderMembership *membership = &registry->memberships[i];
        const UpdatedObject *updated = uuid_set_has(&conflicts->replaced, membership->document)
                                           ? find_by_previous(conflicts, membership->folder)
                                           : NULL;
        if (updated != NULL) {
            add_conflict(conflicts, updated->object,
                         "the message also replaces a document that this Folder holds");
        }
    }
}

void update_conflicts_check(Request *req, const Submission *submission, const UpdateState *state,
                            const UpdatedObject *updated, size_t updated_count)
{
    Conflicts conflicts = {.req = req,
                           .submission = submission,
                           .state = state,
                           .updated = updated,
                           .updated_count = updated_count};
    check_repeated(&conflicts);
    collect_replaced(&conflicts);
    if (conflicts.replaced.count == 0) {
        return;
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        check_beside_replacement(&conflicts, a);
    }
    check_followers(&conflicts);
    check_folders(&conflicts);
}
