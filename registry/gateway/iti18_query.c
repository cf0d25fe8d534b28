#include <stdlib.h>

#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "lib/xml/write.h"
#include "registry/gateway/leg.h"
#include "registry/query_parameters.h"
#include "registry/request_text.h"
#include "registry/result_spool.h"

#define PIECE_BYTES 65536
#define RESPONSE_END "</rim:RegistryObjectList></query:AdhocQueryResponse>"

/** One query on its way to the communities. */
typedef struct CrossQuery {
    InitiatingGateway *gateway;
    Request *req;
    XmlNode *body;
    XmlNode *adhoc_query;   /* NULL: the message has none */
    XmlNode *patient_value; /* rim:Value of the patient's id; NULL: none */
    Str patient_text;       /* as it came */
    Str patient_id;         /* CX; empty: none */
    Str home;               /* that is asked for; empty: all */
    Str text;               /* the request as it came, for audit */
    Leg **legs;
    Str *leg_patients; /* as each community knows the patient */
    size_t leg_count;
    ResultSpool *spool; /* XML of each object */
    size_t object_count;
    uint64_t object_bytes;
    bool is_unknown_here; /* this community alone does not know the patient */
} CrossQuery;

/* ---- the request ---- */

/** Parameters that say whose objects are sought (TF-2 3.18.4.1.2.3.7). */
static bool is_patient_slot(Str name)
{
    static const char *const names[] = {"$XDSDocumentEntryPatientId", "$XDSSubmissionSetPatientId",
                                        "$XDSFolderPatientId", "$patientId"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_equal(name, str_from(names[i]))) {
            return true;
        }
    }
    return false;
}

/** 'id^^^&oid&ISO' without its quotes and parentheses. */
static Str unquote(Str value)
{
    size_t begin = str_find_char(value, '\'');
    Str rest = begin == SIZE_MAX ? STR_EMPTY : str_from_offset(value, begin + 1);
    return str_slice(rest, 0, MIN(str_find_char(rest, '\''), rest.len));
}

/** As table patient_correlation has it; one that cannot be read, as it came. */
static Str patient_of(Arena *arena, Str value)
{
    Str text = unquote(value);
    Str canonical;
    return query_patient_read(arena, text, &canonical) ? canonical : text;
}

static void read_query(CrossQuery *query)
{
    query->adhoc_query = xml_child(query->body, NS_RIM, "AdhocQuery");
    query->home = str_trim(xml_attribute(query->adhoc_query, "home"));
    for (XmlNode *slot = xml_child(query->adhoc_query, NS_RIM, "Slot"); slot;
         slot = xml_next(slot, NS_RIM, "Slot")) {
        XmlNode *value = xml_child(xml_child(slot, NS_RIM, "ValueList"), NS_RIM, "Value");
        if (value && is_patient_slot(str_trim(xml_attribute(slot, "name")))) {
            query->patient_value = value;
            query->patient_text = value->text;
            query->patient_id = patient_of(query->req->arena, value->text);
        }
    }
    StrBuf text = {0};
    request_text_write(query->body, &text);
    query->text = str_dup(query->req->arena, strbuf_str(&text));
    strbuf_done(&text);
}

static void set_home(CrossQuery *query, Str home)
{
    XmlNode *node = query->adhoc_query;
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (str_is_empty(node->attributes[i].ns) &&
            str_equal(node->attributes[i].name, STR("home"))) {
            node->attributes[i].value = home;
            return;
        }
    }
    XmlAttribute *attributes =
        ARENA_ARRAY(query->req->arena, XmlAttribute, node->attribute_count + 1);
    if (node->attribute_count > 0) {
        memcpy(attributes, node->attributes, node->attribute_count * sizeof(*attributes));
    }
    attributes[node->attribute_count++] = (XmlAttribute){STR_EMPTY, STR("home"), home};
    node->attributes = attributes;
}

