#include "lib/base/ini.h"

#include <string.h>

#include "lib/base/file_io.h"

typedef struct Parser {
    Arena *arena;
    ErrorList *errors;
    const char *file_name;
    unsigned line;
    Str section;
    IniFile file;
    size_t cap;
} Parser;

static int fault(Parser *parser, const char *text)
{
    Str location = str_printf(parser->arena, "%s:%u", parser->file_name, parser->line);
    return error_add(parser->errors, ERR_CONFIGURATION, location.data, "%s", text);
}

static bool is_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') {
            return false;
        }
    }
    return name.len > 0;
}

static bool is_comment_start(char c)
{
    return c == '#' || c == ';';
}

/** The text up to a comment. */
static Str cut_comment(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (is_comment_start(text.data[i]) &&
            (i == 0 || text.data[i - 1] == ' ' || text.data[i - 1] == '\t')) {
            return str_slice(text, 0, i);
        }
    }
    return text;
}

static int parse_quoted(Parser *parser, Str text, Str *ret_value)
{
    Str inside = str_from_offset(text, 1);
    size_t end = str_find_char(inside, '"');

    if (end == SIZE_MAX) {
        return fault(parser, "the value begins with a double quote that is not closed");
    }
    if (!str_is_empty(str_trim(cut_comment(str_trim(str_from_offset(inside, end + 1)))))) {
        return fault(parser, "text behind the closing double quote; only a comment may follow");
    }
    *ret_value = str_slice(inside, 0, end);
    return 0;
}

static int parse_value(Parser *parser, Str text, Str *ret_value)
{
    text = str_trim(text);
    if (str_starts_with(text, STR("\""))) {
        return parse_quoted(parser, text, ret_value);
    }
    *ret_value = str_trim(cut_comment(text));
    return 0;
}

static const IniEntry *find_entry(const Parser *parser, Str key)
{
    for (size_t i = 0; i < parser->file.count; i++) {
        const IniEntry *entry = &parser->file.entries[i];
        if (str_equal(entry->section, parser->section) && str_equal(entry->key, key)) {
            return entry;
        }
    }
    return NULL;
}

static int push_entry(Parser *parser, Str key, Str value)
{
    if (parser->file.count == INI_MAX_ENTRIES) {
        return fault(parser, "too many keys");
    }
    if (parser->file.count == parser->cap) {
        size_t cap = parser->cap ? parser->cap * 2 : 64;
        IniEntry *entries = ARENA_ARRAY(parser->arena, IniEntry, cap);
        if (parser->file.count > 0) {
            memcpy(entries, parser->file.entries, parser->file.count * sizeof(*entries));
        }
        parser->file.entries = entries;
        parser->cap = cap;
    }
    parser->file.entries[parser->file.count++] =
        (IniEntry){.section = parser->section, .key = key, .value = value, .line = parser->line};
    return 0;
}

static int parse_section(Parser *parser, Str text)
{
    text = str_trim(cut_comment(text));
    if (!str_ends_with(text, STR("]")) || !is_name(str_slice(text, 1, text.len - 2))) {
        return fault(parser, "a section is written as [name], with a-z, 0-9 and _");
    }
    parser->section = str_slice(text, 1, text.len - 2);
    return 0;
}

static int parse_key(Parser *parser, Str text)
{
    size_t equals = str_find_char(text, '=');
    Str value = STR_EMPTY;

    if (equals == SIZE_MAX) {
        return fault(parser, "expected [section], key = value, or a comment with # or ;");
    }
    Str key = str_trim(str_slice(text, 0, equals));
    if (!is_name(key)) {
        return fault(parser, "a key consists of a-z, 0-9 and _");
    }
    if (str_is_empty(parser->section)) {
        return fault(parser, "a key stands before the first [section]");
    }
    if (find_entry(parser, key)) {
        return fault(parser,
                     "the key was already set in this section; remove one of the two lines");
    }
    int rc = parse_value(parser, str_from_offset(text, equals + 1), &value);
    return rc < 0 ? rc : push_entry(parser, key, value);
}

static int parse_line(Parser *parser, Str line)
{
    Str text = str_trim(line);

    if (line.len > INI_MAX_LINE_BYTES) {
        return fault(parser, "the line is longer than 4096 bytes");
    }
    if (str_is_empty(text) || is_comment_start(text.data[0])) {
        return 0;
    }
    return text.data[0] == '[' ? parse_section(parser, text) : parse_key(parser, text);
}

int ini_parse(Arena *arena, ErrorList *errors, const char *file_name, Str text, IniFile *ret_file)
{
    Parser parser = {
        .arena = arena, .errors = errors, .file_name = file_name, .section = STR_EMPTY};
    const unsigned errors_before = errors->error_count;
    Str line;

    if (text.len > INI_MAX_BYTES || !str_is_utf8(text)) {
        return fault(&parser, "the file must be UTF-8 text of at most 1 MiB");
    }
    if (str_starts_with(text, STR("\xef\xbb\xbf"))) {
        text = str_from_offset(text, 3);
    }
    while (str_split_next(&text, '\n', &line)) {
        parser.line++;
        (void)parse_line(&parser, line); /* goes on: all faults are shown at once */
    }
    if (errors->error_count > errors_before) {
        return -ERR_CONFIGURATION;
    }
    *ret_file = parser.file;
    return 0;
}

int ini_read(Arena *arena, ErrorList *errors, const char *path, IniFile *ret_file)
{
    StrBuf buf = {0};
    int rc = io_read_file(path, INI_MAX_BYTES, &buf);
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    if (rc < 0) {
        return error_add(errors, ERR_CONFIGURATION, path, "cannot read the file: %s",
                         strerror(-rc));
    }
    return ini_parse(arena, errors, path, text, ret_file);
}
