#pragma once

#include <stdio.h>

#include "atna/record_search.h"

/** A record of the audit trail as people read it: as text, CSV or JSON. */

typedef enum AuditColumn {
#define COLUMN(name, heading) AUDIT_COLUMN_##name,
#include "server/command/audit_columns.def"
#undef COLUMN
    AUDIT_COLUMN_COUNT
} AuditColumn;

/** Texts are in an arena, or borrowed from the record; empty: the record does not say. */
typedef struct AuditRow {
    Str texts[AUDIT_COLUMN_COUNT]; /* those of times stay empty */
    int64_t time_us;
    int64_t received_us;
    int64_t login_us; /* INT64_MIN: not known */
} AuditRow;

/** All but the login time. */
void audit_row_read(Arena *arena, const FoundRecord *record, AuditRow *ret_row);

/** Whom a record names as the person who acted, else the system that began it; NULL: nobody. */
const AuditParticipant *audit_person(const AuditMessage *message);

typedef enum AuditFormat { AUDIT_FORMAT_TEXT, AUDIT_FORMAT_CSV, AUDIT_FORMAT_JSON } AuditFormat;

/** @param zone  IANA name, for times in text and CSV; JSON has UTC */
void audit_row_write(StrBuf *buf, Arena *arena, AuditFormat format, const char *zone,
                     const AuditRow *row);

/** What precedes the rows: byte order mark and headings of CSV. */
void audit_report_begin(StrBuf *buf, AuditFormat format);

/** "2026-04-01 09:30:00" in that zone, in the arena. */
Str audit_local_time(Arena *arena, const char *zone, int64_t utc_us);
