#include "lib/saml/replay.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/thread.h"

#define HASH_BYTES 32
#define BATCH_MAX 64
#define BATCH_TIMEOUT_MS 10000

/** In the arena of its request, which is used by nobody else: what the binder says of it is here.
 */
struct SamlPresentation {
    SamlReplay *replay;
    unsigned char hash[HASH_BYTES]; /* the table names nobody */
    int64_t not_on_or_after_us;
    Str presenter;
    SamlUse use;
    int rc;
    bool is_done;        /* the binder touches it no more */
    pthread_cond_t done; /* is_done is set */
    SamlPresentation *next;
};

struct SamlReplay {
    DbPool *pool; /* its own: a request may hold connections while the binder needs one */
    pthread_t binder;
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* somebody presents, or it is the end */
    SamlPresentation *first; /* waiting, oldest first */
    SamlPresentation **last;
    bool is_stopping;
};

static const DbStatement note_uses = {
    "saml_note_uses", "INSERT INTO assertion_seen (assertion, not_on_or_after, bound_to)"
                      " SELECT * FROM unnest($1::bytea[], $2::timestamptz[], $3::text[])"
                      " ON CONFLICT (assertion) DO NOTHING RETURNING assertion"};

static const DbStatement find_uses = {
    "saml_find_uses",
    "SELECT assertion, bound_to FROM assertion_seen WHERE assertion = ANY ($1::bytea[])"};

/* An hour more than any skew: the clocks of processes that share the database may differ. */
static const DbStatement forget_uses = {
    "saml_forget_uses",
    "DELETE FROM assertion_seen WHERE not_on_or_after < now() - interval '1 hour'"};

static void set_owner(SamlUse *use, Str owner)
{
    (void)snprintf(use->bound_to, sizeof(use->bound_to), "%.*s", STR_ARG(owner));
}

static void hash_name(const SamlClaims *claims, unsigned char *ret_hash)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    strbuf_printf(&text, "%zu:", claims->user.issuer.len);
    strbuf_append(&text, claims->user.issuer);
    strbuf_append(&text, claims->id);
    if (EVP_Q_digest(NULL, "SHA256", NULL, text.data, text.len, ret_hash, NULL) != 1) {
        abort();
    }
}

/* ---- One batch ---- */

typedef struct Batch {
    SamlPresentation *items[BATCH_MAX];
    size_t count;
} Batch;

static Str hash_of(const SamlPresentation *item)
{
    return (Str){(const char *)item->hash, HASH_BYTES};
}

/** Rows go in in the order of their keys, so that two processes cannot block each other. */
static int compare_items(const void *a, const void *b)
{
    const SamlPresentation *const *left = a;
    const SamlPresentation *const *right = b;
    return memcmp((*left)->hash, (*right)->hash, HASH_BYTES);
}

/** Whether a row of this result is about the assertion. @param ret_row  which one */
static bool find_row(const DbResult *rows, const SamlPresentation *item, int *ret_row)
{
    for (int row = 0; row < db_rows(rows); row++) {
        if (str_equal(db_text(rows, row, 0), hash_of(item))) {
            *ret_row = row;
            return true;
        }
    }
    return false;
}

/** Of several presentations of one assertion in a batch the first has put the row in. */
static void take_inserted(Batch *batch, const DbResult *inserted)
{
    int row = 0;
    for (size_t i = 0; i < batch->count; i++) {
        SamlPresentation *item = batch->items[i];
        bool is_again = i > 0 && memcmp(batch->items[i - 1]->hash, item->hash, HASH_BYTES) == 0;
        item->use.is_first = !is_again && find_row(inserted, item, &row);
        set_owner(&item->use, item->presenter);
    }
}

static int take_found(Batch *batch, const DbResult *found)
{
    for (size_t i = 0; i < batch->count; i++) {
        SamlPresentation *item = batch->items[i];
        int row = 0;
        if (item->use.is_first) {
            continue;
        }
        if (!find_row(found, item, &row)) { /* it was just forgotten: its time is over */
            return -ERR_DATABASE_BUSY;
        }
        set_owner(&item->use, db_text(found, row, 1));
    }
    return 0;
}

static bool has_repeated(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i]->use.is_first) {
            return true;
        }
    }
    return false;
}

