/* The worker of an association that a peer asked for (PS3.7 9, PS3.4 B, C, J). */

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "lib/dicom/worker_contexts.h"
#include "lib/dicom/worker_dimse.h"
#include "lib/dicom/worker_identifier.h"
#include "lib/dicom/worker_instance.h"
#include "lib/dicom/worker_main.h"

#define REQUEST_TIMEOUT_S 30 /* for A-ASSOCIATE-RQ */
#define IDLE_TIMEOUT_S 600   /* between messages: gateways keep associations for their next study */
#define MS 1000
#define APPLICATION_CONTEXT "1.2.840.10008.3.1.1.1" /* PS3.7 A.2.1 */
#define REJECTED_APPLICATION_CONTEXT 1, 1, 2        /* PS3.8 Table 9-21 */
#define REJECTED_TOO_MANY_CONTEXTS 1, 3, 2          /* local limit exceeded */
#define COMMITMENT_INSTANCE "1.2.840.10008.1.20.1.1"
#define COMMITMENT_ACTION 1U

/* ---- association ---- */

static void put_context(StrBuf *said, const AssociationContext *context)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    strbuf_append(&text, str_from(context->abstract_syntax));
    for (size_t i = 0; i < context->syntax_count; i++) {
        strbuf_append_char(&text, ' ');
        strbuf_append(&text, str_from(context->syntaxes[i]));
    }
    worker_put(said, WORKER_CONTEXT, strbuf_str(&text));
}

static bool tell_association(DimseSession *session)
{
    AssociationPeer peer = association_peer(session->association);
    AssociationContext context;

    worker_put(&session->said, WORKER_CALLING_AE, str_trim(str_from(peer.calling_ae)));
    worker_put(&session->said, WORKER_CALLED_AE, str_trim(str_from(peer.called_ae)));
    worker_put(&session->said, WORKER_IMPLEMENTATION, str_trim(str_from(peer.implementation)));
    worker_put_number(&session->said, WORKER_MAX_PDU, peer.max_pdu);
    for (size_t i = 0; association_context_at(session->association, i, &context); i++) {
        put_context(&session->said, &context);
    }
    return dimse_say(session, WORKER_SAYS_ASSOCIATE);
}

/** The server's verdict on the association. */
static DimseState accept_association(DimseSession *session)
{
    WorkerMessageKind kind;
    AssociationContext context;
    uint64_t rejection = 0;

    if (association_context_at(session->association, ASSOCIATION_CONTEXTS_MAX, &context)) {
        association_reject(session->association, REJECTED_TOO_MANY_CONTEXTS);
        return DIMSE_REFUSED;
    }
    if (!str_equal(str_from(association_peer(session->association).application_context),
                   STR(APPLICATION_CONTEXT))) {
        association_reject(session->association, REJECTED_APPLICATION_CONTEXT);
        return DIMSE_REFUSED;
    }
    if (!tell_association(session) || !dimse_hear(session, &kind) || kind != WORKER_SAYS_ACCEPT) {
        return DIMSE_SERVER_GONE;
    }
    if (worker_get_number(strbuf_str(&session->content), WORKER_REJECTION, &rejection)) {
        association_reject(session->association, (unsigned)(rejection >> 16 & 0xff),
                           (unsigned)(rejection >> 8 & 0xff), (unsigned)(rejection & 0xff));
        return DIMSE_REFUSED;
    }
    contexts_negotiate(session->association);
    return association_accept(session->association) ? DIMSE_OPEN : DIMSE_BROKEN;
}

/* ---- C-ECHO ---- */

static DimseState serve_echo(DimseSession *session, const AssociationContext *context)
{
    (void)context;
    return dimse_respond_status(session, DIMSE_SUCCESS, "");
}

/* ---- C-STORE ---- */

typedef struct Storing {
    DimseSession *session;
    InstanceReading reading;
    bool is_server_gone;
} Storing;

