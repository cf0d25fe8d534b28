/** ITI-45 PIXV3 Query: PRPA_IN201309UV02, answered by PRPA_IN201310UV02 (ITI TF-2 3.45). */
#include "pix/message_v3.h"
#include "pix/pix_state.h"

#define SOURCES_MAX 100

static const V3Reply answer_reply = {"PRPA_IN201310UV02", false};

/** XPath of a parameter's value, always with the number of the parameter: cases 4 and 5. */
static const char *value_path(Arena *arena, const XmlNode *parameters, const char *name,
                              size_t number)
{
    Str path = str_printf(arena, "%s/parameterList/%s", v3_path(arena, parameters), name);
    return number ? str_printf(arena, "%.*s[%zu]/value", STR_ARG(path), number).data
                  : str_printf(arena, "%.*s/value", STR_ARG(path)).data;
}

static int add_unknown_domain(const QueryV3 *query, const char *location, Str root)
{
    return error_add(&query->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, location,
                     "identifier domain \"%.*s\" is not known here; send the OID of a domain of "
                     "this network",
                     STR_ARG(root));
}

/* ---- question ---- */

typedef struct PixQuestion {
    const Authorities *authorities;
    Identifier asked;
    const AssigningAuthority *targets[SOURCES_MAX];
    size_t target_count;
} PixQuestion;

static int read_source(const QueryV3 *query, const XmlNode *value, size_t number,
                       PixQuestion *question)
{
    Str root = v3_id(value).root;
    const AssigningAuthority *authority = authorities_by_oid(question->authorities, root);
    Arena *arena = query->req->arena;
    if (!authority) {
        return add_unknown_domain(query, value_path(arena, query->parameters, "dataSource", number),
                                  root);
    }
    if (question->target_count == SOURCES_MAX) {
        return error_add(&query->req->errors, ERR_HL7_DATA_TYPE, v3_path(arena, value),
                         "more than %d dataSources; leave them out to ask for all domains",
                         SOURCES_MAX);
    }
    question->targets[question->target_count++] = authority;
    return 0;
}

/** Every unknown domain is told (case 5). */
static void read_sources(const QueryV3 *query, const XmlNode *list, PixQuestion *question)
{
    size_t number = 1;
    for (const XmlNode *source = v3_child(list, "dataSource"); source;
         source = v3_next(source, "dataSource"), number++) {
        for (const XmlNode *value = v3_child(source, "value"); value;
             value = v3_next(value, "value")) {
            (void)!read_source(query, value, number, question);
        }
    }
}

/** The one identifier that is asked for; an unknown domain is an unknown identifier (case 4). */
static int read_identifier(QueryV3 *query, const XmlNode *list, PixQuestion *question)
{
    Request *req = query->req;
    const XmlNode *value = v3_at(list, "patientIdentifier/value");
    const char *location = value_path(req->arena, query->parameters, "patientIdentifier", 0);
    V3Id id = v3_id(value);
    if (v3_next(value, "value")) {
        return error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, location,
                         "patientIdentifier has more than one value; send one query for each");
    }
    query->patients = ARENA_NEW(req->arena, AuditObject);
    query->patients[query->patient_count++] =
        message_v3_patient(req, &query->message, id.root, id.extension);
    question->asked = (Identifier){
        .authority = authorities_by_oid(question->authorities, id.root),
        .value = id.extension,
        .location = location,
        .authority_location = location,
    };
    if (!question->asked.authority) {
        return add_unknown_domain(query, location, id.root);
    }
    return identity_check_value(&req->errors, &question->asked);
}

static int read_question(QueryV3 *query, PixQuestion *question)
{
    const XmlNode *list = v3_child(query->parameters, "parameterList");
    question->authorities = authority_directory_hold(query->pix->authorities, query->req->arena);
    read_sources(query, list, question);
    int rc = read_identifier(query, list, question);
    return rc || !error_list_has_errors(&query->req->errors) ? rc : -ERR_HL7_UNKNOWN_KEY_IDENTIFIER;
}

/* ---- answer ---- */

static int find(QueryV3 *query, CrossReference *ret_reference)
{
    Request *req = query->req;
    PixQuestion question = {0};
    int rc = read_question(query, &question);
    if (rc) {
        return rc;
    }
    rc = identity_cross_reference(query->pix, req, question.authorities, &question.asked,
                                  question.targets, question.target_count, ret_reference);
    if (rc) {
        return rc;
    }
    if (!ret_reference->is_known) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, question.asked.location,
                         "the identifier is not known in its domain; send one that was fed and "
                         "not merged away");
    }
    return 0;
}

/** All identifiers are in Patient.id: asOtherIDs is then not used (ITI TF-2 3.45.4.2.3). */
static void append_patient(const QueryV3 *query, StrBuf *buf, const CrossReference *reference)
{
    query_v3_patient_begin(buf);
    for (size_t i = 0; i < reference->identifier_count; i++) {
        const FoundIdentifier *found = &reference->identifiers[i];
        v3_append_id(buf, "id", (V3Id){.root = found->authority->oid, .extension = found->value});
    }
    strbuf_literal(buf, "<statusCode code=\"active\"/><patientPerson classCode=\"PSN\" "
                        "determinerCode=\"INSTANCE\"><name nullFlavor=\"NA\"/></patientPerson>");
    query_v3_patient_end(query, buf);
}

static void add_patients(QueryV3 *query, const CrossReference *reference)
{
    Request *req = query->req;
    AuditObject *patients =
        ARENA_ARRAY(req->arena, AuditObject, query->patient_count + reference->identifier_count);
    for (size_t i = 0; i < query->patient_count; i++) {
        patients[i] = query->patients[i];
    }
    for (size_t i = 0; i < reference->identifier_count; i++) {
        const FoundIdentifier *found = &reference->identifiers[i];
        patients[query->patient_count + i] =
            message_v3_patient(req, &query->message, found->authority->oid, found->value);
    }
    query->patients = patients;
    query->patient_count += reference->identifier_count;
}

int pix_iti45_query(void *pix, SoapExchange *exchange)
{
    StrBuf *buf = &exchange->reply_xml;
    QueryV3 query = {
        .pix = pix,
        .req = exchange->req,
        .reply = &answer_reply,
        .trigger = "PRPA_TE201310UV02",
        .event = AUDIT_ITI45_QUERY,
    };
    CrossReference reference = {0};
    int rc = query_v3_read(&query, exchange->message->body, "PRPA_IN201309UV02", V3_PIX_QUERY);
    bool is_found = rc == 0 && find(&query, &reference) == 0 && reference.identifier_count > 0;
    V3Id query_id = v3_id(v3_child(query.parameters, "queryId"));
    query_v3_begin(&query, buf);
    if (is_found) {
        add_patients(&query, &reference);
        append_patient(&query, buf, &reference);
    }
    query_v3_end(&query, buf, query_id, is_found, NULL);
    return query_v3_record(&query, query.parameters, query_id);
}
