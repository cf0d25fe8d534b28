#include "server/backup/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/file_io.h"
#include "lib/base/heap.h"

#define WRITE_BYTES ((size_t)1 << 18)
#define VERSION 1

/* ------------------------------------------------------------------ writing */

struct ManifestWriter {
    int fd;
    EVP_MD_CTX *digest;
    StrBuf waiting;
    ManifestTotals totals;
};

static EVP_MD_CTX *digest_new(void)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (!digest || !EVP_DigestInit_ex(digest, EVP_sha256(), NULL)) {
        abort(); /* no memory, or no SHA-256 */
    }
    return digest;
}

static int flush(ManifestWriter *writer, ErrorList *errors)
{
    int rc = io_write_all(writer->fd, writer->waiting.data, writer->waiting.len);
    strbuf_clear(&writer->waiting);
    return rc < 0 ? backup_io_error(errors, MANIFEST_FILE, "the backup cannot be written", -rc) : 0;
}

/** Takes the reference. @return 0 or -ERR_IO */
static int add_line(ManifestWriter *writer, ErrorList *errors, json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    if (!text) {
        abort();
    }
    json_decref(line);
    size_t begin = writer->waiting.len;
    strbuf_append(&writer->waiting, str_from(text));
    strbuf_append_char(&writer->waiting, '\n');
    free(text);
    EVP_DigestUpdate(writer->digest, writer->waiting.data + begin, writer->waiting.len - begin);
    return writer->waiting.len >= WRITE_BYTES ? flush(writer, errors) : 0;
}

int manifest_writer_new(int fd, const ManifestHead *head, ErrorList *errors,
                        ManifestWriter **ret_writer)
{
    int file = openat(fd, MANIFEST_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        return backup_io_error(errors, MANIFEST_FILE, "the backup cannot be written", errno);
    }
    ManifestWriter *writer = HEAP_NEW(ManifestWriter);
    writer->fd = file;
    writer->digest = digest_new();
    int rc = add_line(writer, errors,
                      json_pack("{s:i, s:s, s:s, s:i, s:b, s:I}", "backup", VERSION, "generation",
                                head->generation, "program", head->program, "schema", head->schema,
                                "embedded", (int)head->is_embedded, "piece_bytes",
                                (json_int_t)BACKUP_PIECE_BYTES));
    if (rc < 0) {
        manifest_writer_free(writer);
        return rc;
    }
    *ret_writer = writer;
    return 0;
}

static json_t *piece_json(const BackupDigest *digest)
{
    char hex[BACKUP_DIGEST_HEX + 1];
    if (backup_digest_is_hole(digest)) {
        return json_null();
    }
    for (size_t i = 0; i < BACKUP_DIGEST_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest->bytes[i]);
    }
    return json_string(hex);
}

int manifest_writer_add(ManifestWriter *writer, ErrorList *errors, const ManifestFile *file)
{
    json_t *pieces = json_array();
    for (size_t i = 0; i < file->piece_count; i++) {
        json_array_append_new(pieces, piece_json(&file->pieces[i]));
    }
    writer->totals.file_count++;
    writer->totals.size_bytes += file->size_bytes;
    return add_line(writer, errors,
                    json_pack("{s:o, s:I, s:I, s:o}", "path",
                              json_stringn(file->path.data, file->path.len), "size",
                              (json_int_t)file->size_bytes, "changed_ns",
                              (json_int_t)file->changed_ns, "pieces", pieces));
}

int manifest_writer_finish(ManifestWriter *writer, ErrorList *errors, ManifestTotals *ret_totals)
{
    BackupDigest digest = {{0}};
    EVP_DigestFinal_ex(writer->digest, digest.bytes, NULL);
    int rc = add_line(writer, errors,
                      json_pack("{s:I, s:I, s:o}", "files", (json_int_t)writer->totals.file_count,
                                "size", (json_int_t)writer->totals.size_bytes, "sha256",
                                piece_json(&digest)));
    rc = rc < 0 ? rc : flush(writer, errors);
    if (rc == 0 && fsync(writer->fd) < 0) {
        rc = backup_io_error(errors, MANIFEST_FILE, "the backup cannot be made durable", errno);
    }
    *ret_totals = writer->totals;
    return rc;
}

void manifest_writer_free(ManifestWriter *writer)
{
    if (!writer) {
        return;
    }
    io_closep(&writer->fd);
    EVP_MD_CTX_free(writer->digest);
    strbuf_done(&writer->waiting);
    free(writer);
}

