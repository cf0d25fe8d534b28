#include "atna/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "atna/chain_files.h"
#include "atna/storer.h"
#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

#define NS_PER_S INT64_C(1000000000)
#define US_PER_DAY (INT64_C(86400) * 1000000)

/** Between two looks at spools that had nothing. */
#define IDLE_NS (20 * INT64_C(1000000))
#define RETRY_MIN_NS NS_PER_S
#define RETRY_MAX_NS (30 * NS_PER_S)
#define STORE_TIMEOUT_MS 60000
/** A head goes into table audit_head and to head_copy after this time, or so many records. */
#define HEAD_EVERY_NS (60 * NS_PER_S)
#define HEAD_EVERY_RECORDS 100000
/** Records whose keys may wait while there is time to merge them: some 3 MB. */
#define UNMERGED_RECORDS 10000
#define RETENTION_EVERY_NS (3600 * NS_PER_S)
#define PROBLEM_BYTES 256
/** A batch whose commit was lost from sight may end up in the database a batch later. */
#define ENDS_KEPT 4

/** One of the spools, read one record ahead so that the older of two records goes first. */
typedef struct Source {
    Spool *spool; /* NULL: there is none */
    const char *directory;
    SpoolReader *reader;
    SpoolPosition taken; /* behind the last record that went into a batch */
    SpoolPosition known; /* what was spooled when we began, or since: nothing behind it can have
                            been loaded */
    bool has_next;
    AuditRecord next;
    uint64_t removed_before; /* segments below this one are gone */
} Source;

/** What follows from a batch once it is durable. */
typedef struct BatchEnd {
    Head head;
    SpoolPosition loaded[SPOOL_COUNT];
    uint64_t received_count;
    size_t row_count;
} BatchEnd;

struct Loader {
    LoaderConfig config;
    const char *directory;
    DbPool *pool; /* connections of our own: a busy server must not stop the loading */
    HeadKey *key;
    Worker worker;
    Source sources[SPOOL_COUNT];
    Storer *storer;
    Batch batches[2]; /* one is made while the other is stored */
    int making;       /* its number */
    bool is_storing;
    bool is_unconfirmed; /* a stored batch may not be durable yet */
    BatchEnd storing;    /* of the other batch */
    BatchEnd unconfirmed;
    Uuid chain;
    int32_t chain_id;
    ChainEnd end;               /* in the database, and behind it what is being stored */
    Head head;                  /* of what is durable in the database */
    ChainHash ended[ENDS_KEPT]; /* hashes of the last records of the last batches, stored or not */
    size_t ended_count;
    bool is_open; /* the above is known */
    bool is_failing;
    int64_t retry_ns;
    uint64_t told_sequence; /* of the last head in audit_head */
    int64_t told_at_ns;
    int64_t retention_at_ns;
    size_t unmerged_records; /* since their keys were merged into the index, or a little less */
};

/* ---- records of the spool ---- */

void received_write(StrBuf *buf, const ReceivedMessage *message)
{
    strbuf_append(buf, message->sender);
    strbuf_printf(buf, "\n%" PRIx64 "\n", message->defects);
    strbuf_append(buf, message->raw);
}

bool received_read(Str payload, ReceivedMessage *ret_message)
{
    ReceivedMessage message = {0};
    Str defects = STR_EMPTY;
    Str rest = payload;
    if (!str_split_next(&rest, '\n', &message.sender) || !str_split_next(&rest, '\n', &defects) ||
        str_is_empty(defects) || !rest.data) {
        return false;
    }
    for (size_t i = 0; i < defects.len; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, defects.data[i], sizeof(digits) - 1);
        if (!digit || i >= 16) {
            return false;
        }
        message.defects = message.defects << 4 | (uint64_t)(digit - digits);
    }
    message.raw = rest;
    *ret_message = message;
    return true;
}

/* ---- trouble ---- */

