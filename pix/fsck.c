/** fsck of the rows of patient identity: every row of invariants.def holds. */
#include "pix/pix.h"

typedef struct Invariant {
    const char *fault;
    DbStatement statement;
} Invariant;

#define DOMAIN "WITH domain AS (SELECT $1::text AS oid, $2::boolean AS is_ours) "

static const Invariant invariants[] = {
#define INVARIANT(name, fault, sql) {fault, {"pix_fsck_" #name, DOMAIN sql}},
#include "pix/invariants.def"
#undef INVARIANT
};

typedef struct Fsck {
    const Invariant *invariant; /* in work */
    PixFindingFn finding;
    void *ctx;
    int64_t count;
} Fsck;

static int report(void *ctx, Request *req, const DbResult *row)
{
    Fsck *fsck = ctx;
    Str line = str_printf(req->arena, "patient identifier %.*s %s", STR_ARG(db_text(row, 0, 0)),
                          fsck->invariant->fault);
    fsck->finding(fsck->ctx, line.data);
    fsck->count++;
    return 0;
}

int64_t pix_fsck(const PixConfig *config, Request *req, PixFindingFn finding, void *ctx)
{
    Fsck fsck = {.finding = finding, .ctx = ctx};
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    int rc = db_acquire(config->pool, req, &conn);
    db_params_init(&params, req->arena);
    db_param_text(&params, str_from(config->patient_id_authority));
    db_param_bool(&params, config->pid_owner == PID_OWNER_SELF);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(invariants); i++) {
        fsck.invariant = &invariants[i];
        rc = db_stream(conn, req, &invariants[i].statement, &params, report, &fsck);
    }
    return rc < 0 ? rc : fsck.count;
}
