#include "server/backup/program.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file_io.h"

#define LOG_BYTES ((size_t)16384)

/** In the child: what libpq reads where nothing is on the command line. */
static void set_connection(const PQconninfoOption *parts)
{
    for (const PQconninfoOption *part = parts; part && part->keyword; part++) {
        if (part->envvar && part->val) {
            setenv(part->envvar, part->val, 1);
        }
    }
}

/** In the child. */
static _Noreturn void exec_program(const char *const *argv, const PQconninfoOption *parts, int in,
                                   int out, int log)
{
    char *const *arguments; /* execv() changes none of them, but is older than const */
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0) {
        _exit(127);
    }
    close_range(STDERR_FILENO + 1, ~0U, 0);
    signal(SIGPIPE, SIG_DFL);
    setenv("LC_ALL", "C", 1);
    setenv("TZ", "UTC", 1);
    set_connection(parts);
    memcpy(&arguments, &argv, sizeof(arguments));
    execv(argv[0], arguments);
    dprintf(STDERR_FILENO, "error: cannot be run: %s\n", strerror(errno));
    _exit(127);
}

static int fail(ErrorList *errors, const char *path)
{
    return error_add(errors, ERR_DATABASE, path, "the program cannot be started: %s",
                     strerror(errno));
}

int backup_program_start(const char *const *argv, const char *conninfo, ProgramPipe pipe_to,
                         ErrorList *errors, BackupProgram *ret_program)
{
    int ends[2];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = memfd_create("stderr", MFD_CLOEXEC);
    if (null < 0 || log < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        io_closep(&null);
        io_closep(&log);
        return fail(errors, argv[0]);
    }
    const bool gives = pipe_to == PROGRAM_GIVES;
    PQconninfoOption *parts = conninfo ? PQconninfoParse(conninfo, NULL) : NULL;
    pid_t pid = fork();
    if (pid == 0) {
        exec_program(argv, parts, gives ? null : ends[0], gives ? ends[1] : null, log);
    }
    PQconninfoFree(parts);
    io_closep(&null);
    io_closep(&ends[gives ? 1 : 0]);
    if (pid < 0) {
        io_closep(&ends[gives ? 0 : 1]);
        io_closep(&log);
        return fail(errors, argv[0]);
    }
    *ret_program =
        (BackupProgram){.path = argv[0], .pid = pid, .fd = ends[gives ? 0 : 1], .log_fd = log};
    return 0;
}

/** The line that says why it failed: the first that is an error, without what follows, which may
 * quote rows. */
static Str first_error(Str log)
{
    Str rest = log;
    Str line = STR_EMPTY;
    while (str_split_next(&rest, '\n', &line)) {
        if (str_contains(line, STR("error:"))) {
            return str_trim(line);
        }
    }
    return str_trim(str_slice(log, 0, 200));
}

int backup_program_end(BackupProgram *program, ErrorList *errors)
{
    char log[LOG_BYTES];
    int status = 0;
    io_closep(&program->fd);
    while (waitpid(program->pid, &status, 0) < 0 && errno == EINTR) {
    }
    ssize_t len = pread(program->log_fd, log, sizeof(log), 0);
    io_closep(&program->log_fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    Str why = first_error((Str){log, (size_t)MAX(len, 0)});
    if (WIFSIGNALED(status)) {
        return error_add(errors, ERR_DATABASE, program->path, "it was ended by signal %d",
                         WTERMSIG(status));
    }
    return error_add(errors, ERR_DATABASE, program->path, "it failed: %.*s", STR_ARG(why));
}