static bool take_instance(void *ctx, const void *bytes, size_t len)
{
    Storing *storing = ctx;
    if (!reading_push(&storing->reading, bytes, len)) {
        return false;
    }
    storing->is_server_gone =
        !worker_say(storing->session->control, WORKER_SAYS_DATA, (Str){bytes, len});
    return !storing->is_server_gone;
}

static bool tell_store(DimseSession *session, const AssociationContext *context)
{
    Str request = strbuf_str(&session->request);
    Str originator = dimse_text(request, DIMSE_ORIGINATOR_AE);

    worker_put(&session->said, WORKER_SOP_CLASS, dimse_text(request, DIMSE_AFFECTED_CLASS));
    worker_put(&session->said, WORKER_SOP_INSTANCE, dimse_text(request, DIMSE_AFFECTED_INSTANCE));
    worker_put(&session->said, WORKER_TRANSFER_SYNTAX, str_from(context->syntaxes[0]));
    if (originator.len > 0) {
        worker_put(&session->said, WORKER_ORIGINATOR_AE, originator);
        worker_put_number(&session->said, WORKER_ORIGINATOR_ID,
                          dimse_number(request, DIMSE_ORIGINATOR_ID, 0));
    }
    return dimse_say(session, WORKER_SAYS_STORE);
}

/** Hears one STATUS and passes it to the peer. */
static DimseState pass_status(DimseSession *session)
{
    WorkerMessageKind kind;
    if (!dimse_hear(session, &kind) || kind != WORKER_SAYS_STATUS) {
        return DIMSE_SERVER_GONE;
    }
    return dimse_respond(session, strbuf_str(&session->content), STR_EMPTY);
}

static DimseState tell_stored(Storing *storing)
{
    _cleanup_(strbuf_done) StrBuf record = {0};
    _cleanup_(strbuf_done) StrBuf fault = {0};
    DimseSession *session = storing->session;
    Str request = strbuf_str(&session->request);
    const InstanceIdentity identity = {dimse_text(request, DIMSE_AFFECTED_CLASS),
                                       dimse_text(request, DIMSE_AFFECTED_INSTANCE), true};

    reading_end(&storing->reading, &identity, &record, &fault);
    bool is_said =
        (fault.len == 0 || worker_say(session->control, WORKER_SAYS_FAULT, strbuf_str(&fault))) &&
        worker_say(session->control, WORKER_SAYS_STORED, strbuf_str(&record));
    return is_said ? pass_status(session) : DIMSE_SERVER_GONE;
}

static DimseState store(DimseSession *session, const AssociationContext *context)
{
    Storing storing = {.session = session};

    reading_begin(&storing.reading, str_from(context->syntaxes[0]));
    DimseState state = tell_store(session, context)
                           ? dimse_receive_data_set(session, take_instance, &storing)
                           : DIMSE_SERVER_GONE;
    state = storing.is_server_gone ? DIMSE_SERVER_GONE : state;
    state = state == DIMSE_OPEN ? tell_stored(&storing) : state;
    reading_done(&storing.reading);
    return state;
}

static DimseState pass_over(DimseSession *session, uint32_t status, const char *comment)
{
    DimseState state = dimse_receive_data_set(session, NULL, NULL);
    return state == DIMSE_OPEN ? dimse_respond_status(session, status, comment) : state;
}

static DimseState serve_store(DimseSession *session, const AssociationContext *context)
{
    Str request = strbuf_str(&session->request);

    if (!str_equal(dimse_text(request, DIMSE_AFFECTED_CLASS), str_from(context->abstract_syntax))) {
        return pass_over(session, DIMSE_NO_SUCH_CLASS,
                         "SOP class is not that of the presentation context");
    }
    if (!dicom_uid_is_valid(dimse_text(request, DIMSE_AFFECTED_INSTANCE))) {
        return pass_over(session, DIMSE_INVALID_INSTANCE, "Affected SOP Instance UID is not a UID");
    }
    return store(session, context);
}

