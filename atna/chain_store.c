#include "atna/chain_store.h"

#include "lib/base/fail.h"

#define SELECT_CHAIN                                                                               \
    "SELECT id, sequence, hash, received_at, received_segment, received_offset, own_segment,"      \
    " own_offset FROM audit_chain WHERE "

static const DbStatement statement_insert_chain = {
    "audit_chain_insert", "INSERT INTO audit_chain (uuid, hash, public_key, signed_at, signature)"
                          " VALUES ($1::uuid, $2::bytea, $3::bytea, $4::timestamptz, $5::bytea)"
                          " ON CONFLICT (uuid) DO NOTHING"};
static const DbStatement statement_select_chain = {"audit_chain_select",
                                                   SELECT_CHAIN "uuid = $1::uuid"};
static const DbStatement statement_lock_chain = {"audit_chain_lock",
                                                 SELECT_CHAIN "id = $1::integer FOR UPDATE"};
static const DbStatement statement_update_chain = {
    "audit_chain_update",
    "UPDATE audit_chain SET sequence = $2::bigint, hash = $3::bytea, received_at ="
    " $4::timestamptz, public_key = $5::bytea, signed_at = $6::timestamptz, signature ="
    " $7::bytea, received_segment = $8::bigint, received_offset = $9::bigint, own_segment ="
    " $10::bigint, own_offset = $11::bigint WHERE id = $1::integer"};
/* A commit that waits for the disk takes all earlier ones along. It waits only if its transaction
 * has written something: this does, and nobody reads it. */
static const DbStatement statement_confirm = {
    "audit_confirm", "SELECT pg_logical_emit_message(true, 'musubi', '')::text"};
/* When the pending list of the index of keys is full, whoever adds to it merges it: in one pass if
 * its keys fit into this memory. A long list costs least for each record; when there is time
 * chain_store_merge_keys() makes it short for searches. */
static const DbStatement statement_batch_settings = {
    "audit_batch_settings", "SELECT set_config('synchronous_commit', 'off', true),"
                            " set_config('work_mem', '64MB', true),"
                            " set_config('gin_pending_list_limit', '16MB', true)"};
static const DbStatement statement_merge_keys = {"audit_merge_keys", "SELECT audit_merge_keys()"};
static const DbStatement statement_make_partition = {
    "audit_make_partition", "SELECT audit_make_partition($1::timestamptz)"};
static const DbStatement statement_drop_partition = {
    "audit_drop_partition", "SELECT audit_drop_partition($1::timestamptz)"};

/* In one order everywhere, so that processes that share a database do not deadlock. */
static const DbStatement statement_count_senders = {
    "audit_sender_count",
    "INSERT INTO audit_sender AS s (sender, transport, node, address, is_trusted, first_at,"
    " last_at, record_count) SELECT n.sender, n.transport, n.node, n.address, n.transport <> 'udp',"
    " n.last_at, n.last_at, n.record_count FROM unnest($1::text[], $2::text[], $3::text[],"
    " $4::text[], $5::timestamptz[], $6::bigint[]) AS n (sender, transport, node, address, last_at,"
    " record_count) ORDER BY n.sender COLLATE \"C\""
    " ON CONFLICT (sender) DO UPDATE SET last_at = greatest(s.last_at, EXCLUDED.last_at),"
    " record_count = s.record_count + EXCLUDED.record_count"};
static const DbStatement statement_count_defects = {
    "audit_sender_defect_count",
    "INSERT INTO audit_sender_defect AS d (sender, defect, record_count)"
    " SELECT n.sender, n.defect, n.record_count FROM unnest($1::text[], $2::integer[],"
    " $3::bigint[]) AS n (sender, defect, record_count)"
    " ORDER BY n.sender COLLATE \"C\", n.defect ON CONFLICT (sender, defect)"
    " DO UPDATE SET record_count = d.record_count + EXCLUDED.record_count"};

