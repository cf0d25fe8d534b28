/* musubi backup and musubi restore. */

#include "server/backup/backup.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/backup/generations.h"
#include "server/command/checks.h"
#include "server/command/json.h"
#include "server/language.h"
#include "server/services.h"

/* ------------------------------------------------------------------ findings */

typedef struct Findings {
    json_t *list; /* NULL: print each when it is found */
    int64_t count;
} Findings;

static void take_finding(void *ctx, const char *line)
{
    Findings *findings = ctx;
    findings->count++;
    if (findings->list) {
        json_array_append_new(findings->list, json_text(str_from(line)));
    } else {
        (void)puts(line);
    }
}

/* ------------------------------------------------------------------ take */

static unsigned long long mib(uint64_t bytes)
{
    return (unsigned long long)((bytes + 512 * 1024) >> 20);
}

static void print_result(const Options *options, const BackupResult *result)
{
    const ManifestTotals *totals = &result->totals;
    if (options->json) {
        json_print(json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I}", "generation", result->generation, "files",
            (json_int_t)totals->file_count, "bytes", (json_int_t)totals->size_bytes,
            "database_bytes", (json_int_t)result->database_bytes, "read_bytes",
            (json_int_t)result->read_bytes, "written_bytes", (json_int_t)result->written_bytes));
        return;
    }
    printf(tr("%s: %llu files, %llu MiB; %llu MiB read, %llu MiB written\n"), result->generation,
           (unsigned long long)totals->file_count, mib(totals->size_bytes), mib(result->read_bytes),
           mib(result->written_bytes));
}

static bool parse_keep(const Options *options, size_t *ret_keep)
{
    uint64_t keep = 0;
    if (!options->keep || !str_to_u64(str_from(options->keep), &keep) || keep == 0) {
        return false;
    }
    *ret_keep = (size_t)keep;
    return true;
}

/** Whether the folder is this one or below it; both without links. */
static bool is_in(const char *folder, const char *above)
{
    char *real = realpath(above, NULL);
    const size_t len = real ? strlen(real) : 0;
    const bool is_in =
        real && strncmp(folder, real, len) == 0 && (folder[len] == '/' || folder[len] == '\0');
    free(real);
    return is_in;
}

/** Whether the folder is data_dir or below it, or below one of its folders, which may be elsewhere:
 * it would be lost together with it, and be part of itself. */
static bool is_in_data_dir(const Config *config, const char *folder)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    char *absolute = realpath(folder, NULL);
    if (!absolute) { /* it will be made */
        absolute = realpath(dirname(str_cstr(arena, str_from(folder))), NULL);
    }
    bool is_in_it = absolute && is_in(absolute, config->server.data_dir);
    for (size_t i = 0; absolute && !is_in_it && services_folders[i]; i++) {
        is_in_it = is_in(absolute, services_path(arena, config, services_folders[i]));
    }
    free(absolute);
    return is_in_it;
}

static int prune_store(const Options *options, BackupStore *store, ErrorList *errors, size_t keep)
{
    size_t removed = 0;
    uint64_t bytes = 0;
    if (backup_generations_prune(store, errors, keep, &removed, &bytes) < 0) {
        return EXIT_FAILED;
    }
    if (options->json) {
        json_print(json_pack("{s:I, s:I}", "removed", (json_int_t)removed, "freed_bytes",
                             (json_int_t)bytes));
    } else {
        printf(tr("%llu backups removed, %llu MiB freed\n"), (unsigned long long)removed,
               mib(bytes));
    }
    return EXIT_GOOD;
}

static int take_into(const Options *options, CommandContext *context, const BackupWish *wish,
                     size_t keep)
{
    _cleanup_(backup_store_closep) BackupStore *store = NULL;
    const char *folder = options->arguments[0];
    BackupResult result;
    if (is_in_data_dir(context->config, folder)) {
        return command_usage("%s is in data_dir and would be lost with it; name another folder",
                             folder);
    }
    int rc = backup_store_make(folder, &context->req->errors, &store);
    rc = rc < 0 ? rc : backup_take(context, store, wish, &result);
    if (rc < 0) {
        return command_status_of(rc);
    }
    print_result(options, &result);
    return keep > 0 ? prune_store(options, store, &context->req->errors, keep) : EXIT_GOOD;
}

