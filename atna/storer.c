#include "atna/storer.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/thread.h"

#define TIMEOUT_MS 60000

struct Storer {
    DbPool *pool;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_stopping;
    Batch *batch; /* on its way; NULL: none */
    Head head;
    SpoolPosition loaded[SPOOL_COUNT];
    bool is_stored; /* of the last one */
    char problem[512];
};

static bool store(Storer *storer)
{
    Request *req = request_new(TIMEOUT_MS);
    int rc = chain_store_batch(storer->pool, req, storer->batch, &storer->head, storer->loaded);
    if (rc < 0) {
        Str context = req->errors.last ? req->errors.last->context : STR_EMPTY;
        (void)snprintf(storer->problem, sizeof(storer->problem), "%.*s: %s", STR_ARG(context),
                       db_last_failure());
    }
    request_free(req);
    return rc == 0;
}

static void *run(void *ctx)
{
    Storer *storer = ctx;
    pthread_mutex_lock(&storer->lock);
    while (!storer->is_stopping) {
        if (!storer->batch) {
            pthread_cond_wait(&storer->changed, &storer->lock);
            continue;
        }
        pthread_mutex_unlock(&storer->lock);
        bool is_stored = store(storer);
        pthread_mutex_lock(&storer->lock);
        storer->is_stored = is_stored;
        storer->batch = NULL;
        pthread_cond_broadcast(&storer->changed);
    }
    pthread_mutex_unlock(&storer->lock);
    return NULL;
}

Storer *storer_new(DbPool *pool)
{
    Storer *storer = HEAP_NEW(Storer);
    storer->pool = pool;
    pthread_mutex_init(&storer->lock, NULL);
    pthread_cond_init(&storer->changed, NULL);
    if (thread_start(&storer->thread, run, storer) != 0) {
        pthread_cond_destroy(&storer->changed);
        pthread_mutex_destroy(&storer->lock);
        free(storer);
        return NULL;
    }
    return storer;
}

void storer_free(Storer *storer)
{
    if (!storer) {
        return;
    }
    pthread_mutex_lock(&storer->lock);
    storer->is_stopping = true;
    pthread_cond_broadcast(&storer->changed);
    pthread_mutex_unlock(&storer->lock);
    pthread_join(storer->thread, NULL);
    pthread_cond_destroy(&storer->changed);
    pthread_mutex_destroy(&storer->lock);
    free(storer);
}

void storer_begin(Storer *storer, Batch *batch, const Head *head,
                  const SpoolPosition loaded[SPOOL_COUNT])
{
    pthread_mutex_lock(&storer->lock);
    storer->batch = batch;
    storer->head = *head;
    memcpy(storer->loaded, loaded, sizeof(storer->loaded));
    pthread_cond_broadcast(&storer->changed);
    pthread_mutex_unlock(&storer->lock);
}

bool storer_wait(Storer *storer, const char **ret_problem)
{
    pthread_mutex_lock(&storer->lock);
    while (storer->batch) {
        pthread_cond_wait(&storer->changed, &storer->lock);
    }
    bool is_stored = storer->is_stored;
    pthread_mutex_unlock(&storer->lock);
    *ret_problem = storer->problem;
    return is_stored;
}
