#pragma once

#include "server/command/disclosure_rule.h"

/** Rows of table disclosure for a reader. */

/** Which; zero: all that are in force or will be. */
typedef struct DisclosureSelection {
    int32_t id;      /* 0: any */
    int64_t patient; /* the rules about this XAD-PID, and those about every patient; 0: any */
    bool has_ended;  /* also what was revoked or has ended */
} DisclosureSelection;

int disclosure_rows_read(const IdentityCommand *command, const DisclosureSelection *selection,
                         DbResult **ret_rows) MUST_CHECK;

/** {"number", "patient", "source", "reader", ...}; new reference. */
json_t *disclosure_row_json(const IdentityCommand *command, const DbResult *rows, int row);

/** What it says, in one line, in the operator's language; in the arena. */
Str disclosure_row_words(Arena *arena, const json_t *disclosure);
