/**
 * ITI-47 Patient Demographics Query HL7 V3: PRPA_IN201305UV02, answered by PRPA_IN201306UV02, with
 * the Continuation Option (ITI TF-2 3.47).
 */
#include "lib/xml/read.h"
#include "lib/xml/write.h"
#include "pix/continuation_v3.h"
#include "pix/iti47_search_v3.h"
#include "pix/pix_state.h"

/** Patients in one answer, whatever was asked for: the rest is to be continued. */
#define ANSWER_PATIENTS_MAX 10000

static const V3Reply answer_reply = {"PRPA_IN201306UV02", false};
static const V3Reply accept_reply = {"MCCI_IN000002UV01", true};

/** One answer in the making. */
typedef struct PdqAnswer {
    QueryV3 query;
    PdqQuestion question;
    V3Id query_id;
    uint64_t skip;      /* matches before the first one wanted */
    uint64_t delivered; /* matches up to the last one in this answer */
    uint64_t total;
    uint64_t current; /* matches in this answer */
    int64_t last_person;
    size_t patient_room; /* of query.patients */
    StrBuf *buf;
} PdqAnswer;

/* ---- one patient ---- */

static bool is_wanted(const PdqQuestion *question, const AssigningAuthority *authority)
{
    for (size_t i = 0; i < question->domain_count; i++) {
        if (question->domains[i] == authority) {
            return true;
        }
    }
    return question->domain_count == 0;
}

static bool has_identifier(const FoundPatient *patient, const AssigningAuthority *authority)
{
    for (size_t i = 0; i < patient->identifier_count; i++) {
        if (patient->identifiers[i].authority == authority) {
            return true;
        }
    }
    return false;
}

/** One patient object per identifier that is given out. */
static void add_audited(PdqAnswer *answer, const FoundIdentifier *found)
{
    QueryV3 *query = &answer->query;
    Arena *arena = query->req->arena;
    if (query->patient_count == answer->patient_room) {
        size_t room = answer->patient_room ? answer->patient_room * 2 : 16;
        AuditObject *objects = ARENA_ARRAY(arena, AuditObject, room);
        for (size_t i = 0; i < query->patient_count; i++) {
            objects[i] = query->patients[i];
        }
        query->patients = objects;
        answer->patient_room = room;
    }
    query->patients[query->patient_count++] =
        message_v3_patient(query->req, &query->message, found->authority->oid, found->value);
}

/** @return the identifier that the organization of the patient is named by; NULL if it has none of
 * the domains wanted */
static const FoundIdentifier *append_ids(PdqAnswer *answer, const FoundPatient *patient,
                                         StrBuf *buf)
{
    const FoundIdentifier *first = NULL;
    for (size_t i = 0; i < patient->identifier_count; i++) {
        const FoundIdentifier *found = &patient->identifiers[i];
        if (is_wanted(&answer->question, found->authority)) {
            v3_append_id(buf, "id",
                         (V3Id){.root = found->authority->oid, .extension = found->value});
            add_audited(answer, found);
            first = first ? first : found;
        }
    }
    if (!first) {
        v3_append_id(buf, "id", (V3Id){0});
    }
    return first;
}

/** A domain that was asked for and has no identifier of this patient (case 2). */
static void append_missing_domains(const PdqAnswer *answer, const FoundPatient *patient,
                                   StrBuf *buf)
{
    for (size_t i = 0; i < answer->question.domain_count; i++) {
        if (!has_identifier(patient, answer->question.domains[i])) {
            strbuf_literal(buf, "<asOtherIDs classCode=\"PAT\"><id nullFlavor=\"NA\"/>"
                                "<scopingOrganization classCode=\"ORG\" "
                                "determinerCode=\"INSTANCE\">");
            v3_append_id(buf, "id", (V3Id){.root = answer->question.domains[i]->oid});
            strbuf_literal(buf, "</scopingOrganization></asOtherIDs>");
        }
    }
}

static void append_patient(PdqAnswer *answer, const FoundPatient *patient)
{
    _cleanup_(strbuf_done) StrBuf ids = {0};
    _cleanup_(strbuf_done) StrBuf other_ids = {0};
    const FoundIdentifier *first = append_ids(answer, patient, &ids);
    append_missing_domains(answer, patient, &other_ids);
    const PatientV3 shown = {
        .ids = strbuf_str(&ids),
        .other_ids = strbuf_str(&other_ids),
        .organization = first ? first->authority->oid : answer->query.pix->authority_oid,
        .demographics = &patient->demographics,
    };
    query_v3_append_patient(&answer->query, answer->buf, &shown);
    if (!first && patient->identifier_count > 0) {
        add_audited(answer, &patient->identifiers[0]); /* its demographics are given out */
    }
}