/* ------------------------------------------------------------------ reading */

struct ManifestReader {
    FILE *file;
    char *name; /* TIME/manifest.jsonl, for texts */
    char *line;
    size_t line_size;
    json_t *head_json;
    ManifestHead head;
    ManifestTotals totals;
    json_t *json; /* of the current file */
    ManifestFile current;
    size_t piece_room;
    bool has_current;
    bool is_kept; /* find() went past what it looked for: the current file is still to be looked at
                   */
};

static int corrupt(const ManifestReader *reader, ErrorList *errors, const char *what)
{
    return error_add(errors, ERR_CORRUPT, reader->name,
                     "%s: this generation cannot be used; remove its folder, or take another one",
                     what);
}

/** @return the length of the next line without its end, or -1 */
static ssize_t next_line(ManifestReader *reader)
{
    ssize_t len = getline(&reader->line, &reader->line_size, reader->file);
    if (len <= 0 || reader->line[len - 1] != '\n') {
        return -1;
    }
    return len - 1;
}

static bool read_digest(const json_t *text, BackupDigest *ret_digest)
{
    *ret_digest = (BackupDigest){{0}};
    return json_is_null(text) ||
           (json_is_string(text) &&
            str_unhex(str_from(json_string_value(text)), ret_digest->bytes, BACKUP_DIGEST_BYTES));
}

/** The last line; everything before it went into the digest. */
static bool is_true_end(const json_t *json, EVP_MD_CTX *digest, ManifestTotals *ret_totals)
{
    BackupDigest told;
    BackupDigest found = {{0}};
    EVP_DigestFinal_ex(digest, found.bytes, NULL);
    ret_totals->file_count = (uint64_t)json_integer_value(json_object_get(json, "files"));
    ret_totals->size_bytes = (uint64_t)json_integer_value(json_object_get(json, "size"));
    return read_digest(json_object_get(json, "sha256"), &told) &&
           memcmp(&told, &found, sizeof(told)) == 0;
}

/** Reads all lines, up to the one that says what the others are. */
static bool is_whole(ManifestReader *reader)
{
    EVP_MD_CTX *digest = digest_new();
    bool is_true = false;
    ssize_t len;
    while (!is_true && (len = next_line(reader)) >= 0) {
        if (str_starts_with((Str){reader->line, (size_t)len}, STR("{\"files\":"))) {
            json_t *json = json_loadb(reader->line, (size_t)len, 0, NULL);
            is_true = json && is_true_end(json, digest, &reader->totals);
            json_decref(json);
            break;
        }
        EVP_DigestUpdate(digest, reader->line, (size_t)len + 1);
    }
    is_true = is_true && getc(reader->file) == EOF;
    EVP_MD_CTX_free(digest);
    rewind(reader->file);
    return is_true;
}

static bool read_head(ManifestReader *reader)
{
    const char *generation = NULL;
    const char *program = NULL;
    int version = 0;
    int is_embedded = 0;
    json_int_t piece_bytes = 0;
    ssize_t len = next_line(reader);
    reader->head_json = len < 0 ? NULL : json_loadb(reader->line, (size_t)len, 0, NULL);
    if (!reader->head_json ||
        json_unpack(reader->head_json, "{s:i, s:s, s:s, s:i, s:b, s:I}", "backup", &version,
                    "generation", &generation, "program", &program, "schema", &reader->head.schema,
                    "embedded", &is_embedded, "piece_bytes", &piece_bytes) < 0) {
        return false;
    }
    reader->head.generation = generation;
    reader->head.program = program;
    reader->head.is_embedded = is_embedded != 0;
    return version == VERSION && piece_bytes == (json_int_t)BACKUP_PIECE_BYTES;
}

int manifest_reader_open(const BackupStore *store, const char *generation, ErrorList *errors,
                         ManifestReader **ret_reader)
{
    ManifestReader *reader = HEAP_NEW(ManifestReader);
    if (asprintf(&reader->name, "%s/" MANIFEST_FILE, generation) < 0) {
        abort();
    }
    int rc = 0;
    int fd = openat(backup_store_fd(store), reader->name, O_RDONLY | O_CLOEXEC);
    reader->file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!reader->file) {
        rc = backup_io_error(errors, reader->name, "the manifest cannot be read", errno);
    } else if (!is_whole(reader)) {
        rc = corrupt(reader, errors, "the manifest is not what was written");
    } else if (!read_head(reader)) {
        rc = corrupt(reader, errors, "the manifest is of another version of this program");
    }
    if (rc < 0) {
        manifest_reader_free(reader);
        return rc;
    }
    *ret_reader = reader;
    return 0;
}