/** One line when it begins, one when it is over. */
static void trouble(Loader *loader, Str detail)
{
    if (!loader->is_failing) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        log_warn("event=audit_loading_failing detail=%s", log_quote(arena, detail));
    }
    loader->is_failing = true;
    loader->is_open = false;
}

static void trouble_of(Loader *loader, const Request *req)
{
    Str context = req->errors.last ? req->errors.last->context : STR_EMPTY;
    trouble(loader, db_last_failure()[0] ? str_from(db_last_failure()) : context);
}

static void all_is_well(Loader *loader)
{
    if (loader->is_failing) {
        log_info("event=audit_loading_recovered");
    }
    loader->is_failing = false;
    loader->retry_ns = RETRY_MIN_NS;
}

/* ---- sources ---- */

static Source source_of(Spool *spool, const char *directory)
{
    Source source = {.spool = spool, .directory = directory};
    if (spool) {
        source.known = spool_durable_end(spool);
    }
    return source;
}

static void source_open(Source *source, SpoolPosition from)
{
    spool_reader_free(source->reader);
    source->reader = source->spool ? spool_reader_new(source->directory, from) : NULL;
    source->taken = from;
    source->has_next = false;
}

/** Looks at the next record, if it is durable: what a power cut could take back must not be in the
 * chain. @return 0 or a negative errno */
static int source_look(Source *source)
{
    if (!source->spool || source->has_next) {
        return 0;
    }
    SpoolPosition limit = spool_durable_end(source->spool);
    int rc = spool_reader_next(source->reader, &limit, &source->next);
    source->has_next = rc > 0;
    return MIN(rc, 0);
}

static bool is_behind(SpoolPosition a, SpoolPosition b)
{
    return a.segment > b.segment || (a.segment == b.segment && a.offset > b.offset);
}

/**
 * Where to go on, by the database. If it has loaded more than the spool ever held, this spool is
 * not the one that it speaks of: data_dir came back from an older backup. Then all that is there is
 * loaded, some of it for the second time, because what comes now must not wait until the spool is
 * as long as the other one was.
 */
static SpoolPosition place_to_load(const Source *source, SpoolPosition loaded)
{
    if (!source->spool || !is_behind(loaded, source->known)) {
        return loaded;
    }
    log_warn("event=audit_spool_replaced directory=%s msg=\"the database has loaded more than this "
             "spool holds: data_dir is older than the database; all of the spool is loaded again\"",
             source->directory);
    return (SpoolPosition){0, 0};
}

static void source_take(Source *source)
{
    source->taken = spool_reader_position(source->reader);
    source->has_next = false;
}

/** Frees the segments of which everything is stored. */
static void source_trim(Source *source, SpoolPosition loaded)
{
    if (source->spool && loaded.segment > source->removed_before) {
        spool_remove_before(source->spool, loaded);
        source->removed_before = loaded.segment;
    }
}

/* ---- the chain ---- */

/** The database does not have what we signed: somebody removed it, or an older backup came back;
 * or it has what we did not sign. The evidence stays, and what comes now gets a chain of its own.
 */
static int give_chain_up(Loader *loader, const char *why)
{
    log_error("event=audit_chain_lost sequence=%" PRIu64 " msg=\"a new chain is begun: %s\"",
              loader->head.sequence, why);
    loader->ended_count = 0;
    return chain_files_renew(loader->directory, &loader->chain);
}

/** Whether the newest head that we know is at or behind what the database has. */
static bool is_head_kept(Loader *loader, const ChainEnd *end)
{
    Head head;
    int rc = chain_files_read_head(loader->directory, &head);
    if (rc <= 0 || !uuid_equal(head.chain, loader->chain)) {
        return true;
    }
    loader->head = head;
    return head.sequence < end->sequence ||
           (head.sequence == end->sequence && chain_hash_equal(&head.hash, &end->hash));
}

