#include "registry/store.h"

static void append_codes(Code *codes, size_t *count, const CodeList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        codes[(*count)++] = list->items[i];
    }
}

static size_t code_count(const Submission *submission)
{
    size_t count = 1;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        count += SINGLE_CODE_COUNT + d->confidentiality_code.count + d->event_code_list.count;
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        count += f->code_list.count;
    }
    return count;
}

/** All codes of the submission, in the order in which assign_codes() hands their ids out. */
static const Code *collect_codes(Arena *arena, const Submission *submission, size_t *ret_count)
{
    Code *codes = ARENA_ARRAY(arena, Code, code_count(submission));
    size_t count = 0;
    codes[count++] = submission->submission_set->content_type_code;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        codes[count + CODE_CLASS] = d->class_code;
        codes[count + CODE_TYPE] = d->type_code;
        codes[count + CODE_FORMAT] = d->format_code;
        codes[count + CODE_PRACTICE_SETTING] = d->practice_setting_code;
        codes[count + CODE_HEALTHCARE_FACILITY_TYPE] = d->healthcare_facility_type_code;
        count += SINGLE_CODE_COUNT;
        append_codes(codes, &count, &d->confidentiality_code);
        append_codes(codes, &count, &d->event_code_list);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        append_codes(codes, &count, &f->code_list);
    }
    *ret_count = count;
    return codes;
}

static void assign_codes(PreparedSubmission *prepared, const int32_t *ids)
{
    const Submission *submission = prepared->submission;
    prepared->content_type_code = *ids++;
    for (size_t i = 0; i < submission->document_count; i++) {
        PreparedDocument *document = &prepared->documents[i];
        document->codes = ids;
        document->confidentiality_code = document->codes + SINGLE_CODE_COUNT;
        document->event_code_list =
            document->confidentiality_code + document->entry->confidentiality_code.count;
        ids = document->event_code_list + document->entry->event_code_list.count;
    }
    for (size_t i = 0; i < submission->folder_count; i++) {
        prepared->folders[i].code_list = ids;
        ids += prepared->folders[i].folder->code_list.count;
    }
}

static int intern_codes(Registry *registry, Request *req, DbConn *conn,
                        PreparedSubmission *prepared)
{
    size_t count;
    const Code *codes = collect_codes(req->arena, prepared->submission, &count);
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    int rc = code_table_intern(registry->codes, req, conn, codes, count, ids);
    if (rc < 0) {
        return rc;
    }
    assign_codes(prepared, ids);
    return 0;
}

static int intern_repositories(Registry *registry, Request *req, DbConn *conn,
                               PreparedSubmission *prepared)
{
    size_t count = prepared->submission->document_count;
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, count);
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = prepared->documents[i].entry->repository_unique_id;
    }
    int rc = code_table_intern_repositories(registry->codes, req, conn, unique_ids, count, ids);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        prepared->documents[i].repository = ids[i];
    }
    return 0;
}

/** 40 hexadecimal digits to SHA1_LEN bytes; empty if there is no hash. */
static Str hash_bytes(Arena *arena, Str hexadecimal)
{
    char *bytes = arena_alloc(arena, SHA1_LEN);
    return str_unhex(hexadecimal, bytes, SHA1_LEN) ? (Str){bytes, SHA1_LEN} : STR_EMPTY;
}

/** The parts of a new version are not those of the version before, whose ids the sender may have
 * copied. */
static Str render(Registry *registry, Arena *arena, ObjectKind kind, const RimObject *object,
                  Uuid entry_uuid, bool is_version)
{
    Str blob = rendered_make(arena, registry->dictionaries, kind, object, entry_uuid);
    Str renewed;
    if (is_version && rendered_renew_ids(arena, registry->dictionaries, blob, &renewed) >= 0) {
        return renewed;
    }
    return blob;
}

static void prepare_objects(Registry *registry, Arena *arena, PreparedSubmission *prepared)
{
    const Submission *submission = prepared->submission;
    const SubmissionSet *set = submission->submission_set;
    prepared->set_metadata = rendered_make(arena, registry->dictionaries, OBJECT_SUBMISSION_SET,
                                           set->object, set->entry_uuid);
    size_t i = 0;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        prepared->documents[i++] = (PreparedDocument){
            .entry = d,
            .size_bytes = str_is_empty(d->size) ? -1 : (int64_t)d->size_bytes,
            .hash = hash_bytes(arena, d->hash),
            .metadata = render(registry, arena, OBJECT_DOCUMENT_ENTRY, d->object, d->entry_uuid,
                               d->is_version),
        };
    }
    i = 0;
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        prepared->association_metadata[i++] = rendered_make(
            arena, registry->dictionaries, OBJECT_ASSOCIATION, a->object, a->entry_uuid);
    }
    i = 0;
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        prepared->folders[i++] = (PreparedFolder){
            .folder = f,
            .metadata =
                render(registry, arena, OBJECT_FOLDER, f->object, f->entry_uuid, f->is_version),
        };
    }
}

int store_prepare(Registry *registry, Request *req, DbConn *conn, Submission *submission,
                  PreparedSubmission **ret_prepared)
{
    PreparedSubmission *prepared = ARENA_NEW(req->arena, PreparedSubmission);
    prepared->submission = submission;
    prepared->documents = ARENA_ARRAY(req->arena, PreparedDocument, submission->document_count);
    prepared->folders = ARENA_ARRAY(req->arena, PreparedFolder, submission->folder_count);
    prepared->association_metadata = ARENA_ARRAY(req->arena, Str, submission->association_count);
    prepare_objects(registry, req->arena, prepared);
    int rc = intern_codes(registry, req, conn, prepared);
    if (rc < 0) {
        return rc;
    }
    rc = intern_repositories(registry, req, conn, prepared);
    if (rc < 0) {
        return rc;
    }
    *ret_prepared = prepared;
    return 0;
}
