#include <stdlib.h>

#include "lib/ebrim/check.h"

/* What is a member of what in the submission: found once, asked by several checks. */

bool is_in(const ObjectReference *end, ObjectKind kind)
{
    return end->is_in_submission && end->kind == kind;
}

bool is_has_member(const Association *a)
{
    return a->type == ASSOCIATION_HAS_MEMBER;
}

bool is_folder_membership(const Association *a)
{
    return is_has_member(a) && (is_in(&a->source, OBJECT_FOLDER) || !a->source.is_in_submission);
}

static int compare_addresses(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t) * (const void *const *)a;
    uintptr_t right = (uintptr_t) * (const void *const *)b;
    return (left > right) - (left < right);
}

void object_set_sort(ObjectSet *set)
{
    if (set->count > 0) {
        qsort(set->items, set->count, sizeof(const void *), compare_addresses);
    }
}

/** How many items lie below this address. */
static size_t set_rank(const ObjectSet *set, uintptr_t address)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)set->items[middle] < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t object_set_count(const ObjectSet *set, const void *object)
{
    return set_rank(set, (uintptr_t)object + 1) - set_rank(set, (uintptr_t)object);
}

static void collect_transformations(Check *check)
{
    const Submission *submission = check->submission;
    ObjectSet *set = &check->transformations;
    set->items = ARENA_ARRAY(check->req->arena, const void *, submission->association_count);
    for (const Association *a = submission->associations; a; a = a->next) {
        if (a->type == ASSOCIATION_XFRM && is_in(&a->source, OBJECT_DOCUMENT_ENTRY)) {
            set->items[set->count++] = a->source.object;
        }
    }
    object_set_sort(set);
}

void check_collect_members(Check *check)
{
    const Submission *submission = check->submission;
    size_t max = submission->association_count;
    check->members.items = ARENA_ARRAY(check->req->arena, const void *, max);
    for (const Association *a = submission->associations; a; a = a->next) {
        if (is_has_member(a) && is_in(&a->source, OBJECT_SUBMISSION_SET) &&
            a->target.is_in_submission) {
            check->members.items[check->members.count++] = a->target.object;
        }
    }
    object_set_sort(&check->members);
    check->unlinked_folders.items = ARENA_ARRAY(check->req->arena, const void *, max);
    for (const Association *a = submission->associations; a; a = a->next) {
        if (is_has_member(a) && is_in(&a->source, OBJECT_FOLDER) &&
            membership_count(check, a) == 0) {
            const Folder *folder = a->source.object;
            check->unlinked_folders.items[check->unlinked_folders.count++] = folder->object;
        }
    }
    object_set_sort(&check->unlinked_folders);
    collect_transformations(check);
}

bool is_transformation(const Check *check, const void *document)
{
    return object_set_count(&check->transformations, document) > 0;
}

size_t membership_count(const Check *check, const void *typed)
{
    return object_set_count(&check->members, typed);
}

bool is_first_edition_folder(const Check *check, const RimObject *folder)
{
    const char *codes = attribute_named(OBJECT_FOLDER, "codeList")->id.data;
    return object_set_count(&check->unlinked_folders, folder) > 0 &&
           !rim_classification(folder, codes);
}
