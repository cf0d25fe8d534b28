#pragma once

#include <jansson.h>

#include "lib/base/str.h"
#include "server/command/command.h"

/** What commands print with --json. */

/** New reference; bytes that are no UTF-8 are written as "\xHH". */
json_t *json_text(Str text);

/** Prints the value and a line end; takes the reference. */
void json_print(json_t *value);

/** As a line of its own, for lists that are printed while they are read; takes the reference. */
void json_print_line(json_t *value);

/** Prints text in a column of the table that a list is, and a space. */
void command_print_cell(const char *text, int columns);

/** One row of a list command: what --json prints of it (a new reference), or its text. */
typedef json_t *(*RowJsonFn)(const CommandContext *context, const DbResult *rows, int row);
typedef void (*RowPrintFn)(const CommandContext *context, const DbResult *rows, int row);

/** What a list command found: with --json one array, else the rows one after the other. */
void command_list_rows(const Options *options, const CommandContext *context, const DbResult *rows,
                       RowJsonFn json_of, RowPrintFn print_row);

/** One sentence: what was done. With --json as {"message": ...}. */
void command_say(const Options *options, const char *format, ...) PRINTF_LIKE(2, 3);
