#include "repository/imaging/outgoing.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"
#include "lib/tls/connection.h"

#define NS_PER_MS INT64_C(1000000)
#define CONNECT_TIMEOUT_MS 10000 /* TCP and TLS */
#define ASSOCIATE_TIMEOUT_MS 35000
#define RELEASE_TIMEOUT_MS 5000
#define ORDER_TIMEOUT_MS 60000
/** Without a byte either way: a receiver may take its time over a large instance. */
#define SILENCE_MS 180000
/** Until a peer takes what was sent. */
#define WRITE_TIMEOUT_MS 30000
#define BUFFER_BYTES ((size_t)64 << 10)
#define PROBLEM_BYTES 600

struct Outgoing {
    SSL_CTX *context; /* NULL: plain */
    char *host;
    char *fingerprint;
    TlsPeer peer;
    TlsConnection connection;
    WorkerProcess worker;
    pthread_t thread;
    StrBuf heard;
    StrBuf contexts;
};

/* ---- bytes ---- */

/** @return false: the peer has ended */
static bool pass_in(Outgoing *outgoing, char *buffer)
{
    size_t count = 0;
    do {
        if (!tls_connection_take(&outgoing->connection, buffer, BUFFER_BYTES, &count)) {
            return false;
        }
        for (size_t sent = 0; sent < count;) {
            ssize_t rc = send(outgoing->worker.peer, buffer + sent, count - sent, MSG_NOSIGNAL);
            if (rc <= 0 && errno != EINTR) {
                return false;
            }
            sent += rc > 0 ? (size_t)rc : 0;
        }
    } while (count > 0);
    return true;
}

/** @return false: the worker has ended, or the peer takes nothing */
static bool pass_out(Outgoing *outgoing, char *buffer)
{
    ssize_t len = recv(outgoing->worker.peer, buffer, BUFFER_BYTES, MSG_DONTWAIT);
    if (len < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    return len > 0 && tls_connection_write(&outgoing->connection, (Str){buffer, (size_t)len},
                                           clock_now_ns() + WRITE_TIMEOUT_MS * NS_PER_MS);
}

static void *relay(void *ctx)
{
    Outgoing *outgoing = ctx;
    struct pollfd sides[] = {{.fd = outgoing->connection.socket, .events = POLLIN},
                             {.fd = outgoing->worker.peer, .events = POLLIN}};
    char *buffer = malloc(BUFFER_BYTES);
    bool is_open = buffer != NULL;
    while (is_open) {
        int rc = poll(sides, ARRAY_LEN(sides), SILENCE_MS);
        is_open = rc > 0 || (rc < 0 && errno == EINTR);
        if (rc > 0 && sides[0].revents) {
            is_open = pass_in(outgoing, buffer);
        }
        if (rc > 0 && is_open && sides[1].revents) {
            is_open = pass_out(outgoing, buffer);
        }
    }
    /* The worker sees the end, and whoever waits for it. */
    (void)shutdown(outgoing->worker.peer, SHUT_RDWR);
    (void)shutdown(outgoing->connection.socket, SHUT_RDWR);
    free(buffer);
    return NULL;
}

/* ---- opening ---- */

static void free_connection(Outgoing *outgoing)
{
    tls_connection_close(&outgoing->connection);
    SSL_CTX_free(outgoing->context);
    strbuf_done(&outgoing->heard);
    strbuf_done(&outgoing->contexts);
    free(outgoing->host);
    free(outgoing->fingerprint);
    free(outgoing);
}

static int add_problem(Request *req, const Ae *to, const char *problem)
{
    return error_add(&req->errors, ERR_DICOM_PEER, NULL, "AE %.*s: %s", STR_ARG(to->title),
                     problem);
}

static int connect_to(Outgoing *outgoing, Request *req, const OutgoingSide *side, const Ae *to)
{
    char problem[PROBLEM_BYTES];
    char port[8];
    if (str_is_empty(to->host)) {
        return add_problem(req, to, "has no address here: musubi ae add --address");
    }
    if (to->is_tls && !side->tls) {
        return add_problem(req, to, "TLS needs tls_certificate, tls_key and tls_ca");
    }
    if (to->is_tls) {
        outgoing->context = tls_client_context(side->tls, problem, sizeof(problem));
    }
    if (to->is_tls && !outgoing->context) {
        return add_problem(req, to, problem);
    }
    outgoing->host = heap_text(to->host);
    outgoing->fingerprint = heap_text(to->fingerprint);
    outgoing->peer = (TlsPeer){outgoing->host, outgoing->fingerprint};
    (void)snprintf(port, sizeof(port), "%u", (unsigned)to->port & 0xffff);
    if (!tls_connection_open(&outgoing->connection, outgoing->context, &outgoing->peer, port,
                             clock_now_ns() + CONNECT_TIMEOUT_MS * NS_PER_MS, problem,
                             sizeof(problem))) {
        return add_problem(req, to, problem);
    }
    return 0;
}

static int start(Outgoing *outgoing, Request *req, const OutgoingSide *side)
{
    int rc = dicom_worker_start(side->workers, &req->errors, JOB_REQUESTOR, 0, &outgoing->worker);
    if (rc == 0 && thread_start(&outgoing->thread, relay, outgoing) != 0) {
        dicom_worker_end(&outgoing->worker);
        rc = error_add(&req->errors, ERR_DICOM_BUSY, NULL, "no thread can be started");
    }
    return rc;
}

static bool say_request(const Outgoing *outgoing, const OutgoingSide *side, const Ae *to,
                        const Str *contexts, size_t count)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put(&fields, WORKER_CALLING_AE, str_from(side->ae_title));
    worker_put(&fields, WORKER_CALLED_AE, to->title);
    for (size_t i = 0; i < count; i++) {
        worker_put(&fields, WORKER_CONTEXT, contexts[i]);
    }
    return worker_say(outgoing->worker.control, WORKER_SAYS_REQUEST, strbuf_str(&fields));
}

