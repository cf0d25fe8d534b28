#include "registry/subscriptions/subscriptions.h"

/* In one statement: a registration without subscribers pays for a look into an empty table. A
 * subscription that is acknowledged is seen by every registration that begins after that. */
static const DbStatement insert_events = {
    "subscription_events",
    "INSERT INTO subscription_event (submission_set) SELECT s FROM unnest($1::uuid[]) s"
    " WHERE EXISTS (SELECT FROM subscription)"};

int subscriptions_queue_events(Request *req, DbConn *conn, const Uuid *submission_sets,
                               size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, submission_sets, count);
    return db_queue(conn, req, &insert_events, &params);
}
