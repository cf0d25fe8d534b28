#include "registry/query_answer.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/result_spool.h"

/* What is rendered before the first byte is sent, and then with each call of the BodySource. */
#define FIRST_PIECE_BYTES (1024 * 1024)
#define PIECE_BYTES (64 * 1024)
/* Bytes of XML for a byte in the spool: metadata is compressed, a reference is a UUID. */
#define LIKELY_LEAF_FACTOR 8
#define LIKELY_REFERENCE_FACTOR 5

#define RESPONSE_BEGIN                                                                             \
    "<query:AdhocQueryResponse xmlns:query=\"" NS_QUERY "\" xmlns:rim=\"" NS_RIM                   \
    "\" xmlns:rs=\"" NS_RS "\" status=\""
#define RESPONSE_END "</query:AdhocQueryResponse>"
#define LIST_BEGIN "<rim:RegistryObjectList>"
#define LIST_END "</rim:RegistryObjectList>"

/** An object in the spool; behind it follow unique_id, hash and metadata. */
typedef struct StoredObject {
    Uuid entry_uuid;
    Uuid lid;
    Uuid source;
    Uuid target;
    int64_t size_bytes;
    int64_t last_update_us;
    ObjectKind kind;
    AvailabilityStatus status;
    AssociationType association_type;
    int16_t submission_set_status;
    int32_t version;
    int32_t repository;
    uint32_t patient;
    uint32_t unique_id_len;
    uint32_t hash_len;
    uint32_t metadata_len;
} StoredObject;

/** repositoryUniqueId of an interned id. */
typedef struct RepositoryName {
    int32_t id;
    Str unique_id; /* lives as long as the CodeTable */
} RepositoryName;

struct QueryAnswer {
    const Registry *registry;
    bool is_leaf_class;
    ResultSpool *spool;
    Arena *arena;   /* what lives as long as the answer */
    Arena *scratch; /* what lives as long as one object */
    Str *patients;
    size_t patient_capacity;
    RepositoryName *repositories; /* each once; a region has few */
    size_t repository_count;
    size_t repository_capacity;
};

QueryAnswer *query_answer_new(const Registry *registry, bool is_leaf_class)
{
    QueryAnswer *answer = HEAP_NEW(QueryAnswer);
    *answer = (QueryAnswer){.registry = registry,
                            .is_leaf_class = is_leaf_class,
                            .spool = result_spool_new(registry->config.spill_directory),
                            .arena = arena_new(),
                            .scratch = arena_new()};
    return answer;
}

void query_answer_free(QueryAnswer *answer)
{
    if (answer == NULL) {
        return;
    }
    result_spool_free(answer->spool);
    arena_free(answer->arena);
    arena_free(answer->scratch);
    free(answer);
}

void query_answer_freep(QueryAnswer **answer)
{
    query_answer_free(*answer);
    *answer = NULL;
}

/* ---- filling ---- */

static RepositoryName *find_repository(const QueryAnswer *answer, int32_t id)
{
    for (size_t i = 0; i < answer->repository_count; i++) {
        if (answer->repositories[i].id == id) {
            return &answer->repositories[i];
        }
    }
    return NULL;
}

static void note_repository(QueryAnswer *answer, int32_t id)
{
    if (find_repository(answer, id) != NULL) {
        return;
    }
    if (answer->repository_count == answer->repository_capacity) {
        size_t capacity = 2 * answer->repository_capacity + 8;
        RepositoryName *grown = ARENA_ARRAY(answer->arena, RepositoryName, capacity);
        if (answer->repository_count > 0) {
            memcpy(grown, answer->repositories, answer->repository_count * sizeof(*grown));
        }
        answer->repositories = grown;
        answer->repository_capacity = capacity;
    }
    answer->repositories[answer->repository_count++] = (RepositoryName){.id = id};
}

/** An ObjectRef needs the entryUUID only. */
static int add_reference(QueryAnswer *answer, Request *req, const LoadedObject *object)
{
    const Str part = {(const char *)object->entry_uuid.bytes, sizeof(object->entry_uuid.bytes)};
    return result_spool_append(answer->spool, req, &part, 1);
}

