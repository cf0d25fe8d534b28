/* LD_PRELOAD library for the mutant proof of the power test: fsync() and fdatasync() of files on
 * the file system of MUSUBI_NO_SYNC_DIR do nothing. A server that runs with it acknowledges
 * documents that are not durable, so the power test has to report losses; if it does not, it proves
 * nothing. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_chosen(int fd)
{
    const char *folder = getenv("MUSUBI_NO_SYNC_DIR");
    struct stat chosen;
    struct stat file;
    return folder && stat(folder, &chosen) == 0 && fstat(fd, &file) == 0 &&
           chosen.st_dev == file.st_dev;
}

int fsync(int fd)
{
    return is_chosen(fd) ? 0 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return is_chosen(fd) ? 0 : (int)syscall(SYS_fdatasync, fd);
}
