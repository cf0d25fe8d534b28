#include "lib/base/thread.h"

#include <errno.h>
#include <signal.h>

#define SECOND_NS INT64_C(1000000000)

int thread_start(pthread_t *ret_thread, void *(*run)(void *), void *ctx)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(ret_thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

void thread_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t at_ns)
{
    struct timespec at = {.tv_sec = at_ns / SECOND_NS, .tv_nsec = at_ns % SECOND_NS};
    return pthread_cond_timedwait(condition, lock, &at) != ETIMEDOUT;
}

int worker_start(Worker *worker, void *(*run)(void *), void *ctx)
{
    pthread_mutex_init(&worker->lock, NULL);
    thread_condition_init(&worker->changed);
    worker->is_stopping = false;
    worker->is_woken = false;
    int rc = thread_start(&worker->thread, run, ctx);
    if (rc != 0) {
        pthread_cond_destroy(&worker->changed);
        pthread_mutex_destroy(&worker->lock);
    }
    return rc;
}

bool worker_rest_until(Worker *worker, int64_t at_ns)
{
    pthread_mutex_lock(&worker->lock);
    while (!worker->is_stopping && !worker->is_woken &&
           thread_wait_until(&worker->changed, &worker->lock, at_ns)) {
    }
    worker->is_woken = false;
    bool goes_on = !worker->is_stopping;
    pthread_mutex_unlock(&worker->lock);
    return goes_on;
}

/** @param flag  of the worker */
static void raise_flag(Worker *worker, bool *flag)
{
    pthread_mutex_lock(&worker->lock);
    *flag = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

void worker_wake(Worker *worker)
{
    raise_flag(worker, &worker->is_woken);
}

void worker_ask_to_stop(Worker *worker)
{
    raise_flag(worker, &worker->is_stopping);
}

void worker_stop(Worker *worker)
{
    worker_ask_to_stop(worker);
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
}
