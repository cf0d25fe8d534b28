#pragma once

#include "lib/access/access.h"

/**
 * Tables access_role, access_role_code and access_role_confidentiality as an operator changes them:
 * `musubi role`. Decisions read rules.h instead. Each function is part of the caller's transaction;
 * texts are in the arena of the request.
 */

typedef struct RoleRow {
    Str name;
    int16_t level; /* 0 none, 1 view, 2 download */
    bool may_break_glass;
    Str *codes; /* roles of assertions that it stands for: "CODE^^SYSTEM" */
    size_t code_count;
    Str *confidentiality; /* codes that it may see: "CODE^^SCHEME" */
    size_t confidentiality_count;
} RoleRow;

/** Those that reach the most come first. */
int role_table_read(DbConn *conn, Request *req, RoleRow **ret_rows, size_t *ret_count) MUST_CHECK;

int role_table_has(DbConn *conn, Request *req, Str role, bool *ret_has) MUST_CHECK;

/** Adds or replaces name, level and may_break_glass; the codes stay. */
int role_table_store(DbConn *conn, Request *req, const RoleRow *row) MUST_CHECK;

/** @param codes  rows of table code */
int role_table_permit(DbConn *conn, Request *req, Str role, const int32_t *codes,
                      size_t count) MUST_CHECK;
int role_table_forbid(DbConn *conn, Request *req, Str role, const int32_t *codes,
                      size_t count) MUST_CHECK;

/** From now on the role of assertions stands for this role, and for no other. */
int role_table_add_code(DbConn *conn, Request *req, Str role, const AccessCode *code) MUST_CHECK;
int role_table_remove_code(DbConn *conn, Request *req, Str role, const AccessCode *code) MUST_CHECK;
