#include "atna/verify.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "atna/chain_files.h"
#include "atna/known_heads.h"
#include "lib/base/thread.h"

/** Records that one thread reads at a time. */
#define PIECE_RECORDS 50000
#define CONNECTIONS_MAX 16
#define TIMEOUT_MS (24U * 3600 * 1000)
#define TEXT_BYTES 768

/** Columns of audit_record, of which the last one is the hash. */
#define SEQUENCE_FIELD 1
#define HASH_FIELD 14
#define FIELD_COUNT 15

/* The columns by name: their order is what was hashed. */
static const DbStatement statement_read = {
    "audit_verify_read",
    "COPY (SELECT chain, sequence, received_at, event_at, sender, kind, defects, event_id,"
    " event_types, action, outcome, source_id, keys, raw, hash FROM audit_record"
    " WHERE chain = current_setting('musubi.chain')::integer"
    " AND sequence >= current_setting('musubi.first')::bigint"
    " AND sequence <= current_setting('musubi.last')::bigint"
    " ORDER BY chain, sequence) TO STDOUT (FORMAT binary)"};

/* A sort of millions of rows is what the planner must not think of. */
static const DbStatement statement_set_piece = {
    "audit_verify_piece",
    "SELECT set_config('musubi.chain', $1::text, false), set_config('musubi.first', $2::text,"
    " false), set_config('musubi.last', $3::text, false), set_config('enable_sort', 'off', false),"
    " set_config('enable_bitmapscan', 'off', false), set_config('statement_timeout', '0', false)"};

/* One statement is one state of the database. */
static const DbStatement statement_chains = {
    "audit_verify_chains",
    "SELECT c.id, c.uuid, c.sequence, c.hash, c.public_key, c.signed_at, c.signature,"
    " coalesce((SELECT max(r.sequence) FROM audit_record r WHERE r.chain = c.id), 0),"
    " (SELECT min(r.sequence) FROM audit_record r WHERE r.chain = c.id)"
    " FROM audit_chain c ORDER BY c.id"};
static const DbStatement statement_heads = {
    "audit_verify_heads",
    "SELECT c.uuid, h.sequence, h.hash, h.public_key, h.signed_at, h.signature, h.purpose"
    " FROM audit_head h JOIN audit_chain c ON c.id = h.chain"};
static const DbStatement statement_strangers = {
    "audit_verify_strangers",
    "WITH RECURSIVE known AS (SELECT min(chain) AS chain FROM audit_record UNION ALL"
    " SELECT (SELECT min(r.chain) FROM audit_record r WHERE r.chain > k.chain) FROM known k"
    " WHERE k.chain IS NOT NULL) SELECT chain FROM known WHERE chain IS NOT NULL AND NOT EXISTS"
    " (SELECT FROM audit_chain c WHERE c.id = known.chain)"};

/** A row of audit_chain. */
typedef struct Chain {
    int32_t id;
    Head end; /* as signed there */
    bool has_records;
    int64_t first_sequence; /* of the records that are there */
    uint64_t last_sequence; /* 0: none */
} Chain;

typedef struct Verify {
    const VerifyConfig *config;
    Request *req;
    KnownHeads heads;
    const char *reading; /* where the heads that are being read are from */
    bool has_lost_head;  /* there is no newest head of our own chain */
    bool has_lost_copy;  /* [audit] head_copy is not there */
    Uuid own_chain;
    pthread_mutex_t lock; /* of result, and of what is told */
    VerifyResult result;
} Verify;

/* ---- findings ---- */

static void found(Verify *verify, Uuid chain, uint64_t sequence, const char *format, ...)
    PRINTF_LIKE(4, 5);
static void found(Verify *verify, Uuid chain, uint64_t sequence, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    VerifyFinding finding = {chain, sequence, text};
    pthread_mutex_lock(&verify->lock);
    VerifyFinding *first = &verify->result.first_bad;
    if (sequence > 0 && (!first->text || sequence < first->sequence)) {
        *first = (VerifyFinding){chain, sequence,
                                 str_dup(verify->req->arena, (Str){text, strlen(text) + 1}).data};
    }
    if (verify->result.finding_count++ < VERIFY_TOLD_MAX) {
        verify->config->finding(verify->config->ctx, &finding);
    }
    pthread_mutex_unlock(&verify->lock);
}

/* ---- heads ---- */