static const DbStatement statement_insert_head = {
    "audit_head_insert",
    "INSERT INTO audit_head (chain, sequence, purpose, hash, public_key, signed_at, signature)"
    " VALUES ($1::integer, $2::bigint, $3::text, $4::bytea, $5::bytea, $6::timestamptz, $7::bytea)"
    " ON CONFLICT DO NOTHING"};

/* The month as a number in the partition's name: audit_record_YYYYMM. */
static const DbStatement statement_oldest_month = {
    "audit_oldest_month",
    "SELECT to_timestamp(right(c.relname, 6) || '01+00', 'YYYYMMDDTZH') AS month"
    " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'audit_record'::regclass"
    " AND to_timestamp(right(c.relname, 6) || '01+00', 'YYYYMMDDTZH') + interval '1 month'"
    " <= $1::timestamptz ORDER BY month LIMIT 1"};
static const DbStatement statement_month_parts = {
    "audit_month_parts",
    "SELECT c.id, c.uuid, c.public_key, c.received_at, r.sequence, r.hash FROM audit_chain c"
    " CROSS JOIN LATERAL (SELECT sequence, hash FROM audit_record WHERE chain = c.id AND"
    " received_at < $1::timestamptz + interval '1 month' ORDER BY sequence DESC LIMIT 1) r"
    " ORDER BY c.id"};

static Str bytes_of(const void *bytes, size_t len)
{
    return (Str){bytes, len};
}

static int unreadable(Request *req)
{
    return error_add(&req->errors, ERR_DATABASE, NULL, "table audit_chain cannot be read");
}

static int read_chain_row(Request *req, const DbResult *rows, ChainRow *ret_row)
{
    ChainRow row = {0};
    if (db_rows(rows) != 1 || !db_bytes(rows, 0, 2, row.end.hash.bytes, CHAIN_HASH_BYTES)) {
        return unreadable(req);
    }
    row.id = db_i32(rows, 0, 0);
    row.end.sequence = (uint64_t)db_i64(rows, 0, 1);
    row.end.received_us = db_timestamp(rows, 0, 3);
    for (int i = 0; i < SPOOL_COUNT; i++) {
        row.loaded[i] = (SpoolPosition){(uint64_t)db_i64(rows, 0, 4 + 2 * i),
                                        (uint64_t)db_i64(rows, 0, 5 + 2 * i)};
    }
    *ret_row = row;
    return 0;
}

int chain_store_open(DbPool *pool, Request *req, Uuid chain, const HeadKey *key, ChainRow *ret_row)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[2] = {NULL, NULL};
    Head head = {.chain = chain, .purpose = HEAD_STATE};
    DbParams insert;
    DbParams select;
    chain_hash_first(chain, &head.hash);
    head_sign(&head, key);
    db_params_init(&insert, req->arena);
    db_param_uuid(&insert, chain);
    db_param_bytes(&insert, bytes_of(head.hash.bytes, sizeof(head.hash.bytes)));
    db_param_bytes(&insert, bytes_of(head.key, sizeof(head.key)));
    db_param_timestamp(&insert, head.signed_us);
    db_param_bytes(&insert, bytes_of(head.signature, sizeof(head.signature)));
    db_params_init(&select, req->arena);
    db_param_uuid(&select, chain);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_insert_chain, &insert);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_select_chain, &select);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    return rc < 0 ? rc : read_chain_row(req, results[1], ret_row);
}

int chain_store_loaded(DbConn *conn, Request *req, Uuid chain,
                       SpoolPosition ret_loaded[SPOOL_COUNT])
{
    DbResult *rows = NULL;
    DbParams params;
    ChainRow row = {0};
    db_params_init(&params, req->arena);
    db_param_uuid(&params, chain);
    int rc = db_exec(conn, req, &statement_select_chain, &params, &rows);
    if (rc == 0 && db_rows(rows) > 0) {
        rc = read_chain_row(req, rows, &row);
    }
    if (rc == 0) {
        memcpy(ret_loaded, row.loaded, sizeof(row.loaded));
    }
    return rc;
}

