#include "lib/saml/replay.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* Issuer and ID are kept as a hash: the table names nobody. */
static const DbStatement note_use = {
    "saml_note_use",
    "INSERT INTO assertion_seen (assertion, not_on_or_after, bound_to)"
    " VALUES ($1::bytea, $2::timestamptz, $3::text) ON CONFLICT (assertion) DO NOTHING"
    " RETURNING bound_to"};

static const DbStatement find_use = {
    "saml_find_use", "SELECT bound_to FROM assertion_seen WHERE assertion = $1::bytea"};

/* An hour more than any skew: the clocks of processes that share the database may differ. */
static const DbStatement forget_uses = {
    "saml_forget_uses",
    "DELETE FROM assertion_seen WHERE not_on_or_after < now() - interval '1 hour'"};

static Str hash_of(Arena *arena, const SamlClaims *claims)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    unsigned char *hash = arena_alloc(arena, 32);
    strbuf_printf(&text, "%zu:", claims->user.issuer.len);
    strbuf_append(&text, claims->user.issuer);
    strbuf_append(&text, claims->id);
    if (EVP_Q_digest(NULL, "SHA256", NULL, text.data, text.len, hash, NULL) != 1) {
        abort();
    }
    return (Str){(const char *)hash, 32};
}

static int note(DbConn *conn, Request *req, const SamlClaims *claims, Str presenter,
                SamlUse *ret_use)
{
    DbParams params;
    DbResult *rows = NULL;
    Str assertion = hash_of(req->arena, claims);
    db_params_init(&params, req->arena);
    db_param_bytes(&params, assertion);
    db_param_timestamp(&params, claims->not_on_or_after_us);
    db_param_text(&params, presenter);
    int rc = db_exec(conn, req, &note_use, &params, &rows);
    if (rc < 0 || db_rows(rows) == 1) {
        *ret_use = (SamlUse){true, presenter};
        return rc;
    }
    db_params_init(&params, req->arena);
    db_param_bytes(&params, assertion);
    rc = db_exec(conn, req, &find_use, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) { /* it was just forgotten: its time is over */
        rc = error_add(&req->errors, ERR_DATABASE_BUSY, NULL, "send the message again");
    }
    if (rc == 0) {
        *ret_use = (SamlUse){false, str_dup(req->arena, db_text(rows, 0, 0))};
    }
    return rc;
}

int saml_replay_note(DbPool *pool, Request *req, const SamlClaims *claims, Str presenter,
                     SamlUse *ret_use)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    return rc < 0 ? rc : note(conn, req, claims, presenter, ret_use);
}

int saml_replay_forget(DbConn *conn, Request *req)
{
    return db_exec(conn, req, &forget_uses, NULL, NULL);
}
