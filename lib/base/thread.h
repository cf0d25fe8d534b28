#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macros.h"

/** Threads that modules run beside the requests, and waiting until a time of clock_now_ns(). */

/** Starts a thread that gets no signals: they are the main thread's. @return 0 or an errno */
int thread_start(pthread_t *ret_thread, void *(*run)(void *), void *ctx) MUST_CHECK;

/** A condition for thread_wait_until(). */
void thread_condition_init(pthread_cond_t *condition);

/** Waits for a signal of the condition. @return false: the time has come */
bool thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t at_ns);

/** A thread that works now and then until it is stopped. */
typedef struct Worker {
    pthread_t thread;
    pthread_mutex_t lock;   /* guards the flags */
    pthread_cond_t changed; /* one of them */
    bool is_stopping;
    bool is_woken;
} Worker;

/**
 * @param run  ends once worker_rest_until() says so
 * @return 0, or an errno: there is nothing to stop
 */
int worker_start(Worker *worker, void *(*run)(void *), void *ctx) MUST_CHECK;

/** For the thread itself: rests until the time given, or until it is woken. @return false: it is to
 * end, at once */
bool worker_rest_until(Worker *worker, int64_t at_ns) MUST_CHECK;

/** Ends the rest of the thread, or, while it works, its next one. */
void worker_wake(Worker *worker);

/** Tells the thread to end, without waiting: for many of them before worker_stop(). */
void worker_ask_to_stop(Worker *worker);
/** Waits until the thread has ended. */
void worker_stop(Worker *worker);