/* ---- a batch ---- */

/** Queues what comes before the rows, and checks that the chain ends where the batch begins. */
static int begin_batch(DbConn *conn, Request *req, const Batch *batch)
{
    DbResult **results = ARENA_ARRAY(req->arena, DbResult *, batch->new_month_count + 2);
    DbParams params;
    ChainRow row = {0};
    int rc = db_queue_begin(conn, req);
    db_params_init(&params, req->arena);
    db_param_i32(&params, batch->chain_id);
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_lock_chain, &params);
    for (size_t i = 0; rc == 0 && i < batch->new_month_count; i++) {
        db_params_init(&params, req->arena);
        db_param_timestamp(&params, batch->new_months_us[i]);
        rc = db_queue(conn, req, &statement_make_partition, &params);
    }
    rc = rc < 0 ? rc : db_queue(conn, req, &statement_batch_settings, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    rc = rc < 0 ? rc : read_chain_row(req, results[0], &row);
    if (rc < 0) {
        return rc;
    }
    if (row.end.sequence != batch->begin.sequence ||
        !chain_hash_equal(&row.end.hash, &batch->begin.hash)) {
        return error_add(&req->errors, ERR_DATABASE, NULL,
                         "the audit chain was changed by something else than this process");
    }
    return 0;
}

static int queue_chain(DbConn *conn, Request *req, const Batch *batch, const Head *head,
                       const SpoolPosition loaded[SPOOL_COUNT])
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, batch->chain_id);
    db_param_i64(&params, (int64_t)batch->end.sequence);
    db_param_bytes(&params, bytes_of(batch->end.hash.bytes, CHAIN_HASH_BYTES));
    db_param_timestamp(&params, batch->end.received_us);
    db_param_bytes(&params, bytes_of(head->key, sizeof(head->key)));
    db_param_timestamp(&params, head->signed_us);
    db_param_bytes(&params, bytes_of(head->signature, sizeof(head->signature)));
    for (int i = 0; i < SPOOL_COUNT; i++) {
        db_param_i64(&params, (int64_t)loaded[i].segment);
        db_param_i64(&params, (int64_t)loaded[i].offset);
    }
    return db_queue(conn, req, &statement_update_chain, &params);
}

static const char *const transport_names[AUDIT_TRANSPORT_COUNT] = {
    [AUDIT_OWN] = "own", [AUDIT_TLS] = "tls", [AUDIT_UDP] = "udp"};

static int queue_senders(DbConn *conn, Request *req, const Batch *batch)
{
    size_t count = batch->sender_count;
    Str *columns[4];
    int64_t *last_us = ARENA_ARRAY(req->arena, int64_t, count);
    int64_t *record_counts = ARENA_ARRAY(req->arena, int64_t, count);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        columns[i] = ARENA_ARRAY(req->arena, Str, count);
    }
    for (size_t i = 0; i < count; i++) {
        AuditSender sender = {0};
        (void)audit_sender_parse(batch->senders[i].sender, &sender);
        columns[0][i] = batch->senders[i].sender;
        columns[1][i] = str_from(transport_names[sender.transport]);
        columns[2][i] = sender.node;
        columns[3][i] = sender.address;
        last_us[i] = batch->senders[i].last_us;
        record_counts[i] = batch->senders[i].record_count;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        db_param_text_array(&params, columns[i], count);
    }
    db_param_timestamp_array(&params, last_us, count);
    db_param_i64_array(&params, record_counts, count);
    return db_queue(conn, req, &statement_count_senders, &params);
}

