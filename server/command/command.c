#include "server/command/command.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/backup/restore_mark.h"
#include "server/database/postgres_embedded.h"
#include "server/language.h"

/** Long enough for a migration of a large database. */
#define COMMAND_TIMEOUT_MS (24U * 3600 * 1000)

int command_fault(ErrorList *errors, const char *location, const char *text, Str value)
{
    return error_add(errors, ERR_CONFIGURATION, location, "%s%s%.*s", text,
                     value.len > 0 ? ": " : "", STR_ARG(value));
}

void command_print_errors(const ErrorList *errors)
{
    for (const Error *error = errors->first; error; error = error->next) {
        fprintf(stderr, "musubi: %.*s%s%s%.*s\n", STR_ARG(error->location),
                error->location.len > 0 ? ": " : "",
                error->severity == SEVERITY_WARNING ? tr("warning: ") : "",
                STR_ARG(error->context));
    }
}

int command_usage(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "musubi: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return EXIT_USAGE;
}

int command_open_config(const Options *options, CommandContext *ret_context)
{
    *ret_context = (CommandContext){.req = request_new(COMMAND_TIMEOUT_MS)};
    ret_context->arena = ret_context->req->arena;
    int rc = config_load(options->config, ret_context->arena, &ret_context->req->errors,
                         &ret_context->config);
    return rc < 0 ? EXIT_USAGE : EXIT_GOOD;
}

/** The running server's postmaster, or one for this command alone. */
static int open_embedded(CommandContext *context)
{
    if (postgres_find(context->config, context->arena, &context->postgres)) {
        return 0;
    }
    int rc =
        postgres_start(context->config, context->arena, &context->req->errors, &context->postgres);
    context->has_started_postgres = rc == 0 && !postgres_is_adopted(context->postgres);
    return rc;
}

int command_connect(CommandContext *context)
{
    const char *conninfo = context->config->database.owner_conninfo;
    if (context->config->database.embedded) {
        int rc = open_embedded(context);
        if (rc < 0) {
            return rc;
        }
        conninfo = postgres_conninfo(context->postgres, POSTGRES_OWNER_ROLE);
    }
    context->pool = db_pool_new(conninfo, 2);
    return db_acquire(context->pool, context->req, &context->conn);
}

int command_open(const Options *options, CommandContext *ret_context)
{
    int status = command_open_config(options, ret_context);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (restore_mark_check(ret_context->config, &ret_context->req->errors) < 0) {
        return EXIT_USAGE;
    }
    return command_connect(ret_context) < 0 ? EXIT_FAILED : EXIT_GOOD;
}

const char *command_service_conninfo(const CommandContext *context)
{
    return context->postgres ? postgres_conninfo(context->postgres, POSTGRES_SERVICE_ROLE)
                             : context->config->database.conninfo;
}

int command_close(CommandContext *context, int status)
{
    db_release(context->conn);
    db_pool_free(context->pool);
    if (context->has_started_postgres &&
        postgres_stop(context->postgres, &context->req->errors) < 0) {
        status = EXIT_FAILED;
    }
    command_print_errors(&context->req->errors);
    if (status == EXIT_FAILED && db_last_failure()[0]) {
        fprintf(stderr, "musubi: %s\n", db_last_failure());
    }
    request_free(context->req);
    return status;
}

static const Subcommand *find_subcommand(const Options *options, const Subcommand *subcommands,
                                         size_t count)
{
    const int arguments = options->argument_count - 1;

    for (size_t i = 0; i < count; i++) {
        if (arguments >= subcommands[i].least_arguments &&
            arguments <= subcommands[i].most_arguments &&
            strcmp(subcommands[i].name, options->arguments[0]) == 0) {
            return &subcommands[i];
        }
    }
    return NULL;
}

int command_run(const Options *options, const Subcommand *subcommands, size_t count)
{
    CommandContext context;
    const Subcommand *subcommand = find_subcommand(options, subcommands, count);

    if (!subcommand) {
        return options_usage(options->command);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = subcommand->run(options, &context);
    }
    return command_close(&context, status);
}

Str command_account(Arena *arena)
{
    const struct passwd *account = getpwuid(getuid());

    return account ? str_dup(arena, str_from(account->pw_name))
                   : str_printf(arena, "uid %u", (unsigned)getuid());
}

int command_begin(const CommandContext *context)
{
    int rc = db_queue_begin(context->conn, context->req);
    return rc < 0 ? rc : db_sync(context->conn, context->req, NULL);
}

int command_finish(const Options *options, const CommandContext *context)
{
    return options->dry_run ? db_rollback(context->conn, context->req)
                            : db_commit(context->conn, context->req, NULL);
}

int command_status_of(int rc)
{
    if (rc == 0) {
        return EXIT_GOOD;
    }
    return rc == -ERR_CONFIGURATION ? EXIT_USAGE : EXIT_FAILED;
}