/* ---- identifiers ---- */

static bool take_identifier(void *ctx, const void *bytes, size_t len)
{
    StrBuf *data_set = ctx;
    bool fits = len <= IDENTIFIER_MAX - data_set->len;
    if (fits) {
        strbuf_append_bytes(data_set, bytes, len);
    }
    return fits;
}

typedef int (*IdentifierReadFn)(Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                                StrBuf *ret_fields);

/**
 * Reads the data set of the request into session->said.
 * @param ret_is_good  false: the peer has its answer already
 */
static DimseState receive_identifier(DimseSession *session, const AssociationContext *context,
                                     IdentifierReadFn read, bool *ret_is_good)
{
    _cleanup_(strbuf_done) StrBuf data_set = {0};
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList errors;
    DimseState state = dimse_receive_data_set(session, take_identifier, &data_set);

    *ret_is_good = false;
    if (state != DIMSE_OPEN) {
        return state;
    }
    error_list_init(&errors, arena);
    if (read(strbuf_str(&data_set), transfer_syntax_find(str_from(context->syntaxes[0])), &errors,
             &session->said) < 0) {
        strbuf_clear(&session->said);
        return dimse_respond_status(session, DIMSE_CANNOT_UNDERSTAND,
                                    str_cstr(arena, errors.first->context));
    }
    *ret_is_good = true;
    return DIMSE_OPEN;
}

/* ---- C-FIND, C-MOVE, C-GET ---- */

/** A query or retrieval under way. */
typedef struct Retrieval {
    DimseSession *session;
    const TransferSyntax *syntax;
    StrBuf level;
    bool is_cancelled;
    bool is_server_gone;
} Retrieval;

static void cancel(void *ctx)
{
    Retrieval *retrieval = ctx;
    if (!retrieval->is_cancelled) {
        retrieval->is_cancelled = true;
        retrieval->is_server_gone =
            !worker_say(retrieval->session->control, WORKER_SAYS_CANCEL, STR_EMPTY);
    }
}

/** The peer may only cancel, or end the association. */
static DimseState take_from_peer(Retrieval *retrieval)
{
    DimseSession *session = retrieval->session;
    DimseState state = dimse_receive_cancel(session);
    if (state == DIMSE_OPEN) {
        cancel(retrieval);
    }
    return retrieval->is_server_gone ? DIMSE_SERVER_GONE : state;
}

/** Whichever speaks first: DIMSE_OPEN once the server has something to say. */
static DimseState await_server(Retrieval *retrieval)
{
    DimseSession *session = retrieval->session;
    struct pollfd sides[] = {{.fd = session->control, .events = POLLIN},
                             {.fd = association_socket(session->association), .events = POLLIN}};
    for (;;) {
        bool has_data = association_has_data(session->association);
        int rc = has_data ? 1 : poll(sides, ARRAY_LEN(sides), -1);
        if (rc < 0 && errno != EINTR) {
            return DIMSE_BROKEN;
        }
        if (has_data || (rc > 0 && sides[1].revents)) {
            DimseState state = take_from_peer(retrieval);
            if (state != DIMSE_OPEN) {
                return state;
            }
        } else if (rc > 0) {
            return DIMSE_OPEN;
        }
    }
}

static DimseState pass_match(Retrieval *retrieval)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    _cleanup_(strbuf_done) StrBuf data_set = {0};
    DimseSession *session = retrieval->session;
    Str content = strbuf_str(&session->content);
    uint64_t status = DIMSE_PENDING;

    if (retrieval->is_cancelled) {
        return DIMSE_OPEN;
    }
    if (!identifier_write(content, strbuf_str(&retrieval->level), retrieval->syntax, &data_set)) {
        return DIMSE_SERVER_GONE;
    }
    (void)worker_get_number(content, WORKER_STATUS, &status);
    worker_put_number(&fields, WORKER_STATUS, status);
    return dimse_respond(session, strbuf_str(&fields), strbuf_str(&data_set));
}

