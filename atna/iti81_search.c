/** ITI-81 Retrieve ATNA Audit Event (RESTful ATNA supplement, 3.81.4): AuditEvent of what the Audit
 * Record Repository holds. */
#include "atna/audit_event.h"
#include "atna/iti81_criteria.h"
#include "atna/iti81_page.h"
#include "lib/access/access.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 1000
/** A page with so many bytes of messages ends, whatever _count says. */
#define PAGE_MAX_BYTES ((size_t)8 << 20)
/** Further than that is not counted, unless _total=accurate: then there is no total. */
#define COUNTED_AT_MOST 100000

typedef enum Total { TOTAL_UP_TO, TOTAL_ACCURATE, TOTAL_NONE } Total;

typedef struct Search {
    const Iti81 *iti81;
    FhirExchange *exchange;
    Iti81Criteria *criteria;
    Total wanted_total;
    size_t page;       /* most records of this page; 0: the total alone */
    bool is_continued; /* the bounds, the total and a place come with the request */
    Iti81Page place;   /* where this page begins, and what does not change from page to page */

    FhirNode *entries; /* holds the entries until they are put behind the links */
    RecordPlace last;  /* of this page */
    size_t bytes;
    bool is_full;
    bool has_more;
} Search;

/* ---- the question ---- */

static int refuse(const Search *search, const char *name, Str value, const char *remedy)
{
    return error_add(&search->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                     "Parameter %s is \"%.*s\"; %s.", name, STR_ARG(value), remedy);
}

static int read_count(Search *search)
{
    Str text = fhir_parameters_value(&search->exchange->parameters, "_count");
    uint64_t count = PAGE_DEFAULT;
    if (!str_is_empty(text) && !str_to_u64(text, &count)) {
        return refuse(search, "_count", text, "send a number");
    }
    search->page = (size_t)MIN(count, (uint64_t)PAGE_MAX);
    return 0;
}

/** FHIR R4 3.1.1.5.5 */
static int read_total(Search *search)
{
    Str text = fhir_parameters_value(&search->exchange->parameters, "_total");
    if (str_is_empty(text) || str_equal(text, STR("estimate"))) {
        search->wanted_total = TOTAL_UP_TO;
    } else if (str_equal(text, STR("accurate"))) {
        search->wanted_total = TOTAL_ACCURATE;
    } else if (str_equal(text, STR("none"))) {
        search->wanted_total = TOTAL_NONE;
    } else {
        return refuse(search, "_total", text, "send none, estimate or accurate");
    }
    return 0;
}

static int read_page(Search *search)
{
    Str token = fhir_parameters_value(&search->exchange->parameters, "_page");
    if (str_is_empty(token)) {
        return 0;
    }
    search->is_continued = true;
    return iti81_page_read(search->exchange->req->arena, token, &search->place)
               ? 0
               : refuse(search, "_page", token, "follow link next of the page before as it is");
}

static int read_search(Search *search)
{
    FhirExchange *exchange = search->exchange;
    int rc = iti81_criteria_read(exchange, &search->iti81->patients, &search->criteria);
    int count_rc = read_count(search);
    int total_rc = read_total(search);
    int page_rc = read_page(search);
    rc = rc ? rc : count_rc ? count_rc : total_rc ? total_rc : page_rc;
    if (rc == 0 && exchange->is_strict) {
        rc = fhir_parameters_check_used(exchange->req, &exchange->parameters);
    }
    return rc;
}

/** Whoever runs the server does not read its audit trail through this surface. */
static int check_operator(Request *req)
{
    if (!req->principal || !req->principal->is_operator) {
        return 0;
    }
    return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                     "Node %.*s is an operator's, and operators do not read the audit trail here. "
                     "Ask for a node of an auditor (musubi node add --transactions ITI-81).",
                     STR_ARG(req->principal->node_name));
}

/* ---- entries ---- */

static Str url_of(const FhirExchange *exchange, const FoundRecord *record)
{
    Arena *arena = exchange->req->arena;
    return str_printf(arena, "%.*s/AuditEvent/%.*s", STR_ARG(exchange->base),
                      STR_ARG(audit_event_id(arena, record->chain, record->sequence)));
}