int query_answer_add(QueryAnswer *answer, Request *req, const LoadedObject *object,
                     uint32_t patient)
{
    if (!answer->is_leaf_class) {
        return add_reference(answer, req, object);
    }
    if (object->kind == OBJECT_DOCUMENT_ENTRY) {
        note_repository(answer, object->repository);
    }
    const StoredObject stored = {
        .entry_uuid = object->entry_uuid,
        .lid = object->lid,
        .source = object->source,
        .target = object->target,
        .size_bytes = object->size_bytes,
        .last_update_us = object->last_update_us,
        .kind = object->kind,
        .status = (AvailabilityStatus)object->access.status,
        .association_type = object->association_type,
        .submission_set_status = object->submission_set_status,
        .version = object->version,
        .repository = object->repository,
        .patient = patient,
        .unique_id_len = (uint32_t)object->unique_id.len,
        .hash_len = (uint32_t)object->hash.len,
        .metadata_len = (uint32_t)object->metadata.len,
    };
    const Str parts[] = {
        {(const char *)&stored, sizeof(stored)}, object->unique_id, object->hash, object->metadata};
    return result_spool_append(answer->spool, req, parts, ARRAY_LEN(parts));
}

void query_answer_set_patient(QueryAnswer *answer, uint32_t patient, Str identifier)
{
    if (patient >= answer->patient_capacity) {
        size_t capacity = MAX((size_t)patient + 1, 2 * answer->patient_capacity);
        Str *grown = ARENA_ARRAY(answer->arena, Str, capacity);
        if (answer->patient_capacity > 0) {
            memcpy(grown, answer->patients, answer->patient_capacity * sizeof(*grown));
        }
        answer->patients = grown;
        answer->patient_capacity = capacity;
    }
    answer->patients[patient] = str_dup(answer->arena, identifier);
}

static int compare_texts(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

size_t query_answer_patients(const QueryAnswer *answer, Arena *arena, Str **ret_patients)
{
    Str *patients = ARENA_ARRAY(arena, Str, answer->patient_capacity);
    size_t count = 0;
    for (size_t i = 0; i < answer->patient_capacity; i++) {
        if (!str_is_empty(answer->patients[i])) {
            patients[count++] = answer->patients[i];
        }
    }
    if (count > 1) {
        qsort(patients, count, sizeof(Str), compare_texts);
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_equal(patients[i], patients[kept - 1])) {
            patients[kept++] = str_dup(arena, patients[i]);
        }
    }
    *ret_patients = patients;
    return kept;
}

int query_answer_finish(QueryAnswer *answer, Request *req, DbConn *conn)
{
    for (size_t i = 0; i < answer->repository_count; i++) {
        RepositoryName *name = &answer->repositories[i];
        int r = code_table_repository_text(answer->registry->codes, req, conn, name->id,
                                           &name->unique_id);
        if (r < 0) {
            return r;
        }
    }
    return result_spool_finish(answer->spool, req);
}

int query_answer_references(QueryAnswer *answer, Request *req, Uuid **ret_uuids, size_t *ret_count)
{
    const size_t capacity = result_spool_bytes(answer->spool) / sizeof(Uuid);
    Uuid *uuids = ARENA_ARRAY(req->arena, Uuid, capacity);
    size_t count = 0;
    Str record;
    assert(!answer->is_leaf_class);
    int r = result_spool_next(answer->spool, &record);
    for (; r > 0; r = result_spool_next(answer->spool, &record)) {
        memcpy(uuids[count++].bytes, record.data, sizeof(Uuid));
    }
    if (r < 0) {
        return error_add(&req->errors, ERR_IO, NULL, "the answer cannot be read back");
    }
    *ret_uuids = uuids;
    *ret_count = count;
    return 0;
}

/* ---- rendering ---- */

static void append_uuid(StrBuf *xml, Uuid uuid)
{
    uuid_format_urn(uuid, strbuf_reserve(xml, UUID_URN_LEN));
    xml->len += UUID_URN_LEN;
}

/** rim:ObjectRef (TF-2 3.18.4.1.2.3.1), with @home where the registry has one (3.18.4.1.3). */
static void append_reference(const QueryAnswer *answer, Str record, StrBuf *xml)
{
    Uuid uuid;
    memcpy(uuid.bytes, record.data, sizeof(uuid.bytes));
    strbuf_literal(xml, "<rim:ObjectRef id=\"");
    append_uuid(xml, uuid);
    if (answer->registry->config.home_community_id[0] != '\0') {
        strbuf_literal(xml, "\" home=\"");
        strbuf_append(xml, str_from(answer->registry->config.home_community_id));
    }
    strbuf_literal(xml, "\"/>");
}

