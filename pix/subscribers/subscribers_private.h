#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "pix/identity.h"
#include "pix/subscribers/subscribers.h"

/** What the files about subscribers share. Private to them. */

typedef struct Subscriber {
    int32_t id;
    SubscriberKind kind;
    Str name;
    Str url;
    Str fingerprint;
    Str receiving_application;
    Str receiving_facility;
    const int32_t *authorities; /* domains of interest; count 0: all */
    size_t authority_count;
} Subscriber;

Subscriber subscriber_copy(Arena *arena, const Subscriber *subscriber);

/** The subscribers as they were at one instant. */
typedef struct SubscriberList {
    Arena *arena;
    const Subscriber *items; /* by id */
    size_t count;
} SubscriberList;

typedef struct NotificationSender NotificationSender;

struct Subscribers {
    SubscribersConfig config;
    pthread_mutex_t lock; /* guards list and senders */
    SubscriberList list;
    NotificationSender **senders; /* as list.items; NULL: does not send */
    atomic_size_t consumer_count;
    atomic_size_t registry_count;
    pthread_mutex_t announced_lock;
    pthread_cond_t announced; /* a registry has acknowledged an XAD-PID */
};

/** A copy in the arena, of the registries or of the consumers. */
SubscriberList subscribers_hold(Subscribers *subscribers, Arena *arena, bool is_registry);

/* ---- messages ---- */

/** Rows of notifications.def. */
typedef enum NotificationKind {
#define NOTIFICATION(name, kind, transaction, protocol, audit, audit_of_second) NOTIFICATION_##name,
#include "pix/subscribers/notifications.def"
#undef NOTIFICATION
    NOTIFICATION_KIND_COUNT
} NotificationKind;

typedef enum NotificationProtocol { PROTOCOL_HL7_V2, PROTOCOL_HL7_V3 } NotificationProtocol;

typedef struct NotificationRow {
    Str kind; /* identity_notification.kind */
    const char *transaction;
    NotificationProtocol protocol;
    AuditEventType audit;
    AuditEventType audit_of_second;
} NotificationRow;

extern const NotificationRow notification_rows[NOTIFICATION_KIND_COUNT];

/** A message that is about to be queued; in the arena. */
typedef struct Notification {
    NotificationKind kind;
    Str message_id;
    Str content; /* ER7 as it is sent, or the element of the SOAP body */
    const Str *patients;
    size_t patient_count;
} Notification;

/** From whom to whom. */
typedef struct NotificationRoute {
    Arena *arena;
    const SubscribersConfig *config;
    const Subscriber *subscriber;
} NotificationRoute;

/** ADT^A31 (TF-2 3.10.4.1.2). @param identifiers  those of one authority are adjacent */
Notification iti10_notify_v2_make(const NotificationRoute *route,
                                  const FoundIdentifier *identifiers, size_t count);
/** PRPA_IN201302UV02 (TF-2 3.46.4.1.2). */
Notification iti46_notify_v3_make(const NotificationRoute *route,
                                  const FoundIdentifier *identifiers, size_t count);
/** ADT^A04 (TF-2 3.8.4.1). */
Notification iti08_send_announcement_make(const NotificationRoute *route,
                                          const FoundIdentifier *xad_pid,
                                          const Demographics *demographics);
/** ADT^A40 (TF-2 3.8.4.2). */
Notification iti08_send_merge_make(const NotificationRoute *route, const FoundIdentifier *survivor,
                                   const FoundIdentifier *subsumed,
                                   const Demographics *demographics);
/** ADT^A43 (TF-2 3.64.4.1.2). @param local, subsumed  CX; subsumed may be empty */
Notification iti64_send_make(const NotificationRoute *route, const FoundIdentifier *from,
                             const FoundIdentifier *to, Str local, Str subsumed);

/* what the v2 messages share (notification_text.c) */

/** Sender, type and so on of a message. */
typedef struct NotificationHeader {
    NotificationKind kind;
    const char *type;    /* MSH-9 */
    const char *version; /* MSH-12 */
    const char *profile; /* MSH-21; "": none, for versions that do not have it */
} NotificationHeader;

/** Appends MSH and EVN, and draws the control id. @return MSH-10 */
Str notification_append_header(const NotificationRoute *route, const NotificationHeader *header,
                               StrBuf *buf);
/** "id^^^namespace&oid&ISO" of each identifier. */
const Str *notification_cxs(Arena *arena, const FoundIdentifier *identifiers, size_t count);

/** "id^^^&oid&ISO" of each, as audit names a patient. */
const Str *notification_patients(Arena *arena, const FoundIdentifier *identifiers, size_t count);
/** Takes the text, whose buffer is freed. */
Notification notification_take(const NotificationRoute *route, NotificationKind kind,
                               Str message_id, StrBuf *buf, const Str *patients,
                               size_t patient_count);

/* ---- sending ---- */

/** Starts the thread of one subscriber, which is copied. NULL and the reason on failure. */
NotificationSender *notification_sender_new(Subscribers *subscribers, const Subscriber *subscriber,
                                            char *ret_problem, size_t problem_size);
/** Tells it to end, without waiting. */
void notification_sender_ask_to_stop(NotificationSender *sender);
void notification_sender_free(NotificationSender *sender);
void notification_sender_wake(NotificationSender *sender);
