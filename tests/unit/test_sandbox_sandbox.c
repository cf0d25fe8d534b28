#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/sandbox/privileges.h"
#include "lib/sandbox/sandbox.h"

/* Every attempt runs in a child of its own: a sandbox is never given back. */

#define PATH_BYTES 256

static char folder[] = "/tmp/musubi-sandbox-XXXXXX"; /* has `own` (to be written) and `other` */

static char *path_of(const char *name, char *path)
{
    (void)snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

static int errno_of(bool is_good)
{
    return is_good ? 0 : errno;
}

static int try_open(const char *name, int flags)
{
    char path[PATH_BYTES];
    int fd = open(path_of(name, path), flags | O_CLOEXEC, 0600);
    int error = errno_of(fd >= 0);
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static int write_own(void)
{
    return try_open("own/file", O_WRONLY | O_CREAT);
}

static int write_unnamed_own(void)
{
    return try_open("own", O_WRONLY | O_TMPFILE);
}

static int rename_own(void)
{
    char from[PATH_BYTES];
    char to[PATH_BYTES];
    int error = try_open("own/a", O_WRONLY | O_CREAT);
    return error ? error : errno_of(rename(path_of("own/a", from), path_of("own/b", to)) == 0);
}

static int read_other(void)
{
    return try_open("other/file", O_RDONLY);
}

static int write_other(void)
{
    return try_open("other/file", O_WRONLY);
}

static int read_readable(void)
{
    return try_open("readable", O_RDONLY);
}

static int write_readable(void)
{
    return try_open("readable", O_WRONLY);
}

static void *nothing(void *ctx)
{
    return ctx;
}

static int start_thread(void)
{
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, nothing, NULL);
    return failed ? failed : pthread_join(thread, NULL);
}

static int open_tcp(void)
{
    return errno_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
}

static int open_raw(void)
{
    return errno_of(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
}

static int make_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return errno_of(pid > 0);
}

static int signal_parent(void)
{
    return errno_of(kill(getppid(), 0) == 0);
}

static int map_code(void)
{
    return errno_of(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int make_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : errno_of(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int add_key(void)
{
    return errno_of(syscall(SYS_keyctl, 0, 0, 0, 0, 0) >= 0);
}

static int set_dumpable(void)
{
    return errno_of(prctl(PR_SET_DUMPABLE, 1) == 0);
}

static int run_program(void)
{
    return errno_of(execl("/bin/true", "true", (char *)NULL) == 0);
}

static int trace_itself(void)
{
    return errno_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
}

static int mount_something(void)
{
    return errno_of(syscall(SYS_mount, "none", folder, "tmpfs", 0UL, NULL) == 0);
}

static int load_program_of_kernel(void)
{
    return errno_of(syscall(SYS_bpf, 0, NULL, 0U) >= 0);
}

static int leave_namespace(void)
{
    return errno_of(syscall(SYS_unshare, 0UL) == 0);
}

#define KILLED (-SIGSYS)

static const struct {
    const char *name;
    int (*attempt)(void);
    int expected; /* errno, or KILLED */
    bool needs_landlock;
} attempts[] = {
    {"write in its own folder", write_own, 0, false},
    {"unnamed file in its own folder", write_unnamed_own, 0, false},
    {"rename in its own folder", rename_own, 0, false},
    {"read a file of others", read_other, EACCES, true},
    {"write a file of others", write_other, EACCES, true},
    {"read a readable file", read_readable, 0, false},
    {"write a readable file", write_readable, EACCES, true},
    {"start a thread", start_thread, 0, false},
    {"open a TCP socket", open_tcp, 0, false},
    {"open a raw socket", open_raw, ENOSYS, false},
    {"fork", make_process, ENOSYS, false},
    {"signal another process", signal_parent, ENOSYS, false},
    {"map memory to write and run", map_code, ENOSYS, false},
    {"make memory executable", make_executable, ENOSYS, false},
    {"use the kernel's key ring", add_key, ENOSYS, false},
    {"allow core files", set_dumpable, ENOSYS, false},
    {"run a program", run_program, KILLED, false},
    {"trace", trace_itself, KILLED, false},
    {"mount", mount_something, KILLED, false},
    {"bpf", load_program_of_kernel, KILLED, false},
    {"unshare", leave_namespace, KILLED, false},
};

/** What the attempt gives in a child: its errno, or the signal that ended it, negative. */
static int outcome_in_sandbox(int (*attempt)(void))
{
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        char own[PATH_BYTES];
        char readable[PATH_BYTES];
        char problem[256] = "";
        const SandboxPath paths[] = {{path_of("own", own), SANDBOX_WRITE},
                                     {path_of("readable", readable), SANDBOX_READ},
                                     {"/no/such/folder", SANDBOX_WRITE}};
        privileges_forbid_core_files();
        if (!sandbox_enter(SANDBOX_SERVER, paths, ARRAY_LEN(paths), problem, sizeof(problem))) {
            (void)fprintf(stderr, "%s\n", problem);
            _exit(255);
        }
        _exit(attempt());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Containment: no programs, no processes, no files but its own */
static void test_a_confined_process_does_its_work_and_nothing_else(void **state)
{
    SandboxSupport support = sandbox_support();
    (void)state;
    if (!support.has_seccomp) {
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        if (attempts[i].needs_landlock && support.landlock_abi == 0) {
            continue;
        }
        int outcome = outcome_in_sandbox(attempts[i].attempt);
        if (outcome != attempts[i].expected) {
            fail_msg("%s: %d instead of %d", attempts[i].name, outcome, attempts[i].expected);
        }
    }
}

/** @return an exit status: 0, or which check failed */
static int check_dropped(void)
{
    char problem[256];
    gid_t groups[8];
    struct stat info;
    if (!privileges_drop(65534, 65534, problem, sizeof(problem))) {
        return 1;
    }
    if (getuid() != 65534 || geteuid() != 65534 || getgid() != 65534 || getgroups(8, groups) != 0) {
        return 2;
    }
    if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0 || chown(folder, 0, 0) == 0) {
        return 3;
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_CAPBSET_READ, 0, 0, 0, 0) != 0) {
        return 4;
    }
    return stat("/proc/1/cwd/.", &info) == 0 ? 5 : 0;
}

static void test_root_is_given_up_for_good(void **state)
{
    int status = 0;
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(check_dropped());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int make_files(void **state)
{
    char path[PATH_BYTES];
    (void)state;
    if (!mkdtemp(folder) || mkdir(path_of("own", path), 0700) != 0 ||
        mkdir(path_of("other", path), 0700) != 0) {
        return -1;
    }
    return try_open("other/file", O_WRONLY | O_CREAT) || try_open("readable", O_WRONLY | O_CREAT);
}

static int remove_files(void **state)
{
    static const char *const names[] = {"own/file",   "own/a",    "own/b", "own",
                                        "other/file", "readable", "other", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[PATH_BYTES];
        (void)remove(path_of(names[i], path));
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_confined_process_does_its_work_and_nothing_else),
        cmocka_unit_test(test_root_is_given_up_for_good),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