static DimseState pass_instance(Retrieval *retrieval)
{
    const DimseInterruption interruption = {cancel, retrieval};
    DimseState state = dimse_store(retrieval->session, ASSOCIATION_ROLE_REVERSE, &interruption);
    return retrieval->is_server_gone ? DIMSE_SERVER_GONE : state;
}

static bool is_pending(Str status_fields)
{
    uint64_t status = 0;
    return worker_get_number(status_fields, WORKER_STATUS, &status) && status == DIMSE_PENDING;
}

/** Passes on what the server says, up to its last STATUS. */
static DimseState pass_answers(Retrieval *retrieval)
{
    DimseSession *session = retrieval->session;
    bool is_over = false;
    DimseState state = DIMSE_OPEN;

    while (state == DIMSE_OPEN && !is_over) {
        WorkerMessageKind kind;
        state = await_server(retrieval);
        if (state != DIMSE_OPEN) {
            return state;
        }
        if (!dimse_hear(session, &kind)) {
            return DIMSE_SERVER_GONE;
        }
        if (kind == WORKER_SAYS_MATCH) {
            state = pass_match(retrieval);
        } else if (kind == WORKER_SAYS_SEND) {
            state = pass_instance(retrieval);
        } else if (kind == WORKER_SAYS_STATUS) {
            is_over = !is_pending(strbuf_str(&session->content));
            state = dimse_respond(session, strbuf_str(&session->content), STR_EMPTY);
        } else {
            state = DIMSE_SERVER_GONE;
        }
    }
    return state;
}

static DimseState serve_retrieval(DimseSession *session, const AssociationContext *context,
                                  WorkerMessageKind kind)
{
    _cleanup_(strbuf_done) StrBuf level = {0};
    Retrieval retrieval = {.session = session,
                           .syntax = transfer_syntax_find(str_from(context->syntaxes[0]))};
    Str request = strbuf_str(&session->request);
    const char *model = "";
    bool is_good = false;
    DimseState state = receive_identifier(session, context, identifier_read, &is_good);

    if (!is_good) {
        return state;
    }
    (void)context_service(str_from(context->abstract_syntax), &model);
    strbuf_append(&level, worker_get(strbuf_str(&session->said), WORKER_LEVEL));
    worker_put(&session->said, WORKER_SOP_CLASS, str_from(context->abstract_syntax));
    worker_put(&session->said, WORKER_MODEL, str_from(model));
    if (kind == WORKER_SAYS_MOVE) {
        worker_put(&session->said, WORKER_DESTINATION, dimse_text(request, DIMSE_DESTINATION));
        worker_put_number(&session->said, WORKER_ORIGINATOR_ID,
                          dimse_number(request, DIMSE_MESSAGE_ID, 0));
    }
    retrieval.level = level; /* borrowed */
    return dimse_say(session, kind) ? pass_answers(&retrieval) : DIMSE_SERVER_GONE;
}

static DimseState serve_find(DimseSession *session, const AssociationContext *context)
{
    return serve_retrieval(session, context, WORKER_SAYS_FIND);
}

static DimseState serve_move(DimseSession *session, const AssociationContext *context)
{
    return serve_retrieval(session, context, WORKER_SAYS_MOVE);
}

static DimseState serve_get(DimseSession *session, const AssociationContext *context)
{
    return serve_retrieval(session, context, WORKER_SAYS_GET);
}

/* ---- storage commitment ---- */

