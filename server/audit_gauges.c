#include "server/audit_gauges.h"

#include <inttypes.h>

#include "atna/sender_counts.h"

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
    if (db_acquire(pool, req, &conn) == 0 &&
        audit_sender_counts_read(conn, req, &senders, &count) == 0) {
        write_gauges(senders, count, buf);
    }
}