static int take_head(void *ctx, const Head *head)
{
    Verify *verify = ctx;
    known_heads_add(&verify->heads, head, verify->reading);
    return 0;
}

/** @return 0 or -ERR_IO */
static int read_head_file(Verify *verify, const char *path, bool *ret_is_missing)
{
    unsigned bad_lines = 0;
    verify->reading = path;
    int rc = head_file_read(path, take_head, verify, &bad_lines);
    if (rc == -ENOENT && ret_is_missing) {
        *ret_is_missing = true;
    } else if (rc < 0) {
        return error_add(&verify->req->errors, ERR_IO, NULL, "%s: %s", path, strerror(-rc));
    }
    if (bad_lines > 0) {
        found(verify, (Uuid){{0}}, 0, "%s: %u lines are no signed heads", path, bad_lines);
    }
    return 0;
}

/** What a third party has kept; a file without a head would prove nothing. */
static int read_kept_heads(Verify *verify, const char *path)
{
    size_t before = verify->heads.count;
    int rc = read_head_file(verify, path, NULL);
    if (rc == 0 && verify->heads.count == before) {
        found(verify, (Uuid){{0}}, 0, "%s: there is no signed head in it", path);
    }
    return rc;
}

/** The newest head of our own chain is written with every batch. */
static void check_own_head(Verify *verify)
{
    Head head;
    Uuid chain;
    const char *directory = verify->config->directory;
    if (chain_files_read(directory, &chain) > 0 && chain_files_read_head(directory, &head) == 0) {
        verify->has_lost_head = true;
        verify->own_chain = chain;
    }
}

static int read_keys(Verify *verify)
{
    const char *directory = verify->config->directory;
    unsigned bad_lines = 0;
    int rc = known_heads_read_keys(&verify->heads, directory, &bad_lines);
    if (rc < 0) {
        return error_add(&verify->req->errors, ERR_IO, NULL, "%s/" TRUSTED_KEYS_FILE ": %s",
                         directory, strerror(-rc));
    }
    if (bad_lines > 0) {
        found(verify, (Uuid){{0}}, 0, "%s/" TRUSTED_KEYS_FILE ": %u lines are no public keys",
              directory, bad_lines);
    }
    return 0;
}

static int read_files(Verify *verify)
{
    const VerifyConfig *config = verify->config;
    unsigned bad_lines = 0;
    int rc = read_keys(verify);
    verify->reading = config->directory;
    if (rc == 0) {
        rc = chain_files_read_heads(config->directory, take_head, verify, &bad_lines);
        rc = rc == 0 ? 0
                     : error_add(&verify->req->errors, ERR_IO, NULL, "%s: %s", config->directory,
                                 strerror(-rc));
    }
    if (rc < 0) {
        return rc;
    }
    if (bad_lines > 0) {
        found(verify, (Uuid){{0}}, 0, "%s: the newest head cannot be read", config->directory);
    }
    check_own_head(verify);
    rc = config->head_copy[0] ? read_head_file(verify, config->head_copy, &verify->has_lost_copy)
                              : 0;
    return rc < 0 || !config->head_file ? rc : read_kept_heads(verify, config->head_file);
}

static void tell_forged(Verify *verify, const KnownHead *known)
{
    found(verify, known->head.chain, 0,
          "a head of sequence %" PRIu64 " in %s is not signed by this server", known->head.sequence,
          known->from);
}

/**
 * The genuine head of this chain and purpose with the highest sequence below a limit; each that
 * claims to be higher and is not genuine is told, but for those of keys that nobody knows.
 */
static const KnownHead *newest_head(Verify *verify, Uuid chain, HeadPurpose purpose, uint64_t below)
{
    HeadRange range = known_heads_of(&verify->heads, chain);
    const KnownHead *known = head_range_from(range, below);
    while (known > range.begin) {
        known--;
        bool is_known_key = known_heads_has_key(&verify->heads, known->head.key);
        if (known->head.purpose != purpose || !is_known_key) {
            continue;
        }
        if (head_is_signed(&known->head)) {
            return known;
        }
        tell_forged(verify, known);
    }
    return NULL;
}

/** Heads of a chain that count for nothing, because their key is not known: one finding for all of
 * a key in a row. */
