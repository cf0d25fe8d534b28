#include <assert.h>
#include <stdlib.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/log.h"
#include "lib/soap/community.h"
#include "repository/document_rows.h"
#include "repository/on_demand.h"
#include "repository/repository_private.h"
#include "repository/retrieval.h"

/** Up to this size every byte is checked before the reply is composed; larger ones are checked as
 * they leave. */
#define VERIFY_MAX_BYTES ((uint64_t)1 << 20)
/** Of the bytes that were checked so many are kept for the reply; others are read again. */
#define KEPT_MAX_BYTES ((uint64_t)256 << 10)
/** Documents of one reply that are kept open; the others are opened again when their turn comes. */
#define OPEN_MAX 32
/** What is made for one reply is in memory. */
#define MADE_MAX_BYTES ((uint64_t)64 << 20)
/** Of a row whose document has not been looked at; else 0 or the negative ErrorCode of it. */
#define UNREAD 1

/** An On-Demand document of one reply; however often it is asked for, it is made once. */
typedef struct OnDemand {
    const OnDemandRow *row;
    int verdict; /* UNREAD until it is made */
    bool is_kept;
    MadeDocument made;
} OnDemand;

/** What is known of one xds:DocumentRequest. */
typedef struct Wanted {
    DocumentRequest *asked;
    const DocumentRow *row; /* NULL: not for this peer, or made now */
    OnDemand *on_demand;    /* NULL: it is none */
    BlobReader *reader;     /* NULL: opened when its turn comes */
} Wanted;

typedef struct Retrieve {
    Repository *repository;
    SoapExchange *exchange;
    const RetrieveTransaction *transaction;
    DocumentRequest *asked; /* in order of the message */
    Wanted *wanted;         /* likewise */
    size_t count;
    DocumentRows rows;
    OnDemand *on_demand;
    size_t on_demand_count;
    uint64_t made_bytes;
    DocumentRegistration *registrations; /* of the registry beside, where there are rules */
    size_t registration_count;
    int *verdicts; /* of rows.items */
    StrBuf *kept;  /* of rows.items: the whole document, or empty */
    uint64_t kept_bytes;
    size_t open_count;
} Retrieve;

/* ---- the request ---- */

static int read_requests(Retrieve *retrieve, const XmlNode *body)
{
    Request *req = retrieve->exchange->req;
    int rc = 0;
    for (XmlNode *node = body->first_child; node; node = node->next) {
        retrieve->count++;
    }
    retrieve->asked = ARENA_ARRAY(req->arena, DocumentRequest, retrieve->count);
    retrieve->wanted = ARENA_ARRAY(req->arena, Wanted, retrieve->count);
    size_t at = 0;
    for (XmlNode *node = body->first_child; node; node = node->next, at++) {
        retrieve->wanted[at].asked = &retrieve->asked[at];
        int read = xml_is(node, NS_XDSB, "DocumentRequest")
                       ? retrieval_read_request(req, node, at + 1, &retrieve->asked[at])
                       : retrieval_refuse_element(req, at + 1, "unexpected", node->name);
        rc = MIN(rc, read);
    }
    if (retrieve->count == 0) {
        rc = error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, "DocumentRequest",
                       "xds:RetrieveDocumentSetRequest holds no xds:DocumentRequest");
    } else {
        req->subject = retrieve->asked[0].unique_id;
    }
    return rc;
}

/* ---- what may be given ---- */

static void done_kept(void *kept)
{
    strbuf_done(kept);
}

static void done_made(void *on_demand)
{
    made_document_done(&((OnDemand *)on_demand)->made);
}

/** Where documents are made on demand, in each retrieval: none takes as long as one that may not be
 * known. */
