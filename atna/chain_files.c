#include "atna/chain_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file_io.h"

#define CHAIN_FILE "chain"
#define HEAD_FILE "head"
#define HEAD_COPY_MAX_BYTES ((size_t)1 << 30)

static void path_of(const char *directory, const char *name, char ret_path[PATH_MAX])
{
    (void)snprintf(ret_path, PATH_MAX, "%s/%s", directory, name);
}

static int sync_parent(const char *directory)
{
    _cleanup_(io_closep) int parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return parent < 0 ? -errno : io_sync_directory(parent);
}

/** Replaces a file; whole after a crash of the process, and with is_durable of the machine. */
static int write_file(const char *directory, const char *name, Str text, bool is_durable)
{
    char path[PATH_MAX];
    char new_path[PATH_MAX + 8];
    path_of(directory, name, path);
    (void)snprintf(new_path, sizeof(new_path), "%s.new", path);
    int file = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        return -errno;
    }
    int rc = io_write_all(file, text.data, text.len);
    rc = rc == 0 && is_durable && fsync(file) < 0 ? -errno : rc;
    rc = close(file) < 0 && rc == 0 ? -errno : rc;
    rc = rc == 0 && rename(new_path, path) < 0 ? -errno : rc;
    return rc == 0 && is_durable ? sync_parent(directory) : rc;
}

static int write_chain(const char *directory, Uuid chain)
{
    char line[UUID_URN_LEN + 1];
    uuid_format_urn(chain, line);
    line[UUID_URN_LEN] = '\n';
    return write_file(directory, CHAIN_FILE, (Str){line, sizeof(line)}, true);
}

int chain_files_read(const char *directory, Uuid *ret_chain)
{
    char path[PATH_MAX];
    _cleanup_(strbuf_done) StrBuf text = {0};
    path_of(directory, CHAIN_FILE, path);
    int rc = io_read_file(path, HEAD_LINE_SIZE, &text);
    if (rc < 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    return uuid_parse_urn(str_trim(strbuf_str(&text)), ret_chain) ? 1 : -EBADMSG;
}

int chain_files_open(const char *directory, Uuid *ret_chain)
{
    int rc = chain_files_read(directory, ret_chain);
    if (rc != 0) {
        return MIN(rc, 0);
    }
    Uuid chain = uuid_new();
    rc = write_chain(directory, chain);
    if (rc == 0) {
        *ret_chain = chain;
    }
    return rc;
}

int chain_files_read_head(const char *directory, Head *ret_head)
{
    char path[PATH_MAX];
    _cleanup_(strbuf_done) StrBuf text = {0};
    path_of(directory, HEAD_FILE, path);
    int rc = io_read_file(path, HEAD_LINE_SIZE, &text);
    if (rc < 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    return head_read(strbuf_str(&text), ret_head) ? 1 : -EBADMSG;
}

/** @return with the line end */
static Str head_line(const Head *head, char line[HEAD_LINE_SIZE])
{
    head_write(head, line);
    size_t len = strlen(line);
    line[len] = '\n';
    return (Str){line, len + 1};
}

/** A copy under the name of its chain, durably. */
static int keep_head(const char *directory, const Head *head)
{
    char line[HEAD_LINE_SIZE];
    char name[sizeof(HEAD_FILE) + UUID_URN_LEN + 1];
    char urn[UUID_URN_LEN];
    uuid_format_urn(head->chain, urn);
    (void)snprintf(name, sizeof(name), HEAD_FILE ".%.*s", UUID_URN_LEN - 9, urn + 9);
    return write_file(directory, name, head_line(head, line), true);
}

/* The head goes last: killed at any step, the old chain either still has it, and is given up again,
 * or is not ours any more, and its copy is there. */
int chain_files_renew(const char *directory, Uuid *ret_chain)
{
    Head head;
    char path[PATH_MAX];
    Uuid chain = uuid_new();
    bool has_head = chain_files_read_head(directory, &head) > 0;
    int rc = has_head ? keep_head(directory, &head) : 0;
    rc = rc == 0 ? write_chain(directory, chain) : rc;
    path_of(directory, HEAD_FILE, path);
    rc = rc == 0 && has_head && unlink(path) < 0 ? -errno : rc;
    if (rc == 0) {
        *ret_chain = chain;
    }
    return rc;
}

int chain_files_write_head(const char *directory, const Head *head)
{
    char line[HEAD_LINE_SIZE];
    return write_file(directory, HEAD_FILE, head_line(head, line), false);
}

int head_file_append(const char *path, const Head *head)
{
    char line[HEAD_LINE_SIZE];
    Str text = head_line(head, line);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) {
        return -errno;
    }
    int rc = io_write_all(file, text.data, text.len);
    rc = rc == 0 && fdatasync(file) < 0 ? -errno : rc;
    return close(file) < 0 && rc == 0 ? -errno : rc;
}

int head_file_read(const char *path, HeadFn callback, void *ctx, unsigned *ret_bad_lines)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    Str line = STR_EMPTY;
    Head head;
    int rc = io_read_file(path, HEAD_COPY_MAX_BYTES, &text);
    Str rest = strbuf_str(&text);
    while (rc == 0 && str_split_next(&rest, '\n', &line)) {
        if (head_read(line, &head)) {
            rc = callback(ctx, &head);
        } else if (!str_is_empty(str_trim(line))) {
            (*ret_bad_lines)++;
        }
    }
    return rc;
}

/** `head` and `head.UUID`, not `head.key` and `head.new`. */
static bool is_head_file(const char *name)
{
    return strcmp(name, HEAD_FILE) == 0 || (str_starts_with(str_from(name), STR(HEAD_FILE ".")) &&
                                            strlen(name) == sizeof(HEAD_FILE) + UUID_URN_LEN - 9);
}

int chain_files_read_heads(const char *directory, HeadFn callback, void *ctx,
                           unsigned *ret_bad_lines)
{
    char path[PATH_MAX];
    int rc = 0;
    DIR *listing = opendir(directory);
    if (!listing) {
        return -errno;
    }
    for (struct dirent *entry = readdir(listing); rc == 0 && entry; entry = readdir(listing)) {
        if (is_head_file(entry->d_name)) {
            path_of(directory, entry->d_name, path);
            rc = head_file_read(path, callback, ctx, ret_bad_lines);
        }
    }
    (void)closedir(listing);
    return rc;
}
