#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/macros.h"
#include "lib/base/str.h"

/** System calls on files, whole or not at all: short transfers and EINTR are continued. All return
 * 0 or -errno. */

int io_pwrite_all(int fd, const void *bytes, size_t len, uint64_t offset) MUST_CHECK;
/** Writes all parts, one behind the other; the parts array is used up. */
int io_pwritev_all(int fd, struct iovec *parts, int count, uint64_t offset) MUST_CHECK;

/** Appends at the file position. */
int io_write_all(int fd, const void *bytes, size_t len) MUST_CHECK;

/** Reads exactly len bytes; -ENODATA if the file ends before. */
int io_pread_all(int fd, void *bytes, size_t len, uint64_t offset) MUST_CHECK;

/** Appends a whole file, or what comes from a pipe, to buf; -EFBIG, and buf as it was, if it is
 * larger than max_bytes. */
int io_read_file(const char *path, size_t max_bytes, StrBuf *buf) MUST_CHECK;

/** Makes the names in a directory durable. */
int io_sync_directory(int directory_fd) MUST_CHECK;

/** Opens directory name below parent (AT_FDCWD for a path), made if absent and then durable in its
 * parent. */
int io_open_directory(int parent_fd, const char *name, int *ret_fd) MUST_CHECK;

/** For readdir(), from the first name on; closedir() is the caller's, directory_fd stays open. */
int io_list_directory(int directory_fd, DIR **ret_directory) MUST_CHECK;

/** Closes *fd if it is open. For _cleanup_(). */
void io_closep(int *fd);
/** The descriptor, which io_closep() then leaves open. */
int io_take_fd(int *fd) MUST_CHECK;
