#include "atna/batch.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/heap.h"

/** A transaction costs a millisecond or two, and a record some 20 us. */
#define FULL_ROWS 4000
#define FULL_BYTES ((size_t)8 << 20)

/** At the end of each row in COPY BINARY: length and value of column hash. */
#define HASH_FIELD_BYTES (sizeof(uint32_t) + CHAIN_HASH_BYTES)
#define FIELD_COUNT_BYTES sizeof(uint16_t)

#define US_PER_S INT64_C(1000000)

static const DbStatement statement_copy = {
    "audit_record_copy",
    "COPY audit_record (chain, sequence, received_at, event_at, sender, kind, defects, event_id,"
    " event_types, action, outcome, source_id, keys, raw, hash) FROM STDIN (FORMAT binary)"};
static const DbStatement statement_copy_logins = {
    "audit_login_copy", "COPY audit_login (key, event_at, received_at) FROM STDIN (FORMAT binary)"};

void batch_init(Batch *batch)
{
    *batch =
        (Batch){.arena = arena_new(), .record_arena = arena_new(), .hasher = chain_hasher_new()};
    db_copy_init(&batch->copy, &statement_copy);
    db_copy_init(&batch->logins, &statement_copy_logins);
}

void batch_done(Batch *batch)
{
    db_copy_done(&batch->copy);
    db_copy_done(&batch->logins);
    key_list_done(&batch->keys);
    record_reader_done(&batch->reader);
    free(batch->senders);
    chain_hasher_free(batch->hasher);
    arena_free(batch->record_arena);
    arena_free(batch->arena);
}

void batch_begin(Batch *batch, int32_t chain_id, const ChainEnd *end)
{
    arena_clear(batch->arena);
    db_copy_clear(&batch->copy);
    db_copy_clear(&batch->logins);
    batch->chain_id = chain_id;
    batch->begin = *end;
    batch->end = *end;
    batch->sender_count = 0;
    batch->month_end_us = INT64_MIN;
    batch->new_months_us = NULL;
    batch->new_month_count = 0;
}

size_t batch_row_count(const Batch *batch)
{
    return batch->copy.row_count;
}

bool batch_is_full(const Batch *batch)
{
    return batch->copy.row_count >= FULL_ROWS || batch->copy.bytes.len >= FULL_BYTES;
}

/* ---- months ---- */

/** Microseconds at which the month of this time begins, plus so many months; UTC. */
static int64_t month_begin_us(int64_t utc_us, int months)
{
    int64_t rest = utc_us % US_PER_S;
    time_t seconds = (time_t)((utc_us - (rest < 0 ? rest + US_PER_S : rest)) / US_PER_S);
    struct tm parts;
    if (!gmtime_r(&seconds, &parts)) {
        abort(); /* years beyond int: the spool's clock has none */
    }
    struct tm begin = {.tm_year = parts.tm_year, .tm_mon = parts.tm_mon + months, .tm_mday = 1};
    return (int64_t)timegm(&begin) * US_PER_S;
}

static void add_month(Batch *batch, int64_t received_us)
{
    int64_t *months = ARENA_ARRAY(batch->arena, int64_t, batch->new_month_count + 1);
    if (batch->new_month_count > 0) {
        memcpy(months, batch->new_months_us, batch->new_month_count * sizeof(*months));
    }
    months[batch->new_month_count++] = received_us;
    batch->new_months_us = months;
}

/**
 * No record lies in an earlier month than the one before it, so that a month of the oldest records
 * is a part of the chain that ends at one place: a clock that was set back, and own events that are
 * spooled a moment later, count at the beginning of the month.
 */
static int64_t settle_month(Batch *batch, int64_t received_us)
{
    int64_t last_us = batch->end.received_us;
    if (last_us != INT64_MIN && received_us < last_us) {
        received_us = MAX(received_us, month_begin_us(last_us, 0));
    }
    if (received_us >= batch->month_end_us) {
        batch->month_end_us = month_begin_us(received_us, 1);
        bool is_known = last_us != INT64_MIN && month_begin_us(last_us, 1) == batch->month_end_us;
        if (!is_known || batch->end.sequence == batch->begin.sequence) {
            add_month(batch, received_us);
        }
    }
    return received_us;
}

/* ---- counters ---- */

static SenderCount *find_sender(Batch *batch, Str sender)
{
    for (size_t i = 0; i < batch->sender_count; i++) {
        if (str_equal(batch->senders[i].sender, sender)) {
            return &batch->senders[i];
        }
    }
    if (batch->sender_count == batch->sender_cap) {
        batch->senders = heap_grow(batch->senders, &batch->sender_cap, 16, sizeof(SenderCount));
    }
    SenderCount *count = &batch->senders[batch->sender_count++];
    *count = (SenderCount){.sender = str_dup(batch->arena, sender)};
    return count;
}

