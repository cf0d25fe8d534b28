#include "repository/imaging/conversation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

#define REQUEST_TIMEOUT_MS 60000
#define ASSOCIATE_TIMEOUT_MS 60000
/** Between two requests; the worker ends the association earlier. */
#define IDLE_TIMEOUT_MS 900000
#define NS_PER_MS INT64_C(1000000)
/** Open associations of one node. */
#define ASSOCIATIONS_MAX 64
/** Error Comment (0000,0902) is LO: 64 characters, of which the reference takes eight. */
#define COMMENT_MAX 56

typedef enum Rejection {
#define REJECTION(name, result, source, reason, word, text) REJECTION_##name,
#include "repository/imaging/rejections.def"
#undef REJECTION
    REJECTION_COUNT
} Rejection;

static const struct {
    uint64_t code;
    const char *word;
    const char *text;
} rejections[] = {
#define REJECTION(name, result, source, reason, word, text)                                        \
    {(result) << 16 | (source) << 8 | (reason), word, text},
#include "repository/imaging/rejections.def"
#undef REJECTION
};

/** What a worker may ask, and what a node must be allowed for it. */
static const struct {
    ConversationFn answer;
    const char *transaction;
} requests[WORKER_SAYS_COUNT] = {
    [WORKER_SAYS_STORE] = {conversation_store, "RAD-8"},
    [WORKER_SAYS_FIND] = {conversation_find, "RAD-14"},
    [WORKER_SAYS_GET] = {conversation_get, "RAD-16"},
    [WORKER_SAYS_MOVE] = {conversation_move, "RAD-16"},
    [WORKER_SAYS_COMMIT] = {conversation_commit, "RAD-10"},
};

static Request *new_request(DicomConversation *conversation, const char *transaction)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    req->transaction = transaction;
    req->is_repository = true;
    req->peer_address = str_from(conversation->peer.address);
    req->endpoint = str_from(conversation->imaging->config.ae_title);
    req->reply_to = conversation->ae ? conversation->ae->title : STR_EMPTY;
    req->principal = conversation->peer.principal(conversation->peer.ctx, req->arena);
    return req;
}

/* ---- answers ---- */

static const struct {
    ErrorCode code;
    uint16_t status;
    const char *comment;
} failures[] = {
#define DIMSE_STATUS(error, status, comment) {ERR_##error, status, comment},
#include "repository/imaging/dimse_status.def"
#undef DIMSE_STATUS
};
#define DIMSE_STATUS(error, status, comment)                                                       \
    static_assert(sizeof(comment) <= COMMENT_MAX + 1, "fits into Error Comment");
#include "repository/imaging/dimse_status.def"
#undef DIMSE_STATUS

Str conversation_comment(Request *req, Str text)
{
    Str cut = str_slice(text, 0, COMMENT_MAX);
    char *bytes = str_cstr(req->arena, cut);
    for (size_t i = 0; i < cut.len; i++) {
        bytes[i] = bytes[i] >= ' ' && bytes[i] <= '~' && bytes[i] != '\\' ? bytes[i] : '?';
    }
    return str_printf(req->arena, "%s [%s]", bytes, req->ref);
}

DimseAnswer conversation_failure(Request *req)
{
    const Error *error = req->errors.first;
    ErrorCode code = error ? error->code : ERR_XDS_REPOSITORY_ERROR;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        if (failures[i].code == code) {
            bool is_fixed = failures[i].comment[0] || !error;
            Str text = is_fixed ? str_from(failures[i].comment) : error->context;
            return (DimseAnswer){failures[i].status, conversation_comment(req, text)};
        }
    }
    return (DimseAnswer){DIMSE_OTHER, conversation_comment(req, STR(DIMSE_OTHER_COMMENT))};
}

ConversationState conversation_answer(DicomConversation *conversation, const DimseAnswer *answer)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put_number(&fields, WORKER_STATUS, answer->status);
    if (!str_is_empty(answer->comment)) {
        worker_put(&fields, WORKER_COMMENT, answer->comment);
    }
    return worker_say(conversation->worker.control, WORKER_SAYS_STATUS, strbuf_str(&fields))
               ? CONVERSATION_OPEN
               : CONVERSATION_OVER;
}

void conversation_record_failure(DicomConversation *conversation, Request *req, AuditEventType type)
{
    AuditEvent event = {.type = type};
    audit_event_refuse(req, &event);
    if (req->errors.first && req->errors.first->code == ERR_FORBIDDEN) {
        event = audit_refused_message(req);
    }
    (void)!audit_record_event(conversation->imaging->config.audit, req, &event);
}

