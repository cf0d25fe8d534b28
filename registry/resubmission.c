#include "registry/resubmission.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/dtm.h"

static const DbStatement select_set = {
    "resubmission_set", "SELECT entry_uuid, patient, registered_at, submission_time,"
                        "       content_type_code, source_id, metadata"
                        "  FROM submission_set WHERE hashtext(unique_id) = hashtext($1::text)"
                        "   AND unique_id = $1::text"};

static const DbStatement select_documents = {
    "resubmission_documents",
    "SELECT d.entry_uuid, d.unique_id, d.patient, d.metadata, COALESCE(d.size_bytes, -1),"
    "       COALESCE(d.hash, ''::bytea), d.repository"
    "  FROM association a JOIN document_entry d ON d.entry_uuid = a.target_object"
    " WHERE a.source_object = $1::uuid AND a.submission_set_status = $2::int"};

static const DbStatement select_folders = {
    "resubmission_folders", "SELECT f.entry_uuid, f.unique_id, f.patient, f.metadata"
                            "  FROM association a JOIN folder f ON f.entry_uuid = a.target_object"
                            " WHERE a.source_object = $1::uuid AND a.target_kind = $2::int"};

/* Members of the set, and changes of status; memberships in Folders and submitted Associations,
 * which belong to the set; relationships of its documents. $2 kind Association, $3
 * SubmissionSetStatus Original, $4 type HasMember, $5 type UpdateAvailabilityStatus */
static const DbStatement select_associations = {
    "resubmission_associations",
    "SELECT source_object, target_object, type, submission_set_status, metadata FROM association"
    " WHERE source_object = $1::uuid AND (target_kind <> $2::int OR type = $5::int)"
    " UNION ALL"
    " SELECT b.source_object, b.target_object, b.type, b.submission_set_status, b.metadata"
    "   FROM association a JOIN association b ON b.entry_uuid = a.target_object"
    "  WHERE a.source_object = $1::uuid AND a.target_kind = $2::int AND a.type <> $5::int"
    " UNION ALL"
    " SELECT r.source_object, r.target_object, r.type, r.submission_set_status, r.metadata"
    "   FROM association a JOIN association r ON r.source_object = a.target_object"
    "  WHERE a.source_object = $1::uuid AND a.submission_set_status = $3::int AND r.type <> "
    "$4::int"};

enum {
    ROW_ENTRY_UUID,
    ROW_UNIQUE_ID,
    ROW_PATIENT,
    ROW_METADATA,
    ROW_SIZE,
    ROW_HASH,
    ROW_REPOSITORY
};

/** The registration under which a SubmissionSet.uniqueId is known. */
typedef struct EarlierRegistration {
    bool is_identical; /* same metadata, documents, Folders and Associations */
    Uuid entry_uuid;   /* of its SubmissionSet */
    int64_t registered_at_us;
} EarlierRegistration;

/** A registered DocumentEntry or Folder. */
typedef struct Member {
    Str unique_id;
    Uuid entry_uuid;
    int row;
} Member;

/** Members in order of uniqueId; within a submission a uniqueId occurs once (check 23 of
 * TF-2 3.42.4.1.3). */
typedef struct MemberList {
    const DbResult *rows;
    Member *items;
    size_t count;
} MemberList;

/** The earlier registration as far as it is read, and what it is compared with. */
typedef struct Comparison {
    Registry *registry;
    Request *req;
    const PreparedSubmission *prepared;
    int64_t patient;
    const DbResult *set;
    MemberList documents;
    MemberList folders;
    const DbResult *associations;
} Comparison;

static int compare_members(const void *a, const void *b)
{
    return str_compare(((const Member *)a)->unique_id, ((const Member *)b)->unique_id);
}

static MemberList member_list(Arena *arena, const DbResult *rows)
{
    MemberList list = {.rows = rows, .count = (size_t)db_rows(rows)};
    list.items = ARENA_ARRAY(arena, Member, list.count);
    for (int row = 0; row < db_rows(rows); row++) {
        list.items[row] = (Member){.unique_id = db_text(rows, row, ROW_UNIQUE_ID),
                                   .entry_uuid = db_uuid(rows, row, ROW_ENTRY_UUID),
                                   .row = row};
    }
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof(Member), compare_members);
    }
    return list;
}

static const Member *find_member(const MemberList *list, Str unique_id)
{
    const Member key = {.unique_id = unique_id};
    return list->count == 0
               ? NULL
               : bsearch(&key, list->items, list->count, sizeof(Member), compare_members);
}

/** The beginning of a part's element up to its id; empty if the text starts with something else. */
static Str part_start(Str xml)
{
    static const Str starts[] = {STR_INIT("<rim:Classification id=\""),
                                 STR_INIT("<rim:ExternalIdentifier id=\"")};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        if (str_starts_with(xml, starts[i])) {
            return starts[i];
        }
    }
    return STR_EMPTY;
}

/**
 * An object's XML without the ids of its Classifications and ExternalIdentifiers: a sender that
 * builds its message anew gives them new ones. In the texts of an object "<" is escaped.
 */
