/* Bytes of a peer into the worker that accepts associations (PS3.8, PS3.7): DCMTK's upper layer,
 * our messages, identifiers and data sets. The server's side is played by a thread that says yes to
 * everything. */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/macros.h"
#include "lib/dicom/worker_fields.h"
#include "lib/dicom/worker_main.h"

#include "tests/fuzz/fuzz.h"

#define PEER_BYTES_MAX (64U << 10) /* what a socket takes without a reader */

/** DCMTK forgets to free some of what it read of a broken request: the process ends with it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libdcmnet";
}

/** The other ends of the worker's sockets. */
typedef struct Server {
    int control;
    int peer;
} Server;

static void say_status(int control, uint64_t status)
{
    StrBuf fields = {0};
    worker_put_number(&fields, WORKER_STATUS, status);
    worker_put_number(&fields, WORKER_COMPLETED, 1);
    worker_put(&fields, WORKER_FAILED_INSTANCE, STR("1.2.3"));
    (void)worker_say(control, WORKER_SAYS_STATUS, strbuf_str(&fields));
    strbuf_done(&fields);
}

static void say_match(int control)
{
    StrBuf fields = {0};
    worker_put(&fields, WORKER_KEY, STR("00100010PN\xe5\xb1\xb1\xe7\x94\xb0"));
    (void)worker_say(control, WORKER_SAYS_MATCH, strbuf_str(&fields));
    say_status(control, 0);
    strbuf_done(&fields);
}

/** A sub-operation of C-GET. */
static void say_instance(int control)
{
    StrBuf fields = {0};
    worker_put(&fields, WORKER_SOP_CLASS, STR("1.2.840.10008.5.1.4.1.1.2"));
    worker_put(&fields, WORKER_SOP_INSTANCE, STR("1.2.3"));
    worker_put(&fields, WORKER_TRANSFER_SYNTAX, STR("1.2.840.10008.1.2"));
    (void)worker_say(control, WORKER_SAYS_SEND, strbuf_str(&fields));
    (void)worker_say(control, WORKER_SAYS_DATA_OUT, STR("\x08\0\x05\0\0\0\0\0"));
    (void)worker_say(control, WORKER_SAYS_SENT, STR_EMPTY);
    strbuf_done(&fields);
}

static void answer(int control, WorkerMessageKind kind)
{
    if (kind == WORKER_SAYS_ASSOCIATE) {
        (void)worker_say(control, WORKER_SAYS_ACCEPT, STR_EMPTY);
    } else if (kind == WORKER_SAYS_FIND) {
        say_match(control);
    } else if (kind == WORKER_SAYS_GET) {
        say_instance(control);
    } else if (kind == WORKER_SAYS_MOVE || kind == WORKER_SAYS_OUTCOME) {
        say_status(control, 0xB000);
    } else if (kind == WORKER_SAYS_STORED || kind == WORKER_SAYS_COMMIT) {
        say_status(control, 0);
    }
}

static void *serve(void *ctx)
{
    const Server *server = ctx;
    StrBuf content = {0};
    char ignored[4096];
    struct pollfd sides[] = {{.fd = server->control, .events = POLLIN},
                             {.fd = server->peer, .events = POLLIN}};
    WorkerMessageKind kind;
    bool is_open = true;

    while (is_open) {
        (void)poll(sides, ARRAY_LEN(sides), -1);
        if (sides[1].revents && read(server->peer, ignored, sizeof(ignored)) <= 0) {
            sides[1].fd = -1;
        }
        if (sides[0].revents) {
            is_open = worker_hear(server->control, INT64_MAX, &kind, &content) == 1;
            FUZZ_CHECK(!is_open || kind < WORKER_SAYS_COUNT);
            if (is_open) {
                answer(server->control, kind);
            }
        }
    }
    strbuf_done(&content);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static bool is_prepared;
    int control[2];
    int peer[2];
    pthread_t thread;

    if (!is_prepared) {
        is_prepared = true;
        (void)signal(SIGPIPE, SIG_IGN);
        worker_prepare();
    }
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, control) == 0);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, peer) == 0);
    len = MIN(len, PEER_BYTES_MAX);
    FUZZ_CHECK(write(peer[0], bytes, len) == (ssize_t)len);
    FUZZ_CHECK(shutdown(peer[0], SHUT_WR) == 0);
    Server server = {control[0], peer[0]};
    FUZZ_CHECK(pthread_create(&thread, NULL, serve, &server) == 0);
    worker_accept(control[1], peer[1]);
    (void)close(control[1]);
    (void)close(peer[1]); /* where no association came about, it is open still */
    (void)pthread_join(thread, NULL);
    (void)close(control[0]);
    (void)close(peer[0]);
    return 0;
}
