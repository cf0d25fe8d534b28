#include "server/backup/generations.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "server/backup/manifest.h"

#define PARTIAL ".partial"
#define NAME_LEN strlen("20260401T003000.120Z")

/** "20260401T003000.120Z" */
static const char *name_of_time(Arena *arena, int64_t utc_us)
{
    Str iso = clock_iso8601(arena, utc_us);
    char *name = arena_calloc(arena, iso.len + 1, 1);
    for (size_t i = 0, len = 0; i < iso.len; i++) {
        if (iso.data[i] != '-' && iso.data[i] != ':') {
            name[len++] = iso.data[i];
        }
    }
    return name;
}

static bool is_name(Str name)
{
    return name.len == NAME_LEN && name.data[8] == 'T' && name.data[NAME_LEN - 1] == 'Z';
}

static int compare_names(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

/** Names of folders that end in this and are a generation's before it; sorted, in the arena. */
static int list(const BackupStore *store, Arena *arena, ErrorList *errors, Str suffix,
                Str **ret_names, size_t *ret_count)
{
    DIR *listing = NULL;
    size_t count = 0;
    size_t room = 16;
    Str *names = ARENA_ARRAY(arena, Str, room);
    int rc = io_list_directory(backup_store_fd(store), &listing);
    if (rc < 0) {
        return backup_io_error(errors, backup_store_folder(store), "the folder cannot be read",
                               -rc);
    }
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) {
        Str name = str_from(entry->d_name);
        if (!str_ends_with(name, suffix) || !is_name(str_slice(name, 0, name.len - suffix.len))) {
            continue;
        }
        if (count == room) {
            Str *more = ARENA_ARRAY(arena, Str, room * 2);
            memcpy(more, names, room * sizeof(*names));
            names = more;
            room *= 2;
        }
        names[count++] = (Str){str_cstr(arena, name), name.len};
    }
    (void)closedir(listing);
    if (count > 0) {
        qsort(names, count, sizeof(*names), compare_names);
    }
    *ret_names = names;
    *ret_count = count;
    return 0;
}

int backup_generations(const BackupStore *store, Arena *arena, ErrorList *errors, Str **ret_names,
                       size_t *ret_count)
{
    return list(store, arena, errors, STR_EMPTY, ret_names, ret_count);
}

int backup_generation_choose(const BackupStore *store, Arena *arena, ErrorList *errors,
                             const char *wanted, const char **ret_name)
{
    Str *names = NULL;
    size_t count = 0;
    int rc = backup_generations(store, arena, errors, &names, &count);
    if (rc < 0) {
        return rc;
    }
    if (count == 0) {
        return error_add(errors, ERR_CONFIGURATION, backup_store_folder(store),
                         "there is no whole backup in this folder");
    }
    for (size_t i = 0; wanted && i < count; i++) {
        if (str_equal(names[i], str_from(wanted))) {
            *ret_name = names[i].data;
            return 0;
        }
    }
    if (wanted) {
        return error_add(errors, ERR_CONFIGURATION, backup_store_folder(store),
                         "there is no whole backup %s; musubi backup list shows those that are",
                         wanted);
    }
    *ret_name = names[count - 1].data;
    return 0;
}

/* ------------------------------------------------------------------ removal */

/** Removes the folder with its manifest. @return 0 or -errno */
static int remove_folder(const BackupStore *store, const char *name)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const int fd = backup_store_fd(store);
    const char *manifest = str_printf(arena, "%s/" MANIFEST_FILE, name).data;
    if (unlinkat(fd, manifest, 0) < 0 && errno != ENOENT) {
        return -errno;
    }
    return unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/** Adds all pieces of a generation. */
static int keep_pieces(const BackupStore *store, ErrorList *errors, const char *name,
                       DigestSet *kept)
{
    _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
    const ManifestFile *file = NULL;
    int rc = manifest_reader_open(store, name, errors, &reader);
    rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    while (rc > 0) {
        for (size_t i = 0; i < file->piece_count; i++) {
            (void)digest_set_add(kept, &file->pieces[i]);
        }
        rc = manifest_reader_next(reader, errors, &file);
    }
    return rc;
}

