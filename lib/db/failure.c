#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/db/connection.h"

static _Thread_local char last_failure[512];

const char *db_last_failure(void)
{
    return last_failure;
}

void failure_set(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_failure, sizeof(last_failure), format, args);
    va_end(args);
    last_failure[strcspn(last_failure, "\n")] = '\0';
}

/** Messages of class 22 (data exception) quote the value that was wrong; the others name objects
 * only. */
static bool message_may_hold_values(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0;
}

void failure_set_result(DbConn *conn, const char *statement, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!sqlstate) { /* made by libpq: the connection, not the statement */
        snprintf(conn->sqlstate, sizeof(conn->sqlstate), "08006");
        failure_set("%s: %s", statement, PQresultErrorMessage(result));
        return;
    }
    snprintf(conn->sqlstate, sizeof(conn->sqlstate), "%s", sqlstate);
    failure_set("%s: %s %s", statement, sqlstate,
                message && !message_may_hold_values(sqlstate) ? message : "(text withheld)");
}

int failure_add(Request *req)
{
    return error_add(
        &req->errors, ERR_DATABASE, NULL,
        "the database could not complete this request; send the same message again later");
}