static void count_record(Batch *batch, Str sender, int64_t received_us, uint64_t defects)
{
    SenderCount *count = find_sender(batch, sender);
    count->record_count++;
    count->last_us = MAX(count->last_us, received_us);
    for (int i = 0; i < AUDIT_DEFECT_COUNT; i++) {
        count->defect_counts[i] += (defects & AUDIT_DEFECT_BIT(i)) != 0;
    }
}

/* ---- rows ---- */

/** A column of text takes no bytes that are not UTF-8, which only texts outside of XML can have. */
static Str shown(Arena *arena, Str text)
{
    return str_is_utf8(text) ? text : str_shown(arena, text);
}

static void param_event_types(DbParams *row, Arena *arena, const AuditMessage *message)
{
    Str *codes = ARENA_ARRAY(arena, Str, message->event_type_count);
    for (size_t i = 0; i < message->event_type_count; i++) {
        Str code = message->event_types[i].code;
        codes[i] = str_is_empty(code) ? STR_EMPTY : code; /* no NULL */
    }
    db_param_text_array(row, codes, message->event_type_count);
}

static int64_t event_us_of(const AuditContent *content, int64_t received_us)
{
    return content->has_time ? content->event_us : received_us;
}

/** All columns, the hash still to be filled in. */
static void add_row(Batch *batch, int64_t received_us, Str sender, const AuditContent *content,
                    Str raw)
{
    static const char no_hash[CHAIN_HASH_BYTES];
    const AuditMessage *message = &content->message;
    DbParams row;
    db_params_init(&row, batch->record_arena);
    db_param_i32(&row, batch->chain_id);
    db_param_i64(&row, (int64_t)batch->end.sequence);
    db_param_timestamp(&row, received_us);
    db_param_timestamp(&row, event_us_of(content, received_us));
    db_param_text(&row, shown(batch->record_arena, sender));
    db_param_i16(&row, (int16_t)content->kind);
    db_param_i64(&row, (int64_t)content->defects);
    db_param_text(&row, message->event_id.code);
    param_event_types(&row, batch->record_arena, message);
    db_param_text(&row, message->action);
    db_param_i16(&row, (int16_t)content->outcome);
    db_param_text(&row, message->source_id);
    db_param_i64_array(&row, batch->keys.values, batch->keys.count);
    db_param_bytes(&row, raw);
    db_param_bytes(&row, (Str){no_hash, sizeof(no_hash)});
    db_copy_add(&batch->copy, &row);
}

/** Hashes the fields as they will be stored, and writes the hash behind them. */
static void chain_row(Batch *batch, size_t row_begin)
{
    char *bytes = batch->copy.bytes.data;
    size_t fields_begin = row_begin + FIELD_COUNT_BYTES;
    size_t fields_end = batch->copy.bytes.len - HASH_FIELD_BYTES;
    chain_hash_next(batch->hasher, &batch->end.hash,
                    (Str){bytes + fields_begin, fields_end - fields_begin});
    memcpy(bytes + batch->copy.bytes.len - CHAIN_HASH_BYTES, batch->end.hash.bytes,
           CHAIN_HASH_BYTES);
}

/** If the record is a login: each name of its user. The record's own keys are gone then. */
static void add_logins(Batch *batch, int64_t received_us, const AuditContent *content)
{
    keys_of_login(&batch->keys, content);
    for (size_t i = 0; i < batch->keys.count; i++) {
        DbParams row;
        db_params_init(&row, batch->record_arena);
        db_param_i64(&row, batch->keys.values[i]);
        db_param_timestamp(&row, event_us_of(content, received_us));
        db_param_timestamp(&row, received_us);
        db_copy_add(&batch->logins, &row);
    }
}

void batch_add(Batch *batch, int64_t received_us, Str sender, uint64_t defects, Str raw)
{
    AuditSender parts = {0};
    AuditContent content;
    bool is_syslog = !audit_sender_parse(sender, &parts) || parts.transport != AUDIT_OWN;
    arena_clear(batch->record_arena);
    record_reader_read(&batch->reader, batch->record_arena, raw, is_syslog, received_us, &content);
    content.defects |= defects;
    keys_of_record(&batch->keys, &content, &parts);
    received_us = settle_month(batch, received_us);
    batch->end.sequence++;
    batch->end.received_us = received_us;
    size_t row_begin = batch->copy.bytes.len;
    add_row(batch, received_us, sender, &content, raw);
    chain_row(batch, row_begin);
    add_logins(batch, received_us, &content);
    count_record(batch, sender, received_us, content.defects);
}
