#include "lib/ebrim/vocabulary.h"
#include "lib/xml/namespaces.h"
#include "registry/registry.h"
#include "registry/subscriptions/iti53_notify.h"
#include "registry/subscriptions/subscriptions.h"

/* ITI-54 Document Metadata Publish (ITI TF-2 3.54): another actor says that objects were published
 * or updated. This broker stands beside its registry, which holds all that its subscribers may be
 * told: what it holds is told again, what it does not hold is to be registered. */

#define OBJECTS_MAX 1000

/* The SubmissionSets that are named, and those that published the documents that are named. */
static const DbStatement select_sets = {
    "publish_submission_sets",
    "SELECT DISTINCT s.entry_uuid, s.source_facility FROM submission_set s WHERE s.entry_uuid = ANY"
    " ($1::uuid[]) OR s.entry_uuid IN (SELECT a.source_object FROM association a"
    "  WHERE a.target_object = ANY ($1::uuid[]) AND a.type = 0 AND a.source_kind = 1"
    "  AND a.submission_set_status = 1)"};

static int refuse(Request *req, const char *location, const char *problem)
{
    return error_add(&req->errors, ERR_SOAP_SENDER, location, "%s", problem);
}

/** 3.54.4.1.2: one NotificationMessage with one lcm:SubmitObjectsRequest in its Message. */
static int find_list(Request *req, const XmlNode *body, const XmlNode **ret_list)
{
    const XmlNode *one = xml_child(body, NS_WSNT, "NotificationMessage");
    const XmlNode *message = xml_child(one, NS_WSNT, "Message");
    const XmlNode *submit = xml_child(message, NS_LCM, "SubmitObjectsRequest");
    const XmlNode *list = xml_child(submit, NS_RIM, "RegistryObjectList");
    if (list == NULL || xml_next(one, NS_WSNT, "NotificationMessage") != NULL) {
        return refuse(req, "wsnt:Notify",
                      "a Publish has exactly one wsnt:NotificationMessage, and its wsnt:Message "
                      "one lcm:SubmitObjectsRequest with a rim:RegistryObjectList (ITI TF-2 "
                      "3.54.4.1.2)");
    }
    *ret_list = list;
    return 0;
}

static int read_uuids(Request *req, const XmlNode *list, Uuid *uuids, size_t *ret_count)
{
    size_t count = 0;
    const XmlNode *first = list != NULL ? list->first_child : NULL;
    for (const XmlNode *node = first; node != NULL; node = node->next) {
        Str id = str_lower(req->arena, str_trim(xml_attribute(node, "id")));
        if (!xml_is(node, NS_RIM, "ExtrinsicObject") && !xml_is(node, NS_RIM, "RegistryPackage")) {
            continue;
        }
        if (count == OBJECTS_MAX) {
            return refuse(req, "rim:RegistryObjectList",
                          "a Publish holds at most 1000 objects; send several");
        }
        if (!uuid_parse_urn(id, &uuids[count])) {
            return refuse(req, "@id",
                          "an object of the Publish has no entryUUID; send the urn:uuid under "
                          "which it is registered");
        }
        count++;
    }
    *ret_count = count;
    return count > 0 ? 0
                     : refuse(req, "rim:RegistryObjectList",
                              "the Publish names no SubmissionSet, Folder or DocumentEntry");
}

/** What the registry does not hold, and what the node could not have submitted, is one answer. */
static int check_sets(Request *req, const DbResult *rows, Uuid *sets, size_t *ret_count)
{
    size_t count = 0;
    for (int row = 0; row < db_rows(rows); row++) {
        const Principal *principal = req->principal;
        if (principal->may_do_everything ||
            access_may_submit_for(principal, db_i32(rows, row, 1))) {
            sets[count++] = db_uuid(rows, row, 0);
        }
    }
    *ret_count = count;
    return count > 0 ? 0
                     : refuse(req, "rim:RegistryObjectList",
                              "none of these objects is registered here by this node, and "
                              "subscribers are told of what is; register them first (ITI-42), "
                              "which tells the subscribers too");
}

static int publish(const Registry *registry, Request *req, const Uuid *uuids, size_t count,
                   const AuditEvent *event)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    size_t set_count = 0;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, uuids, count);
    int rc = db_acquire(registry->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_sets, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    Uuid *sets = ARENA_ARRAY(req->arena, Uuid, (size_t)db_rows(rows));
    rc = check_sets(req, rows, sets, &set_count);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : subscriptions_queue_events(req, conn, sets, set_count);
    rc = rc < 0 ? rc : audit_queue_event(registry->config.audit, conn, req, event);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

int registry_iti54_publish(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    const XmlNode *list = NULL;
    Uuid *uuids = ARENA_ARRAY(req->arena, Uuid, OBJECTS_MAX);
    size_t count = 0;
    AuditObject *objects = NULL;
    AuditEvent event = {.type = AUDIT_ITI54_PUBLISH};
    int rc = find_list(req, exchange->message->body, &list);
    rc = rc < 0 ? rc : read_uuids(req, list, uuids, &count);
    if (rc == 0 && list != NULL) {
        event.object_count = notice_list_audit_objects(registry, req, list, NULL, 0, &objects);
        event.objects = objects;
        rc = publish(registry, req, uuids, count, &event);
    }
    if (rc < 0) {
        audit_event_refuse(req, &event);
        int recorded = audit_record_event(registry->config.audit, req, &event);
        return recorded < 0 ? recorded : rc;
    }
    return 0;
}
