#include "server/watchdog.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"

#define SECOND_NS 1000000000LL
/** A body or reply must make this much progress on average after its first seconds. */
#define MINIMUM_BYTES_PER_S 1024
#define GRACE_S 30

/** Deadline of each phase in seconds; 0: none here. */
static const int phase_limit_s[] = {
    [WATCH_HANDSHAKE] = 20, [WATCH_IDLE] = 300,   [WATCH_HEADERS] = 10,
    [WATCH_BODY] = GRACE_S, [WATCH_HANDLING] = 0, [WATCH_REPLY] = GRACE_S,
};

struct Watchdog {
    Worker worker;
    pthread_mutex_t lock; /* guards what follows */
    unsigned count;
    Watched *first;
};

static bool is_too_slow(const Watched *watched, int64_t now_ns)
{
    int64_t limit_s = phase_limit_s[watched->phase];
    if (limit_s == 0) {
        return false;
    }
    if (watched->phase == WATCH_BODY || watched->phase == WATCH_REPLY) {
        limit_s += (int64_t)(watched->phase_bytes / MINIMUM_BYTES_PER_S);
    }
    return now_ns - watched->phase_began_ns > limit_s * SECOND_NS;
}

static void shut_slow(Watchdog *watchdog)
{
    int64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&watchdog->lock);
    for (Watched *w = watchdog->first; w; w = w->next) {
        if (is_too_slow(w, now_ns)) {
            w->is_late = true;
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
    Watchdog *watchdog = calloc(1, sizeof(*watchdog));
    if (!watchdog) {
        abort();
    }
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
    watched->phase_bytes = 0;
    watched->phase_began_ns = clock_now_ns();
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_progress(Watchdog *watchdog, Watched *watched, uint64_t bytes)
{
    pthread_mutex_lock(&watchdog->lock);
    watched->phase_bytes += bytes;
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
