#include "atna/sender_counts.h"

#include "atna/repository.h"

static const DbStatement select_senders = {
    "audit_sender_counts",
    "SELECT sender, record_count, last_at FROM audit_sender ORDER BY sender"};
static const DbStatement select_defects = {
    "audit_sender_defect_counts",
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

int audit_sender_counts_read(DbConn *conn, Request *req, AuditSenderCount **ret_senders,
                             size_t *ret_count)
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