/** The record with texts that live as long as the request. */
static FoundRecord keep(Arena *arena, const FoundRecord *record)
{
    FoundRecord kept = *record;
    AuditSender sender = {.transport = AUDIT_OWN};
    kept.raw = str_dup(arena, record->raw);
    bool is_known = audit_sender_parse(record->sender, &sender);
    record_read(arena, kept.raw, !is_known || sender.transport != AUDIT_OWN, kept.received_us,
                &kept.content);
    return kept;
}

static int take_record(void *ctx, Request *req, const FoundRecord *record)
{
    Search *search = ctx;
    Arena *arena = req->arena;
    if (search->is_full) {
        return 0;
    }
    const FoundRecord kept = keep(arena, record);
    FhirNode *entry = fhir_add(arena, search->entries, "entry");
    fhir_add_text(arena, entry, "fullUrl", url_of(search->exchange, record));
    audit_event_write(arena, fhir_add_resource(arena, entry, "resource", "AuditEvent"), &kept);
    fhir_add_text(arena, fhir_add(arena, entry, "search"), "mode", STR("match"));
    search->last = (RecordPlace){record->event_us, record->chain, record->sequence};
    search->bytes += record->raw.len;
    search->is_full = search->bytes > PAGE_MAX_BYTES;
    return 0;
}

/* ---- the answer ---- */

static int count_records(Search *search, DbConn *conn)
{
    const uint64_t most = search->wanted_total == TOTAL_ACCURATE ? 0 : COUNTED_AT_MOST;
    if (search->is_continued || search->wanted_total == TOTAL_NONE) {
        return 0;
    }
    int rc = record_search_count(conn, search->exchange->req, &search->criteria->search,
                                 &search->place.bounds, most, &search->place.total);
    if (rc == 0 && most && search->place.total > most) {
        search->place.total = ITI81_UNKNOWN_TOTAL;
    }
    return rc;
}

static int find_records(Search *search)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Request *req = search->exchange->req;
    int rc = db_acquire(search->iti81->pool, req, &conn);
    if (rc == 0 && !search->is_continued) {
        rc = record_search_bounds(conn, req, &search->place.bounds);
    }
    rc = rc ? rc : count_records(search, conn);
    if (rc == 0 && search->page > 0) {
        rc = record_search_page(conn, req, &search->criteria->search, &search->place.bounds,
                                search->is_continued ? &search->place.after : NULL, search->page,
                                take_record, search, &search->has_more);
    }
    return rc;
}

static void add_link(Search *search, FhirNode *bundle, const char *relation, Str page)
{
    FhirExchange *exchange = search->exchange;
    Arena *arena = exchange->req->arena;
    _cleanup_(strbuf_done) StrBuf url = {0};
    strbuf_printf(&url, "%.*s/AuditEvent?", STR_ARG(exchange->base));
    fhir_parameters_write_used(&url, &exchange->parameters, str_is_empty(page) ? NULL : "_page");
    if (!str_is_empty(page)) {
        strbuf_printf(&url, "&_page=%.*s", STR_ARG(page));
    }
    FhirNode *link = fhir_add(arena, bundle, "link");
    fhir_add_text(arena, link, "relation", str_from(relation));
    fhir_add_text(arena, link, "url", str_dup(arena, strbuf_str(&url)));
}

static FhirNode *make_bundle(Search *search)
{
    Arena *arena = search->exchange->req->arena;
    FhirNode *bundle = fhir_resource_new(arena, "Bundle");
    fhir_add_text(arena, bundle, "type", STR("searchset"));
    if (search->place.total != ITI81_UNKNOWN_TOTAL) {
        fhir_add_number(arena, bundle, "total",
                        str_printf(arena, "%llu", (unsigned long long)search->place.total));
    }
    add_link(search, bundle, "self", STR_EMPTY);
    if (search->has_more || search->is_full) {
        Iti81Page next = search->place;
        next.after = search->last;
        add_link(search, bundle, "next", iti81_page_write(arena, &next));
    }
    FhirNode *entry = search->entries->first_child;
    while (entry) {
        FhirNode *next = entry->next;
        entry->next = NULL;
        fhir_append(bundle, entry);
        entry = next;
    }
    return bundle;
}

