#include <stdlib.h>

#include "lib/base/uuid.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"
#include "registry/gateway/leg.h"

/** One xds:DocumentRequest. */
typedef struct Asked {
    const XmlNode *node;
    Str home;
    Str repository_unique_id;
    Str unique_id;
    Str study; /* of an image: Study Instance UID */
    Leg *leg;  /* NULL: nobody is asked */
    const XmlNode *response;
    const SoapDocument *document; /* NULL: it does not come */
    const Error *error;           /* why it is not asked for; NULL: its leg knows */
} Asked;

/** One request for documents or images on its way to the communities. */
typedef struct Retrieval {
    InitiatingGateway *gateway;
    GatewayService service;
    AuditEventType event; /* as the one that is asked */
    Request *req;
    const XmlNode *body;
    Asked *asked;
    size_t count;
    Leg *legs[COMMUNITIES_MAX + 1];
    size_t leg_count;
    size_t delivered;
} Retrieval;

/* ---- the request ---- */

static bool is_request(const XmlNode *node)
{
    return xml_is(node, NS_XDSB, "DocumentRequest");
}

static void read_request(Retrieval *retrieval, const XmlNode *node)
{
    Request *req = retrieval->req;
    Asked *asked = &retrieval->asked[retrieval->count++];
    *asked = (Asked){
        .node = node,
        .home = xml_child_text(node, NS_XDSB, "HomeCommunityId"),
        .repository_unique_id = xml_child_text(node, NS_XDSB, "RepositoryUniqueId"),
        .unique_id = xml_child_text(node, NS_XDSB, "DocumentUniqueId"),
    };
    const XmlNode *series = node->parent;
    if (retrieval->service == GATEWAY_IMAGING && series != retrieval->body) {
        asked->study = str_trim(xml_attribute(series->parent, "studyInstanceUID"));
    }
    const char *location = str_cstr(req->arena, asked->unique_id);
    if (str_is_empty(asked->repository_unique_id) || str_is_empty(asked->unique_id)) {
        (void)error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, location,
                        "DocumentRequest %zu lacks RepositoryUniqueId or DocumentUniqueId; send "
                        "both as the DocumentEntry has them",
                        retrieval->count);
        asked->error = req->errors.last;
    } else if (str_is_empty(asked->home)) {
        (void)error_add(&req->errors, ERR_XDS_MISSING_HOME_COMMUNITY_ID, location,
                        "HomeCommunityId is missing; send the home of the DocumentEntry, as the "
                        "query of this gateway gave it");
        asked->error = req->errors.last;
    }
}

/** TF-2 3.43.5: one RegistryError for each document that does not come. */
static void read_requests(Retrieval *retrieval)
{
    size_t count = 0;
    for (const XmlNode *node = retrieval->body; node; node = xml_after(node, retrieval->body)) {
        count += is_request(node) ? 1 : 0;
    }
    retrieval->req->errors.kept_max += (unsigned)count;
    retrieval->asked = ARENA_ARRAY(retrieval->req->arena, Asked, count);
    for (const XmlNode *node = retrieval->body; node; node = xml_after(node, retrieval->body)) {
        if (is_request(node)) {
            read_request(retrieval, node);
        }
    }
    if (count == 0) {
        (void)error_add(&retrieval->req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR,
                        "DocumentRequest",
                        "the request has no DocumentRequest of namespace " NS_XDSB
                        "; send one for each document");
    }
}

/* ---- the request of one community ---- */

static bool has_request_for(const XmlNode *top, Str home)
{
    for (const XmlNode *node = top; node; node = xml_after(node, top)) {
        if (is_request(node) && str_equal(xml_child_text(node, NS_XDSB, "HomeCommunityId"), home)) {
            return true;
        }
    }
    return false;
}

static void append_requests(StrBuf *buf, const XmlNode *parent, Str home)
{
    for (const XmlNode *node = parent->first_child; node; node = node->next) {
        if (is_request(node) && has_request_for(node, home)) {
            xml_append_tree(buf, node, "");
        }
    }
}

