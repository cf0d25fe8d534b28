#pragma once

#include "lib/db/db.h"
#include "server/config.h"
#include "server/options.h"

struct Postgres;

/** What most commands need: configuration, request, and a connection to the database as owner of
 * the tables. */
typedef struct CommandContext {
    Arena *arena;
    Request *req; /* long deadline; its errors are printed by command_close() */
    Config *config;
    DbPool *pool;
    DbConn *conn;
    struct Postgres *postgres; /* NULL unless embedded */
    bool has_started_postgres; /* stopped again by command_close() */
} CommandContext;

/** Reads the configuration. @return EXIT_GOOD, or EXIT_USAGE with the faults printed */
int command_open_config(const Options *options, CommandContext *ret_context);

/**
 * Reads the configuration and connects: to the running server's embedded database, else to one that
 * is started for the command, else to [database] owner_conninfo.
 * @return EXIT_GOOD, or another status with the reason printed; command_close() is to be called in
 * every case
 */
int command_open(const Options *options, CommandContext *ret_context);

/** The second half of command_open(), for who has called command_open_config(). @return 0 or a
 * negative ErrorCode in context->req->errors */
int command_connect(CommandContext *context) MUST_CHECK;

/** musubi migrate: what is missing of the schema, rights of the service role, retention of audit
 * records. */
int command_apply_migrations(CommandContext *context, unsigned *ret_applied) MUST_CHECK;

/** How serve connects to the same database: without DDL. */
const char *command_service_conninfo(const CommandContext *context);

/** Prints the errors collected in the request and frees everything. @return status */
int command_close(CommandContext *context, int status);

/** Adds "TEXT: VALUE", or TEXT alone for an empty value. @return -ERR_CONFIGURATION */
int command_fault(ErrorList *errors, const char *location, const char *text, Str value);

/** "musubi: FILE:LINE: text" on stderr for each. */
void command_print_errors(const ErrorList *errors);

/** "add" and its like: the first argument, and what runs with a connection to the database. */
typedef struct Subcommand {
    const char *name;
    int least_arguments; /* behind the name */
    int most_arguments;
    int (*run)(const Options *options, CommandContext *context);
} Subcommand;

/** Opens, runs the subcommand that the arguments name, and closes. @return exit status */
int command_run(const Options *options, const Subcommand *subcommands, size_t count);

/** Who runs the command, for audit and history; in the arena. */
Str command_account(Arena *arena);

/** Starts a transaction on context->conn. */
int command_begin(const CommandContext *context) MUST_CHECK;

/** Ends it: with --dry-run nothing was done. */
int command_finish(const Options *options, const CommandContext *context) MUST_CHECK;

/** What the operator wrote is wrong: EXIT_USAGE; the rest: EXIT_FAILED. */
int command_status_of(int rc);

/** Prints "musubi: " and the text on stderr. @return EXIT_USAGE, so that a check can print and
 * return */
int command_usage(const char *format, ...) PRINTF_LIKE(1, 2);
