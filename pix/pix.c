#include "pix/pix.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/oid.h"
#include "lib/hl7/ack.h"
#include "lib/hl7/msh.h"
#include "pix/pix_private.h"
#include "pix/subscribers.h"

#define START_TIMEOUT_MS 30000

typedef struct MessageType {
    Str type;
    Str event;
    const char *transaction;
    PixMessageHandler handler;
} MessageType;

static const MessageType message_types[] = {
#define MESSAGE(type, event, transaction, handler)                                                 \
    {STR_INIT(type), STR_INIT(event), transaction, handler},
#include "pix/messages.def"
#undef MESSAGE
};

static const Str versions[] = {STR_INIT("2.3.1"), STR_INIT("2.5")};
static const Str processing_ids[] = {STR_INIT("P"), STR_INIT("T"), STR_INIT("D")};

/* ---- life ---- */

static bool open_authorities(Pix *pix, Request *req)
{
    if (authority_directory_open(pix->config.pool, req, pix->authority_oid,
                                 pix->authority_namespace, &pix->authorities) < 0) {
        return false;
    }
    pix->authority_id = authority_directory_hold(pix->authorities, req->arena)->affinity_domain->id;
    return true;
}

static bool open_subscribers(Pix *pix, char *ret_problem, size_t problem_size)
{
    const SubscribersConfig config = {
        .pool = pix->config.pool,
        .audit = pix->config.audit,
        .authorities = pix->authorities,
        .tls = pix->config.tls,
        .sending_application = pix->config.sending_application,
        .sending_facility = pix->config.sending_facility,
        .manager_oid = pix->config.manager_oid,
        .is_sending = pix->config.has_subscribers,
    };
    pix->subscribers = subscribers_new(&config, ret_problem, problem_size);
    return pix->subscribers != NULL;
}

Pix *pix_new(const PixConfig *config, char *ret_problem, size_t problem_size)
{
    Str oid = str_from(config->patient_id_authority);
    if (!oid_is_valid(oid)) {
        (void)snprintf(ret_problem, problem_size, "patient_id_authority \"%.*s\" is not an OID",
                       STR_ARG(oid));
        return NULL;
    }
    Pix *pix = calloc(1, sizeof(*pix));
    if (!pix) {
        abort();
    }
    pix->config = *config;
    pix->authority_oid = oid;
    pix->authority_namespace = str_from(config->patient_id_namespace);

    Request *req = request_new(START_TIMEOUT_MS);
    bool is_open = open_authorities(pix, req);
    request_free(req);
    if (!is_open) {
        (void)snprintf(ret_problem, problem_size, "the identity tables cannot be read: %s",
                       db_last_failure());
    }
    if (!is_open || !open_subscribers(pix, ret_problem, problem_size)) {
        pix_free(pix);
        return NULL;
    }
    return pix;
}

void pix_free(Pix *pix)
{
    if (!pix) {
        return;
    }
    subscribers_free(pix->subscribers);
    authority_directory_free(pix->authorities);
    free(pix);
}

void pix_set_mover(Pix *pix, const PatientMover *mover)
{
    pix->mover = mover;
}

int pix_refresh(Pix *pix, Request *req)
{
    int rc = authority_directory_refresh(pix->authorities, req);
    return rc < 0 ? rc : subscribers_refresh(pix->subscribers, req);
}

int pix_notification_counts(Pix *pix, Request *req, NotificationCounts *ret_counts)
{
    return subscribers_counts(pix->subscribers, req, ret_counts);
}

/* ---- header ---- */

static bool is_one_of(Str value, const Str *allowed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(value, allowed[i])) {
            return true;
        }
    }
    return false;
}

static Str header_value(const Er7Message *message, size_t field, size_t component)
{
    return er7_value(message, message->segments, field, component);
}

static Str header_field(const Er7Message *message, size_t field)
{
    return er7_standardize(message, er7_field(message, message->segments, field));
}

/** An HD by its namespace, or by its universal id where it has none. */
static Str hd_name(const Er7Message *message, size_t field)
{
    Str namespace_id = header_value(message, field, 1);
    return str_is_empty(namespace_id) ? header_value(message, field, 2) : namespace_id;
}

Str pix_sender(const Er7Message *message)
{
    return str_printf(message->arena, "%.*s|%.*s",
                      STR_ARG(hd_name(message, MSH_SENDING_APPLICATION)),
                      STR_ARG(hd_name(message, MSH_SENDING_FACILITY)));
}

