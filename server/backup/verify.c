#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/file_io.h"
#include "server/backup/backup.h"
#include "server/backup/program.h"
#include "server/database/postgres_embedded.h"

typedef struct Verifying {
    BackupStore *store;
    const char *generation;
    const char *bin_dir;
    ErrorList *errors;
    DigestSet *seen;
    BackupFindingFn finding;
    void *ctx;
    int64_t count;
    StrBuf piece;
} Verifying;

static void report(Verifying *verifying, const ManifestFile *file, const char *what)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    verifying->count++;
    verifying->finding(
        verifying->ctx,
        str_printf(arena, "%s, %.*s: %s", verifying->generation, STR_ARG(file->path), what).data);
}

static void report_piece(Verifying *verifying, const ManifestFile *file, const BackupDigest *digest,
                         int error)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const char *what = error == -EBADMSG  ? "is damaged"
                       : error == -ENOENT ? "is missing"
                                          : strerror(-error);
    report(verifying, file,
           str_printf(arena,
                      "%s %s; musubi backup --full stores it again if the server still "
                      "has it",
                      backup_object_path(arena, digest), what)
               .data);
}

/** Reads a piece. @return its size, or -errno after a finding */
static int64_t check_piece(Verifying *verifying, const ManifestFile *file, size_t i)
{
    int rc = backup_store_get(verifying->store, &file->pieces[i], &verifying->piece);
    if (rc < 0) {
        report_piece(verifying, file, &file->pieces[i], rc);
        return rc;
    }
    return (int64_t)verifying->piece.len;
}

/** What a piece has to have, where its file is cut at fixed places. */
static uint64_t expected_bytes(const ManifestFile *file, size_t i)
{
    const uint64_t begin = (uint64_t)i * BACKUP_PIECE_BYTES;
    return begin < file->size_bytes ? MIN((uint64_t)BACKUP_PIECE_BYTES, file->size_bytes - begin)
                                    : 0;
}

static void check_file(Verifying *verifying, const ManifestFile *file)
{
    const uint64_t wanted = (file->size_bytes + BACKUP_PIECE_BYTES - 1) / BACKUP_PIECE_BYTES;
    if (wanted != file->piece_count) {
        report(verifying, file, "the manifest has not all of its pieces");
        return;
    }
    for (size_t i = 0; i < file->piece_count; i++) {
        if (backup_digest_is_hole(&file->pieces[i]) ||
            !digest_set_add(verifying->seen, &file->pieces[i])) {
            continue;
        }
        int64_t len = check_piece(verifying, file, i);
        if (len >= 0 && (uint64_t)len != expected_bytes(file, i)) {
            report(verifying, file, "a piece has not the length that the file needs");
        }
    }
}

/* ------------------------------------------------------------------ the database */

/** Gives all pieces to the program, as far as it takes them. @return whether all were good */
static bool feed(Verifying *verifying, const ManifestFile *file, int fd)
{
    uint64_t size_bytes = 0;
    bool is_good = true;
    bool is_taken = true;
    for (size_t i = 0; i < file->piece_count; i++) {
        int64_t len = check_piece(verifying, file, i);
        is_good = is_good && len >= 0;
        size_bytes += (uint64_t)MAX(len, 0);
        is_taken = is_taken && is_good &&
                   io_write_all(fd, verifying->piece.data, verifying->piece.len) == 0;
    }
    if (is_good && size_bytes != file->size_bytes) {
        report(verifying, file, "it has not its whole length");
        is_good = false;
    }
    return is_good;
}

/** pg_restore writes the whole dump as a script, to nowhere. */
static int check_database(Verifying *verifying, const ManifestFile *file)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList found;
    BackupProgram program;
    const char *path = postgres_program(verifying->bin_dir, "pg_restore", arena, verifying->errors);
    if (!path) {
        return -ERR_CONFIGURATION;
    }
    const char *const argv[] = {path, "--format=custom", "--file=-", NULL};
    int rc = backup_program_start(argv, NULL, PROGRAM_TAKES, verifying->errors, &program);
    if (rc < 0) {
        return rc;
    }
    bool is_good = feed(verifying, file, program.fd);
    error_list_init(&found, arena);
    if (backup_program_end(&program, &found) < 0 && is_good) {
        report(verifying, file, str_cstr(arena, found.first->context));
    }
    return 0;
}

/* ------------------------------------------------------------------ a generation */

int64_t backup_verify(BackupStore *store, const char *generation, const char *bin_dir,
                      ErrorList *errors, DigestSet *seen, BackupFindingFn finding, void *ctx)
{
    _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
    const ManifestFile *file = NULL;
    Verifying verifying = {store, generation, bin_dir, errors, seen, finding, ctx, 0, {0}};
    bool has_database = false;
    signal(SIGPIPE, SIG_IGN);
    int rc = manifest_reader_open(store, generation, errors, &reader);
    rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    while (rc > 0) {
        bool is_database = str_equal(file->path, STR(BACKUP_DATABASE));
        has_database = has_database || is_database;
        rc = 0;
        if (is_database) {
            rc = check_database(&verifying, file);
        } else {
            check_file(&verifying, file);
        }
        rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    }
    if (rc == 0 && !has_database) {
        report(&verifying, &(ManifestFile){.path = STR(BACKUP_DATABASE)}, "it is missing");
    }
    strbuf_done(&verifying.piece);
    return rc < 0 ? rc : verifying.count;
}
