#pragma once

#include "server/backup/manifest.h"
#include "server/command/command.h"

typedef struct BackupWish {
    uint64_t bytes_per_second; /* of reading files; 0: no limit */
    bool is_full;              /* read everything again, and the pieces that are there too */
    bool without_keys;         /* leave [server] tls_key out */
} BackupWish;

typedef struct BackupResult {
    const char *generation;
    ManifestTotals totals;
    uint64_t database_bytes;
    uint64_t read_bytes;    /* of files; what did not change is not read */
    uint64_t written_bytes; /* into the folder */
} BackupResult;

/**
 * Makes a generation, while the server runs or not.
 *
 * The order makes it consistent. First the sweep is stopped from freeing anything
 * (repository/hold.h), the head of the audit chain is read and the segments of its spools are
 * opened. Then comes one snapshot of the database, which has every submission that was acknowledged
 * before, and at least what that head says. Then the spools up to where they were, so that each
 * audit record is in the snapshot or in them, and the blobs, of which at least those are there that
 * the snapshot names: they were durable before their rows.
 *
 * @return 0, or a negative ErrorCode in context->req->errors: then the folder is as it was
 */
int backup_take(CommandContext *context, BackupStore *store, const BackupWish *wish,
                BackupResult *ret_result) MUST_CHECK;

/** One line of what is wrong. */
typedef void (*BackupFindingFn)(void *ctx, const char *line);

/**
 * Reads every byte of a generation, and has pg_restore read its database.
 * @param seen  pieces that were read already are not read again
 * @return number of findings, or a negative ErrorCode in errors
 */
int64_t backup_verify(BackupStore *store, const char *generation, const char *bin_dir,
                      ErrorList *errors, DigestSet *seen, BackupFindingFn finding,
                      void *ctx) MUST_CHECK;

/**
 * Puts a generation into the data_dir and the database of the context, both of which must be empty;
 * data_dir keeps a mark that no command works with until all of it is there and durable.
 * @param context  with its configuration read; is connected on return, also on failure
 */
int backup_restore(CommandContext *context, BackupStore *store, const char *generation,
                   ManifestTotals *ret_totals) MUST_CHECK;

/** Writes the files of BACKUP_CONFIGURATION into a folder that is made. @return their number, or a
 * negative ErrorCode in errors */
int backup_write_configuration(BackupStore *store, const char *generation, const char *folder,
                               ErrorList *errors) MUST_CHECK;

/** Puts the event of a backup or a restore into the audit trail, in a transaction of its own. */
int backup_record(const CommandContext *context, bool is_restore, const BackupStore *store,
                  const char *generation, const char *failure) MUST_CHECK;
