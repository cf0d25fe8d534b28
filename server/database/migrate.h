#pragma once

#include <stddef.h>

#include "lib/db/db.h"

/** The schema: the files of migrations/, embedded at build time, applied forward only, each in a
 * transaction. */

typedef struct Migration {
    int number; /* from 1, without gaps */
    const char *name;
    const char *checksum; /* SHA-256 of the file, hexadecimal */
    const char *sql;
} Migration;

extern const Migration migrations[];
extern const size_t migration_count;

typedef enum SchemaState {
    SCHEMA_EMPTY, /* no table of ours: serve with an embedded database migrates by itself */
    SCHEMA_OLDER, /* musubi migrate is to be run */
    SCHEMA_CURRENT,
    SCHEMA_UNKNOWN, /* newer than this program, or a migration differs from what was applied */
} SchemaState;

/**
 * Compares the database with this program.
 * @param ret_text  for SCHEMA_OLDER and SCHEMA_UNKNOWN one sentence for the operator that names
 * both versions and what to do; in req->arena
 */
int migrate_check(DbConn *conn, Request *req, SchemaState *ret_state, Str *ret_text) MUST_CHECK;

/**
 * Applies what is missing and gives the service role its rights. Several processes at once are
 * fine: they wait for each other. conn belongs to the owner of the tables.
 * @param service_role  the role that serve connects as; NULL: the owner itself, nothing to grant
 * @param ret_applied   how many migrations were applied
 */
int migrate_apply(DbConn *conn, Request *req, const char *service_role,
                  unsigned *ret_applied) MUST_CHECK;

/** Writes [audit] retention where the service role cannot change it. conn belongs to the owner.
 * @param days  0: for ever */
int migrate_set_retention(DbConn *conn, Request *req, uint64_t days) MUST_CHECK;