static void check_keys(Verify *verify, Uuid chain)
{
    HeadRange range = known_heads_of(&verify->heads, chain);
    const uint8_t *told = NULL;
    for (const KnownHead *known = range.begin; known < range.end; known++) {
        const uint8_t *key = known->head.key;
        if (known_heads_has_key(&verify->heads, key) ||
            (told && memcmp(told, key, HEAD_KEY_BYTES) == 0)) {
            continue;
        }
        _cleanup_(arena_freep) Arena *arena = arena_new();
        found(verify, chain, 0,
              "a head of sequence %" PRIu64 " in %s is not signed by this server, but with the key "
              "%.*s: if that is the key of another server, or the one that head.key had before, "
              "write it into %s/" TRUSTED_KEYS_FILE,
              known->head.sequence, known->from, STR_ARG(str_hex(arena, key, HEAD_KEY_BYTES)),
              verify->config->directory);
        told = key;
    }
}

/** What is missing of the files beside the database, once it is known that there was something. */
static void check_files(Verify *verify, bool has_records, bool has_told_heads)
{
    const VerifyConfig *config = verify->config;
    if (!verify->heads.has_own_key && has_records) {
        found(verify, (Uuid){{0}}, 0,
              "%s/" CHAIN_KEY_FILE " is missing or cannot be read: nobody can tell whether this "
              "server signed the heads; put it back from a backup, or write its public key into "
              "%s/" TRUSTED_KEYS_FILE,
              config->directory, config->directory);
    }
    if (verify->has_lost_copy && has_told_heads) {
        found(verify, (Uuid){{0}}, 0, "%s, the copy of the heads, is missing", config->head_copy);
    }
}

/* ---- records ---- */

/** What the threads share. */
typedef struct Reading {
    Verify *verify;
    const Chain *chain;
    HeadRange heads;
    uint64_t first;   /* sequence */
    ChainHash before; /* hash of the record before it */
    uint64_t last;
    uint64_t next_piece; /* under the lock */
    int rc;              /* under the lock */
} Reading;

/** A row of COPY BINARY, as far as it is looked at. */
typedef struct Row {
    uint64_t sequence;
    ChainHash hash;
    Str fields; /* that were hashed */
} Row;

/** One piece on its way. */
typedef struct Piece {
    Reading *reading;
    ChainHasher *hasher;
    uint64_t expected; /* next sequence */
    ChainHash hash;    /* of the record before it */
    bool has_before;   /* hash is known */
    const KnownHead *next_head;
    uint64_t count;
} Piece;

static uint64_t be64_at(const char *bytes)
{
    uint64_t value = 0;
    memcpy(&value, bytes, sizeof(value));
    return be64toh(value);
}

static bool read_row(Str bytes, Row *ret_row)
{
    Row row = {0};
    uint16_t count = 0;
    size_t at = sizeof(count);
    if (bytes.len < at) {
        return false;
    }
    memcpy(&count, bytes.data, sizeof(count));
    if (be16toh(count) != FIELD_COUNT) {
        return false;
    }
    for (int field = 0; field < FIELD_COUNT; field++) {
        uint32_t wire = 0;
        if (bytes.len - at < sizeof(wire)) {
            return false;
        }
        memcpy(&wire, bytes.data + at, sizeof(wire));
        size_t len = be32toh(wire) == UINT32_MAX ? 0 : be32toh(wire);
        const char *value = bytes.data + at + sizeof(wire);
        if (bytes.len - at - sizeof(wire) < len) {
            return false;
        }
        if (field == SEQUENCE_FIELD && len == sizeof(row.sequence)) {
            row.sequence = be64_at(value);
        } else if (field == HASH_FIELD) {
            row.fields = (Str){bytes.data + sizeof(count), at - sizeof(count)};
            memcpy(row.hash.bytes, value, MIN(len, sizeof(row.hash.bytes)));
        }
        at += sizeof(wire) + len;
    }
    *ret_row = row;
    return true;
}

/** Every head that is known of this record must have its hash: who has the key can sign another
 * history, and not change the heads that are kept elsewhere. */
static void check_heads(Piece *piece, const Row *row)
{
    Verify *verify = piece->reading->verify;
    const KnownHead *end = piece->reading->heads.end;
    const KnownHead *known = piece->next_head;
    for (; known < end && known->head.sequence <= row->sequence; known++) {
        if (known->head.sequence < row->sequence ||
            chain_hash_equal(&known->head.hash, &row->hash)) {
            continue;
        }
        if (known_heads_is_genuine(&verify->heads, &known->head)) {
            found(verify, known->head.chain, row->sequence,
                  "is not what the head in %s has: this record, or one before it, was replaced",
                  known->from);
        } else if (known_heads_has_key(&verify->heads, known->head.key)) {
            tell_forged(verify, known);
        }
    }
    piece->next_head = known;
}

