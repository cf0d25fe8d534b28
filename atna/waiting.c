/* Own events between the spool and the tables. */

#include "atna/chain_files.h"
#include "atna/chain_store.h"

int audit_waiting_read(const char *directory, DbConn *conn, Request *req, AuditRecordFn callback,
                       void *ctx)
{
    char problem[256];
    unsigned damaged = 0;
    SpoolPosition loaded[SPOOL_COUNT] = {{0, 0}};
    Uuid chain;
    bool has_chain = chain_files_read(directory, &chain) > 0;
    int rc = has_chain ? chain_store_loaded(conn, req, chain, loaded) : 0;
    if (rc < 0) {
        return rc;
    }
    rc = spool_read_from(directory, loaded[SPOOL_OWN], callback, ctx, &damaged, problem,
                         sizeof(problem));
    return rc == -ERR_IO ? error_add(&req->errors, ERR_IO, NULL, "%s", problem) : rc;
}
