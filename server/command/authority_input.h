#pragma once

#include "lib/base/error.h"
#include "pix/authority_table.h"

/**
 * The assigning authorities as an operator writes them: one row each, checked by itself and
 * together (ITI TF-2 Appendix E: the full HD of each domain; 3.8.4.1.1: its one Patient Identity
 * Source; 3.8.4.1.3.1).
 */

/** As the command line or a line of CSV gives it. An empty text: not said. */
typedef struct AuthorityInput {
    const char *location; /* for faults: "authority add", or "FILE:LINE" */
    Str namespace_id;
    Str oid;
    Str facility;
    Str kind;
    Str source_application;
    Str source_facility;
    Str source_node;
    Str valid_from; /* days */
    Str valid_to;   /* the last one */
    Str derive;     /* "OID,pad=10" */
} AuthorityInput;

/**
 * Checks one row by itself; adds every fault.
 * @param zone     of the days (lib/base/zone.h)
 * @param ret_row  texts are borrowed from input, or in the arena
 */
int authority_row_parse(Arena *arena, ErrorList *errors, const char *zone,
                        const AuthorityInput *input, AuthorityRow *ret_row) MUST_CHECK;

/**
 * Checks the rows together: no OID twice in the input, no namespace twice, and what a row derives
 * from is there and does not derive from the row. Adds every fault of the input.
 * @param rows  stored ones and those of the input, in any order; the input replaces a stored row of
 * its OID
 */
int authority_rows_check(Arena *arena, ErrorList *errors, const AuthorityRow *rows,
                         size_t count) MUST_CHECK;

/** The day of an instant as an operator reads it, "2026-04-01", or with the time if that is not the
 * beginning of a day; empty for an open end. In the arena. */
Str authority_format_from(Arena *arena, const char *zone, int64_t valid_from_us);
/** As authority_format_from(), for the last day before the instant. */
Str authority_format_to(Arena *arena, const char *zone, int64_t valid_to_us);