/** Records between the expected one and this one are missing, or it is there twice. @return whether
 * its hash can be checked */
static bool check_sequence(Piece *piece, const Row *row)
{
    Verify *verify = piece->reading->verify;
    Uuid chain = piece->reading->chain->end.chain;
    if (row->sequence == piece->expected) {
        return piece->has_before;
    }
    if (row->sequence < piece->expected) {
        found(verify, chain, row->sequence, "is there twice");
        return false;
    }
    found(verify, chain, piece->expected, "is missing: the next one is %" PRIu64, row->sequence);
    return false;
}

static int see_row(void *ctx, Str bytes)
{
    Piece *piece = ctx;
    Verify *verify = piece->reading->verify;
    Row row;
    if (!read_row(bytes, &row)) {
        return -(int)ERR_DATABASE;
    }
    if (row.sequence + 1 == piece->expected && !piece->has_before) {
        piece->hash = row.hash; /* the last one of the piece before */
        piece->has_before = true;
        return 0;
    }
    if (check_sequence(piece, &row)) {
        chain_hash_next(piece->hasher, &piece->hash, row.fields);
        if (!chain_hash_equal(&piece->hash, &row.hash)) {
            found(verify, piece->reading->chain->end.chain, row.sequence, "was changed");
        }
    }
    check_heads(piece, &row);
    piece->hash = row.hash;
    piece->has_before = true;
    piece->expected = MAX(piece->expected, row.sequence + 1);
    piece->count++;
    return 0;
}

static void param_number(DbParams *params, uint64_t number)
{
    db_param_text(params, str_printf(params->arena, "%" PRIu64, number));
}

static int read_piece(Reading *reading, DbConn *conn, Request *req, ChainHasher *hasher,
                      uint64_t first)
{
    uint64_t last = MIN(first + PIECE_RECORDS - 1, reading->last);
    bool is_first = first == reading->first;
    Piece piece = {.reading = reading,
                   .hasher = hasher,
                   .expected = first,
                   .hash = reading->before,
                   .has_before = is_first,
                   .next_head = head_range_from(reading->heads, first)};
    DbParams params;
    db_params_init(&params, req->arena);
    param_number(&params, (uint64_t)reading->chain->id);
    param_number(&params, is_first ? first : first - 1);
    param_number(&params, last);
    int rc = db_exec(conn, req, &statement_set_piece, &params, NULL);
    rc = rc < 0 ? rc : db_copy_read(conn, req, &statement_read, see_row, &piece);
    if (rc < 0) {
        return rc;
    }
    if (piece.expected <= last) {
        found(reading->verify, reading->chain->end.chain, piece.expected,
              "is missing, and those behind it up to %" PRIu64, last);
    }
    pthread_mutex_lock(&reading->verify->lock);
    reading->verify->result.record_count += piece.count;
    pthread_mutex_unlock(&reading->verify->lock);
    return 0;
}

/** @return the first sequence of the next piece; 0: there is none */
static uint64_t take_piece(Reading *reading)
{
    pthread_mutex_lock(&reading->verify->lock);
    uint64_t first =
        reading->rc == 0 && reading->next_piece <= reading->last ? reading->next_piece : 0;
    reading->next_piece += PIECE_RECORDS;
    pthread_mutex_unlock(&reading->verify->lock);
    return first;
}

static void *read_run(void *ctx)
{
    Reading *reading = ctx;
    Request *req = request_new(TIMEOUT_MS);
    ChainHasher *hasher = chain_hasher_new();
    DbConn *conn = NULL;
    uint64_t first = 0;
    int rc = db_acquire(reading->verify->config->pool, req, &conn);
    while (rc == 0 && (first = take_piece(reading)) > 0) {
        rc = read_piece(reading, conn, req, hasher, first);
    }
    if (rc < 0) {
        pthread_mutex_lock(&reading->verify->lock);
        if (reading->rc == 0) {
            reading->rc = error_add(&reading->verify->req->errors, ERR_DATABASE, NULL, "%s",
                                    db_last_failure());
        }
        pthread_mutex_unlock(&reading->verify->lock);
    }
    db_release(conn);
    chain_hasher_free(hasher);
    request_free(req);
    return NULL;
}