static int find_on_demand(Retrieve *retrieve, DbConn *conn, const Str *unique_ids)
{
    Request *req = retrieve->exchange->req;
    OnDemandRow *rows = NULL;
    if (!retrieve->repository->generator) {
        return 0;
    }
    int rc =
        on_demand_find(req, conn, unique_ids, retrieve->count, &rows, &retrieve->on_demand_count);
    if (rc < 0) {
        retrieve->on_demand_count = 0;
        return rc;
    }
    retrieve->on_demand = ARENA_ARRAY(req->arena, OnDemand, retrieve->on_demand_count);
    for (size_t i = 0; i < retrieve->on_demand_count; i++) {
        retrieve->on_demand[i] = (OnDemand){.row = &rows[i], .verdict = UNREAD};
        arena_defer(req->arena, done_made, &retrieve->on_demand[i]);
    }
    return 0;
}

static int find_rows(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, retrieve->count);
    for (size_t i = 0; i < retrieve->count; i++) {
        unique_ids[i] = retrieve->asked[i].unique_id;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(retrieve->repository->config.pool, req, &conn);
    if (rc == 0) {
        rc = document_rows_find(req, conn, unique_ids, retrieve->count, &retrieve->rows);
    }
    rc = rc < 0 ? rc : find_on_demand(retrieve, conn, unique_ids);
    const DocumentCatalogue *catalogue = retrieve->repository->config.catalogue;
    if (rc == 0 && catalogue && req->principal && !req->principal->may_do_everything) {
        rc = catalogue->find(catalogue->ctx, req, conn, unique_ids, retrieve->count,
                             &retrieve->registrations, &retrieve->registration_count);
    }
    if (rc < 0) {
        return rc;
    }
    retrieve->verdicts = ARENA_ARRAY(req->arena, int, retrieve->rows.count);
    retrieve->kept = ARENA_ARRAY(req->arena, StrBuf, retrieve->rows.count);
    for (size_t i = 0; i < retrieve->rows.count; i++) {
        retrieve->verdicts[i] = UNREAD;
        arena_defer(req->arena, done_kept, &retrieve->kept[i]);
    }
    return 0;
}

/** The patients' rules are read already: see prepare_access(). */
static int decide_one(Request *req, int64_t patient, const AccessObject *object, bool *ret_may)
{
    const AccessScope *scope;
    int rc = access_open(req, patient, ACCESS_DOWNLOAD, &scope);
    if (rc == 0) {
        *ret_may = access_decide(scope, object);
    }
    return rc;
}

/** Its DocumentEntry was removed (ITI-62), and it has not been removed itself. */
static bool is_withdrawn(const Retrieve *retrieve, const DocumentRow *row)
{
    return retrieve->repository->config.catalogue && row->state == DOCUMENT_REGISTERED &&
           access_has_rules(retrieve->exchange->req);
}

/** As ITI-18 decides on the DocumentEntries of this uniqueId: it is enough that one shows. A
 * document that is in no registry of this database yet is what was said when it was stored; one
 * that is there no more is for those who submitted it. */
static int may_download(const Retrieve *retrieve, const Wanted *wanted, bool *ret_may)
{
    Request *req = retrieve->exchange->req;
    size_t document = (size_t)(wanted - retrieve->wanted);
    bool is_registered = false;
    int rc = 0;
    *ret_may = false;
    for (size_t i = 0; i < retrieve->registration_count && rc == 0 && !*ret_may; i++) {
        const DocumentRegistration *registration = &retrieve->registrations[i];
        if (registration->document == document) {
            is_registered = true;
            rc = decide_one(req, registration->patient, &registration->access, ret_may);
        }
    }
    if (is_registered || !wanted->row) {
        return rc;
    }
    const DocumentRow *row = wanted->row;
    const AccessObject object = {
        .source_facility = row->source_facility,
        .class_code = row->class_code_id,
        .confidentiality_codes = row->confidentiality_code_ids,
        .confidentiality_count = row->confidentiality_count,
        .effective_us = row->effective_us,
    };
    rc = decide_one(req, row->patient, &object, ret_may);
    *ret_may = *ret_may && (!is_withdrawn(retrieve, row) ||
                            access_may_submit_for(req->principal, row->source_facility));
    return rc;
}

static StrBuf *kept_of(const Retrieve *retrieve, const Wanted *wanted)
{
    return &retrieve->kept[wanted->row - retrieve->rows.items];
}