static int note_batch(DbConn *conn, Request *req, Batch *batch)
{
    Str *hashes = ARENA_ARRAY(req->arena, Str, batch->count);
    Str *presenters = ARENA_ARRAY(req->arena, Str, batch->count);
    int64_t *ends_us = ARENA_ARRAY(req->arena, int64_t, batch->count);
    DbParams params;
    DbResult *rows = NULL;
    qsort(batch->items, batch->count, sizeof(batch->items[0]), compare_items);
    for (size_t i = 0; i < batch->count; i++) {
        hashes[i] = hash_of(batch->items[i]);
        presenters[i] = batch->items[i]->presenter;
        ends_us[i] = batch->items[i]->not_on_or_after_us;
    }
    db_params_init(&params, req->arena);
    db_param_bytes_array(&params, hashes, batch->count);
    db_param_timestamp_array(&params, ends_us, batch->count);
    db_param_text_array(&params, presenters, batch->count);
    int rc = db_exec(conn, req, &note_uses, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    take_inserted(batch, rows);
    if (!has_repeated(batch)) {
        return 0;
    }
    db_params_init(&params, req->arena);
    db_param_bytes_array(&params, hashes, batch->count);
    rc = db_exec(conn, req, &find_uses, &params, &rows);
    return rc < 0 ? rc : take_found(batch, rows);
}

static int run_batch(SamlReplay *replay, Batch *batch)
{
    Request *req = request_new(BATCH_TIMEOUT_MS);
    DbConn *conn = NULL;
    int rc = db_acquire(replay->pool, req, &conn);
    rc = rc < 0 ? rc : note_batch(conn, req, batch);
    db_release(conn);
    request_free(req);
    return rc;
}

/* ---- The binder ---- */

/** Takes who has waited longest; the lock is held. */
static void take_waiting(SamlReplay *replay, Batch *batch)
{
    while (replay->first && batch->count < BATCH_MAX) {
        batch->items[batch->count++] = replay->first;
        replay->first = replay->first->next;
    }
    if (!replay->first) {
        replay->last = &replay->first;
    }
}

/** The lock is held: whoever waits may go on, and free his, only when it is not. */
static void tell(const Batch *batch, int rc)
{
    for (size_t i = 0; i < batch->count; i++) {
        SamlPresentation *item = batch->items[i];
        item->rc = rc;
        item->is_done = true;
        pthread_cond_signal(&item->done);
    }
}

/** While one batch commits, the next one gathers. */
static void *bind_batches(void *argument)
{
    SamlReplay *replay = argument;
    pthread_mutex_lock(&replay->lock);
    while (replay->first || !replay->is_stopping) {
        Batch batch = {.count = 0};
        take_waiting(replay, &batch);
        if (batch.count == 0) {
            pthread_cond_wait(&replay->changed, &replay->lock);
            continue;
        }
        pthread_mutex_unlock(&replay->lock);
        int rc = run_batch(replay, &batch);
        pthread_mutex_lock(&replay->lock);
        tell(&batch, rc);
    }
    pthread_mutex_unlock(&replay->lock);
    return NULL;
}

SamlReplay *saml_replay_new(const DbPool *pool)
{
    SamlReplay *replay = HEAP_NEW(SamlReplay);
    replay->pool = db_pool_beside(pool, 1);
    replay->last = &replay->first;
    pthread_mutex_init(&replay->lock, NULL);
    pthread_cond_init(&replay->changed, NULL);
    if (thread_start(&replay->binder, bind_batches, replay) != 0) {
        abort();
    }
    return replay;
}

void saml_replay_free(SamlReplay *replay)
{
    if (!replay) {
        return;
    }
    pthread_mutex_lock(&replay->lock);
    replay->is_stopping = true;
    pthread_cond_signal(&replay->changed);
    pthread_mutex_unlock(&replay->lock);
    pthread_join(replay->binder, NULL);
    pthread_cond_destroy(&replay->changed);
    pthread_mutex_destroy(&replay->lock);
    db_pool_free(replay->pool);
    free(replay);
}

/* ---- Requests ---- */

/** The binder knows its address: its memory stays until it is done, whatever becomes of the
 * request. */
static void wait_until_done(void *object)
{
    SamlPresentation *mine = object;
    pthread_mutex_lock(&mine->replay->lock);
    while (!mine->is_done) {
        pthread_cond_wait(&mine->done, &mine->replay->lock);
    }
    pthread_mutex_unlock(&mine->replay->lock);
}

static void presentation_done(void *object)
{
    SamlPresentation *mine = object;
    wait_until_done(mine);
    pthread_cond_destroy(&mine->done);
}

SamlPresentation *saml_replay_present(SamlReplay *replay, Arena *arena, const SamlClaims *claims,
                                      Str presenter)
{
    SamlPresentation *mine = ARENA_NEW(arena, SamlPresentation);
    mine->replay = replay;
    mine->not_on_or_after_us = claims->not_on_or_after_us;
    mine->presenter = presenter;
    pthread_cond_init(&mine->done, NULL);
    hash_name(claims, mine->hash);
    pthread_mutex_lock(&replay->lock);
    *replay->last = mine;
    replay->last = &mine->next;
    pthread_cond_signal(&replay->changed);
    pthread_mutex_unlock(&replay->lock);
    arena_defer(arena, presentation_done, mine);
    return mine;
}

int saml_replay_await(SamlPresentation *mine, SamlUse *ret_use)
{
    wait_until_done(mine);
    *ret_use = mine->use;
    return mine->rc;
}

int saml_replay_forget(DbConn *conn, Request *req)
{
    return db_exec(conn, req, &forget_uses, NULL, NULL);
}
