#include "lib/base/oid.h"
#include "lib/base/uuid.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/namespaces.h"
#include "registry/gateway/leg.h"

/* A test by the operator: what nobody has is asked for. */

static Str ask_query(Arena *arena, Str home)
{
    Str nobody = uuid_urn(arena, uuid_new());
    return str_printf(
        arena,
        "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY "\" xmlns:rim=\"" NS_RIM
        "\"><query:ResponseOption returnComposedObjects=\"true\" returnType=\"ObjectRef\"/>"
        "<rim:AdhocQuery id=\"urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4\" home=\"%.*s\">"
        "<rim:Slot name=\"$XDSDocumentEntryEntryUUID\"><rim:ValueList><rim:Value>('%.*s')"
        "</rim:Value></rim:ValueList></rim:Slot></rim:AdhocQuery></query:AdhocQueryRequest>",
        STR_ARG(home), STR_ARG(nobody));
}

static Str document_request(Arena *arena, Str home)
{
    Str nobody = oid_of_uuid(arena, uuid_new());
    return str_printf(arena,
                      "<x:DocumentRequest xmlns:x=\"" NS_XDSB "\"><x:HomeCommunityId>%.*s"
                      "</x:HomeCommunityId><x:RepositoryUniqueId>%.*s</x:RepositoryUniqueId>"
                      "<x:DocumentUniqueId>%.*s.1</x:DocumentUniqueId></x:DocumentRequest>",
                      STR_ARG(home), STR_ARG(nobody), STR_ARG(nobody));
}

static Str ask_retrieve(Arena *arena, Str home)
{
    return str_printf(arena,
                      "<x:RetrieveDocumentSetRequest xmlns:x=\"" NS_XDSB
                      "\">%.*s</x:RetrieveDocumentSetRequest>",
                      STR_ARG(document_request(arena, home)));
}

static Str ask_imaging(Arena *arena, Str home)
{
    Str study = oid_of_uuid(arena, uuid_new());
    return str_printf(arena,
                      "<i:RetrieveImagingDocumentSetRequest xmlns:i=\"" NS_XDSI
                      "\"><i:StudyRequest studyInstanceUID=\"%.*s\"><i:SeriesRequest "
                      "seriesInstanceUID=\"%.*s.1\">%.*s</i:SeriesRequest></i:StudyRequest>"
                      "<i:TransferSyntaxUIDList><i:TransferSyntaxUID>1.2.840.10008.1.2.1"
                      "</i:TransferSyntaxUID></i:TransferSyntaxUIDList>"
                      "</i:RetrieveImagingDocumentSetRequest>",
                      STR_ARG(study), STR_ARG(study), STR_ARG(document_request(arena, home)));
}

/** That there is no such document or repository is the right answer. */
static bool is_expected(const Leg *leg, const XmlNode *error)
{
    ErrorCode code = error_code_from_ihe(str_trim(xml_attribute(error, "errorCode")));
    return leg->service != GATEWAY_QUERY &&
           (code == ERR_XDS_DOCUMENT_UNIQUE_ID_ERROR || code == ERR_XDS_UNKNOWN_REPOSITORY_ID);
}

static Str problem_of(const Leg *leg, Arena *arena)
{
    if (!leg->reply) {
        return str_dup(arena, leg->problem);
    }
    const XmlNode *body = leg->reply->body;
    const XmlNode *response =
        leg->service == GATEWAY_QUERY ? body : xml_child(body, NS_RS, "RegistryResponse");
    const XmlNode *errors = xml_child(response, NS_RS, "RegistryErrorList");
    for (const XmlNode *error = xml_child(errors, NS_RS, "RegistryError"); error;
         error = xml_next(error, NS_RS, "RegistryError")) {
        if (!is_expected(leg, error)) {
            return str_printf(arena, "%.*s: %.*s", STR_ARG(xml_attribute(error, "errorCode")),
                              STR_ARG(xml_attribute(error, "codeContext")));
        }
    }
    return STR_EMPTY;
}

void community_probe(InitiatingGateway *gateway, Request *req, const Community *community,
                     Str ret_problems[GATEWAY_SERVICE_COUNT])
{
    static Str (*const ask[GATEWAY_SERVICE_COUNT])(Arena *, Str) = {
        [GATEWAY_QUERY] = ask_query,
        [GATEWAY_RETRIEVE] = ask_retrieve,
        [GATEWAY_IMAGING] = ask_imaging,
    };
    Leg *legs[GATEWAY_SERVICE_COUNT];
    size_t count = 0;
    for (GatewayService service = 0; service < GATEWAY_SERVICE_COUNT; service++) {
        const LegPlan plan = {.gateway = gateway, .service = service, .req = req};
        ret_problems[service] = STR_EMPTY;
        if (!str_is_empty(community->urls[service])) {
            legs[count++] = leg_new(&plan, community, ask[service](req->arena, community->home));
        }
    }
    legs_run(req, legs, count);
    for (size_t i = 0; i < count; i++) {
        ret_problems[legs[i]->service] = problem_of(legs[i], req->arena);
    }
}