/** Half of the time for the reply may go into reading ahead. */
static bool is_late(const Request *req)
{
    return clock_now_ns() - req->started_ns > (req->deadline_ns - req->started_ns) / 2;
}

/** Reads a document whole, to keep it, unless that takes too much memory. */
static int check(Retrieve *retrieve, BlobReader *reader, StrBuf *kept)
{
    uint64_t size_bytes = blob_reader_size_bytes(reader);
    if (size_bytes > KEPT_MAX_BYTES - retrieve->kept_bytes) {
        return blob_reader_verify(reader);
    }
    retrieve->kept_bytes += size_bytes;
    (void)strbuf_reserve(kept, size_bytes);
    int rc = 1;
    while (rc > 0) {
        rc = blob_reader_next(reader, kept);
    }
    return rc;
}

/** Opens the document and, if it is small, reads it once: damage is then an error of this document
 * alone. What time does not allow is checked as it leaves, as large ones are. */
static int read_ahead(Retrieve *retrieve, Wanted *wanted)
{
    if (is_late(retrieve->exchange->req)) {
        return 0;
    }
    StrBuf *kept = kept_of(retrieve, wanted);
    BlobReader *reader = NULL;
    int rc = blob_reader_open(retrieve->repository->blobs, wanted->row->sha256, &reader);
    if (rc == 0 && blob_reader_size_bytes(reader) <= VERIFY_MAX_BYTES) {
        rc = check(retrieve, reader, kept);
    }
    if (rc < 0 || kept->len > 0 || retrieve->open_count == OPEN_MAX) {
        blob_reader_free(reader);
        return rc;
    }
    wanted->reader = reader;
    retrieve->open_count++;
    return 0;
}

/** However often a document is asked for, it is looked at once. */
static void open_document(Retrieve *retrieve, Wanted *wanted)
{
    assert(wanted->row != NULL); /* what is not stored may not be served */
    int *verdict = &retrieve->verdicts[wanted->row - retrieve->rows.items];
    if (*verdict == UNREAD) {
        *verdict = read_ahead(retrieve, wanted);
    }
    if (*verdict < 0) {
        retrieval_refuse(
            retrieve->exchange->req, wanted->asked, (ErrorCode)(-*verdict),
            *verdict == -ERR_XDS_REPOSITORY_BUSY
                ? "the repository is busy; ask for the document again later"
                : "the stored document is damaged or cannot be read and is not given out; the "
                  "operator has to restore it");
        return;
    }
    wanted->asked->is_delivered = true;
    wanted->asked->mime_type = wanted->row->mime_type;
}

/** A snapshot shows what one reader saw then: it is for those who may see as much, of then and of
 * now. */
static int may_have_content(const Retrieve *retrieve, const Wanted *wanted, bool *ret_may)
{
    const DocumentRow *row = wanted->row;
    if (!*ret_may || str_is_empty(row->generator)) {
        return 0;
    }
    const Generator *generator = generator_find(row->generator);
    *ret_may = generator != NULL && retrieve->repository->generator != NULL;
    return *ret_may ? on_demand_sees_all(retrieve->repository, retrieve->exchange->req, generator,
                                         row->patient, row, ret_may)
                    : 0;
}

static bool is_servable(const DocumentRow *row)
{
    return row && (row->state == DOCUMENT_PENDING || row->state == DOCUMENT_REGISTERED);
}

/* ---- what is made now ---- */

static OnDemand *on_demand_of(const Retrieve *retrieve, Str unique_id)
{
    for (size_t i = 0; i < retrieve->on_demand_count; i++) {
        if (str_equal(retrieve->on_demand[i].row->unique_id, unique_id)) {
            return &retrieve->on_demand[i];
        }
    }
    return NULL;
}

/** @return 0, or the negative ErrorCode of this document */
static int make(Retrieve *retrieve, OnDemand *on_demand)
{
    Repository *repository = retrieve->repository;
    Request *req = retrieve->exchange->req;
    if (retrieve->made_bytes > MADE_MAX_BYTES) {
        return -(int)ERR_XDS_REPOSITORY_OUT_OF_RESOURCES;
    }
    int rc = on_demand_make(repository, req, on_demand->row, &on_demand->made);
    retrieve->made_bytes += on_demand->made.content.len;
    if (rc == 0 && repository->config.on_demand.is_persistent) {
        int kept = on_demand_keep(repository, req, on_demand->row, &on_demand->made);
        on_demand->is_kept = kept > 0;
        if (kept < 0) {
            log_warn("ref=%s event=snapshot outcome=Failure", req->ref);
        }
    }
    return rc;
}

