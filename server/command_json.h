#pragma once

#include <jansson.h>

#include "lib/base/str.h"
#include "server/options.h"

/** What commands print with --json. */

/** New reference; bytes that are no UTF-8 are written as "\xHH". */
json_t *json_text(Str text);

/** Prints the value and a line end; takes the reference. */
void json_print(json_t *value);

/** As a line of its own, for lists that are printed while they are read; takes the reference. */
void json_print_line(json_t *value);

/** Prints text in a column of the table that a list is, and a space. */
void command_print_cell(const char *text, int columns);

/** One sentence: what was done. With --json as {"message": ...}. */
void command_say(const Options *options, const char *format, ...) PRINTF_LIKE(2, 3);