static int take_patient(void *ctx, Request *req, const FoundPatient *patient)
{
    PdqAnswer *answer = ctx;
    (void)req;
    if (answer->skip > 0) {
        answer->skip--;
        return 0;
    }
    append_patient(answer, patient);
    answer->current++;
    answer->last_person = patient->person;
    return 0;
}

/* ---- search ---- */

/**
 * Finds the matches behind those that were delivered.
 * @param before    how many matches come before the first one wanted
 * @param quantity  at most so many; 0: all
 */
static int find_patients(PdqAnswer *answer, uint64_t before, uint64_t quantity)
{
    const QueryV3 *query = &answer->query;
    PatientSearch *search = &answer->question.search;
    uint64_t wanted = quantity ? MIN(quantity, ANSWER_PATIENTS_MAX) : ANSWER_PATIENTS_MAX;
    if (answer->question.matches_nothing) {
        return 0;
    }
    search->limit = (size_t)(wanted + answer->skip);
    int rc = patient_search(query->pix, query->req, search, take_patient, answer);
    if (rc) {
        return rc;
    }
    bool is_end = answer->current < wanted;
    answer->delivered =
        before - answer->skip + answer->current; /* what is not skipped is not there */
    if (is_end) {
        answer->total = answer->delivered;
        return 0;
    }
    return answer->total ? 0 : patient_search_count(query->pix, query->req, search, &answer->total);
}

/** Keeps what is needed to go on, if there is more. */
static int keep(PdqAnswer *answer)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    Request *req = answer->query.req;
    xml_append_tree(&text, answer->query.parameters, "");
    const Continuation continuation = {
        .query_id = v3_id_text(req->arena, answer->query_id),
        .query = strbuf_str(&text),
        .last_person = answer->last_person,
        .delivered = answer->delivered,
        .total = answer->total,
    };
    return continuation_v3_keep(answer->query.pix, req, &continuation);
}

/* ---- answers ---- */

/** Writes the answer around the patients that were found.
 * @param patients  what take_patient() wrote; left out after an error */
static int finish(PdqAnswer *answer, StrBuf *reply, Str patients, const XmlNode *asked)
{
    bool has_failed = error_list_has_errors(&answer->query.req->errors);
    uint64_t total = MAX(answer->total, answer->delivered);
    const uint64_t quantities[] = {
        has_failed ? 0 : total,
        has_failed ? 0 : answer->current,
        has_failed ? 0 : total - answer->delivered,
    };
    query_v3_begin(&answer->query, reply);
    if (has_failed) {
        answer->query.patient_count = 0;
    } else {
        strbuf_append(reply, patients);
    }
    query_v3_end(&answer->query, reply, answer->query_id, answer->total > 0, quantities);
    return query_v3_record(&answer->query, asked, answer->query_id);
}

static QueryV3 new_query(Pix *pix, SoapExchange *exchange)
{
    return (QueryV3){
        .pix = pix,
        .req = exchange->req,
        .reply = &answer_reply,
        .trigger = "PRPA_TE201306UV02",
        .event = AUDIT_ITI47_QUERY,
    };
}

int pix_iti47_query(void *pix, SoapExchange *exchange)
{
    _cleanup_(strbuf_done) StrBuf patients = {0};
    PdqAnswer answer = {.query = new_query(pix, exchange), .buf = &patients};
    QueryV3 *query = &answer.query;
    int rc = query_v3_read(query, exchange->message->body, "PRPA_IN201305UV02", V3_PDQ_QUERY);
    answer.query_id = v3_id(v3_child(query->parameters, "queryId"));
    if (rc == 0) {
        rc = pdq_v3_read_question(pix, query->req, query->parameters, &answer.question);
    }
    if (rc == 0) {
        rc = find_patients(&answer, 0, answer.question.quantity);
    }
    if (rc == 0) {
        rc = keep(&answer);
    }
    (void)rc; /* in req->errors, and so in the answer */
    return finish(&answer, &exchange->reply_xml, strbuf_str(&patients), query->parameters);
}

/* ---- continuation ---- */

/** A QUQI_IN000003UV01. */
typedef struct ContinuationRequest {
    const XmlNode *element; /* queryContinuation */
    Str query_id;
    uint64_t start;    /* startResultNumber; 0: behind what was delivered */
    uint64_t quantity; /* 0: not said */
} ContinuationRequest;

