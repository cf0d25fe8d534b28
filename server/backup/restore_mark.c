#include "server/backup/restore_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file_io.h"

#define MARK_FILE "restore-unfinished"

static int fail(const Config *config, ErrorList *errors, int error)
{
    return error_add(errors, ERR_IO, config->server.data_dir, "the mark of a restore: %s",
                     strerror(error));
}

int restore_mark_set(const Config *config, ErrorList *errors)
{
    _cleanup_(io_closep) int folder =
        open(config->server.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(io_closep) int file =
        folder < 0 ? -1 : openat(folder, MARK_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        return fail(config, errors, errno);
    }
    int rc = fsync(file) < 0 ? -errno : io_sync_directory(folder);
    return rc < 0 ? fail(config, errors, -rc) : 0;
}

int restore_mark_clear(const Config *config, ErrorList *errors)
{
    _cleanup_(io_closep) int folder =
        open(config->server.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || unlinkat(folder, MARK_FILE, 0) < 0) {
        return fail(config, errors, errno);
    }
    int rc = io_sync_directory(folder);
    return rc < 0 ? fail(config, errors, -rc) : 0;
}

int restore_mark_check(const Config *config, ErrorList *errors)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const char *path = str_printf(arena, "%s/" MARK_FILE, config->server.data_dir).data;
    if (access(path, F_OK) < 0) {
        return 0;
    }
    return error_add(errors, ERR_CONFIGURATION, config->server.data_dir,
                     "a restore was interrupted here; empty this folder (and the database of "
                     "conninfo), then run musubi restore again");
}