/** Reads first to last with several threads; this one is among them. */
static int read_records(Reading *reading)
{
    pthread_t threads[CONNECTIONS_MAX];
    unsigned wanted = MIN(reading->verify->config->connections, CONNECTIONS_MAX);
    unsigned started = 0;
    reading->next_piece = reading->first;
    while (started + 1 < wanted && thread_start(&threads[started], read_run, reading) == 0) {
        started++;
    }
    (void)read_run(reading);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return reading->rc;
}

/* ---- a chain ---- */

/** What the row of the chain, the newest head and the records say of the end. */
static void check_end(Verify *verify, const Chain *chain, const KnownHead *newest)
{
    if (chain->last_sequence > chain->end.sequence) {
        found(verify, chain->end.chain, chain->end.sequence + 1,
              "stands behind the signed end of the chain");
    }
    if (newest && chain->last_sequence < newest->head.sequence) {
        found(verify, chain->end.chain, chain->last_sequence + 1,
              "is missing: the head in %s was signed at %" PRIu64, newest->from,
              newest->head.sequence);
    }
}

static int verify_chain(Verify *verify, const Chain *chain)
{
    Uuid name = chain->end.chain;
    uint64_t anchored = !chain->has_records ? UINT64_MAX : (uint64_t)MAX(chain->first_sequence, 0);
    const KnownHead *newest = newest_head(verify, name, HEAD_STATE, UINT64_MAX);
    const KnownHead *anchor = newest_head(verify, name, HEAD_ANCHOR, anchored);
    Reading reading = {.verify = verify, .chain = chain, .last = chain->last_sequence, .first = 1};
    chain_hash_first(chain->end.chain, &reading.before);
    if (anchor) {
        reading.first = anchor->head.sequence + 1;
        reading.before = anchor->head.hash;
    }
    reading.heads = known_heads_of(&verify->heads, name);
    check_keys(verify, name);
    if (chain->has_records && chain->first_sequence < 1) {
        found(verify, name, 0, "a record has the sequence %" PRId64 ": the first one is 1",
              chain->first_sequence);
    }
    verify->result.chain_count++;
    if (newest && anchor && newest->head.sequence < reading.first) {
        newest = NULL; /* all records were removed in their time */
    }
    if (verify->has_lost_head && uuid_equal(verify->own_chain, name) && chain->has_records) {
        found(verify, name, 0, "%s/head is missing: nobody can tell whether the newest records are",
              verify->config->directory);
    }
    check_end(verify, chain, newest);
    return reading.first <= reading.last ? read_records(&reading) : 0;
}

/* ---- all ---- */

/** Reads uuid, sequence, hash, public_key, signed_at, signature. */
static void read_db_head(const DbResult *rows, int row, int column, Head *ret_head)
{
    Head head = {.chain = db_uuid(rows, row, column),
                 .sequence = (uint64_t)db_i64(rows, row, column + 1),
                 .signed_us = db_timestamp(rows, row, column + 4)};
    bool is_whole = db_bytes(rows, row, column + 2, head.hash.bytes, sizeof(head.hash.bytes)) &&
                    db_bytes(rows, row, column + 3, head.key, sizeof(head.key)) &&
                    db_bytes(rows, row, column + 5, head.signature, sizeof(head.signature));
    if (!is_whole) {
        memset(head.signature, 0, sizeof(head.signature));
    }
    *ret_head = head;
}

static void take_db_heads(Verify *verify, const DbResult *rows)
{
    for (int row = 0; row < db_rows(rows); row++) {
        Head head;
        read_db_head(rows, row, 0, &head);
        bool is_anchor = str_equal(db_text(rows, row, 6), STR("anchor"));
        head.purpose = is_anchor ? HEAD_ANCHOR : HEAD_STATE;
        known_heads_add(&verify->heads, &head, "table audit_head");
    }
}

static bool is_listed(const Chain *chains, size_t count, Uuid chain)
{
    for (size_t i = 0; i < count; i++) {
        if (uuid_equal(chains[i].end.chain, chain)) {
            return true;
        }
    }
    return false;
}