static int queue_defects(DbConn *conn, Request *req, const Batch *batch)
{
    size_t most = batch->sender_count * AUDIT_DEFECT_COUNT;
    Str *senders = ARENA_ARRAY(req->arena, Str, most);
    int32_t *defects = ARENA_ARRAY(req->arena, int32_t, most);
    int64_t *record_counts = ARENA_ARRAY(req->arena, int64_t, most);
    size_t count = 0;
    for (size_t i = 0; i < batch->sender_count; i++) {
        for (int defect = 0; defect < AUDIT_DEFECT_COUNT; defect++) {
            if (batch->senders[i].defect_counts[defect] > 0) {
                senders[count] = batch->senders[i].sender;
                defects[count] = defect;
                record_counts[count++] = batch->senders[i].defect_counts[defect];
            }
        }
    }
    if (count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, senders, count);
    db_param_i32_array(&params, defects, count);
    db_param_i64_array(&params, record_counts, count);
    return db_queue(conn, req, &statement_count_defects, &params);
}

int chain_store_batch(DbPool *pool, Request *req, Batch *batch, const Head *head,
                      const SpoolPosition loaded[SPOOL_COUNT])
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : begin_batch(conn, req, batch);
    rc = rc < 0 ? rc : db_copy_run(conn, req, &batch->copy);
    rc = rc < 0 ? rc : db_copy_run(conn, req, &batch->logins);
    if (rc == 0) {
        fail_point("audit.batch_copied");
        rc = queue_chain(conn, req, batch, head, loaded);
    }
    rc = rc < 0 ? rc : queue_senders(conn, req, batch);
    rc = rc < 0 ? rc : queue_defects(conn, req, batch);
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    if (rc == 0) {
        fail_point("audit.batch_committed");
    }
    return rc;
}

int chain_store_confirm(DbPool *pool, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &statement_confirm, NULL, NULL);
}

int chain_store_merge_keys(DbPool *pool, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &statement_merge_keys, NULL, NULL);
}

/* ---- heads and retention ---- */

int chain_store_head(DbPool *pool, Request *req, int32_t chain_id, const Head *head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, chain_id);
    db_param_i64(&params, (int64_t)head->sequence);
    db_param_text(&params, str_from(head_purpose_names[head->purpose]));
    db_param_bytes(&params, bytes_of(head->hash.bytes, sizeof(head->hash.bytes)));
    db_param_bytes(&params, bytes_of(head->key, sizeof(head->key)));
    db_param_timestamp(&params, head->signed_us);
    db_param_bytes(&params, bytes_of(head->signature, sizeof(head->signature)));
    int rc = db_acquire(pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &statement_insert_head, &params, NULL);
}

int chain_store_oldest_month(DbPool *pool, Request *req, int64_t before_us, int64_t *ret_month_us)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *months = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, before_us);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement_oldest_month, &params, &months);
    if (rc < 0 || db_rows(months) == 0) {
        return rc;
    }
    *ret_month_us = db_timestamp(months, 0, 0);
    return 1;
}

int chain_store_month_parts(DbPool *pool, Request *req, int64_t month_us, ChainPart **ret_parts,
                            size_t *ret_count)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, month_us);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement_month_parts, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    ChainPart *parts = ARENA_ARRAY(req->arena, ChainPart, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        ChainPart *part = &parts[row];
        *part = (ChainPart){.id = db_i32(rows, row, 0),
                            .chain = db_uuid(rows, row, 1),
                            .received_us = db_timestamp(rows, row, 3),
                            .sequence = (uint64_t)db_i64(rows, row, 4)};
        if (!db_bytes(rows, row, 2, part->key, HEAD_KEY_BYTES) ||
            !db_bytes(rows, row, 5, part->hash.bytes, CHAIN_HASH_BYTES)) {
            return unreadable(req);
        }
    }
    *ret_parts = parts;
    *ret_count = (size_t)db_rows(rows);
    return 0;
}

int chain_store_drop_month(DbPool *pool, Request *req, int64_t month_us)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, month_us);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement_drop_partition, &params, &rows);
    if (rc == 0 && !db_bool(rows, 0, 0)) {
        return error_add(&req->errors, ERR_DATABASE, NULL, "the month has no partition");
    }
    return rc;
}
