#include "lib/base/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP_BYTES ((size_t)65536)

static void parts_advance(struct iovec **parts, int *count, size_t done)
{
    while (*count > 0 && done >= (*parts)->iov_len) {
        done -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (*count > 0) {
        (*parts)->iov_base = (uint8_t *)(*parts)->iov_base + done;
        (*parts)->iov_len -= done;
    }
}

/** @param offset  -1: at the file position */
static int write_parts(int fd, struct iovec *parts, int count, off_t offset)
{
    parts_advance(&parts, &count, 0);
    while (count > 0) {
        ssize_t done = offset < 0 ? writev(fd, parts, count) : pwritev(fd, parts, count, offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            return -EIO;
        }
        offset += offset < 0 ? 0 : done;
        parts_advance(&parts, &count, (size_t)done);
    }
    return 0;
}

int io_pwritev_all(int fd, struct iovec *parts, int count, uint64_t offset)
{
    return write_parts(fd, parts, count, (off_t)offset);
}

int io_pwrite_all(int fd, const void *bytes, size_t len, uint64_t offset)
{
    struct iovec part = {WITHOUT_CONST(bytes), len};
    return write_parts(fd, &part, 1, (off_t)offset);
}

int io_write_all(int fd, const void *bytes, size_t len)
{
    struct iovec part = {WITHOUT_CONST(bytes), len};
    return write_parts(fd, &part, 1, -1);
}

int io_pread_all(int fd, void *bytes, size_t len, uint64_t offset)
{
    uint8_t *rest = bytes;
    while (len > 0) {
        ssize_t done = pread(fd, rest, len, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            return -ENODATA;
        }
        rest += done;
        offset += (uint64_t)done;
        len -= (size_t)done;
    }
    return 0;
}

/** Appends what follows in the file, up to max_bytes and one more. */
static int read_rest(int fd, size_t max_bytes, StrBuf *buf)
{
    size_t end = buf->len + max_bytes;
    while (buf->len <= end) {
        ssize_t done = read(fd, strbuf_reserve(buf, READ_STEP_BYTES),
                            MIN(READ_STEP_BYTES, end + 1 - buf->len));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : 0;
        }
        buf->len += (size_t)done;
    }
    return -EFBIG;
}

int io_read_file(const char *path, size_t max_bytes, StrBuf *buf)
{
    _cleanup_(io_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t before = buf->len;
    int rc = read_rest(fd, max_bytes, buf);
    if (rc < 0) {
        buf->len = before;
    }
    strbuf_append_bytes(buf, "", 0); /* NUL-terminated */
    return rc;
}

int io_sync_directory(int directory_fd)
{
    return fsync(directory_fd) == 0 ? 0 : -errno;
}

int io_open_directory(int parent_fd, const char *name, int *ret_fd)
{
    bool is_new = mkdirat(parent_fd, name, 0700) == 0;
    if (!is_new && errno != EEXIST) {
        return -errno;
    }
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = 0;
    if (is_new) {
        _cleanup_(io_closep) int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = above < 0 ? -errno : io_sync_directory(above);
    }
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int io_list_directory(int directory_fd, DIR **ret_directory)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *ret_directory = directory;
    return 0;
}

void io_closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

int io_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
