#include "pix/continuation_v3.h"

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "pix/pix_state.h"

/** How long a query is kept after its last answer. */
#define KEPT_US (30LL * 60 * 1000000)

static const DbStatement upsert = {
    "pdq_upsert",
    "INSERT INTO pdq_continuation (node, query_id, query, last_person, delivered, total,"
    " expires_at)"
    " VALUES ($1::integer, $2::text, $3::text, $4::bigint, $5::bigint, $6::bigint,"
    " $7::timestamptz)"
    " ON CONFLICT (node, query_id) DO UPDATE SET query = excluded.query,"
    " last_person = excluded.last_person, delivered = excluded.delivered,"
    " total = excluded.total, expires_at = excluded.expires_at",
};

static const DbStatement select_one = {
    "pdq_select",
    "SELECT query, last_person, delivered, total FROM pdq_continuation"
    " WHERE node = $1::integer AND query_id = $2::text AND expires_at >= now()",
};

/** With what has expired, whoever's it is. */
static const DbStatement delete_one = {
    "pdq_delete",
    "DELETE FROM pdq_continuation"
    " WHERE (node = $1::integer AND query_id = $2::text) OR expires_at < now()",
};

/** Two users of one node may see different patients, and may choose the same queryId. */
static Str name_of_user(const Request *req, Str query_id)
{
    const AccessUser *user = req->user;
    return user ? str_printf(req->arena, "%.*s|%.*s|%.*s", STR_ARG(query_id), STR_ARG(user->id),
                             STR_ARG(user->issuer))
                : query_id;
}

static void key_params(DbParams *params, const Request *req, Str query_id)
{
    db_params_init(params, req->arena);
    db_param_i32(params, req->principal->node_id);
    db_param_text(params, name_of_user(req, query_id));
}

static int run(Pix *pix, Request *req, const DbStatement *statement, const DbParams *params,
               DbResult **ret_result)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pix->config.pool, req, &conn);
    return rc ? rc : db_exec(conn, req, statement, params, ret_result);
}

int continuation_v3_keep(Pix *pix, Request *req, const Continuation *continuation)
{
    DbParams params;
    int rc = continuation_v3_drop(pix, req, continuation->query_id);
    if (rc || continuation->delivered >= continuation->total) {
        return rc;
    }
    key_params(&params, req, continuation->query_id);
    db_param_text(&params, continuation->query);
    db_param_i64(&params, continuation->last_person);
    db_param_i64(&params, (int64_t)continuation->delivered);
    db_param_i64(&params, (int64_t)continuation->total);
    db_param_timestamp(&params, clock_utc_us() + KEPT_US);
    return run(pix, req, &upsert, &params, NULL);
}

int continuation_v3_find(Pix *pix, Request *req, Str query_id, Continuation *ret_continuation,
                         bool *ret_is_known)
{
    DbParams params;
    DbResult *result = NULL;
    key_params(&params, req, query_id);
    int rc = run(pix, req, &select_one, &params, &result);
    if (rc) {
        return rc;
    }
    *ret_is_known = db_rows(result) == 1;
    if (*ret_is_known) {
        *ret_continuation = (Continuation){
            .query_id = query_id,
            .query = db_text(result, 0, 0),
            .last_person = db_i64(result, 0, 1),
            .delivered = (uint64_t)db_i64(result, 0, 2),
            .total = (uint64_t)db_i64(result, 0, 3),
        };
    }
    return 0;
}

int continuation_v3_drop(Pix *pix, Request *req, Str query_id)
{
    DbParams params;
    key_params(&params, req, query_id);
    return run(pix, req, &delete_one, &params, NULL);
}