static void take_made(Retrieve *retrieve, Wanted *wanted)
{
    DocumentRequest *asked = wanted->asked;
    OnDemand *on_demand = wanted->on_demand;
    if (on_demand->verdict == UNREAD) {
        on_demand->verdict = make(retrieve, on_demand);
    }
    if (on_demand->verdict < 0) {
        retrieval_refuse(retrieve->exchange->req, asked, (ErrorCode)(-on_demand->verdict),
                         on_demand->verdict == -(int)ERR_XDS_REPOSITORY_OUT_OF_RESOURCES
                             ? "the documents that are to be made for this reply are too large "
                               "together; ask for fewer of them at once"
                             : "the document could not be made; ask for it again later");
        return;
    }
    asked->is_delivered = true;
    asked->mime_type = str_from(on_demand->row->generator->mime_type);
    asked->new_unique_id = on_demand->made.unique_id;
    if (on_demand->is_kept) {
        asked->new_repository_unique_id = str_from(retrieve->repository->config.unique_id);
    }
}

/** Of what is stored: whether the reader may have it. */
static int may_have_stored(const Retrieve *retrieve, const Wanted *wanted, bool *ret_may)
{
    *ret_may = is_servable(wanted->row);
    if (!*ret_may) {
        return 0;
    }
    int rc = may_download(retrieve, wanted, ret_may);
    return rc < 0 ? rc : may_have_content(retrieve, wanted, ret_may);
}

/** Of what is made: whoever may have the entry gets what he may see. */
static int may_have_made(const Retrieve *retrieve, const Wanted *wanted, bool *ret_may)
{
    *ret_may = wanted->on_demand != NULL && wanted->on_demand->row->generator != NULL;
    if (!*ret_may || !access_has_rules(retrieve->exchange->req)) {
        return 0;
    }
    return may_download(retrieve, wanted, ret_may);
}

/** TF-3 Table 4.2.4.1-2. Unknown, removed and not permitted look the same. */
static int decide(Retrieve *retrieve, Wanted *wanted)
{
    Request *req = retrieve->exchange->req;
    const char *own_id = retrieve->repository->config.unique_id;
    if (retrieve->transaction->is_cross_gateway &&
        community_check(req, req->community, wanted->asked->home, "HomeCommunityId",
                        str_cstr(req->arena, wanted->asked->unique_id)) < 0) {
        return 0;
    }
    if (!str_equal(wanted->asked->repository_unique_id, str_from(own_id))) {
        error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID,
                  str_cstr(req->arena, wanted->asked->unique_id),
                  "RepositoryUniqueId %.*s is not this repository, which is %s; send the request "
                  "to the repository that "
                  "the DocumentEntry names",
                  STR_ARG(wanted->asked->repository_unique_id), own_id);
        return 0;
    }
    bool may_be_served = false;
    bool may_be_made = false;
    wanted->row = document_rows_get(&retrieve->rows, wanted->asked->unique_id);
    int rc = may_have_stored(retrieve, wanted, &may_be_served);
    if (rc == 0 && !wanted->row) {
        wanted->on_demand = on_demand_of(retrieve, wanted->asked->unique_id);
        rc = may_have_made(retrieve, wanted, &may_be_made);
    }
    if (rc < 0) {
        return rc;
    }
    if (may_be_served) {
        open_document(retrieve, wanted);
    } else if (may_be_made) {
        take_made(retrieve, wanted);
    } else {
        retrieval_refuse(req, wanted->asked, ERR_XDS_DOCUMENT_UNIQUE_ID_ERROR,
                         "this repository has no document with this DocumentUniqueId for you; ask "
                         "the registry (ITI-18) for the uniqueId and repositoryUniqueId of the "
                         "document");
    }
    return 0;
}

