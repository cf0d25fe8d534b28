#include "server/command/json.h"

#include <stdarg.h>
#include <stdio.h>

#include "server/language.h"

json_t *json_text(Str text)
{
    json_t *value = json_stringn(text.data ? text.data : "", text.len);
    if (value) {
        return value;
    }
    StrBuf buf = {0};
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x80) {
            strbuf_append_char(&buf, (char)c);
        } else {
            strbuf_printf(&buf, "\\x%02x", c);
        }
    }
    value = json_stringn(buf.data, buf.len);
    strbuf_done(&buf);
    return value;
}

static void print(json_t *value, size_t flags)
{
    (void)json_dumpf(value, stdout, flags);
    (void)putchar('\n');
    json_decref(value);
}

void json_print(json_t *value)
{
    print(value, JSON_INDENT(2));
}

void json_print_line(json_t *value)
{
    print(value, JSON_COMPACT);
}

void command_print_cell(const char *text, int columns)
{
    printf("%-*s ", language_pad(text, columns), text);
}

void command_list_rows(const Options *options, const CommandContext *context, const DbResult *rows,
                       RowJsonFn json_of, RowPrintFn print_row)
{
    json_t *list = options->json ? json_array() : NULL;
    for (int row = 0; row < db_rows(rows); row++) {
        if (list) {
            json_array_append_new(list, json_of(context, rows, row));
        } else {
            print_row(context, rows, row);
        }
    }
    if (list) {
        json_print(list);
    }
}

void command_say(const Options *options, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (options->json) {
        json_print(json_pack("{s:o}", "message", json_text(str_from(text))));
    } else {
        (void)puts(text);
    }
}
