#include "server/watchdog.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"

#define SECOND_NS 1000000000LL
/** A body or reply must move this much in every window. */
#define WINDOW_S 25
#define MINIMUM_BYTES_PER_S 1024
#define HEADERS_S 10

typedef enum Measure {
    MEASURE_NOTHING,  /* the deadline of the phase alone */
    MEASURE_ARRIVAL,  /* of the next request, before its first line is whole */
    MEASURE_RECEIVED, /* rate of what the peer sends */
    MEASURE_ACKED,    /* rate of what the peer takes */
} Measure;

static const struct {
    int64_t limit_s; /* 0: none here */
    Measure measure;
} phases[] = {
    [WATCH_HANDSHAKE] = {20, MEASURE_NOTHING},      [WATCH_IDLE] = {300, MEASURE_ARRIVAL},
    [WATCH_HEADERS] = {HEADERS_S, MEASURE_NOTHING}, [WATCH_BODY] = {0, MEASURE_RECEIVED},
    [WATCH_HANDLING] = {0, MEASURE_NOTHING},        [WATCH_REPLY] = {0, MEASURE_ACKED},
};

struct Watchdog {
    Worker worker;
    pthread_mutex_t lock; /* guards what follows */
    unsigned count;
    Watched *first;
};

/** What the kernel has counted on a socket. */
typedef struct Traffic {
    uint64_t bytes;     /* received, or acknowledged by the peer */
    bool is_peers_turn; /* nothing waits for us to read; or bytes of ours wait for the peer */
} Traffic;

/**
 * The kernel's counters, not ours: what we have written may wait in its buffers for hours. @return
 * false if it does not tell
 */
static bool read_traffic(int fd, Measure measure, Traffic *ret_traffic)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    int waiting = 0;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        len < offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof(info.tcpi_notsent_bytes)) {
        return false;
    }
    ret_traffic->bytes =
        measure == MEASURE_ACKED ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
    ret_traffic->is_peers_turn = measure == MEASURE_ACKED
                                     ? info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0
                                     : ioctl(fd, FIONREAD, &waiting) == 0 && waiting == 0;
    return true;
}

static void begin_window(Watched *watched, int64_t now_ns, uint64_t bytes)
{
    watched->has_window = true;
    watched->window_began_ns = now_ns;
    watched->window_bytes = bytes;
}

/** Whether too little has moved since the window began, by the peer's fault. */
static bool is_stalled(Watched *watched, int64_t now_ns, const Traffic *traffic)
{
    uint64_t moved = traffic->bytes - watched->window_bytes;
    if (now_ns - watched->window_began_ns < WINDOW_S * SECOND_NS) {
        return false;
    }
    begin_window(watched, now_ns, traffic->bytes);
    return traffic->is_peers_turn && moved < WINDOW_S * MINIMUM_BYTES_PER_S;
}

/** Whether a request line began to arrive and does not end: it has the time of the headers. */
static bool is_dribbling(Watched *watched, int64_t now_ns, const Traffic *traffic)
{
    if (!watched->has_arrival && traffic->bytes != watched->window_bytes) {
        watched->has_arrival = true;
        watched->window_began_ns = now_ns;
    }
    return watched->has_arrival && now_ns - watched->window_began_ns > HEADERS_S * SECOND_NS;
}

static bool is_too_slow(Watched *watched, int64_t now_ns)
{
    const int64_t limit_s = phases[watched->phase].limit_s;
    const Measure measure = phases[watched->phase].measure;
    Traffic traffic;
    if (limit_s > 0 && now_ns - watched->phase_began_ns > limit_s * SECOND_NS) {
        return true;
    }
    if (measure == MEASURE_NOTHING || !read_traffic(watched->fd, measure, &traffic)) {
        return false;
    }
    if (!watched->has_window) {
        begin_window(watched, now_ns, traffic.bytes);
        return false;
    }
    return measure == MEASURE_ARRIVAL ? is_dribbling(watched, now_ns, &traffic)
                                      : is_stalled(watched, now_ns, &traffic);
}

static void shut_slow(Watchdog *watchdog)
{
    int64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&watchdog->lock);
    for (Watched *w = watchdog->first; w; w = w->next) {
        if (is_too_slow(w, now_ns)) {
            w->is_late = true;
            socket_give_up(w->fd);
            shutdown(w->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&watchdog->lock);
}

static void *run(void *argument)
{
    Watchdog *watchdog = argument;
    do {
        shut_slow(watchdog);
    } while (worker_rest_until(&watchdog->worker, clock_now_ns() + SECOND_NS));
    return NULL;
}

Watchdog *watchdog_new(void)
{
    Watchdog *watchdog = HEAP_NEW(Watchdog);
    pthread_mutex_init(&watchdog->lock, NULL);
    if (worker_start(&watchdog->worker, run, watchdog) != 0) {
        abort();
    }
    return watchdog;
}

void watchdog_free(Watchdog *watchdog)
{
    if (!watchdog) {
        return;
    }
    worker_stop(&watchdog->worker);
    pthread_mutex_destroy(&watchdog->lock);
    free(watchdog);
}

void watchdog_add(Watchdog *watchdog, Watched *watched)
{
    pthread_mutex_lock(&watchdog->lock);
    watched->previous = NULL;
    watched->next = watchdog->first;
    if (watched->next) {
        watched->next->previous = watched;
    }
    watchdog->first = watched;
    watchdog->count++;
    watched->phase_began_ns = clock_now_ns();
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_remove(Watchdog *watchdog, Watched *watched)
{
    pthread_mutex_lock(&watchdog->lock);
    if (watched->previous) {
        watched->previous->next = watched->next;
    } else {
        watchdog->first = watched->next;
    }
    if (watched->next) {
        watched->next->previous = watched->previous;
    }
    watchdog->count--;
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_phase(Watchdog *watchdog, Watched *watched, WatchPhase phase)
{
    pthread_mutex_lock(&watchdog->lock);
    watched->phase = phase;
    watched->has_window = false;
    watched->has_arrival = false;
    watched->phase_began_ns = clock_now_ns();
    pthread_mutex_unlock(&watchdog->lock);
}

unsigned watchdog_unknown_from(Watchdog *watchdog, const char *address)
{
    unsigned count = 0;
    pthread_mutex_lock(&watchdog->lock);
    for (const Watched *w = watchdog->first; w; w = w->next) {
        count += !w->is_known && strcmp(w->address.text, address) == 0;
    }
    pthread_mutex_unlock(&watchdog->lock);
    return count;
}

unsigned watchdog_count(Watchdog *watchdog)
{
    pthread_mutex_lock(&watchdog->lock);
    unsigned count = watchdog->count;
    pthread_mutex_unlock(&watchdog->lock);
    return count;
}

void watchdog_shut_idle(Watchdog *watchdog)
{
    pthread_mutex_lock(&watchdog->lock);
    for (Watched *w = watchdog->first; w; w = w->next) {
        if (w->phase == WATCH_HANDSHAKE || w->phase == WATCH_IDLE || w->phase == WATCH_HEADERS) {
            shutdown(w->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&watchdog->lock);
}