/** The request for one community: all parameters, known or not, pass (TF-2 3.38.4.1.1). */
static void add_leg(CrossQuery *query, const LegPlan *plan, const Community *community,
                    Str patient_id)
{
    Arena *arena = query->req->arena;
    _cleanup_(strbuf_done) StrBuf text = {0};
    if (query->adhoc_query) {
        set_home(query,
                 community ? community->home : str_from(query->gateway->config.home_community_id));
    }
    if (query->patient_value) {
        query->patient_value->text = str_equal(patient_id, query->patient_id)
                                         ? query->patient_text
                                         : str_printf(arena, "'%.*s'", STR_ARG(patient_id));
    }
    request_text_write(query->body, &text);
    query->leg_patients[query->leg_count] = patient_id;
    query->legs[query->leg_count++] = leg_new(plan, community, str_dup(arena, strbuf_str(&text)));
}

/* ---- who is asked ---- */

/** What the database says of the communities. No connection is held while they are asked. */
typedef struct Known {
    Community *communities;
    size_t count;
    PatientCorrelation *correlations; /* of the patient */
    size_t correlation_count;
} Known;

static int read_known(const CrossQuery *query, Known *ret_known)
{
    Request *req = query->req;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(query->gateway->config.pool, req, &conn);
    rc = rc < 0 ? rc : communities_read(conn, req, &ret_known->communities, &ret_known->count);
    if (rc == 0 && !str_is_empty(query->patient_id)) {
        rc = patient_correlations_read(conn, req, query->patient_id, &ret_known->correlations,
                                       &ret_known->correlation_count);
    }
    return rc;
}

static Str patient_for(const CrossQuery *query, const Known *known, const Community *community)
{
    for (size_t i = 0; i < known->correlation_count; i++) {
        if (known->correlations[i].community == community->id) {
            return known->correlations[i].foreign_id;
        }
    }
    return query->patient_id;
}

static bool is_asked(const CrossQuery *query, const Community *community)
{
    return community->is_enabled && !str_is_empty(community->urls[GATEWAY_QUERY]) &&
           (str_is_empty(query->home) || str_equal(query->home, community->home));
}

static int choose(CrossQuery *query, const LegPlan *plan)
{
    Request *req = query->req;
    Known known = {0};
    Str own = str_from(query->gateway->config.home_community_id);
    bool is_for_all = str_is_empty(query->home);
    if (is_for_all && query->adhoc_query && !query->patient_value) {
        return error_add(&req->errors, ERR_XDS_MISSING_HOME_COMMUNITY_ID, str_cstr(req->arena, own),
                         "the query has no patient id and AdhocQuery/@home is missing; send the "
                         "home of the objects as the query that found them gave it");
    }
    int rc = read_known(query, &known);
    if (rc < 0) {
        return rc;
    }
    query->legs = ARENA_ARRAY(req->arena, Leg *, known.count + 1);
    query->leg_patients = ARENA_ARRAY(req->arena, Str, known.count + 1);
    bool has_own = query->gateway->config.own[GATEWAY_QUERY].handler != NULL;
    if (str_equal(query->home, own) || (is_for_all && has_own)) {
        add_leg(query, plan, NULL, query->patient_id);
    }
    for (size_t i = 0; i < known.count && query->leg_count <= COMMUNITIES_MAX; i++) {
        if (query->adhoc_query && is_asked(query, &known.communities[i])) {
            add_leg(query, plan, &known.communities[i],
                    patient_for(query, &known, &known.communities[i]));
        }
    }
    if (query->leg_count == 0) {
        return error_add(&req->errors, ERR_XDS_UNKNOWN_COMMUNITY, str_cstr(req->arena, query->home),
                         "AdhocQuery/@home is %.*s, which this gateway does not ask; send the home "
                         "of the objects as the query that found them gave it",
                         STR_ARG(str_slice(query->home, 0, 200)));
    }
    return 0;
}

/* ---- what comes back ---- */