/** Removes the pieces that no whole generation has. */
static int collect(const BackupStore *store, ErrorList *errors, uint64_t *ret_bytes)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DigestSet kept = {0};
    Str *names = NULL;
    size_t count = 0;
    int rc = backup_generations(store, arena, errors, &names, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = keep_pieces(store, errors, names[i].data, &kept);
    }
    rc = rc < 0 ? rc : backup_store_collect(store, &kept, errors, ret_bytes);
    digest_set_done(&kept);
    return rc;
}

/** Removes what is not whole, if there is anything. */
static int clean_up(const BackupStore *store, ErrorList *errors, uint64_t *ret_bytes)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str *names = NULL;
    size_t count = 0;
    int rc = list(store, arena, errors, STR(PARTIAL), &names, &count);
    if (rc < 0 || count == 0) {
        return rc;
    }
    rc = collect(store, errors, ret_bytes); /* first: a second interruption must be seen too */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = remove_folder(store, names[i].data);
        rc = rc < 0 ? backup_io_error(errors, names[i].data, "it cannot be removed", -rc) : 0;
    }
    return rc;
}

void backup_generations_clean_up(BackupStore *store)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList ignored;
    error_list_init(&ignored, arena);
    uint64_t bytes = 0;
    (void)!clean_up(store, &ignored, &bytes);
}

int backup_generations_prune(BackupStore *store, ErrorList *errors, size_t keep,
                             size_t *ret_removed, uint64_t *ret_bytes)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str *names = NULL;
    size_t count = 0;
    int rc = backup_generations(store, arena, errors, &names, &count);
    const size_t too_many = count > keep ? count - keep : 0;
    for (size_t i = 0; rc == 0 && i < too_many; i++) {
        const char *partial = str_printf(arena, "%s" PARTIAL, names[i].data).data;
        const int fd = backup_store_fd(store);
        rc = renameat(fd, names[i].data, fd, partial) < 0
                 ? backup_io_error(errors, names[i].data, "it cannot be removed", errno)
                 : 0;
    }
    rc = rc < 0 ? rc : backup_store_sync(store, errors);
    uint64_t bytes = 0;
    rc = rc < 0 ? rc : clean_up(store, errors, &bytes);
    if (rc == 0) {
        *ret_removed = too_many;
        *ret_bytes = bytes;
    }
    return rc;
}

/* ------------------------------------------------------------------ a new one */

/** @return 0 or -errno; -EEXIST: there is one of this time */
static int make_partial(const BackupStore *store, Arena *arena, const char *name, int *ret_fd)
{
    const int fd = backup_store_fd(store);
    const char *partial = str_printf(arena, "%s" PARTIAL, name).data;
    if (faccessat(fd, name, F_OK, 0) == 0) {
        return -EEXIST;
    }
    if (mkdirat(fd, partial, 0700) < 0) {
        return -errno;
    }
    int folder = openat(fd, partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = folder < 0 ? -errno : io_sync_directory(fd);
    if (rc < 0) {
        io_closep(&folder);
        return rc;
    }
    *ret_fd = folder;
    return 0;
}

int backup_generation_begin(BackupStore *store, Arena *arena, ErrorList *errors,
                            const char **ret_name, int *ret_fd)
{
    uint64_t bytes = 0;
    if (clean_up(store, errors, &bytes) < 0) {
        /* An old generation that cannot be read (it is told) keeps nobody from a new one. What was
         * left over stays, and may not be durable: each piece is read before it is trusted. */
        backup_store_doubt(store);
    }
    const char *name = name_of_time(arena, clock_utc_us());
    int rc = make_partial(store, arena, name, ret_fd);
    if (rc < 0) {
        return backup_io_error(errors, name, "the backup cannot be written", -rc);
    }
    fail_point("backup.begun");
    *ret_name = name;
    return 0;
}

int backup_generation_publish(const BackupStore *store, ErrorList *errors, const char *name)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const int fd = backup_store_fd(store);
    const char *partial = str_printf(arena, "%s" PARTIAL, name).data;
    int rc = backup_store_sync(store, errors);
    if (rc < 0) {
        return rc;
    }
    fail_point("backup.durable");
    rc = renameat(fd, partial, fd, name) < 0 ? -errno : io_sync_directory(fd);
    return rc < 0 ? backup_io_error(errors, name, "the backup cannot be published", -rc) : 0;
}
