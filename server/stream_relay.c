#include "server/stream_relay.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"

#define BUFFER_BYTES ((size_t)128 << 10)
#define NS_PER_MS INT64_C(1000000)
/** How long an orderly stop waits for what is in work, and how often it looks. */
#define STOP_WAIT_MS 20000
#define STOP_LOOK_MS 50

/** Bytes of one direction. */
typedef struct Pipe {
    char *bytes;
    size_t begin;
    size_t end;
    bool is_ended; /* nothing more comes */
} Pipe;

typedef struct Relaying {
    const StreamConnection *connection;
    const StreamRelay *relay;
    Pipe in;  /* peer to process */
    Pipe out; /* process to peer */
    bool is_over;
    bool has_moved;
    short peer_events; /* waited for */
    short process_events;
    int64_t stop_ns; /* when an orderly stop was noticed; 0: not yet */
} Relaying;

static bool is_empty(const Pipe *pipe)
{
    return pipe->begin == pipe->end;
}

static void pipe_filled(Relaying *relaying, Pipe *pipe, size_t len)
{
    pipe->begin = 0;
    pipe->end = len;
    relaying->has_moved = true;
}

static void pipe_emptied(Relaying *relaying, Pipe *pipe, size_t len)
{
    pipe->begin += len;
    relaying->has_moved = true;
}

/** A sender with Nagle's algorithm waits for this acknowledgement before it sends the rest of its
 * message; the kernel would put it off by 40 ms, and forgets the option again. */
static void acknowledge_at_once(const StreamConnection *connection)
{
    int on = 1;
    (void)setsockopt(stream_socket(connection), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void read_peer(Relaying *relaying)
{
    Pipe *in = &relaying->in;
    size_t len = 0;
    if (in->is_ended || !is_empty(in)) {
        return;
    }
    int events = stream_try_read(relaying->connection, in->bytes, BUFFER_BYTES, &len);
    acknowledge_at_once(relaying->connection);
    if (events == 0) {
        pipe_filled(relaying, in, len);
    } else if (events > 0) {
        relaying->peer_events |= (short)events;
    } else {
        in->is_ended = true;
        (void)shutdown(relaying->relay->socket, SHUT_WR);
    }
}

static void write_process(Relaying *relaying)
{
    Pipe *in = &relaying->in;
    if (is_empty(in)) {
        return;
    }
    ssize_t len = send(relaying->relay->socket, in->bytes + in->begin, in->end - in->begin,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
    if (len > 0) {
        pipe_emptied(relaying, in, (size_t)len);
    } else if (errno == EAGAIN || errno == EINTR) {
        relaying->process_events |= POLLOUT;
    } else { /* it reads no more, but may have said something */
        in->is_ended = true;
        in->begin = in->end;
    }
}

static void read_process(Relaying *relaying)
{
    Pipe *out = &relaying->out;
    if (out->is_ended || !is_empty(out)) {
        return;
    }
    ssize_t len = recv(relaying->relay->socket, out->bytes, BUFFER_BYTES, MSG_DONTWAIT);
    if (len > 0) {
        pipe_filled(relaying, out, (size_t)len);
    } else if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        relaying->process_events |= POLLIN;
    } else {
        out->is_ended = true;
    }
}

static void write_peer(Relaying *relaying)
{
    Pipe *out = &relaying->out;
    size_t len = 0;
    if (is_empty(out)) {
        relaying->is_over = out->is_ended;
        return;
    }
    int events = stream_try_write(relaying->connection,
                                  (Str){out->bytes + out->begin, out->end - out->begin}, &len);
    if (events == 0) {
        pipe_emptied(relaying, out, len);
    } else if (events > 0) {
        relaying->peer_events |= (short)events;
    } else {
        relaying->is_over = true;
    }
}

/** Whether the listener's stop, or silence, ends it. */
static bool is_to_end(Relaying *relaying, bool is_stopping, bool is_silent)
{
    bool is_busy = relaying->relay->is_busy(relaying->relay->ctx);
    int64_t now_ns = clock_now_ns();
    if (is_stopping && relaying->stop_ns == 0) {
        relaying->stop_ns = now_ns;
    }
    if (relaying->stop_ns == 0) {
        return is_silent && !is_busy;
    }
    return !is_busy || now_ns - relaying->stop_ns > STOP_WAIT_MS * NS_PER_MS;
}

static void wait_for_any(Relaying *relaying)
{
    const bool is_stopping = relaying->stop_ns != 0;
    struct pollfd fds[] = {
        {.fd = relaying->peer_events ? stream_socket(relaying->connection) : -1,
         .events = relaying->peer_events},
        {.fd = relaying->process_events ? relaying->relay->socket : -1,
         .events = relaying->process_events},
        {.fd = is_stopping ? -1 : stream_stop_socket(relaying->connection), .events = POLLIN},
    };
    int timeout_ms = is_stopping ? STOP_LOOK_MS : (int)relaying->relay->idle_timeout_ms;
    int ready = poll(fds, ARRAY_LEN(fds), timeout_ms);
    if (ready < 0 && errno != EINTR) {
        relaying->is_over = true;
    } else if (ready == 0 || is_stopping || fds[2].revents) {
        relaying->is_over = is_to_end(relaying, fds[2].revents != 0, ready == 0);
    }
}

void stream_relay_run(const StreamConnection *connection, const StreamRelay *relay)
{
    Relaying relaying = {
        .connection = connection,
        .relay = relay,
        .in = {.bytes = heap_room(BUFFER_BYTES)},
        .out = {.bytes = heap_room(BUFFER_BYTES)},
    };
    while (!relaying.is_over) {
        relaying.has_moved = false;
        relaying.peer_events = relaying.process_events = 0;
        read_peer(&relaying);
        write_process(&relaying);
        read_process(&relaying);
        write_peer(&relaying);
        if (!relaying.has_moved && !relaying.is_over) {
            wait_for_any(&relaying);
        }
    }
    free(relaying.in.bytes);
    free(relaying.out.bytes);
}
