#pragma once

#include "server/command/csv.h"
#include "server/command/identity_command.h"

/** Checks a row and puts it into the open transaction; adds every fault. */
typedef int (*ImportRowFn)(const IdentityCommand *command, const CsvFile *file, const CsvRow *row);

/**
 * Stores every row of a CSV file in one transaction, or none. Faults of a row are only noted, so
 * that all are shown at once. With --dry-run nothing is stored.
 *
 * @param columns  as csv_read()
 * @param ret_count  rows of the file
 * @return 0, or a negative ErrorCode; -ERR_CONFIGURATION: the faults are in the request's errors
 */
int rule_import(const IdentityCommand *command, const char *path, const char *const *columns,
                size_t column_count, ImportRowFn import_row, size_t *ret_count) MUST_CHECK;