/** Why a peer rejects, where the operator can do something about it (PS3.8 Table 9-21). */
static const char *rejection_text(uint64_t rejection)
{
    static const struct {
        uint8_t source;
        uint8_t reason;
        const char *text;
    } texts[] = {
        {1, 3, "it does not know our AE title: register it there"},
        {1, 7, "it is called by another AE title: musubi ae add with that"},
        {3, 1, "it is congested: try again later"},
        {3, 2, "it has no more room for associations: try again later"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].source == (rejection >> 8 & 0xff) && texts[i].reason == (rejection & 0xff)) {
            return texts[i].text;
        }
    }
    return "it rejects the association";
}

static int hear_associated(Outgoing *outgoing, Request *req, const Ae *to)
{
    WorkerMessageKind kind;
    uint64_t rejection = 0;
    int rc =
        worker_hear(outgoing->worker.control, clock_now_ns() + ASSOCIATE_TIMEOUT_MS * NS_PER_MS,
                    &kind, &outgoing->heard);
    Str heard = strbuf_str(&outgoing->heard);
    if (rc <= 0 || kind != WORKER_SAYS_ASSOCIATED) {
        return add_problem(req, to, "does not answer as DICOM does");
    }
    if (worker_get_number(heard, WORKER_REJECTION, &rejection)) {
        return add_problem(req, to, rejection_text(rejection));
    }
    if (!str_is_empty(worker_get(heard, WORKER_TEXT))) {
        return add_problem(req, to, str_cstr(req->arena, worker_get(heard, WORKER_TEXT)));
    }
    strbuf_append(&outgoing->contexts, heard);
    return 0;
}

int outgoing_open(const OutgoingSide *side, Request *req, const Ae *to, const Str *contexts,
                  size_t count, Outgoing **ret_outgoing)
{
    Outgoing *outgoing = HEAP_NEW(Outgoing);
    outgoing->connection = TLS_CONNECTION_NONE;
    int rc = connect_to(outgoing, req, side, to);
    rc = rc < 0 ? rc : start(outgoing, req, side);
    if (rc < 0) {
        free_connection(outgoing);
        return rc;
    }
    rc = say_request(outgoing, side, to, contexts, count)
             ? hear_associated(outgoing, req, to)
             : error_add(&req->errors, ERR_DICOM_WORKER, NULL, "the worker process ended");
    if (rc < 0) {
        outgoing_abort(outgoing);
        return rc;
    }
    *ret_outgoing = outgoing;
    return 0;
}

/* ---- orders ---- */

Str outgoing_contexts(const Outgoing *outgoing)
{
    return strbuf_str(&outgoing->contexts);
}

int outgoing_control(const Outgoing *outgoing)
{
    return outgoing->worker.control;
}

int outgoing_order(Outgoing *outgoing, Request *req, WorkerMessageKind order, Str fields,
                   uint16_t *ret_status)
{
    WorkerMessageKind kind = WORKER_SAYS_PROBLEM;
    uint64_t status = 0;
    bool is_said = worker_say(outgoing->worker.control, order, fields);
    int rc = is_said ? worker_hear(outgoing->worker.control,
                                   clock_now_ns() + ORDER_TIMEOUT_MS * NS_PER_MS, &kind,
                                   &outgoing->heard)
                     : 0;
    if (rc <= 0 || kind != WORKER_SAYS_OUTCOME ||
        !worker_get_number(strbuf_str(&outgoing->heard), WORKER_STATUS, &status)) {
        return error_add(&req->errors, ERR_DICOM_PEER, NULL,
                         "the association ended before the "
                         "answer");
    }
    *ret_status = (uint16_t)status;
    return 0;
}

/* ---- the end ---- */

void outgoing_abort(Outgoing *outgoing)
{
    if (!outgoing) {
        return;
    }
    /* What the thread waits for ends. */
    (void)shutdown(outgoing->worker.peer, SHUT_RDWR);
    (void)shutdown(outgoing->connection.socket, SHUT_RDWR);
    (void)pthread_join(outgoing->thread, NULL);
    dicom_worker_end(&outgoing->worker);
    free_connection(outgoing);
}

void outgoing_release(Outgoing *outgoing)
{
    WorkerMessageKind kind;
    if (worker_say(outgoing->worker.control, WORKER_SAYS_RELEASE, STR_EMPTY)) {
        (void)!worker_hear(outgoing->worker.control,
                           clock_now_ns() + RELEASE_TIMEOUT_MS * NS_PER_MS, &kind,
                           &outgoing->heard);
    }
    outgoing_abort(outgoing);
}

int outgoing_echo(const OutgoingSide *side, Request *req, const Ae *to)
{
    static const Str context = STR_INIT("1.2.840.10008.1.1 1.2.840.10008.1.2");
    Outgoing *outgoing = NULL;
    uint16_t status = 0;
    int rc = outgoing_open(side, req, to, &context, 1, &outgoing);
    if (rc < 0) {
        return rc;
    }
    rc = outgoing_order(outgoing, req, WORKER_SAYS_ECHO, STR_EMPTY, &status);
    outgoing_release(outgoing);
    if (rc == 0 && status != 0) {
        rc = error_add(&req->errors, ERR_DICOM_PEER, NULL,
                       "AE %.*s answers C-ECHO with status %04X", STR_ARG(to->title), status);
    }
    return rc;
}