static Str without_part_ids(Arena *arena, Str xml)
{
    char *text = arena_alloc(arena, xml.len);
    size_t len = 0;
    while (xml.len > 0) {
        Str start = part_start(xml);
        size_t kept = MAX(start.len, 1);
        memcpy(text + len, xml.data, kept);
        len += kept;
        xml = str_from_offset(xml, kept);
        if (start.len > 0) {
            xml = str_from_offset(xml, str_find_char(xml, '"'));
        }
    }
    return (Str){text, len};
}

/** Whether both say the same, whatever ids they use and dictionary they were compressed with. */
static bool is_same_metadata(const Comparison *comparison, ObjectKind kind, Str a, Str b)
{
    static const RenderValues ignored = {.version = 1, .size_bytes = -1};
    if (str_equal(a, b)) {
        return true;
    }
    if (str_is_empty(a) || str_is_empty(b)) {
        return false; /* of Associations one is no more than its columns */
    }
    Arena *arena = comparison->req->arena;
    StrBuf text_a = {0};
    StrBuf text_b = {0};
    RenderDictionaries *dictionaries = comparison->registry->dictionaries;
    bool is_same = rendered_append(dictionaries, kind, a, &ignored, &text_a) == 0 &&
                   rendered_append(dictionaries, kind, b, &ignored, &text_b) == 0 &&
                   str_equal(without_part_ids(arena, strbuf_str(&text_a)),
                             without_part_ids(arena, strbuf_str(&text_b)));
    strbuf_done(&text_a);
    strbuf_done(&text_b);
    return is_same;
}

static bool is_same_set(const Comparison *comparison)
{
    const SubmissionSet *set = comparison->prepared->submission->submission_set;
    int64_t submission_time_us;
    return db_i64(comparison->set, 0, 1) == comparison->patient &&
           dtm_parse(set->submission_time, &submission_time_us) &&
           db_timestamp(comparison->set, 0, 3) == submission_time_us &&
           db_i32(comparison->set, 0, 4) == comparison->prepared->content_type_code &&
           str_equal(db_text(comparison->set, 0, 5), set->source_id) &&
           is_same_metadata(comparison, OBJECT_SUBMISSION_SET, db_text(comparison->set, 0, 6),
                            comparison->prepared->set_metadata);
}

static bool is_same_member(const Comparison *comparison, const MemberList *list,
                           const Member *member, ObjectKind kind, Str metadata)
{
    return member != NULL && db_i64(list->rows, member->row, ROW_PATIENT) == comparison->patient &&
           is_same_metadata(comparison, kind, db_text(list->rows, member->row, ROW_METADATA),
                            metadata);
}

static bool is_same_document(const Comparison *comparison, const PreparedDocument *document)
{
    const MemberList *list = &comparison->documents;
    const Member *member = find_member(list, document->entry->unique_id);
    return is_same_member(comparison, list, member, OBJECT_DOCUMENT_ENTRY, document->metadata) &&
           db_i64(list->rows, member->row, ROW_SIZE) == document->size_bytes &&
           str_equal(db_text(list->rows, member->row, ROW_HASH), document->hash) &&
           db_i32(list->rows, member->row, ROW_REPOSITORY) == document->repository;
}

static bool has_same_documents(const Comparison *comparison)
{
    size_t count = comparison->prepared->submission->document_count;
    if (comparison->documents.count != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_same_document(comparison, &comparison->prepared->documents[i])) {
            return false;
        }
    }
    return true;
}

static bool has_same_folders(const Comparison *comparison)
{
    size_t count = comparison->prepared->submission->folder_count;
    if (comparison->folders.count != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const PreparedFolder *folder = &comparison->prepared->folders[i];
        const Member *member = find_member(&comparison->folders, folder->folder->unique_id);
        if (!is_same_member(comparison, &comparison->folders, member, OBJECT_FOLDER,
                            folder->metadata)) {
            return false;
        }
    }
    return true;
}

/** An Association by what it says; its own id does not count. */
typedef struct Link {
    Uuid source;
    Uuid target;
    int16_t type;
    int16_t submission_set_status;
    Str metadata; /* of a registered one; does not order */
} Link;

static int compare_links(const void *a, const void *b)
{
    const Link *x = a;
    const Link *y = b;
    int order = uuid_compare(&x->source, &y->source);
    order = order != 0 ? order : uuid_compare(&x->target, &y->target);
    order = order != 0 ? order : x->type - y->type;
    return order != 0 ? order : x->submission_set_status - y->submission_set_status;
}

/** The registered object that the end stands for; has_same_documents() and has_same_folders() hold.
 */
static Uuid registered_end(const Comparison *comparison, const ObjectReference *end)
{
    if (!end->is_in_submission) {
        return end->uuid;
    }
    if (end->kind == OBJECT_SUBMISSION_SET) {
        return db_uuid(comparison->set, 0, 0);
    }
    bool is_folder = end->kind == OBJECT_FOLDER;
    Str unique_id = is_folder ? ((const Folder *)end->object)->unique_id
                              : ((const DocumentEntry *)end->object)->unique_id;
    return find_member(is_folder ? &comparison->folders : &comparison->documents, unique_id)
        ->entry_uuid;
}