/** A whole object, rendered with what changes put in. */
static int append_object(const QueryAnswer *answer, Str record, StrBuf *xml)
{
    StoredObject stored;
    memcpy(&stored, record.data, sizeof(stored));
    const char *unique_id = record.data + sizeof(stored);
    const char *hash = unique_id + stored.unique_id_len;
    const Str metadata = {hash + stored.hash_len, stored.metadata_len};
    arena_clear(answer->scratch);
    RenderValues values = {
        .entry_uuid = stored.entry_uuid,
        .lid = stored.lid,
        .version = stored.version,
        .status = stored.status,
        .unique_id = {unique_id, stored.unique_id_len},
        .hash = str_hex(answer->scratch, hash, stored.hash_len),
        .size_bytes = stored.size_bytes,
        .home = str_from(answer->registry->config.home_community_id),
        .submission_set_status = stored.submission_set_status,
    };
    RenderDictionaries *dictionaries = answer->registry->dictionaries;
    if (stored.kind == OBJECT_ASSOCIATION) {
        return rendered_append_association(dictionaries, stored.association_type, stored.source,
                                           stored.target, metadata, &values, xml);
    }
    values.patient_id = answer->patients[stored.patient];
    if (stored.kind == OBJECT_DOCUMENT_ENTRY) {
        const RepositoryName *repository = find_repository(answer, stored.repository);
        assert(repository != NULL); /* noted by query_answer_add() */
        values.repository_unique_id = repository->unique_id;
    } else if (stored.kind == OBJECT_FOLDER) {
        values.last_update_time = clock_dtm(answer->scratch, stored.last_update_us);
    }
    return rendered_append(dictionaries, stored.kind, metadata, &values, xml);
}

/** Renders until xml has limit bytes. @return 1 more to come, 0 all is written, negative ErrorCode
 */
static int append_objects(QueryAnswer *answer, StrBuf *xml, size_t limit)
{
    while (xml->len < limit) {
        Str record;
        int r = result_spool_next(answer->spool, &record);
        if (r == 0) {
            strbuf_literal(xml, LIST_END RESPONSE_END);
        }
        if (r <= 0) {
            return r;
        }
        if (answer->is_leaf_class) {
            r = append_object(answer, record, xml);
            if (r < 0) {
                return r;
            }
        } else {
            append_reference(answer, record, xml);
        }
    }
    return 1;
}

static int next_piece(void *ctx, StrBuf *buf)
{
    return append_objects(ctx, buf, buf->len + PIECE_BYTES);
}

static void answer_done(void *ctx)
{
    query_answer_free(ctx);
}

/** What is rendered at once takes about as much; more is made room for when it is needed. */
static size_t likely_bytes(const QueryAnswer *answer)
{
    size_t factor = answer->is_leaf_class ? LIKELY_LEAF_FACTOR : LIKELY_REFERENCE_FACTOR;
    return MIN(result_spool_bytes(answer->spool) * factor + PIECE_BYTES / 64, FIRST_PIECE_BYTES);
}

int query_answer_write(QueryAnswer *answer, Request *req, StrBuf *xml, BodySource *ret_source)
{
    size_t begin = xml->len;
    (void)strbuf_reserve(xml, likely_bytes(answer));
    strbuf_literal(xml, RESPONSE_BEGIN URN_RESPONSE_SUCCESS "\">");
    registry_error_list_write(req, xml);
    strbuf_literal(xml, LIST_BEGIN);
    int r = append_objects(answer, xml, FIRST_PIECE_BYTES);
    if (r > 0) {
        *ret_source = (BodySource){.ctx = answer, .next = next_piece, .done = answer_done};
        return 0;
    }
    query_answer_free(answer);
    if (r < 0) {
        strbuf_truncate(xml, begin);
        return error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL,
                         "stored metadata cannot be read; the operator of the registry has to "
                         "repair it");
    }
    return 0;
}

void query_answer_write_failure(Request *req, StrBuf *xml)
{
    strbuf_literal(xml, RESPONSE_BEGIN URN_RESPONSE_FAILURE "\">");
    registry_error_list_write(req, xml);
    strbuf_literal(xml, LIST_BEGIN LIST_END RESPONSE_END);
}