/** 3.81.5.1: Audit Log Used, with whose records were asked for. @return rc, or -ERR_IO */
static int record_use(const Iti81 *iti81, FhirExchange *exchange, const Iti81Criteria *criteria,
                      int rc)
{
    Request *req = exchange->req;
    size_t patients = criteria ? criteria->patient_count : 0;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, patients + 2);
    Str name = str_is_empty(req->message_id) ? str_from(req->ref) : req->message_id;
    objects[0] = (AuditObject){.kind = AUDIT_OBJECT_AUDIT_LOG, .id = req->endpoint};
    objects[1] =
        (AuditObject){.kind = AUDIT_OBJECT_QUERY, .id = name, .query = exchange->request_text};
    for (size_t i = 0; i < patients; i++) {
        objects[i + 2] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = criteria->patients[i]};
    }
    AuditEvent event = {
        .type = AUDIT_ITI81_RETRIEVE, .objects = objects, .object_count = patients + 2};
    if (rc < 0) {
        audit_event_refuse(req, &event);
    }
    int recorded = audit_append_event(iti81->audit, req, &event);
    return rc < 0 ? rc : recorded;
}

int atna_iti81_search(void *iti81, FhirExchange *exchange)
{
    Search search = {.iti81 = iti81,
                     .exchange = exchange,
                     .place = {.total = ITI81_UNKNOWN_TOTAL},
                     .entries = fhir_node_new(exchange->req->arena, "entries")};
    int rc = check_operator(exchange->req);
    rc = rc ? rc : read_search(&search);
    rc = rc ? rc : find_records(&search);
    if (rc == 0) {
        exchange->reply = make_bundle(&search);
        exchange->status = 200;
    }
    return record_use(iti81, exchange, search.criteria, rc);
}

/* ---- read ---- */

typedef struct Read {
    FhirNode *resource; /* NULL: not found */
} Read;

static int take_one(void *ctx, Request *req, const FoundRecord *record)
{
    Read *read = ctx;
    if (record->content.kind < AUDIT_KIND_OTHER_XML) {
        const FoundRecord kept = keep(req->arena, record);
        read->resource = fhir_resource_new(req->arena, "AuditEvent");
        audit_event_write(req->arena, read->resource, &kept);
    }
    return 0;
}

static int find_one(const Iti81 *iti81, FhirExchange *exchange, Read *read)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Request *req = exchange->req;
    int32_t chain;
    int64_t sequence;
    int rc = 0;
    if (audit_event_id_parse(exchange->id, &chain, &sequence)) {
        rc = db_acquire(iti81->pool, req, &conn);
        rc = rc ? rc : record_search_one(conn, req, chain, sequence, take_one, read);
    }
    return rc == 0 && !read->resource
               ? error_add(&req->errors, ERR_FHIR_NOT_FOUND, NULL,
                           "There is no AuditEvent/%.*s; search with a date.",
                           STR_ARG(exchange->id))
               : rc;
}

int atna_iti81_read(void *iti81, FhirExchange *exchange)
{
    Read read = {0};
    int rc = check_operator(exchange->req);
    rc = rc ? rc : find_one(iti81, exchange, &read);
    if (rc == 0) {
        exchange->reply = read.resource;
        exchange->status = 200;
    }
    return record_use(iti81, exchange, NULL, rc);
}

/* ---- CapabilityStatement ---- */

static void add_audit_event(Arena *arena, FhirNode *rest)
{
    static const char *const interactions[] = {"read", "search-type"};
    FhirNode *resource = fhir_add(arena, rest, "resource");
    fhir_add_text(arena, resource, "type", STR("AuditEvent"));
    for (size_t i = 0; i < ARRAY_LEN(interactions); i++) {
        fhir_add_text(arena, fhir_add(arena, resource, "interaction"), "code",
                      str_from(interactions[i]));
    }
    fhir_add_text(arena, resource, "versioning", STR("no-version"));
    for (size_t i = 0; i < iti81_parameter_count; i++) {
        FhirNode *parameter = fhir_add(arena, resource, "searchParam");
        fhir_add_text(arena, parameter, "name", str_from(iti81_parameters[i].name));
        fhir_add_text(arena, parameter, "type", str_from(iti81_parameters[i].type));
    }
}

const FhirCapability atna_fhir_capability = {
    .description = "Audit Record Repository",
    .add_resources = add_audit_event,
};
