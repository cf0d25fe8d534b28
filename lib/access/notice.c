#include "lib/access/rules.h"

/** Whoever breaks the glass leaves a notice, and it is durable before anything leaves. */

static const DbStatement insert_notice = {
    "access_break_glass",
    "INSERT INTO break_glass (patient, node, user_id, issuer, reason, object_count)"
    " VALUES ($1::int8, $2::int4, $3::text, $4::text, $5::text, $6::int4)"};

static int queue_notice(Request *req, DbConn *conn, const PatientRules *patient)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, patient->patient);
    db_param_i32(&params, req->principal->node_id);
    db_param_text(&params, req->user->id);
    db_param_text(&params, req->user->issuer);
    db_param_text(&params, req->rules->reason);
    db_param_i32(&params, patient->override_count);
    return db_queue(conn, req, &insert_notice, &params);
}

static bool has_overrides(const AccessRules *rules)
{
    for (const PatientRules *p = rules ? rules->patients : NULL; p; p = p->next) {
        if (p->override_count > 0) {
            return true;
        }
    }
    return false;
}

int access_settle(Request *req, AccessNoticeFn notice, void *ctx)
{
    if (!has_overrides(req->rules)) {
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(req->principal->rules, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    for (PatientRules *p = req->rules->patients; p && rc == 0; p = p->next) {
        if (p->override_count > 0) {
            rc = queue_notice(req, conn, p);
            rc = rc < 0 ? rc : notice(ctx, req, conn, p->patient);
        }
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    for (PatientRules *p = req->rules->patients; p && rc == 0; p = p->next) {
        p->override_count = 0;
    }
    return rc;
}
