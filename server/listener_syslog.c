#include "server/listener_syslog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "atna/syslog_frame.h"
#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

#define READ_BYTES ((size_t)64 << 10)
#define DATAGRAM_BYTES ((size_t)65536)
/** What may wait in the kernel while we write. */
#define DATAGRAM_ROOM_BYTES (8 << 20)
#define NS_PER_S INT64_C(1000000000)

/** A sender that is silent for days loses the next message if we had closed meanwhile: a dead one
 * is found by TCP keep-alive. */
#define IDLE_NS (7 * 86400 * NS_PER_S)
/** For a frame that has begun. */
#define FRAME_NS (60 * NS_PER_S)
#define RATE_GRACE_NS (10 * NS_PER_S)
#define MIN_BYTES_PER_S 1024
/** How often an open connection is asked whether its node still may. */
#define RECHECK_NS (10 * NS_PER_S)
#define NO_ROOM_PAUSE_MS 200
#define DROP_LOG_EVERY_NS (60 * NS_PER_S)

static const char transaction[] = "ITI-20";

struct SyslogListener {
    SyslogListenerConfig config;
    StreamListener *stream; /* NULL: off */
    int udp_fd;             /* -1: off */
    int stop_fd;            /* an eventfd that stays readable once the listener is to stop */
    SocketNetwork *allowed;
    size_t allowed_count;
    bool has_udp_thread;
    pthread_t udp_thread;
    atomic_uint_fast64_t dropped;
    int64_t drop_logged_ns;
};

/* ---- TLS ---- */

/** One connection, on its thread. */
typedef struct Conversation {
    const SyslogListener *listener;
    const StreamConnection *stream;
    Arena *arena; /* of the sender */
    AuditSender sender;
    Str sender_text;
    AuditParcel parcel;
    SyslogFramer framer;
    int64_t idle_deadline_ns;
    int64_t frame_began_ns; /* 0: between frames */
    size_t frame_bytes;     /* read since then */
    int64_t recheck_ns;
    uint64_t message_count;
} Conversation;

/** Who the peer is now: a node may be revoked while it is connected. */
static bool check_sender(Conversation *conversation)
{
    if (clock_now_ns() < conversation->recheck_ns) {
        return true;
    }
    arena_clear(conversation->arena);
    const Principal *principal = stream_principal(conversation->stream, conversation->arena);
    if (!stream_may_go_on(conversation->stream, principal)) {
        return false;
    }
    conversation->sender = (AuditSender){
        .transport = AUDIT_TLS,
        .node = principal->node_id > 0 ? principal->node_name : principal->certificate_subject,
        .address = str_from(stream_address(conversation->stream)),
    };
    conversation->sender_text = audit_sender_text(conversation->arena, &conversation->sender);
    conversation->recheck_ns = clock_now_ns() + RECHECK_NS;
    return true;
}

/** Waits for room as long as there is none. @return false: the listener stops, and the messages
 * are the sender's again */
static bool take_parcel(Conversation *conversation)
{
    bool has_waited = false;
    conversation->message_count += conversation->parcel.message_count;
    while (audit_repository_receive(conversation->listener->config.repository,
                                    &conversation->parcel) < 0) {
        if (!has_waited) {
            log_warn("event=syslog_waits peer=%s msg=\"the spool of received audit messages takes "
                     "nothing; the socket is not read\"",
                     stream_address(conversation->stream));
        }
        has_waited = true;
        if (!stream_pause(conversation->stream, NO_ROOM_PAUSE_MS)) {
            return false;
        }
    }
    return true;
}

static bool take_message(Conversation *conversation, Str message, uint64_t defects)
{
    audit_parcel_add(&conversation->parcel, conversation->sender_text, defects, message);
    conversation->frame_began_ns = 0;
    return conversation->parcel.frames.len < AUDIT_PARCEL_BYTES || take_parcel(conversation);
}

/** By when the next bytes must be here. */
static int64_t read_deadline(const Conversation *conversation)
{
    if (conversation->frame_began_ns == 0) {
        return conversation->idle_deadline_ns;
    }
    int64_t by_rate = conversation->frame_began_ns + RATE_GRACE_NS +
                      (int64_t)conversation->frame_bytes * NS_PER_S / MIN_BYTES_PER_S;
    return MIN(conversation->frame_began_ns + FRAME_NS, by_rate);
}

static void log_end(const Conversation *conversation, const char *why)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    log_warn("event=syslog_closed peer=%s node=%s messages=%llu problem=%s",
             stream_address(conversation->stream), log_quote(arena, conversation->sender.node),
             (unsigned long long)conversation->message_count, log_quote(arena, str_from(why)));
}

