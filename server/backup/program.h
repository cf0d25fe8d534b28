#pragma once

#include <sys/types.h>

#include "lib/base/error.h"

/** pg_dump and pg_restore as children with a pipe. */

typedef struct BackupProgram {
    const char *path;
    pid_t pid;
    int fd;     /* our end of the pipe; closed by backup_program_end(), or before */
    int log_fd; /* what it wrote to its standard error */
} BackupProgram;

typedef enum ProgramPipe {
    PROGRAM_GIVES, /* we read its standard output */
    PROGRAM_TAKES, /* we write its standard input; what it prints is dropped */
} ProgramPipe;

/**
 * @param argv      argv[0] is the path; NULL ends it; borrowed until backup_program_end()
 * @param conninfo  libpq's; goes through the environment, where no other account sees a password;
 * NULL: it connects to nothing
 */
int backup_program_start(const char *const *argv, const char *conninfo, ProgramPipe pipe_to,
                         ErrorList *errors, BackupProgram *ret_program) MUST_CHECK;

/** Closes the pipe and waits. @return 0, or -ERR_DATABASE with its own first error line */
int backup_program_end(BackupProgram *program, ErrorList *errors) MUST_CHECK;