/** A replacement brought memberships of its own into the set (TF-3 4.2.2.2.3), a new version the
 * relationships of the one before. */
static bool updates_documents(const Submission *submission)
{
    return submission->document_count > 0 && submission->documents->is_version;
}

static bool has_same_associations(const Comparison *comparison)
{
    size_t stored_count = (size_t)db_rows(comparison->associations);
    Link *stored = ARENA_ARRAY(comparison->req->arena, Link, stored_count);
    for (int row = 0; row < db_rows(comparison->associations); row++) {
        stored[row] = (Link){
            .source = db_uuid(comparison->associations, row, 0),
            .target = db_uuid(comparison->associations, row, 1),
            .type = db_i16(comparison->associations, row, 2),
            .submission_set_status = db_i16(comparison->associations, row, 3),
            .metadata = db_text(comparison->associations, row, 4),
        };
    }
    if (stored_count > 0) {
        qsort(stored, stored_count, sizeof(Link), compare_links);
    }
    size_t count = 0;
    size_t position = 0;
    bool brings_more = updates_documents(comparison->prepared->submission);
    for (const Association *a = comparison->prepared->submission->associations; a != NULL;
         a = a->next) {
        Str metadata = comparison->prepared->association_metadata[position++];
        if (a->target.is_in_submission && a->target.kind == OBJECT_ASSOCIATION) {
            continue; /* says only that the Association belongs to the set */
        }
        const Link link = {
            .source = registered_end(comparison, &a->source),
            .target = registered_end(comparison, &a->target),
            .type = (int16_t)a->type,
            .submission_set_status = (int16_t)submission_set_status(a),
        };
        const Link *same = stored_count == 0
                               ? NULL
                               : bsearch(&link, stored, stored_count, sizeof(Link), compare_links);
        if (same == NULL ||
            !is_same_metadata(comparison, OBJECT_ASSOCIATION, same->metadata, metadata)) {
            return false;
        }
        brings_more = brings_more || association_type_replaces(a->type);
        count++;
    }
    return count == stored_count || (brings_more && count < stored_count);
}

static int read_members(Comparison *comparison, DbConn *conn)
{
    Request *req = comparison->req;
    Uuid set = db_uuid(comparison->set, 0, 0);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, set);
    db_param_i32(&params, SET_STATUS_ORIGINAL);
    int rc = db_queue(conn, req, &select_documents, &params);
    db_params_init(&params, req->arena);
    db_param_uuid(&params, set);
    db_param_i32(&params, OBJECT_FOLDER);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_folders, &params);
    db_params_init(&params, req->arena);
    db_param_uuid(&params, set);
    db_param_i32(&params, OBJECT_ASSOCIATION);
    db_param_i32(&params, SET_STATUS_ORIGINAL);
    db_param_i32(&params, ASSOCIATION_HAS_MEMBER);
    db_param_i32(&params, ASSOCIATION_UPDATE_AVAILABILITY_STATUS);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_associations, &params);
    DbResult *results[3];
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    comparison->documents = member_list(req->arena, results[0]);
    comparison->folders = member_list(req->arena, results[1]);
    comparison->associations = results[2];
    return 0;
}

static int compare(Registry *registry, Request *req, DbConn *conn,
                   const PreparedSubmission *prepared, int64_t patient,
                   EarlierRegistration *ret_earlier)
{
    Comparison comparison = {
        .registry = registry, .req = req, .prepared = prepared, .patient = patient};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, prepared->submission->submission_set->unique_id);
    DbResult *set;
    int rc = db_exec(conn, req, &select_set, &params, &set);
    if (rc < 0) {
        return rc;
    }
    *ret_earlier = (EarlierRegistration){0};
    comparison.set = set;
    if (db_rows(set) == 0 || !is_same_set(&comparison)) {
        return 0;
    }
    rc = read_members(&comparison, conn);
    if (rc < 0) {
        return rc;
    }
    *ret_earlier = (EarlierRegistration){
        .is_identical = has_same_documents(&comparison) && has_same_folders(&comparison) &&
                        has_same_associations(&comparison),
        .entry_uuid = db_uuid(set, 0, 0),
        .registered_at_us = db_timestamp(set, 0, 2),
    };
    return 0;
}

int resubmission_check(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const RegistryState *state,
                       bool *ret_is_repeated)
{
    const UniqueIdClaim *set = registry_state_set_claim(state);
    if (!set->is_taken || set->taken_kind != OBJECT_SUBMISSION_SET) {
        return 0;
    }
    EarlierRegistration earlier;
    int rc = compare(registry, req, conn, prepared, state->patient.id, &earlier);
    if (rc < 0 || !earlier.is_identical) {
        return rc;
    }
    *ret_is_repeated = true;
    return error_add(&req->errors, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                     "XDSSubmissionSet.uniqueId",
                     "identical submission already registered at %.*s as %.*s: treat as done",
                     STR_ARG(clock_iso8601(req->arena, earlier.registered_at_us)),
                     STR_ARG(uuid_urn(req->arena, earlier.entry_uuid)));
}