/** Takes the bytes that were read, and those that are here already, up to the room for them. */
static void take_bytes(Conversation *conversation, char *room, size_t len)
{
    size_t more = len;
    while (more > 0 && len < READ_BYTES) {
        more = stream_read_more(conversation->stream, room + len, READ_BYTES - len);
        len += more;
    }
    syslog_framer_add(&conversation->framer, len);
    conversation->frame_bytes += len;
}

/** Reads the next bytes. @return whether the conversation goes on */
static bool read_more(Conversation *conversation)
{
    size_t len = 0;
    if (syslog_framer_is_in_frame(&conversation->framer)) {
        if (conversation->frame_began_ns == 0) {
            conversation->frame_began_ns = clock_now_ns();
            conversation->frame_bytes = 0;
        }
    } else {
        conversation->frame_began_ns = 0;
        conversation->idle_deadline_ns = clock_now_ns() + IDLE_NS;
    }
    int64_t deadline_ns = read_deadline(conversation);
    for (;;) {
        char *room = syslog_framer_reserve(&conversation->framer, READ_BYTES);
        StreamEnd end = stream_read(conversation->stream, room, READ_BYTES,
                                    MIN(deadline_ns, clock_now_ns() + RECHECK_NS), &len);
        if (end == STREAM_DONE) {
            take_bytes(conversation, room, len);
            return check_sender(conversation);
        }
        if (end == STREAM_TIMED_OUT && clock_now_ns() < deadline_ns) {
            if (check_sender(conversation)) {
                continue;
            }
            return false;
        }
        if (conversation->frame_began_ns > 0 && end != STREAM_STOPPED) {
            log_end(conversation, end == STREAM_TIMED_OUT
                                      ? "a frame arrived too slowly"
                                      : "the connection ended within a frame, which is not kept");
        }
        return false;
    }
}

static void converse(void *ctx, const StreamConnection *stream)
{
    const SyslogListener *listener = ctx;
    Conversation conversation = {.listener = listener, .stream = stream, .arena = arena_new()};
    bool goes_on = check_sender(&conversation);
    while (goes_on) {
        Str message = STR_EMPTY;
        uint64_t defects = 0;
        const char *problem = "";
        switch (syslog_framer_next(&conversation.framer, &message, &defects, &problem)) {
        case SYSLOG_FRAME_MORE:
            goes_on = take_parcel(&conversation) && read_more(&conversation);
            break;
        case SYSLOG_FRAME_MESSAGE:
            goes_on = take_message(&conversation, message, defects);
            break;
        case SYSLOG_FRAME_BROKEN:
            (void)take_parcel(&conversation);
            log_end(&conversation, problem);
            goes_on = false;
            break;
        }
    }
    audit_parcel_done(&conversation.parcel);
    syslog_framer_done(&conversation.framer);
    arena_free(conversation.arena);
}

/* ---- UDP ---- */

static bool is_allowed(const SyslogListener *listener, const struct sockaddr_storage *from)
{
    for (size_t i = 0; i < listener->allowed_count; i++) {
        if (socket_network_has(&listener->allowed[i], from)) {
            return true;
        }
    }
    return false;
}

/** Whoever can send a datagram can send many: one line a minute. */
static void drop_datagram(SyslogListener *listener, const SocketAddress *address)
{
    uint64_t count = atomic_fetch_add(&listener->dropped, 1) + 1;
    int64_t now_ns = clock_now_ns();
    if (listener->drop_logged_ns == 0 || now_ns - listener->drop_logged_ns > DROP_LOG_EVERY_NS) {
        listener->drop_logged_ns = now_ns;
        log_warn("event=syslog_udp_dropped peer=%s dropped=%llu msg=\"not in [audit] "
                 "syslog_udp_allow\"",
                 address->text, (unsigned long long)count);
    }
}

/** @return false: the listener is to stop */
static bool pause_udp(const SyslogListener *listener)
{
    struct pollfd stop = {.fd = listener->stop_fd, .events = POLLIN};
    return poll(&stop, 1, NO_ROOM_PAUSE_MS) <= 0;
}