static void sign_end(Loader *loader, const ChainEnd *end, Head *ret_head)
{
    *ret_head = (Head){.chain = loader->chain,
                       .purpose = HEAD_STATE,
                       .sequence = end->sequence,
                       .hash = end->hash};
    head_sign(ret_head, loader->key);
}

/** Whether the chain ends where we left it: after a broken connection that may be where any of
 * the last batches ended. Else another process has a copy of our data_dir. */
static bool is_end_ours(const Loader *loader, const ChainEnd *end)
{
    bool is_ours = loader->ended_count == 0 || chain_hash_equal(&loader->head.hash, &end->hash);
    for (size_t i = 0; i < MIN(loader->ended_count, ENDS_KEPT); i++) {
        is_ours = is_ours || chain_hash_equal(&loader->ended[i], &end->hash);
    }
    return is_ours;
}

static int open_chain(Loader *loader, Request *req, ChainRow *ret_row)
{
    for (int attempt = 0;; attempt++) {
        int rc = chain_store_open(loader->pool, req, loader->chain, loader->key, ret_row);
        const char *why = NULL;
        if (rc == 0 && attempt == 0 && !is_head_kept(loader, &ret_row->end)) {
            why = "the database has not the records that this server has signed: musubi audit "
                  "verify tells what is missing";
        } else if (rc == 0 && attempt == 0 && !is_end_ours(loader, &ret_row->end)) {
            why = "another server adds to this server's chain: its data_dir is a copy of this one";
        }
        if (!why) {
            return rc;
        }
        rc = give_chain_up(loader, why);
        if (rc < 0) {
            return error_add(&req->errors, ERR_IO, NULL, "%s: %s", loader->directory,
                             strerror(-rc));
        }
    }
}

/** What is on its way ends before the database is asked where the chain is. */
static void abandon_storing(Loader *loader)
{
    const char *problem = "";
    if (loader->is_storing) {
        (void)storer_wait(loader->storer, &problem);
    }
    loader->is_storing = false;
    loader->is_unconfirmed = false;
}

/** Reads where the chain and the spools are. */
static bool open_if_needed(Loader *loader)
{
    if (loader->is_open) {
        return true;
    }
    Request *req = request_new(STORE_TIMEOUT_MS);
    ChainRow row;
    abandon_storing(loader);
    loader->is_open =
        open_chain(loader, req, &row) == 0 && chain_store_confirm(loader->pool, req) == 0;
    if (loader->is_open) {
        loader->chain_id = row.id;
        loader->end = row.end;
        sign_end(loader, &row.end, &loader->head);
        atomic_store(loader->config.sequence, row.end.sequence);
        for (int i = 0; i < SPOOL_COUNT; i++) {
            Source *source = &loader->sources[i];
            source_open(source, place_to_load(source, row.loaded[i]));
        }
    } else {
        trouble_of(loader, req);
    }
    request_free(req);
    return loader->is_open;
}

/* ---- batches ---- */

/** The source whose next record is older; NULL: neither has one. */
static Source *older_source(Loader *loader, int *ret_error)
{
    Source *older = NULL;
    for (int i = 0; i < SPOOL_COUNT; i++) {
        Source *source = &loader->sources[i];
        int rc = source_look(source);
        *ret_error = rc < 0 ? rc : *ret_error;
        if (source->has_next && (!older || source->next.recorded_us < older->next.recorded_us)) {
            older = source;
        }
    }
    return *ret_error < 0 ? NULL : older;
}

static void add_record(const Loader *loader, const Source *source, Batch *batch,
                       uint64_t *received_count)
{
    ReceivedMessage message = {.sender = loader->config.own_sender, .raw = source->next.message};
    if (source == &loader->sources[SPOOL_RECEIVED]) {
        (*received_count)++;
        if (!received_read(source->next.message, &message)) {
            message = (ReceivedMessage){.raw = source->next.message}; /* kept, whoever wrote it */
        }
    }
    batch_add(batch, source->next.recorded_us, message.sender, message.defects, message.raw);
}