static DimseState serve_commitment(DimseSession *session, const AssociationContext *context)
{
    Str request = strbuf_str(&session->request);
    bool is_good = false;

    if (!str_equal(dimse_text(request, DIMSE_REQUESTED_INSTANCE), STR(COMMITMENT_INSTANCE))) {
        return pass_over(session, DIMSE_NO_SUCH_INSTANCE, "the instance is " COMMITMENT_INSTANCE);
    }
    if (dimse_number(request, DIMSE_ACTION_TYPE, 0) != COMMITMENT_ACTION) {
        return pass_over(session, DIMSE_NO_SUCH_ACTION, "the action type is 1");
    }
    DimseState state = receive_identifier(session, context, commitment_read, &is_good);
    if (!is_good) {
        return state;
    }
    return dimse_say(session, WORKER_SAYS_COMMIT) ? pass_status(session) : DIMSE_SERVER_GONE;
}

/* ---- one message after the other ---- */

/** What a peer may ask for, and in which contexts. */
static const struct {
    DimseCommand command;
    ContextService service;
    bool has_data_set;
    DimseState (*serve)(DimseSession *session, const AssociationContext *context);
} commands[] = {
    {DIMSE_C_ECHO, SERVICE_ECHO, false, serve_echo},
    {DIMSE_C_STORE, SERVICE_STORE, true, serve_store},
    {DIMSE_C_FIND, SERVICE_FIND, true, serve_find},
    {DIMSE_C_MOVE, SERVICE_MOVE, true, serve_move},
    {DIMSE_C_GET, SERVICE_GET, true, serve_get},
    {DIMSE_N_ACTION, SERVICE_COMMIT, true, serve_commitment},
};

static DimseState refuse(DimseSession *session, uint32_t status, const char *comment)
{
    return dimse_has_data_set(strbuf_str(&session->request))
               ? pass_over(session, status, comment)
               : dimse_respond_status(session, status, comment);
}

static DimseState serve_message(DimseSession *session)
{
    Str request = strbuf_str(&session->request);
    uint32_t command = dimse_number(request, DIMSE_COMMAND_FIELD, 0);
    AssociationContext context;
    const char *model = NULL;

    if (command == DIMSE_C_CANCEL) {
        return DIMSE_OPEN; /* of what is over already */
    }
    if ((command & DIMSE_RESPONSE) || !dimse_context(session, session->context, &context)) {
        return DIMSE_VIOLATED;
    }
    ContextService service = context_service(str_from(context.abstract_syntax), &model);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if ((uint32_t)commands[i].command != command) {
            continue;
        }
        if (commands[i].service != service) {
            return refuse(session, DIMSE_NO_SUCH_CLASS, "not in this presentation context");
        }
        if (commands[i].has_data_set != dimse_has_data_set(request)) {
            return refuse(session, DIMSE_MISTYPED, "Command Data Set Type (0000,0800)");
        }
        return commands[i].serve(session, &context);
    }
    return refuse(session, DIMSE_UNRECOGNIZED, "no operation that is offered here");
}

/** The server ends an idle association by closing its side. */
static DimseState await_peer(const DimseSession *session)
{
    struct pollfd sides[] = {{.fd = session->control, .events = POLLIN},
                             {.fd = association_socket(session->association), .events = POLLIN}};
    int rc = 1;
    if (association_has_data(session->association)) {
        return DIMSE_OPEN;
    }
    do {
        rc = poll(sides, ARRAY_LEN(sides), IDLE_TIMEOUT_S * MS);
    } while (rc < 0 && errno == EINTR);
    return rc <= 0 ? DIMSE_BROKEN : sides[0].revents ? DIMSE_SERVER_GONE : DIMSE_OPEN;
}

static DimseState serve_association(DimseSession *session)
{
    DimseState state = accept_association(session);
    while (state == DIMSE_OPEN) {
        state = await_peer(session);
        state = state == DIMSE_OPEN ? dimse_receive(session, IDLE_TIMEOUT_S) : state;
        state = state == DIMSE_OPEN ? serve_message(session) : state;
    }
    return state;
}

void worker_accept(int control, int peer)
{
    DimseSession session = {.control = control,
                            .association = association_receive(peer, REQUEST_TIMEOUT_S)};
    DimseState state = session.association ? serve_association(&session) : DIMSE_BROKEN;
    dimse_end(&session, state);
}
