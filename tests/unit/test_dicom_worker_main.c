#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/dicom/worker_main.h"
#include "lib/sandbox/sandbox.h"

/* Each attempt runs in a process of its own, confined as the workers of a job are. SECURITY-NOTES
 * "DCMTK": seccomp, Landlock, RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE, only its sockets. */

#define KILLED (-SIGSYS)
#define SKIPPED 77 /* for meson: valgrind has no seccomp */

static int listener; /* of a TCP address, to see whether anybody comes */
static struct sockaddr_in address;

static int errno_of(bool is_good)
{
    return is_good ? 0 : errno;
}

static int open_file(void)
{
    return errno_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0);
}

static int open_in_folder(void)
{
    return errno_of(openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC) >= 0);
}

static int make_file(void)
{
    return errno_of(syscall(SYS_memfd_create, "x", 0U) >= 0);
}

static int remove_file(void)
{
    return errno_of(unlink("/tmp/no-such-file-of-musubi") == 0);
}

static int make_socket(void)
{
    return errno_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
}

static int connect_somewhere(void)
{
    return errno_of(connect(STDIN_FILENO, (const struct sockaddr *)&address, sizeof(address)) == 0);
}

static int run_program(void)
{
    return errno_of(execl("/bin/true", "true", (char *)NULL) == 0);
}

static int make_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return errno_of(pid > 0);
}

static void *nothing(void *ctx)
{
    return ctx;
}

static int start_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, nothing, NULL) == 0 ? 0 : ENOSYS;
}

static int signal_parent(void)
{
    return errno_of(kill(getppid(), 0) == 0);
}

static int trace(void)
{
    return errno_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
}

static int raise_limit(void)
{
    const struct rlimit limit = {100, 100};
    return errno_of(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int make_pair(void)
{
    int ends[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 ? -1 : errno;
}

static const struct {
    const char *name;
    int (*attempt)(void);
    int expected; /* errno, or KILLED */
} attempts[] = {
    {"open a file", open_file, ENOSYS},
    {"open by another call", open_in_folder, ENOSYS},
    {"make an unnamed file", make_file, ENOSYS},
    {"remove a file", remove_file, ENOSYS},
    {"run a program", run_program, KILLED},
    {"make a process", make_process, ENOSYS},
    {"start a thread", start_thread, ENOSYS},
    {"signal another process", signal_parent, ENOSYS},
    {"trace", trace, KILLED},
    {"raise its own limits", raise_limit, ENOSYS},
    {"make a pair of sockets", make_pair, ENOSYS},
};

/** errno of the attempt, or the signal that ended it, negative. */
static int outcome_in(WorkerJob job, int (*attempt)(void))
{
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        char problem[256];
        _exit(worker_confine(job, problem, sizeof(problem)) ? attempt() : 255);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_a_worker_opens_no_file_makes_no_process_and_runs_no_program(void **state)
{
    (void)state;
    for (int job = 0; job < JOB_COUNT; job++) {
        for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
            int outcome = outcome_in((WorkerJob)job, attempts[i].attempt);
            if (outcome != attempts[i].expected) {
                fail_msg("job %d, %s: %d instead of %d", job, attempts[i].name, outcome,
                         attempts[i].expected);
            }
        }
    }
}

static bool has_somebody_come(void)
{
    return accept(listener, NULL, NULL) >= 0 || errno != EAGAIN;
}

static void test_a_worker_connects_to_nobody(void **state)
{
    (void)state;
    assert_int_equal(outcome_in(JOB_ACCEPTOR, make_socket), ENOSYS);
    assert_int_equal(outcome_in(JOB_ACCEPTOR, connect_somewhere), ENOSYS);
    assert_int_equal(outcome_in(JOB_INSPECTOR, connect_somewhere), ENOSYS);
    assert_false(has_somebody_come());
}

/* DCMTK insists on both calls: they are answered, and not carried out */
static int pretended_connection(void)
{
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_connected = connect(made, (const struct sockaddr *)&address, sizeof(address)) == 0;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    return made == STDIN_FILENO && is_connected &&
                   getpeername(made, (struct sockaddr *)&peer, &len) != 0
               ? 0
               : 1;
}

static void test_the_connection_of_a_requestor_is_only_pretended(void **state)
{
    (void)state;
    assert_int_equal(outcome_in(JOB_REQUESTOR, pretended_connection), 0);
    assert_false(has_somebody_come());
}

static int listen_somewhere(void **state)
{
    socklen_t len = sizeof(address);
    (void)state;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(listener, (const struct sockaddr *)&address, len) != 0 ||
           listen(listener, 8) != 0 ||
           getsockname(listener, (struct sockaddr *)&address, &len) != 0;
}

int main(void)
{
    if (!sandbox_support().has_seccomp) {
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worker_opens_no_file_makes_no_process_and_runs_no_program),
        cmocka_unit_test(test_a_worker_connects_to_nobody),
        cmocka_unit_test(test_the_connection_of_a_requestor_is_only_pretended),
    };
    return cmocka_run_group_tests(tests, listen_somewhere, NULL);
}
