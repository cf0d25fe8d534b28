#pragma once

#include "lib/db/db.h"
#include "lib/ebrim/metadata.h"

/**
 * Interned values: tables code ((codingScheme, code) -> id) and repository (repositoryUniqueId ->
 * id), with a cache for the life of the process. Rows of both are never changed or removed, so what
 * the cache holds stays true. Thread-safe; readers share one lock. Values that a sender makes up
 * cannot fill the memory: beyond a bound they are looked up each time.
 */
typedef struct CodeTable CodeTable;

CodeTable *code_table_new(void);
void code_table_free(CodeTable *table);

/**
 * Ids of codes, for queries: never inserts. At most one round trip, for those that the cache lacks.
 * @param ret_ids  count items; 0 = the registry holds no such code
 */
int code_table_lookup(CodeTable *table, Request *req, DbConn *conn, const Code *codes, size_t count,
                      int32_t *ret_ids) MUST_CHECK;

/**
 * Ids of codes, for registrations: what is missing is inserted in an own autocommit statement. Call
 * it before BEGIN: in a long transaction two submissions with the same new codes would wait for
 * each other.
 */
int code_table_intern(CodeTable *table, Request *req, DbConn *conn, const Code *codes, size_t count,
                      int32_t *ret_ids) MUST_CHECK;

/** As code_table_intern(), of repositoryUniqueIds. */
int code_table_intern_repositories(CodeTable *table, Request *req, DbConn *conn,
                                   const Str *unique_ids, size_t count,
                                   int32_t *ret_ids) MUST_CHECK;

/**
 * repositoryUniqueId of an id that a row names; the text lives as long as the table. At most one
 * round trip.
 * @return -ERR_CORRUPT if there is no such row
 */
int code_table_repository_text(CodeTable *table, Request *req, DbConn *conn, int32_t id,
                               Str *ret_unique_id) MUST_CHECK;
