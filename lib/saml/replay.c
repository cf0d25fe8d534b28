#include "lib/saml/replay.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#define HASH_BYTES 32
#define BATCH_MAX 64

/** One presentation on its way; lives on the stack of the thread that waits for it. */
typedef struct Presented {
    unsigned char hash[HASH_BYTES]; /* the table names nobody */
    int64_t not_on_or_after_us;
    Str presenter;
    Arena *arena; /* of bound_to: that of the waiting request, which nobody else uses meanwhile */
    SamlUse use;
    int rc;
    bool is_done;
    struct Presented *next;
} Presented;

struct SamlReplay {
    DbPool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Presented *first; /* waiting, oldest first */
    Presented **last;
    unsigned running; /* batches */
};

/** While this many commit, others gather. */
#define RUNNING_MAX 2

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

SamlReplay *saml_replay_new(DbPool *pool)
{
    SamlReplay *replay = calloc(1, sizeof(*replay));
    if (!replay) {
        abort();
    }
    replay->pool = pool;
    replay->last = &replay->first;
    pthread_mutex_init(&replay->lock, NULL);
    pthread_cond_init(&replay->changed, NULL);
    return replay;
}

void saml_replay_free(SamlReplay *replay)
{
    if (replay) {
        pthread_cond_destroy(&replay->changed);
        pthread_mutex_destroy(&replay->lock);
        free(replay);
    }
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
    Presented *items[BATCH_MAX];
    size_t count;
} Batch;

static Str hash_of(const Presented *item)
{
    return (Str){(const char *)item->hash, HASH_BYTES};
}

/** Rows go in in the order of their keys, so that two processes cannot block each other. */
static int compare_items(const void *a, const void *b)
{
    const Presented *const *left = a;
    const Presented *const *right = b;
    return memcmp((*left)->hash, (*right)->hash, HASH_BYTES);
}

/** Whether a row of this result is about the assertion. @param ret_row  which one */
static bool find_row(const DbResult *rows, const Presented *item, int *ret_row)
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
        Presented *item = batch->items[i];
        bool is_again = i > 0 && memcmp(batch->items[i - 1]->hash, item->hash, HASH_BYTES) == 0;
        item->use.is_first = !is_again && find_row(inserted, item, &row);
        item->use.bound_to = item->presenter;
    }
}

static int take_found(Batch *batch, const DbResult *found)
{
    for (size_t i = 0; i < batch->count; i++) {
        Presented *item = batch->items[i];
        int row = 0;
        if (item->use.is_first) {
            continue;
        }
        if (!find_row(found, item, &row)) { /* it was just forgotten: its time is over */
            return -ERR_DATABASE_BUSY;
        }
        item->use.bound_to = str_dup(item->arena, db_text(found, row, 1));
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

/** Notes a batch by the deadline of this request, which may not be in it: errors are not its own.
 */
static int run_batch(SamlReplay *replay, Request *req, Batch *batch)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    const ErrorList mark = req->errors;
    int rc = db_acquire(replay->pool, req, &conn);
    rc = rc < 0 ? rc : note_batch(conn, req, batch);
    error_list_rewind(&req->errors, &mark);
    return rc;
}

/* ---- Gathering ---- */

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

/** Runs one batch with the lock free meanwhile. */
static void lead(SamlReplay *replay, Request *req)
{
    Batch batch = {.count = 0};
    take_waiting(replay, &batch);
    replay->running++;
    pthread_mutex_unlock(&replay->lock);
    int rc = run_batch(replay, req, &batch);
    pthread_mutex_lock(&replay->lock);
    replay->running--;
    for (size_t i = 0; i < batch.count; i++) {
        batch.items[i]->rc = rc;
        batch.items[i]->is_done = true;
    }
    pthread_cond_broadcast(&replay->changed);
}

int saml_replay_note(SamlReplay *replay, Request *req, const SamlClaims *claims, Str presenter,
                     SamlUse *ret_use)
{
    Presented mine = {.not_on_or_after_us = claims->not_on_or_after_us,
                      .presenter = presenter,
                      .arena = req->arena};
    hash_name(claims, mine.hash);
    pthread_mutex_lock(&replay->lock);
    *replay->last = &mine;
    replay->last = &mine.next;
    while (!mine.is_done) {
        if (replay->first && replay->running < RUNNING_MAX) {
            lead(replay, req);
        } else {
            pthread_cond_wait(&replay->changed, &replay->lock);
        }
    }
    pthread_mutex_unlock(&replay->lock);
    if (mine.rc < 0) {
        return error_add(&req->errors, (ErrorCode)-mine.rc, NULL,
                         "the use of the assertion could not be noted; send the same message again "
                         "later");
    }
    *ret_use = mine.use;
    return 0;
}

int saml_replay_forget(DbConn *conn, Request *req)
{
    return db_exec(conn, req, &forget_uses, NULL, NULL);
}