static void append_open(StrBuf *buf, const char *name, const char *attribute, Str uid)
{
    strbuf_printf(buf, "<i:%s %s=\"", name, attribute);
    xml_append_escaped(buf, uid);
    strbuf_literal(buf, "\">");
}

static void append_series(StrBuf *buf, const XmlNode *study, Str home)
{
    for (const XmlNode *series = study->first_child; series; series = series->next) {
        if (has_request_for(series, home)) {
            append_open(buf, "SeriesRequest", "seriesInstanceUID",
                        xml_attribute(series, "seriesInstanceUID"));
            append_requests(buf, series, home);
            strbuf_literal(buf, "</i:SeriesRequest>");
        }
    }
}

/** iherad:StudyRequest with what of it is for this community; the transfer syntaxes are for all
 * (RAD TF-2 4.69). */
static void append_imaging_request(StrBuf *buf, const XmlNode *body, Str home)
{
    strbuf_literal(buf, "<i:RetrieveImagingDocumentSetRequest xmlns:i=\"" NS_XDSI "\">");
    for (const XmlNode *study = body->first_child; study; study = study->next) {
        if (has_request_for(study, home)) {
            append_open(buf, "StudyRequest", "studyInstanceUID",
                        xml_attribute(study, "studyInstanceUID"));
            append_series(buf, study, home);
            strbuf_literal(buf, "</i:StudyRequest>");
        } else if (xml_is(study, NS_XDSI, "TransferSyntaxUIDList")) {
            xml_append_tree(buf, study, "");
        }
    }
    strbuf_literal(buf, "</i:RetrieveImagingDocumentSetRequest>");
}

static Str request_for(const Retrieval *retrieval, Str home)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    if (retrieval->service == GATEWAY_IMAGING) {
        append_imaging_request(&buf, retrieval->body, home);
    } else {
        strbuf_literal(&buf, "<x:RetrieveDocumentSetRequest xmlns:x=\"" NS_XDSB "\">");
        append_requests(&buf, retrieval->body, home);
        strbuf_literal(&buf, "</x:RetrieveDocumentSetRequest>");
    }
    return str_dup(retrieval->req->arena, strbuf_str(&buf));
}

/* ---- who is asked ---- */

static const Community *find_community(const Retrieval *retrieval, const Community *communities,
                                       size_t count, Str home)
{
    for (size_t i = 0; i < count; i++) {
        if (communities[i].is_enabled && str_equal(communities[i].home, home) &&
            !str_is_empty(communities[i].urls[retrieval->service])) {
            return &communities[i];
        }
    }
    return NULL;
}

static Leg *find_leg(const Retrieval *retrieval, Str home)
{
    for (size_t i = 0; i < retrieval->leg_count; i++) {
        if (str_equal(retrieval->legs[i]->home, home)) {
            return retrieval->legs[i];
        }
    }
    return NULL;
}

/** @param communities  that there are; COMMUNITIES_MAX of them are asked at most */
static void assign(Retrieval *retrieval, const LegPlan *plan, Asked *asked,
                   const Community *communities, size_t count)
{
    Request *req = retrieval->req;
    bool is_own = str_equal(asked->home, str_from(retrieval->gateway->config.home_community_id));
    const Community *community =
        is_own ? NULL : find_community(retrieval, communities, count, asked->home);
    asked->leg = find_leg(retrieval, asked->home);
    if (asked->leg) {
        return;
    }
    if ((!is_own && !community) || retrieval->leg_count > COMMUNITIES_MAX) {
        (void)error_add(&req->errors, ERR_XDS_UNKNOWN_COMMUNITY,
                        str_cstr(req->arena, asked->unique_id),
                        "HomeCommunityId %.*s is of no community that this gateway asks for this; "
                        "send the home of the DocumentEntry, as the query of this gateway gave it",
                        STR_ARG(str_slice(asked->home, 0, 200)));
        asked->error = req->errors.last;
        return;
    }
    asked->leg = leg_new(plan, community, request_for(retrieval, asked->home));
    retrieval->legs[retrieval->leg_count++] = asked->leg;
}