/** Associations need no home (TF-2 3.38.4.1.3). @return whether the object is passed on */
static bool check_home(Leg *leg, Request *req, const XmlNode *object)
{
    Str home = str_trim(xml_attribute(object, "home"));
    if (str_equal(home, leg->home) ||
        (str_is_empty(home) && xml_is(object, NS_RIM, "Association"))) {
        return true;
    }
    leg->error = leg_refuse_home(leg, req, home, str_cstr(req->arena, leg->home), "object",
                                 xml_attribute(object, "id"));
    return false;
}

static int take_objects(CrossQuery *query, Leg *leg)
{
    const XmlNode *list = xml_child(leg->reply->body, NS_RIM, "RegistryObjectList");
    _cleanup_(strbuf_done) StrBuf text = {0};
    for (const XmlNode *object = list ? list->first_child : NULL; object; object = object->next) {
        if (!check_home(leg, query->req, object)) {
            continue;
        }
        strbuf_clear(&text);
        xml_append_tree(&text, object, "");
        const Str part = strbuf_str(&text);
        int rc = result_spool_append(query->spool, query->req, &part, 1);
        if (rc < 0) {
            return rc;
        }
        query->object_count++;
        query->object_bytes += part.len;
    }
    return 0;
}

/** Where other communities are asked too, that this one does not know the patient is an error only
 * if nobody does. */
static bool is_only_unknown(const Leg *leg)
{
    const XmlNode *error =
        xml_child(xml_child(leg->reply->body, NS_RS, "RegistryErrorList"), NS_RS, "RegistryError");
    return error && !xml_next(error, NS_RS, "RegistryError") &&
           error_code_from_ihe(str_trim(xml_attribute(error, "errorCode"))) ==
               ERR_XDS_UNKNOWN_PATIENT_ID;
}

static int merge_leg(CrossQuery *query, Leg *leg)
{
    if (leg->reply && !leg->community && query->leg_count > 1 && is_only_unknown(leg)) {
        query->is_unknown_here = true;
        return 0;
    }
    leg_pass_errors(leg, query->req);
    return leg->reply ? take_objects(query, leg) : 0;
}

static int merge(CrossQuery *query)
{
    int rc = 0;
    for (size_t i = 0; i < query->leg_count && rc == 0; i++) {
        rc = merge_leg(query, query->legs[i]);
    }
    if (rc == 0 && query->is_unknown_here && query->object_count == 0) {
        rc = error_add(&query->req->errors, ERR_XDS_UNKNOWN_PATIENT_ID,
                       query->gateway->config.home_community_id,
                       "no community that answers has objects of this patient, and this one does "
                       "not know the patient id; feed the patient first, or send the id of the "
                       "affinity domain");
    }
    return rc < 0 ? rc : result_spool_finish(query->spool, query->req);
}

/* ---- audit ---- */

static size_t audit_objects(Str patient_id, const CrossQuery *query, Str text, Str home,
                            AuditObject *objects)
{
    size_t count = 0;
    if (!str_is_empty(patient_id)) {
        objects[count++] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patient_id};
    }
    objects[count++] = (AuditObject){
        .kind = AUDIT_OBJECT_QUERY,
        .id = str_trim(xml_attribute(query->adhoc_query, "id")),
        .query = text,
        .home = home,
    };
    return count;
}

static bool has_answer(const CrossQuery *query)
{
    for (size_t i = 0; i < query->leg_count; i++) {
        if (query->legs[i]->reply && !query->legs[i]->has_failed) {
            return true;
        }
    }
    return false;
}

/** As the one that asks (TF-2 3.38.4.2). @param error  what went wrong; NULL: nothing */
static int record_leg(const CrossQuery *query, size_t index, const Error *error)
{
    AuditObject objects[2];
    const Leg *leg = query->legs[index];
    size_t count = audit_objects(query->leg_patients[index], query, leg->body, leg->home, objects);
    return leg_record(leg, query->req, error, objects, count);
}

/** The patient's id goes to others: on record before the first byte leaves (contract C4). */
static int record_asking(const CrossQuery *query)
{
    int rc = 0;
    for (size_t i = 0; i < query->leg_count && rc == 0; i++) {
        rc = record_leg(query, i, NULL);
    }
    return rc < 0 ? rc : audit_settle(query->gateway->config.audit, query->req);
}