/** @return 0 or a negative errno */
static int fill_batch(Loader *loader, Batch *batch, uint64_t *ret_received_count)
{
    int error = 0;
    uint64_t received_count = 0;
    batch_begin(batch, loader->chain_id, &loader->end);
    while (!batch_is_full(batch)) {
        Source *source = older_source(loader, &error);
        if (!source) {
            break;
        }
        add_record(loader, source, batch, &received_count);
        source_take(source);
    }
    *ret_received_count = received_count;
    return error;
}

static void batch_durable(Loader *loader, const BatchEnd *end)
{
    loader->head = end->head;
    loader->unmerged_records += end->row_count;
    atomic_fetch_add(loader->config.loaded, end->row_count);
    atomic_fetch_add(loader->config.loaded_received, end->received_count);
    atomic_store(loader->config.sequence, loader->head.sequence);
    int rc = chain_files_write_head(loader->directory, &loader->head);
    if (rc < 0) {
        log_warn("event=audit_head_not_written detail=\"%s\"", strerror(-rc));
    }
    for (int i = 0; i < SPOOL_COUNT; i++) {
        source_trim(&loader->sources[i], end->loaded[i]);
    }
}

/** Waits until the batch that was stored last is durable. @return false: nobody knows */
static bool confirm(Loader *loader)
{
    if (!loader->is_unconfirmed) {
        return true;
    }
    loader->is_unconfirmed = false;
    Request *req = request_new(STORE_TIMEOUT_MS);
    bool is_durable = chain_store_confirm(loader->pool, req) == 0;
    if (is_durable) {
        batch_durable(loader, &loader->unconfirmed);
        all_is_well(loader);
    } else {
        trouble_of(loader, req);
    }
    request_free(req);
    return is_durable;
}

/** Waits for the batch that is being stored. @return false: it failed, and what was made upon it is
 * worth nothing */
static bool finish_storing(Loader *loader)
{
    const char *problem = "";
    if (!loader->is_storing) {
        return true;
    }
    loader->is_storing = false;
    if (!storer_wait(loader->storer, &problem)) {
        trouble(loader, str_from(problem));
        return false;
    }
    loader->unconfirmed = loader->storing;
    loader->is_unconfirmed = true;
    return true;
}

static void begin_storing(Loader *loader, Batch *batch, uint64_t received_count)
{
    BatchEnd *end = &loader->storing;
    loader->end = batch->end;
    loader->ended[loader->ended_count++ % ENDS_KEPT] = batch->end.hash;
    sign_end(loader, &batch->end, &end->head);
    for (int i = 0; i < SPOOL_COUNT; i++) {
        Source *source = &loader->sources[i];
        end->loaded[i] = source->taken;
        source->known = is_behind(source->taken, source->known) ? source->taken : source->known;
    }
    end->received_count = received_count;
    end->row_count = batch_row_count(batch);
    storer_begin(loader->storer, batch, &end->head, end->loaded);
    loader->is_storing = true;
    loader->making = 1 - loader->making;
}

/** Makes the next batch while the last one is stored, and waits for the disk while the next one is.
 * @return whether there may be more to load at once */
static bool load_batch(Loader *loader)
{
    Batch *batch = &loader->batches[loader->making];
    uint64_t received_count = 0;
    int error = fill_batch(loader, batch, &received_count);
    bool had_stored = loader->is_storing;
    bool has_rows = error == 0 && batch_row_count(batch) > 0;
    if (!finish_storing(loader)) {
        return false;
    }
    if (has_rows) {
        begin_storing(loader, batch, received_count);
    }
    if (!confirm(loader)) {
        return false;
    }
    if (error < 0) {
        trouble(loader, str_from(strerror(-error)));
        return false;
    }
    if (!has_rows) {
        all_is_well(loader);
    }
    return has_rows || had_stored;
}

/* ---- heads and retention ---- */