/** One datagram is one message (RFC 5426 3.1). */
static void take_datagram(SyslogListener *listener, char *buffer)
{
    struct sockaddr_storage from = {0};
    socklen_t from_len = sizeof(from);
    ssize_t len = recvfrom(listener->udp_fd, buffer, DATAGRAM_BYTES, MSG_DONTWAIT | MSG_TRUNC,
                           (struct sockaddr *)&from, &from_len);
    if (len <= 0) {
        return; /* nothing there, or an empty datagram */
    }
    SocketAddress address = socket_address(&from);
    if (!is_allowed(listener, &from)) {
        drop_datagram(listener, &address);
        return;
    }
    const AuditSender sender = {.transport = AUDIT_UDP, .address = str_from(address.text)};
    _cleanup_(arena_freep) Arena *arena = arena_new();
    _cleanup_(audit_parcel_done) AuditParcel parcel = {0};
    bool is_cut = (size_t)len > DATAGRAM_BYTES;
    uint64_t defects = is_cut ? AUDIT_DEFECT_BIT(AUDIT_DEFECT_TRUNCATED) : 0;
    Str message = {buffer, MIN((size_t)len, DATAGRAM_BYTES)};
    audit_parcel_add(&parcel, audit_sender_text(arena, &sender), defects, message);
    while (audit_repository_receive(listener->config.repository, &parcel) < 0 &&
           pause_udp(listener)) {
    }
}

static void *udp_run(void *ctx)
{
    SyslogListener *listener = ctx;
    char *buffer = heap_room(DATAGRAM_BYTES);
    struct pollfd fds[] = {{.fd = listener->udp_fd, .events = POLLIN},
                           {.fd = listener->stop_fd, .events = POLLIN}};
    while (fds[1].revents == 0) {
        if (poll(fds, ARRAY_LEN(fds), -1) > 0 && fds[0].revents) {
            take_datagram(listener, buffer);
        }
    }
    free(buffer);
    return NULL;
}

/* ---- listener ---- */

static bool bind_tls(SyslogListener *listener, char *ret_problem, size_t problem_size)
{
    StreamListenerConfig *stream = &listener->config.stream;
    stream->transaction = transaction;
    stream->ctx = listener;
    stream->converse = converse;
    listener->stream = stream_listener_bind(stream, ret_problem, problem_size);
    return listener->stream != NULL;
}

static bool bind_udp(SyslogListener *listener, char *ret_problem, size_t problem_size)
{
    int room = DATAGRAM_ROOM_BYTES;
    if (!socket_networks_parse(listener->config.udp_allow, &listener->allowed,
                               &listener->allowed_count)) {
        (void)snprintf(ret_problem, problem_size, "%s is no list of addresses and networks",
                       listener->config.udp_allow);
        return false;
    }
    listener->udp_fd = socket_bind_udp(listener->config.udp_address, ret_problem, problem_size);
    if (listener->udp_fd < 0) {
        return false;
    }
    (void)setsockopt(listener->udp_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    return true;
}

SyslogListener *syslog_listener_bind(const SyslogListenerConfig *config, char *ret_problem,
                                     size_t problem_size)
{
    SyslogListener *listener = HEAP_NEW(SyslogListener);
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0) {
        abort();
    }
    listener->config = *config;
    listener->stop_fd = stop_fd;
    listener->udp_fd = -1;
    bool is_bound = (!config->stream.address[0] || bind_tls(listener, ret_problem, problem_size)) &&
                    (!config->udp_address[0] || bind_udp(listener, ret_problem, problem_size));
    if (!is_bound) {
        syslog_listener_free(listener);
        return NULL;
    }
    return listener;
}

bool syslog_listener_start(SyslogListener *listener, char *ret_problem, size_t problem_size)
{
    if (listener->udp_fd >= 0) {
        int failed = thread_start(&listener->udp_thread, udp_run, listener);
        listener->has_udp_thread = failed == 0;
        if (failed) {
            (void)snprintf(ret_problem, problem_size, "cannot start a thread for %s: %s",
                           listener->config.udp_address, strerror(failed));
            return false;
        }
    }
    return !listener->stream || stream_listener_start(listener->stream, ret_problem, problem_size);
}

void syslog_listener_free(SyslogListener *listener)
{
    uint64_t one = 1;
    if (!listener) {
        return;
    }
    while (write(listener->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    if (listener->has_udp_thread) {
        pthread_join(listener->udp_thread, NULL);
    }
    if (listener->udp_fd >= 0) {
        (void)close(listener->udp_fd);
    }
    stream_listener_free(listener->stream);
    (void)close(listener->stop_fd);
    free(listener->allowed);
    free(listener);
}

uint64_t syslog_listener_dropped(const SyslogListener *listener)
{
    return listener ? atomic_load(&listener->dropped) : 0;
}
