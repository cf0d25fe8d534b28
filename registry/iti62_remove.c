#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/removal.h"

/* ITI-62 Remove Metadata (Remove Metadata and Documents 3.62). */

/** What it says of repository items does not concern a registry: objects are removed whole. */
#define URN_DELETE_ALL "urn:oasis:names:tc:ebxml-regrep:DeletionScopeType:DeleteAll"

typedef struct ObjectRefs {
    Str *ids;
    size_t count;
} ObjectRefs;

static int refuse(Request *req, const char *location, const char *fault)
{
    return error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, location,
                     "%s; send lcm:RemoveObjectsRequest with one rim:ObjectRefList of "
                     "rim:ObjectRef with an id each",
                     fault);
}

static int check_form(Request *req, const XmlNode *body)
{
    Str scope = xml_attribute(body, "deletionScope");
    int rc = 0;
    if (!str_is_empty(scope) && !str_equal(scope, STR(URN_DELETE_ALL))) {
        rc =
            refuse(req, "deletionScope", "only whole objects are removed: leave deletionScope out");
    }
    for (const XmlNode *node = body->first_child; node != NULL; node = node->next) {
        if (!xml_is(node, NS_RIM, "ObjectRefList")) {
            rc = refuse(req, "RemoveObjectsRequest",
                        "something else than ObjectRefList is in it (an AdhocQuery is not taken)");
        }
    }
    const XmlNode *list = xml_child(body, NS_RIM, "ObjectRefList");
    if (list == NULL || list->first_child == NULL) {
        rc = refuse(req, "ObjectRefList", "it names nothing to remove");
    } else if (xml_next(list, NS_RIM, "ObjectRefList") != NULL) {
        rc = refuse(req, "ObjectRefList", "there are two lists");
    }
    return rc;
}

static int read_refs(Request *req, const XmlNode *body, ObjectRefs *ret_refs)
{
    ObjectRefs refs = {0};
    int rc = check_form(req, body);
    if (rc < 0) {
        return rc;
    }
    const XmlNode *list = xml_child(body, NS_RIM, "ObjectRefList");
    for (const XmlNode *node = list->first_child; node != NULL; node = node->next) {
        if (!xml_is(node, NS_RIM, "ObjectRef")) {
            return refuse(req, "ObjectRefList", "something else than ObjectRef is in its list");
        }
        refs.count++;
    }
    if (refs.count > REMOVAL_OBJECTS_MAX) {
        return error_add(&req->errors, ERR_TOO_LARGE, "ObjectRefList",
                         "it names %zu objects, and at most %d are removed at a time; what belongs "
                         "together goes in one request",
                         refs.count, REMOVAL_OBJECTS_MAX);
    }
    refs.ids = ARENA_ARRAY(req->arena, Str, refs.count);
    size_t at = 0;
    for (const XmlNode *node = list->first_child; node != NULL; node = node->next) {
        refs.ids[at++] = str_trim(xml_attribute(node, "id"));
    }
    *ret_refs = refs;
    req->subject = refs.ids[0];
    return 0;
}

/** The event of a refusal: what was named, whether it is there or not. */
static int record_failure(const Registry *registry, Request *req, const ObjectRefs *refs)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, refs->count);
    AuditEvent event = {.type = AUDIT_ITI62_REMOVE, .objects = objects};
    for (size_t i = 0; i < refs->count; i++) {
        Uuid uuid;
        if (uuid_parse_urn(refs->ids[i], &uuid)) {
            objects[event.object_count++] =
                (AuditObject){.kind = AUDIT_OBJECT_REGISTRY_OBJECT, .id = refs->ids[i]};
        }
    }
    audit_event_refuse(req, &event);
    return audit_record_event(registry->config.audit, req, &event);
}

int registry_iti62_remove(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    ObjectRefs refs = {0};
    int rc = read_refs(req, exchange->message->body, &refs);
    rc = rc < 0 ? rc : removal_run(registry, req, refs.ids, refs.count);
    if (rc < 0) {
        rc = record_failure(registry, req, &refs);
        registry_response_write(req, URN_RESPONSE_FAILURE, &exchange->reply_xml);
        return rc;
    }
    registry_response_write(req, URN_RESPONSE_SUCCESS, &exchange->reply_xml);
    return 0;
}