/** Who spoke to whom, for audit (ITI TF-2 3.8.5.1) and log. */
static void describe_request(Request *req, const Er7Message *message)
{
    req->message_id = header_value(message, MSH_CONTROL_ID, 1);
    req->reply_to =
        str_printf(req->arena, "%.*s|%.*s", STR_ARG(header_field(message, MSH_SENDING_FACILITY)),
                   STR_ARG(header_field(message, MSH_SENDING_APPLICATION)));
    req->endpoint =
        str_printf(req->arena, "%.*s|%.*s", STR_ARG(header_field(message, MSH_RECEIVING_FACILITY)),
                   STR_ARG(header_field(message, MSH_RECEIVING_APPLICATION)));
}

static const MessageType *find_message_type(const Er7Message *message)
{
    Str type = header_value(message, MSH_TYPE, 1);
    Str event = header_value(message, MSH_TYPE, 2);
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        if (str_equal(type, message_types[i].type) && str_equal(event, message_types[i].event)) {
            return &message_types[i];
        }
    }
    return NULL;
}

static bool is_known_type(Str type)
{
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        if (str_equal(type, message_types[i].type)) {
            return true;
        }
    }
    return false;
}

static void add_unsupported_type(Request *req, const Er7Message *message)
{
    Str type = header_value(message, MSH_TYPE, 1);
    Str event = header_value(message, MSH_TYPE, 2);
    if (!is_known_type(type)) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_MESSAGE_TYPE, "MSH^1^9^1^1",
                  "message type \"%.*s\" is not supported here; send ADT", STR_ARG(type));
    } else {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_EVENT_CODE, "MSH^1^9^1^2",
                  "trigger event \"%.*s\" is not supported here; send A01, A04, A05, A08 or A40",
                  STR_ARG(event));
    }
}

/** Adds every fault of the header (ITI TF-2 C.2.2). */
static void check_header(Request *req, const Er7Message *message, const MessageType *type)
{
    Str version = header_value(message, MSH_VERSION, 1);
    Str processing_id = header_value(message, MSH_PROCESSING_ID, 1);
    if (!type) {
        add_unsupported_type(req, message);
    }
    if (!is_one_of(version, versions, ARRAY_LEN(versions))) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_VERSION_ID, "MSH^1^12^1^1",
                  "version \"%.*s\" is not supported here; send 2.3.1 (ITI-8) or 2.5",
                  STR_ARG(version));
    }
    if (!is_one_of(processing_id, processing_ids, ARRAY_LEN(processing_ids))) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_PROCESSING_ID, "MSH^1^11^1^1",
                  "processing id \"%.*s\" is not supported here; send P, T or D",
                  STR_ARG(processing_id));
    }
    if (str_is_empty(req->message_id)) {
        error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, "MSH^1^10",
                  "MSH-10 is empty; send a control id that is unique for each message");
    }
}

/** Whether the node may use the transaction, and speak as MSH-3|MSH-4. */
static void check_sender(const Pix *pix, Request *req, const Er7Message *message)
{
    const Principal *principal = req->principal;
    if (!access_may_use(principal, req->transaction)) {
        error_add(&req->errors, ERR_FORBIDDEN, NULL,
                  "node \"%.*s\" may not use %s; ask the operator of this network to allow the "
                  "transaction for the node",
                  STR_ARG(principal->node_name), req->transaction);
    }
    Str application = hd_name(message, MSH_SENDING_APPLICATION);
    Str facility = hd_name(message, MSH_SENDING_FACILITY);
    if (!node_directory_may_send_as(pix->config.nodes, principal, application, facility)) {
        error_add(&req->errors, ERR_FORBIDDEN, "MSH^1^3",
                  "node \"%.*s\" may not send as MSH-3 \"%.*s\" with MSH-4 \"%.*s\"; ask the "
                  "operator of this network to add this source to the node",
                  STR_ARG(principal->node_name), STR_ARG(application), STR_ARG(facility));
    }
}

/* ---- dispatch ---- */

/** @return whether the message was carried out; if not, req->errors says why */
static bool handle(Pix *pix, Request *req, const Er7Message *message, const MessageType *type)
{
    if (!error_list_has_errors(&req->errors)) {
        check_header(req, message, type);
    }
    if (type) {
        check_sender(pix, req, message);
    }
    bool is_allowed = type && !error_list_has_errors(&req->errors);
    return is_allowed && type->handler(pix, req, message) == 0;
}

int pix_hl7_message(Pix *pix, Request *req, Str payload, StrBuf *reply)
{
    const Er7Message *message = er7_read(req->arena, &req->errors, payload);
    if (message) {
        const MessageType *type = find_message_type(message);
        req->transaction = type ? type->transaction : "";
        describe_request(req, message);
        if (!handle(pix, req, message, type) && type) {
            pix_iti08_record_refused(pix, req, message);
        }
    }
    hl7_ack_write(req, message, reply);
    return 0;
}
