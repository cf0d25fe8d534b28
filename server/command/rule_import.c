#include "server/command/rule_import.h"

static int import_rows(const IdentityCommand *command, const CsvFile *file, ImportRowFn import_row)
{
    for (size_t i = 0; i < file->row_count; i++) {
        int rc = import_row(command, file, &file->rows[i]);
        if (rc < 0 && identity_command_status(rc) != EXIT_USAGE) {
            return rc;
        }
    }
    return error_list_has_errors(&command->context->req->errors) ? -ERR_CONFIGURATION : 0;
}

int rule_import(const IdentityCommand *command, const char *path, const char *const *columns,
                size_t column_count, ImportRowFn import_row, size_t *ret_count)
{
    CsvFile file;
    int rc = csv_read(command->arena, &command->context->req->errors, path, columns, column_count,
                      &file);
    rc = rc < 0 ? rc : command_begin(command->context);
    rc = rc < 0 ? rc : import_rows(command, &file, import_row);
    rc = rc < 0 ? rc : command_finish(command->options, command->context);
    if (rc == 0) {
        *ret_count = file.row_count;
    }
    return rc;
}
