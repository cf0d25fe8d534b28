/* The worker of an association that we ask for (PS3.4 C.4.2.3.1, J.3.3). */

#include <string.h>

#include "lib/dicom/uid.h"
#include "lib/dicom/worker_contexts.h"
#include "lib/dicom/worker_dimse.h"
#include "lib/dicom/worker_identifier.h"
#include "lib/dicom/worker_main.h"

#define ASSOCIATE_TIMEOUT_S 30
#define COMMITMENT_CLASS "1.2.840.10008.1.20.1"
#define COMMITMENT_INSTANCE "1.2.840.10008.1.20.1.1"
#define VERIFICATION_CLASS "1.2.840.10008.1.1"

/* ---- association ---- */

/** What REQUEST asks for. */
typedef struct Wanted {
    Arena *arena;
    AssociationContext contexts[ASSOCIATION_CONTEXTS_MAX];
    size_t count;
} Wanted;

/** Abstract syntax, transfer syntaxes: blanks between. */
static bool add_context(Wanted *wanted, Str text)
{
    Str word;
    if (wanted->count == ASSOCIATION_CONTEXTS_MAX || !str_split_next(&text, ' ', &word)) {
        return false;
    }
    AssociationContext *context = &wanted->contexts[wanted->count++];
    context->abstract_syntax = str_cstr(wanted->arena, word);
    context->role = str_equal(word, STR(COMMITMENT_CLASS)) ? ASSOCIATION_ROLE_REVERSE
                                                           : ASSOCIATION_ROLE_DEFAULT;
    while (context->syntax_count < ASSOCIATION_SYNTAXES_MAX && str_split_next(&text, ' ', &word)) {
        context->syntaxes[context->syntax_count++] = str_cstr(wanted->arena, word);
    }
    return context->syntax_count > 0;
}

static bool read_contexts(Wanted *wanted, Str fields)
{
    WorkerField field;
    Str value;
    while (worker_next(&fields, &field, &value)) {
        if (field == WORKER_CONTEXT && !add_context(wanted, value)) {
            return false;
        }
    }
    return wanted->count > 0;
}

static void put_accepted(DimseSession *session)
{
    AssociationContext context;
    for (size_t i = 0; association_context_at(session->association, i, &context); i++) {
        _cleanup_(strbuf_done) StrBuf text = {0};
        if (context.is_accepted) {
            strbuf_printf(&text, "%s %s", context.abstract_syntax, context.syntaxes[0]);
            worker_put(&session->said, WORKER_CONTEXT, strbuf_str(&text));
        }
    }
}

/** REQUEST, and the answer to it. */
static DimseState associate(DimseSession *session)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Wanted wanted = {.arena = arena};
    WorkerMessageKind kind;
    uint32_t rejection = 0;

    if (!dimse_hear(session, &kind) || kind != WORKER_SAYS_REQUEST ||
        !read_contexts(&wanted, strbuf_str(&session->content))) {
        return DIMSE_SERVER_GONE;
    }
    Str fields = strbuf_str(&session->content);
    const AssociationProposal proposal = {
        .calling_ae = str_cstr(arena, worker_get(fields, WORKER_CALLING_AE)),
        .called_ae = str_cstr(arena, worker_get(fields, WORKER_CALLED_AE)),
        .contexts = wanted.contexts,
        .context_count = wanted.count};
    session->association = association_request(&proposal, ASSOCIATE_TIMEOUT_S, &rejection);
    if (session->association) {
        put_accepted(session);
    } else {
        worker_put(&session->said, WORKER_TEXT,
                   rejection ? STR("the peer rejects the association")
                             : STR("the peer does not answer as DICOM does"));
    }
    if (rejection) {
        worker_put_number(&session->said, WORKER_REJECTION, rejection);
    }
    if (!dimse_say(session, WORKER_SAYS_ASSOCIATED)) {
        return DIMSE_SERVER_GONE;
    }
    return session->association ? DIMSE_OPEN : DIMSE_REFUSED;
}

/* ---- requests ---- */

static DimseState send_store(DimseSession *session)
{
    return dimse_store(session, ASSOCIATION_ROLE_DEFAULT, NULL);
}

