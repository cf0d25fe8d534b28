#include "atna/logins.h"

#include <stdlib.h>

#include "atna/repository.h"
#include "lib/base/heap.h"

static const DbStatement select_logins = {
    "audit_search_logins",
    "SELECT (SELECT login.event_at FROM audit_login login WHERE login.key = asked.key AND"
    " login.event_at BETWEEN asked.at - interval '24 hours' AND asked.at"
    " ORDER BY login.event_at DESC LIMIT 1)"
    " FROM unnest($1::int8[], $2::timestamptz[]) WITH ORDINALITY AS asked (key, at, number)"
    " ORDER BY asked.number",
};

struct AuditLogins {
    DbPool *pool;
    DbConn *conn;
    /* What is asked for: count of each, room for cap. */
    int64_t *keys;
    int64_t *times_us;
    int64_t **answers_us;
    size_t count;
    size_t cap;
};

AuditLogins *audit_logins_new(DbPool *pool)
{
    AuditLogins *logins = HEAP_NEW(AuditLogins);
    logins->pool = pool;
    return logins;
}

void audit_logins_free(AuditLogins *logins)
{
    if (logins) {
        db_release(logins->conn);
        free(logins->keys);
        free(logins->times_us);
        free(logins->answers_us);
        free(logins);
    }
}

static void make_room(AuditLogins *logins)
{
    if (logins->count == logins->cap) {
        logins->cap = logins->cap ? 2 * logins->cap : 64;
        logins->keys = heap_resized(logins->keys, logins->cap, sizeof(*logins->keys));
        logins->times_us = heap_resized(logins->times_us, logins->cap, sizeof(*logins->times_us));
        logins->answers_us =
            heap_resized(logins->answers_us, logins->cap, sizeof(*logins->answers_us));
    }
}

void audit_logins_ask(AuditLogins *logins, Str user_id, Str user_name, int64_t at_us,
                      int64_t *ret_login_us)
{
    Str user = str_is_empty(str_trim(user_id)) ? user_name : user_id;
    if (str_is_empty(str_trim(user))) {
        return;
    }
    make_room(logins);
    logins->keys[logins->count] = audit_key(AUDIT_KEY_LOGIN, user);
    logins->times_us[logins->count] = at_us;
    logins->answers_us[logins->count++] = ret_login_us;
}

int audit_logins_load(AuditLogins *logins, Request *req)
{
    if (logins->count == 0) {
        return 0;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, arena);
    db_param_i64_array(&params, logins->keys, logins->count);
    db_param_timestamp_array(&params, logins->times_us, logins->count);
    int rc = logins->conn ? 0 : db_acquire(logins->pool, req, &logins->conn);
    rc = rc < 0 ? rc : db_exec(logins->conn, req, &select_logins, &params, &rows);
    for (size_t i = 0; rc == 0 && i < logins->count; i++) {
        if (!db_is_null(rows, (int)i, 0)) {
            *logins->answers_us[i] = db_timestamp(rows, (int)i, 0);
        }
    }
    logins->count = 0;
    return rc;
}
