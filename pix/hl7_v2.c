/** One HL7 v2 message from payload to reply: header checks, who may send it, the handler of its row
 * in messages.def (ITI TF-2 C.2). */
#include "pix/hl7_v2.h"

#include "lib/hl7/ack.h"
#include "lib/hl7/msh.h"
#include "lib/hl7/response.h"

#define AUDIT_NONE AUDIT_EVENT_COUNT

static const Hl7MessageType message_types[] = {
#define MESSAGE(type, event, versions, transaction, handler, answer, audit, merged)                \
    {STR_INIT(type), STR_INIT(event), STR_INIT(versions), transaction,                             \
     handler,        answer,          AUDIT_##audit,      AUDIT_##merged},
#include "pix/messages.def"
#undef MESSAGE
};

static const Str processing_ids[] = {STR_INIT("P"), STR_INIT("T"), STR_INIT("D")};

/* ---- header ---- */

static bool is_processing_id(Str value)
{
    for (size_t i = 0; i < ARRAY_LEN(processing_ids); i++) {
        if (str_equal(value, processing_ids[i])) {
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
    Str namespace_id = str_trim(header_value(message, field, 1));
    return str_is_empty(namespace_id) ? str_trim(header_value(message, field, 2)) : namespace_id;
}

Str hl7_sender_name(const Hl7Call *call)
{
    return str_printf(call->req->arena, "%.*s|%.*s", STR_ARG(call->sender.application),
                      STR_ARG(call->sender.facility));
}

Str hl7_party(Arena *arena, const Er7Message *message, size_t facility, size_t application)
{
    Str facility_name = header_field(message, facility);
    Str application_name = header_field(message, application);
    return facility_name.len + application_name.len == 0
               ? STR_EMPTY
               : str_printf(arena, "%.*s|%.*s", STR_ARG(facility_name), STR_ARG(application_name));
}

/** Who spoke to whom, for audit (ITI TF-2 3.8.5.1) and log. */
static void describe_request(Request *req, const Er7Message *message)
{
    req->message_id = header_value(message, MSH_CONTROL_ID, 1);
    req->reply_to = hl7_party(req->arena, message, MSH_SENDING_FACILITY, MSH_SENDING_APPLICATION);
    req->endpoint =
        hl7_party(req->arena, message, MSH_RECEIVING_FACILITY, MSH_RECEIVING_APPLICATION);
}

/** Row of the event and version; the first of the event if none has the version. */
static const Hl7MessageType *find_message_type(const Er7Message *message)
{
    Str type = header_value(message, MSH_TYPE, 1);
    Str event = header_value(message, MSH_TYPE, 2);
    Str version = header_value(message, MSH_VERSION, 1);
    const Hl7MessageType *first = NULL;
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const Hl7MessageType *row = &message_types[i];
        if (!str_equal(type, row->type) || !str_equal(event, row->event)) {
            continue;
        }
        if (str_has_word(row->versions, version)) {
            return row;
        }
        first = first ? first : row;
    }
    return first;
}

/** "A01, A04, ..." of a type; empty: the type is unknown. */
static Str events_of_type(Arena *arena, Str type)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const Hl7MessageType *row = &message_types[i];
        if (str_equal(row->type, type) && !str_contains(strbuf_str(&buf), row->event)) {
            strbuf_append(&buf, buf.len > 0 ? STR(", ") : STR_EMPTY);
            strbuf_append(&buf, row->event);
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

/** "2.3.1 2.5" of an event. */
static Str versions_of_event(Arena *arena, const Hl7MessageType *type)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const Hl7MessageType *row = &message_types[i];
        if (str_equal(row->type, type->type) && str_equal(row->event, type->event)) {
            strbuf_append(&buf, buf.len > 0 ? STR(" ") : STR_EMPTY);
            strbuf_append(&buf, row->versions);
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

static void add_unsupported_type(Request *req, const Er7Message *message)
{
    Str type = header_value(message, MSH_TYPE, 1);
    Str event = header_value(message, MSH_TYPE, 2);
    Str events = events_of_type(req->arena, type);
    if (str_is_empty(events)) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_MESSAGE_TYPE, "MSH^1^9^1^1",
                  "message type \"%.*s\" is not supported here; send ADT, QBP or QCN",
                  STR_ARG(type));
    } else {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_EVENT_CODE, "MSH^1^9^1^2",
                  "trigger event \"%.*s\" is not supported here; send one of %.*s", STR_ARG(event),
                  STR_ARG(events));
    }
}

/** Adds every fault of the header (ITI TF-2 C.2.2). */
static void check_header(Request *req, const Er7Message *message, const Hl7MessageType *type)
{
    Str version = header_value(message, MSH_VERSION, 1);
    Str processing_id = header_value(message, MSH_PROCESSING_ID, 1);
    if (!type) {
        add_unsupported_type(req, message);
    } else if (!str_has_word(type->versions, version)) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_VERSION_ID, "MSH^1^12^1^1",
                  "version \"%.*s\" is not supported here for %.*s; send one of: %.*s",
                  STR_ARG(version), STR_ARG(type->event),
                  STR_ARG(versions_of_event(req->arena, type)));
    }
    if (!is_processing_id(processing_id)) {
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
static void check_sender(const Hl7Call *call)
{
    Request *req = call->req;
    const Principal *principal = req->principal;
    if (!access_may_use(principal, req->transaction)) {
        error_add(&req->errors, ERR_FORBIDDEN, NULL,
                  "node \"%.*s\" may not use %s; ask the operator of this network to allow the "
                  "transaction for the node",
                  STR_ARG(principal->node_name), req->transaction);
    }
    Str application = call->sender.application;
    Str facility = call->sender.facility;
    if (!node_directory_may_send_as(call->pix->config.nodes, principal, application, facility)) {
        error_add(&req->errors, ERR_FORBIDDEN, "MSH^1^3",
                  "node \"%.*s\" may not send as MSH-3 \"%.*s\" with MSH-4 \"%.*s\"; ask the "
                  "operator of this network to add this source to the node",
                  STR_ARG(principal->node_name), STR_ARG(application), STR_ARG(facility));
    }
}

/* ---- dispatch ---- */

/** @return whether the message was carried out; if not, req->errors says why */
static bool handle(Hl7Call *call)
{
    Request *req = call->req;
    if (!error_list_has_errors(&req->errors)) {
        check_header(req, call->message, call->type);
    } else if (!call->type && !str_is_empty(header_value(call->message, MSH_TYPE, 1))) {
        add_unsupported_type(req, call->message); /* no correction would help: AR */
    }
    if (!call->type) {
        return false;
    }
    check_sender(call);
    return !error_list_has_errors(&req->errors) && call->type->handler(call) == 0;
}

static void write_reply(const Hl7Call *call, StrBuf *reply)
{
    if (call->type && call->type->answer) {
        hl7_response_write(call->req, call->message, call->type->answer, strbuf_str(&call->found),
                           reply);
    } else {
        hl7_ack_write(call->req, call->message, reply);
    }
}

static void answer(Hl7Call *call, StrBuf *reply)
{
    const Er7Message *message = call->message;
    call->type = find_message_type(message);
    call->sender = (FeedSender){.application = hd_name(message, MSH_SENDING_APPLICATION),
                                .facility = hd_name(message, MSH_SENDING_FACILITY)};
    call->authorities = authority_directory_hold(call->pix->authorities, call->req->arena);
    call->req->transaction = call->type ? call->type->transaction : "";
    describe_request(call->req, message);
    if (!handle(call)) {
        hl7_record_refused(call);
    }
    write_reply(call, reply);
}

int pix_hl7_message(Pix *pix, Request *req, Str payload, StrBuf *reply)
{
    Hl7Call call = {.pix = pix, .req = req, .payload = payload};
    call.message = er7_read(req->arena, &req->errors, payload);
    if (call.message) {
        answer(&call, reply);
    } else {
        (void)!pix_hl7_record_unreadable(pix, req); /* without, the fault is in the reply */
        hl7_ack_write(req, NULL, reply);
    }
    strbuf_done(&call.found);
    return 0;
}