/** No connection is held while the communities are asked. */
static int read_communities(const Retrieval *retrieval, Community **ret_communities,
                            size_t *ret_count)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(retrieval->gateway->config.pool, retrieval->req, &conn);
    return rc < 0 ? rc : communities_read(conn, retrieval->req, ret_communities, ret_count);
}

static int choose(Retrieval *retrieval, const LegPlan *plan)
{
    Community *communities = NULL;
    size_t count = 0;
    int rc = read_communities(retrieval, &communities, &count);
    for (size_t i = 0; i < retrieval->count && rc == 0; i++) {
        if (!retrieval->asked[i].error) {
            assign(retrieval, plan, &retrieval->asked[i], communities, count);
        }
    }
    return rc;
}

/* ---- what comes back ---- */

static const SoapDocument *document_of(const Leg *leg, const XmlNode *response)
{
    const XmlNode *node = xml_child(response, NS_XDSB, "Document");
    const SoapDocument *document =
        node && node->document > 0 ? &leg->reply->documents[node->document - 1] : NULL;
    return document && document->content ? document : NULL;
}

/** What comes without the home of its community is left out (TF-2 3.39.5, 3.43.4.2.2). */
static void take_document(Retrieval *retrieval, Leg *leg, Asked *asked)
{
    Request *req = retrieval->req;
    Str home = xml_child_text(asked->response, NS_XDSB, "HomeCommunityId");
    if (!str_equal(home, leg->home)) {
        asked->error = leg_refuse_home(leg, req, home, str_cstr(req->arena, asked->unique_id),
                                       "document", asked->unique_id);
        return;
    }
    asked->document = document_of(leg, asked->response);
    retrieval->delivered += asked->document ? 1 : 0;
}

/** Nothing is passed on that was not asked for. Each answer is of one request. */
static void take_response(Retrieval *retrieval, Leg *leg, const XmlNode *response)
{
    Str repository = xml_child_text(response, NS_XDSB, "RepositoryUniqueId");
    Str unique_id = xml_child_text(response, NS_XDSB, "DocumentUniqueId");
    for (size_t i = 0; i < retrieval->count; i++) {
        Asked *asked = &retrieval->asked[i];
        if (asked->leg == leg && !asked->response && str_equal(asked->unique_id, unique_id) &&
            str_equal(asked->repository_unique_id, repository)) {
            asked->response = response;
            take_document(retrieval, leg, asked);
            return;
        }
    }
}

static void merge_leg(Retrieval *retrieval, Leg *leg)
{
    const XmlNode *body = leg->reply ? leg->reply->body : NULL;
    leg_pass_errors(leg, retrieval->req);
    for (const XmlNode *one = xml_child(body, NS_XDSB, "DocumentResponse"); one;
         one = xml_next(one, NS_XDSB, "DocumentResponse")) {
        take_response(retrieval, leg, one);
    }
}

/** Whether the community said why it does not come: of this document, or of all; or none is taken
 * of an answer that there is no room for. */
static bool is_explained(const Asked *asked)
{
    const Leg *leg = asked->leg;
    return (leg->has_failed && leg->error) || leg->reading.errors.first ||
           leg_tells_of(leg, asked->unique_id);
}

/** A community that gives neither a document nor an error. */
static void miss(Retrieval *retrieval, Asked *asked)
{
    Request *req = retrieval->req;
    if (asked->document || asked->error || !asked->leg || is_explained(asked)) {
        return;
    }
    (void)error_add(&req->errors, ERR_XDS_DOCUMENT_UNIQUE_ID_ERROR,
                    str_cstr(req->arena, asked->unique_id),
                    "community %.*s gave neither the document nor an error for it; ask its "
                    "operator",
                    STR_ARG(asked->home));
    asked->error = req->errors.last;
}

static void merge(Retrieval *retrieval)
{
    for (size_t i = 0; i < retrieval->leg_count; i++) {
        merge_leg(retrieval, retrieval->legs[i]);
    }
    for (size_t i = 0; i < retrieval->count; i++) {
        miss(retrieval, &retrieval->asked[i]);
    }
}