/** As the one that is asked, of a PartialSuccess both outcomes (TF-2 3.18.5.1); and which community
 * did not answer as it should. */
static int record(const CrossQuery *query)
{
    AuditObject objects[2];
    Request *req = query->req;
    const Error *error = gateway_first_error(req);
    size_t count = audit_objects(query->patient_id, query, query->text, query->home, objects);
    int rc = !error || has_answer(query)
                 ? gateway_record(query->gateway, req, AUDIT_ITI18_QUERY, NULL, objects, count)
                 : 0;
    if (rc == 0 && error) {
        rc = gateway_record(query->gateway, req, AUDIT_ITI18_QUERY, error, objects, count);
    }
    for (size_t i = 0; i < query->leg_count && rc == 0; i++) {
        const Error *of_leg = query->legs[i]->error;
        rc = of_leg ? record_leg(query, i, of_leg) : 0;
    }
    return rc;
}

/* ---- the reply ---- */

static int reply_next(void *ctx, StrBuf *buf)
{
    const size_t begin = buf->len;
    while (buf->len - begin < PIECE_BYTES) {
        Str object;
        int rc = result_spool_next(ctx, &object);
        if (rc == 0) {
            strbuf_literal(buf, RESPONSE_END);
        }
        if (rc <= 0) {
            return rc;
        }
        strbuf_append(buf, object);
    }
    return 1;
}

static void reply_done(void *ctx)
{
    result_spool_free(ctx);
}

static const char *status_of(CrossQuery *query)
{
    if (!error_list_has_errors(&query->req->errors)) {
        return URN_RESPONSE_SUCCESS;
    }
    query->req->outcome_is_partial = query->object_count > 0 || has_answer(query);
    return query->req->outcome_is_partial ? URN_RESPONSE_PARTIAL : URN_RESPONSE_FAILURE;
}

/** Owns the spool. */
static int write_reply(CrossQuery *query, SoapExchange *exchange, bool is_whole)
{
    StrBuf *xml = &exchange->reply_xml;
    strbuf_printf(xml,
                  "<query:AdhocQueryResponse xmlns:query=\"" NS_QUERY "\" xmlns:rim=\"" NS_RIM
                  "\" xmlns:rs=\"" NS_RS "\" status=\"%s\">",
                  is_whole ? status_of(query) : URN_RESPONSE_FAILURE);
    registry_error_list_write(query->req, xml);
    strbuf_literal(xml, "<rim:RegistryObjectList>");
    if (!is_whole) {
        strbuf_literal(xml, RESPONSE_END);
        result_spool_free(query->spool);
        return 0;
    }
    exchange->reply_source =
        (BodySource){.ctx = query->spool, .next = reply_next, .done = reply_done};
    exchange->reply_source_bytes = query->object_bytes + sizeof(RESPONSE_END) - 1;
    return 0;
}

int gateway_iti18_query(void *gateway, SoapExchange *exchange)
{
    Request *req = exchange->req;
    CrossQuery query = {.gateway = gateway, .req = req, .body = exchange->message->body};
    const LegPlan plan = {.gateway = gateway,
                          .service = GATEWAY_QUERY,
                          .req = req,
                          .headers = leg_security_headers(req->arena, exchange->message)};
    read_query(&query);
    query.spool = result_spool_new(query.gateway->config.spill_directory);
    int rc = choose(&query, &plan);
    int recorded = rc == 0 ? record_asking(&query) : 0;
    if (rc == 0 && recorded == 0) {
        legs_run(req, query.legs, query.leg_count);
        rc = merge(&query);
    }
    recorded = recorded < 0 ? recorded : record(&query);
    if (recorded < 0) {
        result_spool_free(query.spool);
        return error_add(
            &req->errors, ERR_SOAP_RECEIVER, NULL,
            "the access could not be recorded, so nothing is given out; ask again later");
    }
    return write_reply(&query, exchange, rc == 0);
}
