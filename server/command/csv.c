#include "server/command/csv.h"

#include <iconv.h>
#include <string.h>

#include "lib/base/file_io.h"

typedef struct Reader {
    Arena *arena;
    ErrorList *errors;
    const char *path;
    Str rest;
    unsigned line;
} Reader;

static int fault(const Reader *reader, unsigned line, const char *text)
{
    return error_add(reader->errors, ERR_CONFIGURATION,
                     str_printf(reader->arena, "%s:%u", reader->path, line).data, "%s", text);
}

static int read_bytes(Reader *reader)
{
    StrBuf buf = {0};
    int rc = io_read_file(reader->path, CSV_MAX_BYTES, &buf);
    if (rc < 0) {
        rc = error_add(reader->errors, ERR_CONFIGURATION, reader->path, "cannot read the file: %s",
                       strerror(-rc));
    } else {
        reader->rest = str_dup(reader->arena, strbuf_str(&buf));
    }
    strbuf_done(&buf);
    return rc;
}

/** What is no UTF-8 is taken for CP932, which Excel writes in Japan. */
static int decode(Reader *reader)
{
    if (str_starts_with(reader->rest, STR("\xef\xbb\xbf"))) {
        reader->rest = str_from_offset(reader->rest, 3);
    }
    if (str_is_utf8(reader->rest)) {
        return 0;
    }
    size_t room = reader->rest.len * 3; /* a CP932 byte gives three of UTF-8 at most */
    char *text = arena_alloc(reader->arena, room);
    char *in = str_cstr(reader->arena, reader->rest);
    char *out = text;
    size_t left = reader->rest.len;
    iconv_t converter = iconv_open("UTF-8", "CP932");
    size_t rc = iconv(converter, &in, &left, &out, &room);

    iconv_close(converter);
    if (rc == (size_t)-1 || left > 0) {
        return error_add(reader->errors, ERR_CONFIGURATION, reader->path,
                         "the text is neither UTF-8 nor CP932");
    }
    reader->rest = (Str){text, (size_t)(out - text)};
    return 0;
}

/** A quoted field; "" inside is one quote, line ends are kept. */
static bool take_quoted(Reader *reader, Str *ret_field)
{
    StrBuf buf = {0};
    size_t i = 1;
    bool is_closed = false;

    for (; i < reader->rest.len && !is_closed; i++) {
        char c = reader->rest.data[i];
        bool is_doubled = c == '"' && i + 1 < reader->rest.len && reader->rest.data[i + 1] == '"';
        if (c == '"' && !is_doubled) {
            is_closed = true;
            continue;
        }
        i += is_doubled;
        reader->line += c == '\n';
        strbuf_append_char(&buf, c);
    }
    *ret_field = str_dup(reader->arena, strbuf_str(&buf));
    strbuf_done(&buf);
    reader->rest = str_from_offset(reader->rest, i);
    return is_closed;
}

static Str take_plain(Reader *reader)
{
    size_t len = 0;

    while (len < reader->rest.len && !strchr(",\r\n", reader->rest.data[len])) {
        len++;
    }
    Str field = str_slice(reader->rest, 0, len);
    reader->rest = str_from_offset(reader->rest, len);
    return field;
}

/** @return fields of the next record, or negative after a fault */
static int take_record(Reader *reader, Str *fields)
{
    const unsigned line = reader->line;
    int count = 0;

    for (;;) {
        if (count == CSV_MAX_COLUMNS) {
            return fault(reader, line, "more than 32 fields");
        }
        if (!str_starts_with(reader->rest, STR("\""))) {
            fields[count] = take_plain(reader);
        } else if (!take_quoted(reader, &fields[count])) {
            return fault(reader, line, "a double quote is not closed");
        }
        fields[count] = str_trim(fields[count]);
        count++;
        if (!str_starts_with(reader->rest, STR(","))) {
            break;
        }
        reader->rest = str_from_offset(reader->rest, 1);
    }
    if (str_starts_with(reader->rest, STR("\r"))) {
        reader->rest = str_from_offset(reader->rest, 1);
    }
    if (!str_is_empty(reader->rest) && !str_starts_with(reader->rest, STR("\n"))) {
        return fault(reader, line, "text behind a closing double quote");
    }
    reader->rest = str_from_offset(reader->rest, 1);
    reader->line++;
    return count;
}

static int find_column(const char *const *columns, size_t count, Str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(str_from(columns[i]), name)) {
            return (int)i;
        }
    }
    return -1;
}

/** @param ret_places  where each field of a record belongs */
static int take_header(Reader *reader, const char *const *columns, size_t column_count,
                       int *ret_places)
{
    Str fields[CSV_MAX_COLUMNS];
    int count = take_record(reader, fields);

    for (int i = 0; i < count; i++) {
        ret_places[i] = find_column(columns, column_count, fields[i]);
        if (ret_places[i] < 0) {
            return error_add(reader->errors, ERR_CONFIGURATION,
                             str_printf(reader->arena, "%s:1", reader->path).data,
                             "unknown column %.*s", STR_ARG(fields[i]));
        }
    }
    return count;
}

static CsvRow *push_row(Arena *arena, CsvFile *file, size_t *cap)
{
    if (file->row_count == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        CsvRow *rows = ARENA_ARRAY(arena, CsvRow, *cap);
        if (file->row_count > 0) {
            memcpy(rows, file->rows, file->row_count * sizeof(*rows));
        }
        file->rows = rows;
    }
    return &file->rows[file->row_count++];
}

static bool is_blank(const Str *fields, int count)
{
    return count == 1 && str_is_empty(fields[0]);
}

int csv_read(Arena *arena, ErrorList *errors, const char *path, const char *const *columns,
             size_t column_count, CsvFile *ret_file)
{
    Reader reader = {.arena = arena, .errors = errors, .path = path, .line = 1};
    const unsigned errors_before = errors->error_count;
    CsvFile file = {.path = path};
    int places[CSV_MAX_COLUMNS] = {0};
    Str fields[CSV_MAX_COLUMNS];
    size_t cap = 0;
    int rc;

    if ((rc = read_bytes(&reader)) < 0 || (rc = decode(&reader)) < 0 ||
        (rc = take_header(&reader, columns, column_count, places)) < 0) {
        return rc;
    }
    const int width = rc;
    while (!str_is_empty(reader.rest)) {
        const unsigned line = reader.line;
        int count = take_record(&reader, fields);
        if (count < 0) {
            return count;
        }
        if (is_blank(fields, count)) {
            continue;
        }
        if (count != width) {
            (void)fault(&reader, line,
                        str_printf(arena, "%d fields, the header has %d", count, width).data);
            continue;
        }
        CsvRow *row = push_row(arena, &file, &cap);
        *row = (CsvRow){.line = line, .fields = ARENA_ARRAY(arena, Str, column_count)};
        for (int i = 0; i < width; i++) {
            row->fields[places[i]] = fields[i];
        }
    }
    if (errors->error_count > errors_before) {
        return -ERR_CONFIGURATION;
    }
    *ret_file = file;
    return 0;
}

const char *csv_location(Arena *arena, const CsvFile *file, const CsvRow *row)
{
    return str_printf(arena, "%s:%u", file->path, row->line).data;
}
