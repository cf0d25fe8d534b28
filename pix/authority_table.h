#pragma once

#include "lib/db/db.h"

/**
 * Table assigning_authority as an operator changes it: `musubi authority`. Feeds and queries read
 * authorities.h instead. Each function is part of the caller's transaction; texts are in the arena
 * of the request.
 */

/** What a row says. An empty text: not said. */
typedef struct AuthorityRow {
    const char *location; /* where an operator wrote it, for faults; NULL: stored already */
    Str oid;
    Str namespace_id;
    Str facility;
    Str kind;
    Str source_application;
    Str source_facility;
    Str source_node;
    int64_t valid_from_us;    /* INT64_MIN: open */
    int64_t valid_to_us;      /* INT64_MAX: open; no longer valid at that instant */
    Str derive_from;          /* OID; empty: its numbers are its own */
    Str derive_rule;          /* "pad=10" */
    int64_t identifier_count; /* of one that was read by its name: the identifiers in use; else 0 */
} AuthorityRow;

/** Until the end of the transaction nobody else stores: rows are checked together before. */
int authority_table_lock(DbConn *conn, Request *req) MUST_CHECK;

/**
 * The configured authorities, by facility and OID.
 * @param wanted  OID or namespace of one; empty: all
 */
int authority_table_read(DbConn *conn, Request *req, Str wanted, AuthorityRow **ret_rows,
                         size_t *ret_count) MUST_CHECK;

/**
 * Whom these names mean: OIDs or namespaces of configured authorities, or of the affinity domain.
 * @param ret_is_known  one of each name, room for name_count
 * @param ret_ids       rows of assigning_authority, each once
 */
int authority_table_find(DbConn *conn, Request *req, Str affinity_oid, const Str *names,
                         size_t name_count, bool *ret_is_known, int32_t **ret_ids,
                         size_t *ret_id_count) MUST_CHECK;

/** Adds or replaces these rows, which were checked; their facilities are there. */
int authority_table_store(DbConn *conn, Request *req, const AuthorityRow *rows,
                          size_t count) MUST_CHECK;

/**
 * From now on nobody feeds it; what is known of its numbers stays.
 * @param wanted  OID or namespace
 * @param ret_is_found  false: there is none that is valid
 */
int authority_table_revoke(DbConn *conn, Request *req, Str wanted, bool *ret_is_found) MUST_CHECK;