void manifest_reader_free(ManifestReader *reader)
{
    if (!reader) {
        return;
    }
    if (reader->file) {
        (void)fclose(reader->file);
    }
    json_decref(reader->head_json);
    json_decref(reader->json);
    free(reader->current.pieces);
    free(reader->line);
    free(reader->name);
    free(reader);
}

void manifest_reader_freep(ManifestReader **reader)
{
    manifest_reader_free(*reader);
}

const ManifestHead *manifest_reader_head(const ManifestReader *reader)
{
    return &reader->head;
}

const ManifestTotals *manifest_reader_totals(const ManifestReader *reader)
{
    return &reader->totals;
}

/** Whether it is the database, or below a folder that a backup has: whoever wrote the manifest
 * decides about no other file. */
static bool is_of_backup(Str path)
{
    static const char *const folders[] = {BACKUP_AUDIT "/", BACKUP_BLOBS "/",
                                          BACKUP_CONFIGURATION "/", BACKUP_LOG "/"};
    bool is_of_backup = str_equal(path, STR(BACKUP_DATABASE));
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        is_of_backup = is_of_backup || str_starts_with(path, str_from(folders[i]));
    }
    return is_of_backup;
}

/** A path that leads nowhere else: relative, without "..". */
static bool is_safe_path(Str path)
{
    Str rest = path;
    Str part = STR_EMPTY;
    bool is_safe = is_of_backup(path) && !memchr(path.data, '\0', path.len);
    while (is_safe && str_split_next(&rest, '/', &part)) {
        is_safe = !str_is_empty(part) && !str_equal(part, STR("..")) && !str_equal(part, STR("."));
    }
    return is_safe;
}

static bool read_pieces(ManifestReader *reader, const json_t *pieces)
{
    ManifestFile *file = &reader->current;
    file->piece_count = json_array_size(pieces);
    if (file->piece_count > reader->piece_room) {
        reader->piece_room = file->piece_count;
        free(file->pieces);
        file->pieces = heap_zeroed(reader->piece_room, sizeof(*file->pieces));
    }
    bool is_good = json_is_array(pieces);
    for (size_t i = 0; i < file->piece_count; i++) {
        is_good = is_good && read_digest(json_array_get(pieces, i), &file->pieces[i]);
    }
    return is_good;
}

static bool read_file(ManifestReader *reader)
{
    const char *path = NULL;
    size_t path_len = 0;
    json_int_t size = 0;
    json_int_t changed_ns = 0;
    json_t *pieces = NULL;
    if (!reader->json ||
        json_unpack(reader->json, "{s:s%, s:I, s:I, s:o}", "path", &path, &path_len, "size", &size,
                    "changed_ns", &changed_ns, "pieces", &pieces) < 0 ||
        size < 0) {
        return false;
    }
    reader->current.path = (Str){path, path_len};
    reader->current.size_bytes = (uint64_t)size;
    reader->current.changed_ns = changed_ns;
    return is_safe_path(reader->current.path) && read_pieces(reader, pieces);
}

int manifest_reader_next(ManifestReader *reader, ErrorList *errors, const ManifestFile **ret_file)
{
    ssize_t len = next_line(reader);
    reader->has_current = false;
    json_decref(reader->json);
    reader->json = NULL;
    if (len < 0 || str_starts_with((Str){reader->line, (size_t)len}, STR("{\"files\":"))) {
        return 0;
    }
    reader->json = json_loadb(reader->line, (size_t)len, 0, NULL);
    if (!read_file(reader)) {
        return corrupt(reader, errors, "a line of the manifest cannot be read");
    }
    reader->has_current = true;
    *ret_file = &reader->current;
    return 1;
}

const ManifestFile *manifest_reader_find(ManifestReader *reader, Str path)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList ignored;
    const ManifestFile *file = &reader->current;
    error_list_init(&ignored, arena);
    if (!reader->is_kept && manifest_reader_next(reader, &ignored, &file) <= 0) {
        return NULL;
    }
    while (reader->has_current && str_compare(reader->current.path, path) < 0) {
        (void)!manifest_reader_next(reader, &ignored, &file);
    }
    reader->is_kept = reader->has_current;
    return reader->has_current && str_equal(reader->current.path, path) ? &reader->current : NULL;
}