/** A head of a chain that the database does not know: all of it was removed. */
static void check_lost_chains(Verify *verify, const Chain *chains, size_t count)
{
    size_t at = 0;
    while (at < verify->heads.count) {
        Uuid chain = verify->heads.items[at].head.chain;
        at = (size_t)(known_heads_of(&verify->heads, chain).end - verify->heads.items);
        if (is_listed(chains, count, chain)) {
            continue;
        }
        const KnownHead *newest = newest_head(verify, chain, HEAD_STATE, UINT64_MAX);
        check_keys(verify, chain);
        if (newest && newest->head.sequence > 0) {
            found(verify, chain, 1,
                  "is missing: the database does not have this chain, of which %s has a head of "
                  "sequence %" PRIu64,
                  newest->from, newest->head.sequence);
        }
    }
}

static int verify_chains(Verify *verify, DbResult *const results[3])
{
    Chain *chains = ARENA_ARRAY(verify->req->arena, Chain, (size_t)db_rows(results[0]));
    size_t count = (size_t)db_rows(results[0]);
    bool has_records = false;
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        chains[i].id = db_i32(results[0], (int)i, 0);
        chains[i].last_sequence = (uint64_t)MAX(db_i64(results[0], (int)i, 7), 0);
        chains[i].has_records = !db_is_null(results[0], (int)i, 8);
        has_records = has_records || chains[i].has_records;
        chains[i].first_sequence = chains[i].has_records ? db_i64(results[0], (int)i, 8) : 0;
        read_db_head(results[0], (int)i, 1, &chains[i].end);
        known_heads_add(&verify->heads, &chains[i].end, "table audit_chain");
    }
    take_db_heads(verify, results[1]);
    known_heads_sort(&verify->heads);
    check_files(verify, has_records, db_rows(results[1]) > 0);
    for (int row = 0; row < db_rows(results[2]); row++) {
        found(verify, (Uuid){{0}}, 1,
              "records belong to a chain %d that is not in table audit_chain",
              db_i32(results[2], row, 0));
    }
    check_lost_chains(verify, chains, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = verify_chain(verify, &chains[i]);
    }
    return rc;
}

int audit_verify(const VerifyConfig *config, Request *req, VerifyResult *ret_result)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[3] = {NULL, NULL, NULL};
    Verify verify = {.config = config, .req = req};
    pthread_mutex_init(&verify.lock, NULL);
    int rc = read_files(&verify); /* before the database: a server may be adding records */
    rc = rc < 0 ? rc : db_acquire(config->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_snapshot(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_chains, NULL);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_heads, NULL);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_strangers, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    db_release(conn);
    conn = NULL;
    rc = rc < 0 ? rc : verify_chains(&verify, results);
    verify.result.head_count = verify.heads.count;
    known_heads_done(&verify.heads);
    pthread_mutex_destroy(&verify.lock);
    if (rc == 0) {
        *ret_result = verify.result;
    }
    return rc;
}

/* ---- a fresh head ---- */

int audit_fresh_head(const char *directory, DbPool *pool, Request *req, Head *ret_head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    Head known = {0};
    Head head = {0};
    Uuid chain = {{0}};
    char problem[TEXT_BYTES];
    int has_known = chain_files_read_head(directory, &known); /* before the database */
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement_chains, NULL, &rows);
    if (rc < 0) {
        return rc;
    }
    bool is_found = false;
    bool has_name = chain_files_read(directory, &chain) > 0;
    for (int row = 0; row < db_rows(rows) && has_name && !is_found; row++) {
        read_db_head(rows, row, 1, &head);
        is_found = uuid_equal(head.chain, chain);
    }
    bool is_kept =
        is_found && head_is_signed(&head) && has_known >= 0 &&
        (has_known == 0 || !uuid_equal(known.chain, chain) || head.sequence > known.sequence ||
         (head.sequence == known.sequence && chain_hash_equal(&head.hash, &known.hash)));
    if (!is_kept) {
        return error_add(&req->errors, ERR_IO, NULL,
                         "the database has not what this server has signed: run musubi audit "
                         "verify");
    }
    Str path = str_printf(req->arena, "%s/" CHAIN_KEY_FILE, directory);
    HeadKey *key = head_key_open(path.data, false, problem, sizeof(problem));
    if (!key) {
        return error_add(&req->errors, ERR_IO, NULL, "%s", problem);
    }
    head_sign(&head, key);
    head_key_free(key);
    *ret_head = head;
    return 0;
}
