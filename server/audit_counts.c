#include "server/audit_counts.h"

#include <inttypes.h>

#include "atna/repository.h"

static const DbStatement select_senders = {
    "audit_counts_senders",
    "SELECT sender, record_count, last_at FROM audit_sender ORDER BY sender"};
static const DbStatement select_defects = {
    "audit_counts_defects",
    "SELECT sender, defect, record_count FROM audit_sender_defect ORDER BY sender, defect"};

/** The rows of one sender, from *row on. */
static void take_defects(const DbResult *rows, int *row, Arena *arena, AuditSenderCount *sender)
{
    sender->defects = ARENA_ARRAY(arena, AuditDefectCount, AUDIT_DEFECT_COUNT);
    for (; *row < db_rows(rows) && str_equal(db_text(rows, *row, 0), sender->sender); (*row)++) {
        int defect = db_i16(rows, *row, 1);
        if (defect >= 0 && defect < AUDIT_DEFECT_COUNT) {
            sender->defects[sender->defect_count++] =
                (AuditDefectCount){audit_defect_rows[defect].name, db_i64(rows, *row, 2)};
        }
    }
}

int audit_counts_read(DbConn *conn, Request *req, AuditSenderCount **ret_senders, size_t *ret_count)
{
    DbResult *results[2] = {NULL, NULL};
    int rc = db_queue(conn, req, &select_senders, NULL);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_defects, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(results[0]);
    AuditSenderCount *senders = ARENA_ARRAY(req->arena, AuditSenderCount, count);
    int defect_row = 0;
    for (size_t i = 0; i < count; i++) {
        senders[i] = (AuditSenderCount){
            .sender = db_text(results[0], (int)i, 0),
            .record_count = db_i64(results[0], (int)i, 1),
            .last_us = db_timestamp(results[0], (int)i, 2),
        };
        take_defects(results[1], &defect_row, req->arena, &senders[i]);
    }
    *ret_senders = senders;
    *ret_count = count;
    return 0;
}

/** A label's value: backslash, quote and line end escaped (Prometheus text format). */
static void append_label(StrBuf *buf, Str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '\\' || value.data[i] == '"') {
            strbuf_append_char(buf, '\\');
        }
        strbuf_append_char(buf, value.data[i] == '\n' ? ' ' : value.data[i]);
    }
}

static void write_gauges(const AuditSenderCount *senders, size_t count, StrBuf *buf)
{
    strbuf_literal(buf, "# HELP musubi_audit_records Audit records of each sender.\n"
                        "# TYPE musubi_audit_records gauge\n");
    for (size_t i = 0; i < count; i++) {
        strbuf_literal(buf, "musubi_audit_records{sender=\"");
        append_label(buf, senders[i].sender);
        strbuf_printf(buf, "\"} %" PRId64 "\n", senders[i].record_count);
    }
    strbuf_literal(buf,
                   "# HELP musubi_audit_defects Audit records of each sender that have a defect.\n"
                   "# TYPE musubi_audit_defects gauge\n");
    for (size_t i = 0; i < count; i++) {
        for (size_t d = 0; d < senders[i].defect_count; d++) {
            strbuf_literal(buf, "musubi_audit_defects{sender=\"");
            append_label(buf, senders[i].sender);
            strbuf_printf(buf, "\",defect=\"%s\"} %" PRId64 "\n", senders[i].defects[d].name,
                          senders[i].defects[d].record_count);
        }
    }
}

void audit_gauges_write(DbPool *pool, Request *req, StrBuf *buf)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    AuditSenderCount *senders = NULL;
    size_t count = 0;
    if (db_acquire(pool, req, &conn) == 0 && audit_counts_read(conn, req, &senders, &count) == 0) {
        write_gauges(senders, count, buf);
    }
}