int conversation_check_right(Request *req, const char *transaction)
{
    if (access_may_use(req->principal, transaction)) {
        return 0;
    }
    req->refusal = rejections[REJECTION_RIGHTS].word;
    return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                     "this node has no right to %s: ask the operator for musubi node add "
                     "--transactions",
                     transaction);
}

/* ---- association ---- */

/** Counts it among those of its node. @return false: there are too many */
static bool enlist(DicomConversation *conversation, const Principal *principal)
{
    Imaging *imaging = conversation->imaging;
    unsigned count = 0;
    pthread_mutex_lock(&imaging->conversations_lock);
    for (const DicomConversation *other = imaging->conversations; other; other = other->next) {
        count += other->node == principal->node_id;
    }
    bool has_room = count < ASSOCIATIONS_MAX;
    if (has_room) {
        conversation->node = principal->node_id;
        conversation->next = imaging->conversations;
        imaging->conversations = conversation;
    }
    pthread_mutex_unlock(&imaging->conversations_lock);
    return has_room;
}

static void delist(DicomConversation *conversation)
{
    Imaging *imaging = conversation->imaging;
    pthread_mutex_lock(&imaging->conversations_lock);
    DicomConversation **at = &imaging->conversations;
    while (*at && *at != conversation) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = conversation->next;
    }
    pthread_mutex_unlock(&imaging->conversations_lock);
}

static bool may_do_anything(const Principal *principal)
{
    static const char *const transactions[] = {"RAD-8", "RAD-10", "RAD-14", "RAD-16"};
    bool may = false;
    for (size_t i = 0; i < ARRAY_LEN(transactions); i++) {
        may = may || access_may_use(principal, transactions[i]);
    }
    return may;
}

/** REJECTION_COUNT: it is welcome. */
static Rejection judge(DicomConversation *conversation, const Principal *principal, Str called,
                       Str calling)
{
    Imaging *imaging = conversation->imaging;
    if (!str_equal(called, str_from(imaging->config.ae_title))) {
        return REJECTION_CALLED_AE;
    }
    if (!principal || !may_do_anything(principal)) {
        return REJECTION_RIGHTS;
    }
    conversation->principal =
        conversation->peer.principal(conversation->peer.ctx, conversation->arena);
    conversation->ae = ae_directory_find(imaging->aes, conversation->arena, principal, calling);
    if (!conversation->ae) {
        return REJECTION_CALLING_AE;
    }
    return enlist(conversation, principal) ? REJECTION_COUNT : REJECTION_CROWD;
}

/** The refusal in audit trail and journal. */
static void record_rejection(DicomConversation *conversation, Request *req, Rejection rejection)
{
    req->refusal = rejections[rejection].word;
    error_add(&req->errors, ERR_FORBIDDEN, NULL, "%s", rejections[rejection].text);
    AuditEvent event = audit_refused_message(req);
    event.outcome_text = str_from(rejections[rejection].text);
    (void)!audit_record_event(conversation->imaging->config.audit, req, &event);
    conversation->peer.finished(conversation->peer.ctx, req, false);
}

static ConversationState associate(DicomConversation *conversation)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    WorkerMessageKind kind;
    int rc =
        worker_hear(conversation->worker.control, clock_now_ns() + ASSOCIATE_TIMEOUT_MS * NS_PER_MS,
                    &kind, &conversation->heard);
    if (rc <= 0 || kind != WORKER_SAYS_ASSOCIATE) {
        return CONVERSATION_OVER;
    }
    Request *req = new_request(conversation, "DICOM");
    Str heard = strbuf_str(&conversation->heard);
    req->reply_to = str_shown(req->arena, worker_get(heard, WORKER_CALLING_AE));
    conversation->contexts = str_dup(conversation->arena, heard);
    Rejection rejection = judge(conversation, req->principal, worker_get(heard, WORKER_CALLED_AE),
                                worker_get(heard, WORKER_CALLING_AE));
    if (rejection != REJECTION_COUNT) {
        worker_put_number(&fields, WORKER_REJECTION, rejections[rejection].code);
        record_rejection(conversation, req, rejection);
    } else { /* or a node that was once rejected would never be well again */
        conversation->peer.finished(conversation->peer.ctx, req, true);
    }
    request_free(req);
    bool is_said =
        worker_say(conversation->worker.control, WORKER_SAYS_ACCEPT, strbuf_str(&fields));
    return is_said ? CONVERSATION_OPEN : CONVERSATION_OVER;
}

