#pragma once

#include "lib/base/error.h"

/** CSV with a header line (RFC 4180) as operators have it: UTF-8 with or without mark, or CP932
 * from Excel. */

#define CSV_MAX_BYTES (16UL * 1024 * 1024)
#define CSV_MAX_COLUMNS 32

typedef struct CsvRow {
    unsigned line; /* from 1, where the row begins */
    Str *fields;   /* as many as the file has columns, trimmed */
} CsvRow;

typedef struct CsvFile {
    const char *path;
    CsvRow *rows;
    size_t row_count;
} CsvFile;

/**
 * Reads the file; faults have location "FILE:LINE".
 * @param columns  the header must consist of these names, in any order; missing ones give empty
 * fields
 * @param ret_file in the arena; fields are in the order of columns
 */
int csv_read(Arena *arena, ErrorList *errors, const char *path, const char *const *columns,
             size_t column_count, CsvFile *ret_file) MUST_CHECK;

/** "FILE:LINE" of a row, in the arena. */
const char *csv_location(Arena *arena, const CsvFile *file, const CsvRow *row);