/** One round trip, also when there is no row at all: what may not be known takes as long as what is
 * not there. */
static int prepare_access(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    size_t count = 0;
    int64_t *patients =
        ARENA_ARRAY(req->arena, int64_t, retrieve->rows.count + retrieve->registration_count);
    for (size_t i = 0; i < retrieve->rows.count; i++) {
        patients[count++] = retrieve->rows.items[i].patient;
    }
    for (size_t i = 0; i < retrieve->registration_count; i++) {
        patients[count++] = retrieve->registrations[i].patient;
    }
    return access_prepare(req, patients, count);
}

static int decide_all(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    int rc = find_rows(retrieve);
    rc = rc < 0 ? rc : prepare_access(retrieve);
    if (rc < 0) {
        return rc;
    }
    /* TF-2 3.43.5: one RegistryError for each document that does not come. */
    req->errors.kept_max += (unsigned)retrieve->count;
    for (size_t i = 0; i < retrieve->count && rc == 0; i++) {
        Wanted *wanted = &retrieve->wanted[i];
        rc = decide(retrieve, wanted);
        wanted->asked->error = wanted->asked->is_delivered ? NULL : req->errors.last;
    }
    return rc;
}

/* ---- audit ---- */

static Str patient_of(const Wanted *wanted)
{
    if (wanted->on_demand) {
        return wanted->on_demand->made.patient_id;
    }
    return wanted->row ? wanted->row->patient_id : STR_EMPTY;
}

/** What is given before what is not; patient by patient; in the order of the request. */
static int compare_wanted(const void *a, const void *b)
{
    const Wanted *left = *(const Wanted *const *)a;
    const Wanted *right = *(const Wanted *const *)b;
    if (left->asked->is_delivered != right->asked->is_delivered) {
        return left->asked->is_delivered ? -1 : 1;
    }
    int by_patient = str_compare(patient_of(left), patient_of(right));
    return by_patient != 0 ? by_patient : (left > right) - (left < right);
}

static bool is_in_same_event(const Wanted *first, const Wanted *other)
{
    return first->asked->is_delivered == other->asked->is_delivered &&
           str_equal(patient_of(first), patient_of(other));
}

static AuditObject document_object(const Wanted *wanted)
{
    return (AuditObject){
        .kind = AUDIT_OBJECT_DOCUMENT,
        .id = wanted->asked->unique_id,
        .repository_unique_id = wanted->asked->repository_unique_id,
        .home = wanted->asked->home,
    };
}

/** One event for documents of one patient and one fate (TF-2 3.20.7, 3.43.6). */
static int append_event(Retrieve *retrieve, Wanted *const *wanted, size_t count)
{
    Request *req = retrieve->exchange->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, count + 1);
    AuditEvent event = {.type = retrieve->transaction->event, .objects = objects};
    if (count == 0 || !wanted[0]->asked->is_delivered) {
        audit_event_refuse_for(req, &event, count > 0 ? wanted[0]->asked->error : NULL);
    }
    if (count > 0 && !str_is_empty(patient_of(wanted[0]))) {
        objects[event.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patient_of(wanted[0])};
    }
    for (size_t i = 0; i < count; i++) {
        if (!str_is_empty(wanted[i]->asked->unique_id)) {
            objects[event.object_count++] = document_object(wanted[i]);
        }
    }
    return audit_append_event(retrieve->repository->config.audit, req, &event);
}

/** Events for what is about to be sent, and for what is not: durable when the reply goes (C4). */
static int append_events(Retrieve *retrieve)
{
    Arena *arena = retrieve->exchange->req->arena;
    Wanted **wanted = ARENA_ARRAY(arena, Wanted *, retrieve->count);
    for (size_t i = 0; i < retrieve->count; i++) {
        wanted[i] = &retrieve->wanted[i];
    }
    if (retrieve->count > 0) {
        qsort(wanted, retrieve->count, sizeof(Wanted *), compare_wanted);
    }
    size_t begin = 0;
    int rc = retrieve->count == 0 ? append_event(retrieve, NULL, 0) : 0;
    while (rc == 0 && begin < retrieve->count) {
        size_t end = begin + 1;
        while (end < retrieve->count && is_in_same_event(wanted[begin], wanted[end])) {
            end++;
        }
        rc = append_event(retrieve, &wanted[begin], end - begin);
        begin = end;
    }
    if (rc == 0) {
        fail_point("iti43.audited");
    }
    return rc;
}

