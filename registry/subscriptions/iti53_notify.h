#pragma once

#include "lib/xml/tree.h"
#include "registry/subscriptions/stored_subscription.h"

/** ITI-53 Document Metadata Notify: the message, and what its audit event is about (ITI TF-2 3.53).
 */

#define ACTION_NOTIFY "http://docs.oasis-open.org/wsn/bw-2/NotificationConsumer/Notify"

/** What a notification tells; in the arena of the request. */
typedef struct Notice {
    const XmlNode *objects; /* rim:RegistryObjectList as a stored query gives it */
    size_t object_count;    /* 0: nothing of it may be known to the subscriber */
    Str *patients;          /* CX */
    size_t patient_count;
} Notice;

/**
 * Reads these objects as the subscriber may know them now: req->principal and req->user decide, as
 * for a stored query.
 */
int notice_read(Registry *registry, Request *req, Topic topic, const Uuid *objects, size_t count,
                Notice *ret_notice) MUST_CHECK;

/** Appends the whole message. @param message_id  "urn:uuid:..." */
void notice_write(Request *req, const StoredSubscription *subscription, Str message_id,
                  const Notice *notice, StrBuf *buf);

/** The objects of its audit event (3.53.5.1), in the arena. @return how many */
size_t notice_audit_objects(const Registry *registry, Request *req, const Notice *notice,
                            AuditObject **ret_objects);

/** The same of objects in a list, and of patients; also of ITI-54. */
size_t notice_list_audit_objects(const Registry *registry, Request *req, const XmlNode *list,
                                 const Str *patients, size_t patient_count,
                                 AuditObject **ret_objects);