static void copy_head(Loader *loader, const Head *head)
{
    const char *path = loader->config.repository->head_copy;
    int rc = path && path[0] ? head_file_append(path, head) : 0;
    if (rc < 0) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        log_warn("event=audit_head_not_copied file=%s detail=\"%s\"",
                 log_quote(arena, str_from(path)), strerror(-rc));
    }
}

static bool store_head(Loader *loader, int32_t chain_id, const Head *head)
{
    Request *req = request_new(STORE_TIMEOUT_MS);
    bool is_stored = chain_store_head(loader->pool, req, chain_id, head) == 0;
    if (is_stored) {
        copy_head(loader, head);
    } else {
        trouble_of(loader, req);
    }
    request_free(req);
    return is_stored;
}

/** Tells the newest head when it is time, or at the end. */
static void tell_head(Loader *loader, bool is_last)
{
    uint64_t records = loader->head.sequence - loader->told_sequence;
    int64_t now_ns = clock_now_ns();
    bool is_due =
        is_last || records >= HEAD_EVERY_RECORDS || now_ns - loader->told_at_ns >= HEAD_EVERY_NS;
    if (loader->is_open && records > 0 && is_due &&
        store_head(loader, loader->chain_id, &loader->head)) {
        loader->told_sequence = loader->head.sequence;
        loader->told_at_ns = now_ns;
    }
}

/** Whether this server says that records of a chain are removed: of its own, also those that it
 * gave up; and of one whose newest record is too old, because nobody may be left to say it. */
static bool is_ours_to_end(const Loader *loader, const ChainPart *part, int64_t before_us)
{
    uint8_t key[HEAD_KEY_BYTES];
    head_key_public(loader->key, key);
    return memcmp(part->key, key, sizeof(key)) == 0 || part->received_us < before_us;
}

/** Signed anchors come before the removal. */
static int store_anchors(Loader *loader, Request *req, int64_t month_us, int64_t before_us)
{
    ChainPart *parts = NULL;
    size_t count = 0;
    int rc = chain_store_month_parts(loader->pool, req, month_us, &parts, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (is_ours_to_end(loader, &parts[i], before_us)) {
            Head anchor = {.chain = parts[i].chain,
                           .purpose = HEAD_ANCHOR,
                           .sequence = parts[i].sequence,
                           .hash = parts[i].hash};
            head_sign(&anchor, loader->key);
            rc = store_head(loader, parts[i].id, &anchor) ? 0 : -ERR_DATABASE;
        }
    }
    return rc;
}

/** Removes the oldest month if its time is over. @return whether there may be another one */
static bool drop_oldest_month(Loader *loader)
{
    Request *req = request_new(STORE_TIMEOUT_MS);
    int64_t keep_us = (int64_t)loader->config.repository->retention_days * US_PER_DAY;
    int64_t before_us = clock_utc_us() - keep_us;
    int64_t month_us = 0;
    int rc = chain_store_oldest_month(loader->pool, req, before_us, &month_us);
    bool is_due = rc > 0;
    if (is_due) {
        rc = store_anchors(loader, req, month_us, before_us);
        rc = rc < 0 ? rc : chain_store_drop_month(loader->pool, req, month_us);
    }
    if (rc < 0) {
        log_warn("event=audit_month_not_removed detail=%s",
                 log_quote(req->arena, str_from(db_last_failure())));
    } else if (is_due) {
        log_info("event=audit_month_removed month=%.7s", clock_iso8601(req->arena, month_us).data);
    }
    request_free(req);
    return is_due && rc == 0;
}

static void keep_retention(Loader *loader)
{
    int64_t now_ns = clock_now_ns();
    if (loader->config.repository->retention_days == 0 || now_ns < loader->retention_at_ns) {
        return;
    }
    loader->retention_at_ns = now_ns + RETENTION_EVERY_NS;
    while (drop_oldest_month(loader)) {
    }
}