/* ---- audit ---- */

/** Which documents of a leg an event is about. */
typedef enum Which { ASKED_FOR, DELIVERED, MISSING } Which;

static bool is_of(const Asked *asked, Which which)
{
    return which == ASKED_FOR || (asked->document != NULL) == (which == DELIVERED);
}

/** @return how many */
static size_t audit_objects(const Retrieval *retrieval, const Leg *leg, Which which,
                            AuditObject *objects)
{
    size_t count = 0;
    for (size_t i = 0; i < retrieval->count; i++) {
        const Asked *asked = &retrieval->asked[i];
        if (asked->leg != leg || !is_of(asked, which)) {
            continue;
        }
        bool is_image = !str_is_empty(asked->study);
        if (is_image && count > 0 && str_equal(objects[count - 1].id, asked->study)) {
            continue;
        }
        objects[count++] = (AuditObject){
            .kind = is_image ? AUDIT_OBJECT_STUDY : AUDIT_OBJECT_DOCUMENT,
            .id = is_image ? asked->study : asked->unique_id,
            .repository_unique_id = asked->repository_unique_id,
            .home = asked->home,
        };
    }
    return count;
}

/** What is asked for, and with whose assertion, goes to others: on record as the one that asks
 * (TF-2 3.39.6) before the first byte leaves (contract C4). */
static int record_asking(const Retrieval *retrieval)
{
    Request *req = retrieval->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, retrieval->count + 1);
    int rc = 0;
    for (size_t i = 0; i < retrieval->leg_count && rc == 0; i++) {
        size_t count = audit_objects(retrieval, retrieval->legs[i], ASKED_FOR, objects);
        rc = leg_record(retrieval->legs[i], req, NULL, objects, count);
    }
    return rc < 0 ? rc : audit_settle(retrieval->gateway->config.audit, req);
}

/** As the one that is asked (TF-2 3.43.6; CP-ITI-493: what comes and what does not are two events),
 * and as the one that asks what does not come. Of its own documents this community's repository
 * tells. */
static int record_leg(const Retrieval *retrieval, const Leg *leg, Which which)
{
    Request *req = retrieval->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, retrieval->count + 1);
    size_t count = audit_objects(retrieval, leg, which, objects);
    if (count == 0 || (leg && !leg->community)) {
        return 0;
    }
    const Error *error = leg && leg->error ? leg->error : gateway_first_error(req);
    error = which == DELIVERED ? NULL : error;
    int rc = gateway_record(retrieval->gateway, req, retrieval->event, error, objects, count);
    return rc < 0 || !leg || !error ? rc : leg_record(leg, req, error, objects, count);
}

static int record(const Retrieval *retrieval)
{
    if (retrieval->count == 0) {
        return gateway_record(retrieval->gateway, retrieval->req, retrieval->event,
                              gateway_first_error(retrieval->req), NULL, 0);
    }
    int rc = record_leg(retrieval, NULL, MISSING);
    for (size_t i = 0; i < retrieval->leg_count && rc == 0; i++) {
        rc = record_leg(retrieval, retrieval->legs[i], DELIVERED);
        rc = rc < 0 ? rc : record_leg(retrieval, retrieval->legs[i], MISSING);
    }
    return rc;
}

/* ---- the reply ---- */

static void append_text_element(StrBuf *buf, const char *name, Str text)
{
    strbuf_printf(buf, "<%s>", name);
    xml_append_escaped(buf, text);
    strbuf_printf(buf, "</%s>", name);
}

/** What the community gave of the document (NewDocumentUniqueId, mimeType, ...), in its order; with
 * the home that was asked for. */