static int read_quantity(Request *req, const XmlNode *element, const char *child,
                         uint64_t *ret_quantity)
{
    const XmlNode *node = v3_child(element, child);
    Str value = str_trim(xml_attribute(node, "value"));
    if (node && (!str_to_u64(value, ret_quantity) || *ret_quantity > INT32_MAX)) {
        return error_add(&req->errors, ERR_HL7_DATA_TYPE, v3_path(req->arena, node),
                         "%s \"%.*s\" is no number; send one", child, STR_ARG(value));
    }
    return 0;
}

static int read_continuation(QueryV3 *query, const XmlNode *root, ContinuationRequest *ret_request)
{
    Request *req = query->req;
    *ret_request = (ContinuationRequest){0};
    int rc = v3_message_read(req, root, "QUQI_IN000003UV01", &query->message);
    const XmlNode *element = v3_child(query->message.act, "queryContinuation");
    ret_request->element = element;
    if (rc == 0 && !element) {
        rc = error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                       v3_path(req->arena, query->message.act),
                       "element queryContinuation is missing; send it with the queryId");
    }
    if (rc == 0 && str_is_empty(v3_id(v3_child(element, "queryId")).root)) {
        rc = error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, v3_path(req->arena, element),
                       "queryId is missing; send that of the query to go on with");
    }
    ret_request->query_id = v3_id_text(req->arena, v3_id(v3_child(element, "queryId")));
    rc = rc ? rc : read_quantity(req, element, "startResultNumber", &ret_request->start);
    return rc ? rc : read_quantity(req, element, "continuationQuantity", &ret_request->quantity);
}

/** Reads the query that is to go on. */
static int resume(PdqAnswer *answer, const ContinuationRequest *request,
                  Continuation *ret_continuation)
{
    QueryV3 *query = &answer->query;
    Request *req = query->req;
    XmlNode *parameters = NULL;
    bool is_known = false;
    int rc = continuation_v3_find(query->pix, req, request->query_id, ret_continuation, &is_known);
    if (rc == 0 && !is_known) {
        rc = error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                       v3_path(req->arena, v3_child(request->element, "queryId")),
                       "no query with this queryId has patients left; send the query again");
    }
    rc = rc ? rc : xml_read(req, ret_continuation->query, &parameters);
    if (rc == 0) {
        query->parameters = parameters;
        rc = pdq_v3_read_question(query->pix, req, parameters, &answer->question);
    }
    return rc;
}

static int go_on(PdqAnswer *answer, const ContinuationRequest *request)
{
    Continuation continuation;
    int rc = resume(answer, request, &continuation);
    if (rc) {
        return rc;
    }
    uint64_t before = request->start ? request->start - 1 : continuation.delivered;
    answer->total = continuation.total;
    answer->last_person = continuation.last_person;
    if (before == continuation.delivered) {
        answer->question.search.after_person = continuation.last_person;
    } else {
        answer->skip = before;
    }
    uint64_t quantity = request->quantity ? request->quantity : answer->question.quantity;
    rc = find_patients(answer, before, quantity);
    return rc ? rc : keep(answer);
}

int pix_iti47_continue(void *pix, SoapExchange *exchange)
{
    _cleanup_(strbuf_done) StrBuf patients = {0};
    PdqAnswer answer = {.query = new_query(pix, exchange), .buf = &patients};
    ContinuationRequest request;
    int rc = read_continuation(&answer.query, exchange->message->body, &request);
    answer.query_id = v3_id(v3_child(request.element, "queryId"));
    if (rc == 0) {
        rc = go_on(&answer, &request);
    }
    (void)rc; /* in req->errors, and so in the answer */
    return finish(&answer, &exchange->reply_xml, strbuf_str(&patients),
                  answer.query.parameters ? answer.query.parameters : request.element);
}

/** What is cancelled need not be known any more: the outcome is the same. */
int pix_iti47_cancel(void *pix, SoapExchange *exchange)
{
    QueryV3 query = new_query(pix, exchange);
    ContinuationRequest request;
    int rc = read_continuation(&query, exchange->message->body, &request);
    if (rc == 0) {
        rc = continuation_v3_drop(pix, exchange->req, request.query_id);
    }
    (void)rc; /* in req->errors, and so in the acknowledgement */
    v3_reply_begin(&exchange->reply_xml, exchange->req, &query.message, &accept_reply);
    v3_reply_end(&exchange->reply_xml, &accept_reply);
    return query_v3_record(&query, request.element, v3_id(v3_child(request.element, "queryId")));
}