/* ---- the reply ---- */

/** A document on its way out. */
typedef struct PartSource {
    Repository *repository;
    Request *req;
    AuditEventType event;
    const Wanted *wanted;
    Str kept; /* the whole document; empty: reader has it */
    BlobReader *reader;
    bool is_sent;
} PartSource;

static int part_next(void *ctx, StrBuf *buf)
{
    PartSource *part = ctx;
    if (!str_is_empty(part->kept)) {
        strbuf_append(buf, part->kept);
        part->is_sent = true;
        return 0;
    }
    if (!part->reader) {
        int rc =
            blob_reader_open(part->repository->blobs, part->wanted->row->sha256, &part->reader);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = blob_reader_next(part->reader, buf);
    part->is_sent = rc == 0;
    return rc;
}

/** A document that was announced to the audit trail and did not leave whole gets a second record
 * (outcome 8). */
static void part_done(void *ctx)
{
    PartSource *part = ctx;
    blob_reader_free(part->reader);
    if (part->is_sent) {
        return;
    }
    AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_PATIENT, .id = patient_of(part->wanted)},
        document_object(part->wanted),
    };
    AuditEvent event = {
        .type = part->event,
        .outcome = 8,
        .outcome_text = STR("the connection ended before the document was sent whole"),
        .objects = objects,
        .object_count = ARRAY_LEN(objects),
    };
    (void)!audit_record_event(part->repository->config.audit, part->req, &event);
}

static OutgoingDocument open_part(void *ctx, size_t index)
{
    const Retrieve *retrieve = ctx;
    const Wanted *wanted = &retrieve->wanted[index];
    PartSource *source = ARENA_NEW(retrieve->exchange->req->arena, PartSource);
    *source = (PartSource){
        .repository = retrieve->repository,
        .req = retrieve->exchange->req,
        .event = retrieve->transaction->event,
        .wanted = wanted,
        .kept = strbuf_str(wanted->on_demand ? &wanted->on_demand->made.content
                                             : kept_of(retrieve, wanted)),
        .reader = wanted->reader,
    };
    return (OutgoingDocument){
        .size_bytes = wanted->row ? wanted->row->size_bytes : source->kept.len,
        .source = {source, part_next, part_done},
    };
}

static void close_readers(Retrieve *retrieve)
{
    for (size_t i = 0; i < retrieve->count; i++) {
        blob_reader_free(retrieve->wanted[i].reader);
    }
}

int retrieve_documents(Repository *repository, SoapExchange *exchange,
                       const RetrieveTransaction *transaction)
{
    Request *req = exchange->req;
    const XmlNode *body = exchange->message->body;
    Retrieve retrieve = {
        .repository = repository, .exchange = exchange, .transaction = transaction};
    if (transaction->is_cross_gateway) {
        req->community = str_from(repository->config.home_community_id);
    }
    if (read_requests(&retrieve, body) == 0) {
        (void)!decide_all(&retrieve); /* its error is in the reply, which then holds no document */
    }
    if (append_events(&retrieve) < 0) {
        close_readers(&retrieve);
        return error_add(
            &req->errors, ERR_SOAP_RECEIVER, NULL,
            "the access could not be recorded, so nothing is given out; ask again later");
    }
    retrieval_add_parts(exchange, retrieve.asked, retrieve.count, open_part, &retrieve);
    retrieval_write_reply(exchange, retrieve.asked, retrieve.count);
    return 0;
}

int repository_iti43_retrieve(void *repository, SoapExchange *exchange)
{
    static const RetrieveTransaction iti43 = {.event = AUDIT_ITI43_EXPORT};
    return retrieve_documents(repository, exchange, &iti43);
}