/* ---- requests ---- */

static ConversationState answer_request(DicomConversation *conversation, WorkerMessageKind kind)
{
    static const DimseAnswer not_served = {0x0122, STR_INIT("not served here")};
    if (!conversation->ae || !requests[kind].answer) {
        return conversation_answer(conversation, &not_served);
    }
    Request *req = new_request(conversation, requests[kind].transaction);
    if (!req->principal) {
        request_free(req);
        return CONVERSATION_OVER;
    }
    atomic_store(&conversation->is_busy, true);
    ConversationState state = requests[kind].answer(conversation, req);
    atomic_store(&conversation->is_busy, false);
    conversation->peer.finished(conversation->peer.ctx, req, !error_list_has_errors(&req->errors));
    request_free(req);
    return state;
}

static ConversationState hear_and_answer(DicomConversation *conversation)
{
    WorkerMessageKind kind;
    int rc = worker_hear(conversation->worker.control, clock_now_ns() + IDLE_TIMEOUT_MS * NS_PER_MS,
                         &kind, &conversation->heard);
    if (rc <= 0 || kind == WORKER_SAYS_RELEASED || kind == WORKER_SAYS_PROBLEM) {
        return CONVERSATION_OVER;
    }
    if (kind == WORKER_SAYS_CANCEL) { /* it crossed the answer */
        return CONVERSATION_OPEN;
    }
    return answer_request(conversation, kind);
}

/** What was stored is recorded, whatever ended the association. */
static void end_arrivals(DicomConversation *conversation)
{
    if (!conversation->arrivals) {
        return;
    }
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    req->transaction = "RAD-8";
    req->is_repository = true;
    req->peer_address = str_from(conversation->peer.address);
    req->endpoint = str_from(conversation->imaging->config.ae_title);
    req->reply_to = conversation->ae->title;
    req->principal = conversation->principal;
    if (arrivals_end(conversation->arrivals, req) < 0) {
        log_error("ref=%s event=audit_not_recorded detail=%s", req->ref,
                  log_quote(req->arena, str_from(db_last_failure())));
    }
    request_free(req);
}

static void *converse(void *ctx)
{
    DicomConversation *conversation = ctx;
    ConversationState state = associate(conversation);
    while (state == CONVERSATION_OPEN) {
        state = hear_and_answer(conversation);
    }
    end_arrivals(conversation);
    /* The worker sees the end, and so does who passes its bytes on. */
    (void)shutdown(conversation->worker.control, SHUT_RDWR);
    return NULL;
}

/* ---- start and end ---- */

static void free_conversation(DicomConversation *conversation)
{
    strbuf_done(&conversation->heard);
    arena_free(conversation->arena);
    free(conversation);
}

DicomConversation *imaging_conversation_start(Imaging *imaging, const DicomPeer *peer,
                                              int *ret_socket)
{
    DicomConversation *conversation = HEAP_NEW(DicomConversation);
    conversation->imaging = imaging;
    conversation->peer = *peer;
    conversation->arena = arena_new();
    Request *req = new_request(conversation, "DICOM");
    int rc = dicom_worker_start(imaging->config.workers, &req->errors, JOB_ACCEPTOR, 0,
                                &conversation->worker);
    if (rc == 0 && thread_start(&conversation->thread, converse, conversation) != 0) {
        dicom_worker_end(&conversation->worker);
        rc = error_add(&req->errors, ERR_DICOM_BUSY, NULL, "no thread can be started");
    }
    if (rc < 0) {
        peer->finished(peer->ctx, req, false);
        free_conversation(conversation);
        conversation = NULL;
    } else {
        *ret_socket = conversation->worker.peer;
    }
    request_free(req);
    return conversation;
}

bool imaging_conversation_is_busy(const DicomConversation *conversation)
{
    return atomic_load(&conversation->is_busy);
}

void imaging_conversation_end(DicomConversation *conversation)
{
    /* An end that the worker sees: it says so, and the thread with it. */
    (void)shutdown(conversation->worker.peer, SHUT_RDWR);
    (void)pthread_join(conversation->thread, NULL);
    delist(conversation);
    dicom_worker_end(&conversation->worker);
    free_conversation(conversation);
}