/** Nothing waits to be loaded: searches shall not pay for what was loaded in a hurry. */
static void merge_keys(Loader *loader)
{
    if (loader->unmerged_records < UNMERGED_RECORDS) {
        return;
    }
    Request *req = request_new(STORE_TIMEOUT_MS);
    if (chain_store_merge_keys(loader->pool, req) < 0) {
        log_warn("event=audit_keys_not_merged detail=%s",
                 log_quote(req->arena, str_from(db_last_failure())));
    }
    loader->unmerged_records = 0;
    request_free(req);
}

/* ---- the thread ---- */

/** @return when to look again; 0: at once */
static int64_t step(Loader *loader)
{
    bool has_more = open_if_needed(loader) && load_batch(loader);
    if (loader->is_open) {
        tell_head(loader, false);
        keep_retention(loader);
    }
    if (!loader->is_open) {
        int64_t at_ns = clock_now_ns() + loader->retry_ns;
        loader->retry_ns = MIN(2 * loader->retry_ns, RETRY_MAX_NS);
        return at_ns;
    }
    if (has_more) {
        return 0;
    }
    merge_keys(loader);
    return clock_now_ns() + IDLE_NS;
}

static void *run(void *ctx)
{
    Loader *loader = ctx;
    while (worker_rest_until(&loader->worker, step(loader))) {
    }
    while (step(loader) == 0) {
    }
    tell_head(loader, true);
    return NULL;
}

static void destroy(Loader *loader)
{
    for (int i = 0; i < SPOOL_COUNT; i++) {
        spool_reader_free(loader->sources[i].reader);
    }
    storer_free(loader->storer);
    batch_done(&loader->batches[0]);
    batch_done(&loader->batches[1]);
    head_key_free(loader->key);
    db_pool_free(loader->pool);
    free(loader);
}

static bool open_files(Loader *loader, char *ret_problem, size_t problem_size)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str path = str_printf(arena, "%s/" CHAIN_KEY_FILE, loader->directory);
    bool has_key = access(path.data, F_OK) == 0;
    loader->key = head_key_open(path.data, true, ret_problem, problem_size);
    if (!loader->key) {
        return false;
    }
    int rc = chain_files_read(loader->directory, &loader->chain);
    if (rc > 0 && !has_key) {
        log_warn("event=audit_key_made file=%s msg=\"the key that signed the audit chain so far is "
                 "gone; musubi audit verify tells what to do\"",
                 path.data);
    }
    rc = chain_files_open(loader->directory, &loader->chain);
    if (rc < 0) {
        (void)snprintf(ret_problem, problem_size, "%s: the name of the audit chain: %s",
                       loader->directory, strerror(-rc));
    }
    return rc == 0;
}

Loader *loader_new(const LoaderConfig *config, char *ret_problem, size_t problem_size)
{
    Loader *loader = HEAP_NEW(Loader);
    loader->config = *config;
    loader->directory = config->repository->directory;
    loader->pool = db_pool_beside(config->repository->pool, 2);
    loader->retry_ns = RETRY_MIN_NS;
    loader->sources[SPOOL_RECEIVED] = source_of(config->received, config->received_directory);
    loader->sources[SPOOL_OWN] = source_of(config->own, loader->directory);
    batch_init(&loader->batches[0]);
    batch_init(&loader->batches[1]);
    bool is_good = open_files(loader, ret_problem, problem_size);
    if (is_good) {
        loader->storer = storer_new(loader->pool);
        int rc = !loader->storer ? EAGAIN : worker_start(&loader->worker, run, loader);
        is_good = rc == 0;
        if (!is_good) {
            (void)snprintf(ret_problem, problem_size, "no thread for audit records: %s",
                           strerror(rc));
        }
    }
    if (!is_good) {
        destroy(loader);
        return NULL;
    }
    return loader;
}

void loader_free(Loader *loader)
{
    if (loader) {
        worker_stop(&loader->worker);
        destroy(loader);
    }
}