/** The accepted context of a class. @return false: OUTCOME has told so, or the server is gone */
static bool find_class(DimseSession *session, Str sop_class, AssociationContext *ret_context)
{
    for (size_t i = 0; association_context_at(session->association, i, ret_context); i++) {
        if (ret_context->is_accepted &&
            str_equal(str_from(ret_context->abstract_syntax), sop_class)) {
            return true;
        }
    }
    return false;
}

static DimseState tell_refused(DimseSession *session)
{
    worker_put_number(&session->said, WORKER_STATUS, DIMSE_NO_SUCH_CLASS);
    worker_put(&session->said, WORKER_COMMENT, STR("no presentation context was agreed"));
    return dimse_say(session, WORKER_SAYS_OUTCOME) ? DIMSE_OPEN : DIMSE_SERVER_GONE;
}

/** Sends a request, and passes on the status of its response. */
static DimseState ask(DimseSession *session, uint8_t context, const StrBuf *command, uint16_t id,
                      Str data_set)
{
    if (!dimse_send(session, context, command) ||
        (data_set.len > 0 && !dimse_send_data(session, context, data_set, true))) {
        return DIMSE_BROKEN;
    }
    DimseState state = dimse_receive_response(session, id, NULL);
    return state == DIMSE_OPEN ? dimse_tell_outcome(session) : state;
}

static DimseState send_echo(DimseSession *session)
{
    _cleanup_(strbuf_done) StrBuf command = {0};
    AssociationContext context;

    if (!find_class(session, STR(VERIFICATION_CLASS), &context)) {
        return tell_refused(session);
    }
    uint16_t id = dimse_begin_request(session, DIMSE_C_ECHO, false, &command);
    dimse_put_text(&command, DIMSE_AFFECTED_CLASS, STR(VERIFICATION_CLASS));
    return ask(session, context.id, &command, id, STR_EMPTY);
}

static DimseState send_report(DimseSession *session)
{
    _cleanup_(strbuf_done) StrBuf command = {0};
    _cleanup_(strbuf_done) StrBuf data_set = {0};
    Str fields = strbuf_str(&session->content);
    AssociationContext context;

    if (!find_class(session, STR(COMMITMENT_CLASS), &context)) {
        return tell_refused(session);
    }
    const TransferSyntax *syntax = transfer_syntax_find(str_from(context.syntaxes[0]));
    if (!syntax) {
        return tell_refused(session);
    }
    uint16_t id = dimse_begin_request(session, DIMSE_N_EVENT_REPORT, true, &command);
    dimse_put_text(&command, DIMSE_AFFECTED_CLASS, STR(COMMITMENT_CLASS));
    dimse_put_text(&command, DIMSE_AFFECTED_INSTANCE, STR(COMMITMENT_INSTANCE));
    dimse_put_number(&command, DIMSE_EVENT_TYPE, commitment_event(fields));
    commitment_write(fields, syntax, &data_set);
    return ask(session, context.id, &command, id, strbuf_str(&data_set));
}

/** Releases; the session ends with it. */
static DimseState release(DimseSession *session)
{
    association_release(session->association);
    return DIMSE_RELEASED;
}

/** What the server may want. */
static const struct {
    WorkerMessageKind kind;
    DimseState (*carry_out)(DimseSession *session);
} orders[] = {
    {WORKER_SAYS_SEND, send_store},
    {WORKER_SAYS_ECHO, send_echo},
    {WORKER_SAYS_REPORT, send_report},
    {WORKER_SAYS_RELEASE, release},
};

static DimseState carry_out(DimseSession *session, WorkerMessageKind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        if (orders[i].kind == kind) {
            return orders[i].carry_out(session);
        }
    }
    return DIMSE_SERVER_GONE;
}

void worker_request(int control, int peer)
{
    DimseSession session = {.control = control};
    DimseState state = associate(&session);

    (void)peer; /* ASSOCIATION_REQUESTOR_SOCKET */
    while (state == DIMSE_OPEN) {
        WorkerMessageKind kind;
        state = dimse_hear(&session, &kind) ? carry_out(&session, kind) : DIMSE_SERVER_GONE;
    }
    dimse_end(&session, state);
}
