#include "registry/removal_rules.h"

#include <stdlib.h>

static int compare_objects(const void *a, const void *b)
{
    return uuid_compare(&((const RemovalObject *)a)->object.entry_uuid,
                        &((const RemovalObject *)b)->object.entry_uuid);
}

/** The object, or NULL: unknown, or not to be known (is_hidden). */
static const RemovalObject *find_object(const RemovalState *state, Uuid entry_uuid)
{
    const RemovalObject key = {.object.entry_uuid = entry_uuid};
    const RemovalObject *found = state->object_count == 0
                                     ? NULL
                                     : bsearch(&key, state->objects, state->object_count,
                                               sizeof(RemovalObject), compare_objects);
    return found != NULL && !found->object.is_hidden ? found : NULL;
}

static const char *urn(Request *req, Uuid uuid)
{
    return str_cstr(req->arena, uuid_urn(req->arena, uuid));
}

static const char *kind_name(ObjectKind kind)
{
    static const char *const names[] = {"DocumentEntry", "SubmissionSet", "Folder", "Association"};
    return names[kind];
}

/** @return whether all are there */
static bool check_ids(Request *req, const Str *ids, size_t count, const RemovalState *state)
{
    bool is_complete = true;
    for (size_t i = 0; i < count; i++) {
        Uuid uuid;
        if (uuid_parse_urn(ids[i], &uuid) && find_object(state, uuid) != NULL) {
            continue;
        }
        is_complete = false;
        error_add(&req->errors, ERR_UNRESOLVED_REFERENCE, "ObjectRef/@id",
                  "nothing that this node may know is registered as %.*s; send entryUUIDs "
                  "(urn:uuid: and 36 lower-case characters) as ITI-18 gives them",
                  STR_ARG(ids[i]));
    }
    return is_complete;
}

static void check_references(Request *req, const RemovalState *state)
{
    for (size_t i = 0; i < state->reference_count; i++) {
        const RemovalReference *reference = &state->references[i];
        const RemovalObject *removed = find_object(state, reference->removed_end);
        const char *association = urn(req, reference->association);
        error_add(&req->errors, ERR_REFERENCES_EXIST, association,
                  "Association %s names the %s %s, which would be removed; name the Association in "
                  "the same request, or leave its ends (ITI-18 with $MetadataLevel 2 lists "
                  "Deprecated ones)",
                  association, removed != NULL ? kind_name(removed->object.kind) : "object",
                  urn(req, reference->removed_end));
    }
}

static void check_ends(Request *req, const RemovalState *state)
{
    for (size_t i = 0; i < state->end_count; i++) {
        const RemovalEnd *end = &state->ends[i];
        const char *id = urn(req, end->entry_uuid);
        if (end->is_held) {
            continue;
        }
        if (end->kind == OBJECT_SUBMISSION_SET) {
            error_add(&req->errors, ERR_XDS_UNREFERENCED_OBJECT, id,
                      "SubmissionSet %s would hold nothing any more; name it in the same request",
                      id);
        } else {
            error_add(
                &req->errors, ERR_XDS_UNREFERENCED_OBJECT, id,
                "%s %s would be in no SubmissionSet any more; name it in the same request, or "
                "leave its HasMember Association",
                kind_name(end->kind), id);
        }
    }
}

static void check_versions(Request *req, const RemovalState *state)
{
    for (size_t i = 0; i < state->version_count; i++) {
        const RemovalVersion *version = &state->versions[i];
        const char *id = urn(req, version->entry_uuid);
        error_add(
            &req->errors, ERR_XDS_METADATA_MODEL, id,
            "%s, a version of the object with the lid %s, would stay while another version of "
            "it goes; name all of them (ITI-18 with $MetadataLevel 2 lists them)",
            id, urn(req, version->lid));
    }
}

int removal_rules_check(Request *req, const Str *ids, size_t count, const RemovalState *state)
{
    const Error *before = req->errors.last;
    unsigned errors_before = req->errors.error_count;
    if (check_ids(req, ids, count, state)) {
        check_references(req, state);
        check_ends(req, state);
        check_versions(req, state);
    }
    return submission_rules_result(req, before, errors_before);
}