static void append_response(StrBuf *buf, const Asked *asked, Str content_id)
{
    strbuf_literal(buf, "<DocumentResponse xmlns=\"" NS_XDSB "\">");
    append_text_element(buf, "HomeCommunityId", asked->home);
    const XmlNode *document = xml_child(asked->response, NS_XDSB, "Document");
    for (const XmlNode *child = asked->response->first_child; child; child = child->next) {
        if (child == document) {
            strbuf_literal(buf, "<Document><xop:Include xmlns:xop=\"" NS_XOP "\" href=\"cid:");
            strbuf_append(buf, content_id);
            strbuf_literal(buf, "\"/></Document>");
        } else if (!xml_is(child, NS_XDSB, "HomeCommunityId") &&
                   !xml_is(child, NS_XDSB, "Document")) {
            xml_append_tree(buf, child, NS_XDSB);
        }
    }
    strbuf_literal(buf, "</DocumentResponse>");
}

static void add_part(SoapExchange *exchange, const Asked *asked, Str content_id)
{
    exchange->parts[exchange->part_count++] = (SoapPart){
        .content_id = content_id,
        .content_type = asked->document->content_type,
        .size_bytes = asked->document->content->size_bytes,
        .source = kept_documents_source(&asked->leg->kept, exchange->req->arena,
                                        asked->document->content),
    };
}

static const char *status_of(const Retrieval *retrieval)
{
    Request *req = retrieval->req;
    if (!error_list_has_errors(&req->errors)) {
        return URN_RESPONSE_SUCCESS;
    }
    req->outcome_is_partial = retrieval->delivered > 0;
    return req->outcome_is_partial ? URN_RESPONSE_PARTIAL : URN_RESPONSE_FAILURE;
}

static void write_reply(const Retrieval *retrieval, SoapExchange *exchange)
{
    Arena *arena = exchange->req->arena;
    StrBuf *xml = &exchange->reply_xml;
    Str id = str_from_offset(uuid_urn(arena, uuid_new()), sizeof("urn:uuid:") - 1);
    exchange->parts = ARENA_ARRAY(arena, SoapPart, retrieval->delivered);
    strbuf_literal(xml, "<xds:RetrieveDocumentSetResponse xmlns:xds=\"" NS_XDSB "\">");
    registry_response_write(exchange->req, status_of(retrieval), xml);
    for (size_t i = 0; i < retrieval->count; i++) {
        const Asked *asked = &retrieval->asked[i];
        if (asked->document) {
            Str content_id = str_printf(arena, "%zu.%.*s@musubi", i + 1, STR_ARG(id));
            append_response(xml, asked, content_id);
            add_part(exchange, asked, content_id);
        }
    }
    strbuf_literal(xml, "</xds:RetrieveDocumentSetResponse>");
}

static int retrieve(InitiatingGateway *gateway, SoapExchange *exchange, GatewayService service,
                    AuditEventType event)
{
    Request *req = exchange->req;
    Retrieval retrieval = {.gateway = gateway,
                           .service = service,
                           .event = event,
                           .req = req,
                           .body = exchange->message->body};
    const LegPlan plan = {.gateway = gateway,
                          .service = service,
                          .req = req,
                          .headers = leg_security_headers(req->arena, exchange->message)};
    read_requests(&retrieval);
    int rc = choose(&retrieval, &plan);
    int recorded = rc == 0 ? record_asking(&retrieval) : 0;
    if (rc == 0 && recorded == 0) {
        legs_run(req, retrieval.legs, retrieval.leg_count);
        merge(&retrieval);
    }
    recorded = recorded < 0 ? recorded : record(&retrieval);
    if (recorded < 0) {
        return error_add(
            &req->errors, ERR_SOAP_RECEIVER, NULL,
            "the access could not be recorded, so nothing is given out; ask again later");
    }
    write_reply(&retrieval, exchange);
    return 0;
}

int gateway_iti43_retrieve(void *gateway, SoapExchange *exchange)
{
    return retrieve(gateway, exchange, GATEWAY_RETRIEVE, AUDIT_ITI43_EXPORT);
}

int gateway_rad69_retrieve(void *gateway, SoapExchange *exchange)
{
    return retrieve(gateway, exchange, GATEWAY_IMAGING, AUDIT_RAD69_TRANSFERRED);
}