static int take(const Options *options)
{
    CommandContext context;
    BackupWish wish = {.is_full = options->full, .without_keys = options->without_keys};
    size_t keep = 0;
    if (options->rate && !config_parse_size(str_from(options->rate), &wish.bytes_per_second)) {
        return command_usage("--rate %s is no size, e.g. 50MiB", options->rate);
    }
    if (options->keep && !parse_keep(options, &keep)) {
        return command_usage("--keep %s is no number from 1 on", options->keep);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = take_into(options, &context, &wish, keep);
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ list, verify, prune, config */

/** A subcommand that needs the folder of backups and nothing else. */
typedef struct StoreCommand {
    const char *name;
    int arguments; /* behind the name: the folder, and what else there is */
    bool is_writer;
    int (*run)(const Options *options, CommandContext *context, BackupStore *store);
} StoreCommand;

static json_t *generation_json(const char *name, const ManifestReader *reader)
{
    const ManifestHead *head = manifest_reader_head(reader);
    const ManifestTotals *totals = manifest_reader_totals(reader);
    return json_pack("{s:s, s:i, s:s, s:I, s:I}", "generation", name, "schema", head->schema,
                     "program", head->program, "files", (json_int_t)totals->file_count, "bytes",
                     (json_int_t)totals->size_bytes);
}

static int list(const Options *options, CommandContext *context, BackupStore *store)
{
    ErrorList *errors = &context->req->errors;
    Str *names = NULL;
    size_t count = 0;
    int rc = backup_generations(store, context->arena, errors, &names, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
        if (manifest_reader_open(store, names[i].data, errors, &reader) < 0) {
            continue; /* told at the end */
        }
        if (options->json) {
            json_print_line(generation_json(names[i].data, reader));
        } else {
            printf(tr("%s  schema %d  %llu files  %llu MiB\n"), names[i].data,
                   manifest_reader_head(reader)->schema,
                   (unsigned long long)manifest_reader_totals(reader)->file_count,
                   mib(manifest_reader_totals(reader)->size_bytes));
        }
    }
    return rc < 0 ? EXIT_FAILED : error_list_has_errors(errors) ? EXIT_FOUND : EXIT_GOOD;
}

static int verify(const Options *options, CommandContext *context, BackupStore *store)
{
    ErrorList *errors = &context->req->errors;
    Findings findings = {options->json ? json_array() : NULL, 0};
    DigestSet seen = {0};
    Str *names = NULL;
    size_t count = 0;
    size_t verified = 0;
    const char *chosen = NULL;
    int rc = backup_generation_choose(store, context->arena, errors, options->generation, &chosen);
    rc = rc < 0 ? rc : backup_generations(store, context->arena, errors, &names, &count);
    for (size_t i = 0; rc >= 0 && i < count; i++) {
        if (options->generation && strcmp(names[i].data, chosen) != 0) {
            continue;
        }
        int64_t found =
            backup_verify(store, names[i].data, "", errors, &seen, take_finding, &findings);
        bool is_unreadable = found == -ERR_CORRUPT || found == -ERR_IO; /* told at the end */
        findings.count += is_unreadable;
        rc = found < 0 && !is_unreadable ? (int)found : rc;
        verified++;
    }
    digest_set_done(&seen);
    if (rc < 0) {
        json_decref(findings.list);
        return command_status_of(rc);
    }
    if (findings.list) {
        json_print(json_pack("{s:I, s:I, s:o}", "backups", (json_int_t)verified, "count",
                             (json_int_t)findings.count, "findings", findings.list));
    } else {
        printf(tr("%llu backups read, %llu findings\n"), (unsigned long long)verified,
               (unsigned long long)findings.count);
    }
    return findings.count > 0 ? EXIT_FOUND : EXIT_GOOD;
}

static int prune(const Options *options, CommandContext *context, BackupStore *store)
{
    size_t keep = 0;
    if (!parse_keep(options, &keep)) {
        return command_usage("write --keep N: how many backups are to stay");
    }
    return prune_store(options, store, &context->req->errors, keep);
}

static int write_configuration(const Options *options, CommandContext *context, BackupStore *store)
{
    ErrorList *errors = &context->req->errors;
    const char *name = NULL;
    int rc = backup_generation_choose(store, context->arena, errors, options->generation, &name);
    rc = rc < 0 ? rc : backup_write_configuration(store, name, options->arguments[2], errors);
    if (rc < 0) {
        return command_status_of(rc);
    }
    command_say(options, tr("%d files of %s written to %s"), rc, name, options->arguments[2]);
    return EXIT_GOOD;
}

static const StoreCommand store_commands[] = {
    {"list", 1, false, list},
    {"verify", 1, false, verify},
    {"prune", 1, true, prune},
    {"config", 2, false, write_configuration},
};

static int run_store_command(const Options *options, const StoreCommand *command)
{
    CommandContext context = {.req = request_new(UINT_MAX)};
    BackupStore *store = NULL;
    context.arena = context.req->arena;
    int rc =
        backup_store_open(options->arguments[1], command->is_writer, &context.req->errors, &store);
    int status = rc < 0 ? command_status_of(rc) : command->run(options, &context, store);
    backup_store_close(store);
    return command_close(&context, status);
}

int command_backup(const Options *options)
{
    for (size_t i = 0; i < ARRAY_LEN(store_commands); i++) {
        const StoreCommand *command = &store_commands[i];
        if (options->argument_count == command->arguments + 1 &&
            strcmp(options->arguments[0], command->name) == 0) {
            return run_store_command(options, command);
        }
    }
    return options->argument_count == 1 ? take(options) : options_usage(options->command);
}

/* ------------------------------------------------------------------ restore */

/** What is there now: the same checks as afterwards at any time. */
static int check_restored(const Options *options, CommandContext *context, const char *generation,
                          const ManifestTotals *totals)
{
    Findings findings = {options->json ? json_array() : NULL, 0};
    int64_t stored = command_run_fsck(context, take_finding, &findings);
    int64_t audited = command_run_audit_verify(context, take_finding, &findings);
    if (stored < 0 || audited < 0) {
        json_decref(findings.list);
        return EXIT_FAILED;
    }
    if (findings.list) {
        json_print(json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "generation", generation, "files",
                             (json_int_t)totals->file_count, "bytes",
                             (json_int_t)totals->size_bytes, "fsck", (json_int_t)stored, "audit",
                             (json_int_t)audited, "findings", findings.list));
    } else {
        printf(tr("%s restored: %llu files, %llu MiB; fsck: %lld findings, audit verify: %lld "
                  "findings\n"),
               generation, (unsigned long long)totals->file_count, mib(totals->size_bytes),
               (long long)stored, (long long)audited);
    }
    return stored + audited > 0 ? EXIT_FOUND : EXIT_GOOD;
}

static int restore(const Options *options, CommandContext *context)
{
    _cleanup_(backup_store_closep) BackupStore *store = NULL;
    ErrorList *errors = &context->req->errors;
    ManifestTotals totals = {0};
    const char *generation = NULL;
    int rc = backup_store_open(options->arguments[0], false, errors, &store);
    rc = rc < 0 ? rc
                : backup_generation_choose(store, context->arena, errors, options->generation,
                                           &generation);
    rc = rc < 0 ? rc : backup_restore(context, store, generation, &totals);
    return rc < 0 ? command_status_of(rc) : check_restored(options, context, generation, &totals);
}

int command_restore(const Options *options)
{
    CommandContext context;
    if (options->argument_count != 1) {
        return options_usage(options->command);
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        status = restore(options, &context);
    }
    return command_close(&context, status);
}
