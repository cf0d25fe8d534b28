#include "server/audit_logins.h"

#include <stdlib.h>

#include "atna/repository.h"

/** A login counts for what a user did within so long. */
#define LOGIN_LASTS_US INT64_C(86400000000)
#define BUCKETS 1024

static const DbStatement select_logins = {
    "audit_search_logins",
    "SELECT key, array_agg((extract(epoch FROM event_at) * 1000000)::int8 ORDER BY event_at)"
    " FROM (SELECT event_at, keys FROM audit_record WHERE keys && $1::int8[] OFFSET 0) AS found,"
    " unnest(found.keys) AS key WHERE key = ANY ($1::int8[]) GROUP BY key",
};

struct LoginTimes {
    LoginTimes *next_in_bucket;
    LoginTimes *next_waiting;
    int64_t key;
    int64_t *times_us; /* in order */
    size_t count;
};

struct AuditLogins {
    DbPool *pool;
    DbConn *conn;
    Arena *arena;
    LoginTimes *buckets[BUCKETS];
    LoginTimes *waiting; /* to be looked up */
    size_t waiting_count;
};

AuditLogins *audit_logins_new(DbPool *pool)
{
    AuditLogins *logins = calloc(1, sizeof(*logins));
    if (!logins) {
        abort();
    }
    logins->pool = pool;
    logins->arena = arena_new();
    return logins;
}

void audit_logins_free(AuditLogins *logins)
{
    if (logins) {
        db_release(logins->conn);
        arena_free(logins->arena);
        free(logins);
    }
}

static LoginTimes **bucket_of(AuditLogins *logins, int64_t key)
{
    return &logins->buckets[(uint64_t)key % BUCKETS];
}

static LoginTimes *find(AuditLogins *logins, int64_t key)
{
    LoginTimes *times = *bucket_of(logins, key);
    while (times && times->key != key) {
        times = times->next_in_bucket;
    }
    return times;
}

const LoginTimes *audit_logins_of(AuditLogins *logins, Str user_id, Str user_name)
{
    Str user = str_is_empty(str_trim(user_id)) ? user_name : user_id;
    if (str_is_empty(str_trim(user))) {
        return NULL;
    }
    int64_t key = audit_key(AUDIT_KEY_LOGIN, user);
    LoginTimes *times = find(logins, key);
    if (!times) {
        LoginTimes **bucket = bucket_of(logins, key);
        times = ARENA_NEW(logins->arena, LoginTimes);
        *times =
            (LoginTimes){.key = key, .next_in_bucket = *bucket, .next_waiting = logins->waiting};
        *bucket = times;
        logins->waiting = times;
        logins->waiting_count++;
    }
    return times;
}

static void read_rows(AuditLogins *logins, const DbResult *rows)
{
    for (int row = 0; row < db_rows(rows); row++) {
        LoginTimes *times = find(logins, db_i64(rows, row, 0));
        if (times) {
            times->count = db_i64_array(rows, row, 1, logins->arena, &times->times_us);
        }
    }
}

int audit_logins_load(AuditLogins *logins, Request *req)
{
    if (!logins->waiting) {
        return 0;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int64_t *keys = ARENA_ARRAY(arena, int64_t, logins->waiting_count);
    size_t count = 0;
    for (; logins->waiting; logins->waiting = logins->waiting->next_waiting) {
        keys[count++] = logins->waiting->key;
    }
    logins->waiting_count = 0;
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, arena);
    db_param_i64_array(&params, keys, count);
    int rc = logins->conn ? 0 : db_acquire(logins->pool, req, &logins->conn);
    rc = rc < 0 ? rc : db_exec(logins->conn, req, &select_logins, &params, &rows);
    if (rc == 0) {
        read_rows(logins, rows);
    }
    return rc;
}

int64_t audit_logins_before(const LoginTimes *times, int64_t at_us)
{
    size_t begin = 0;
    size_t end = times ? times->count : 0;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (times->times_us[middle] <= at_us) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    bool is_recent = begin > 0 && at_us - times->times_us[begin - 1] <= LOGIN_LASTS_US;
    return is_recent ? times->times_us[begin - 1] : INT64_MIN;
}
