#include "lib/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool fail(const char *what, int error, char *ret_problem, size_t problem_size)
{
    (void)snprintf(ret_problem, problem_size, "%s: %s", what, strerror(error));
    return false;
}

/* ---- Landlock (landlock(7)); the constants are the kernel's, newer than Debian 12's headers ----
 */

#define LANDLOCK_CREATE_RULESET 444 /* the numbers are the same on every architecture */
#define LANDLOCK_ADD_RULE 445
#define LANDLOCK_RESTRICT_SELF 446
#define LANDLOCK_ASK_ABI 1U
#define LANDLOCK_PATH_BENEATH 1

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_REFER = 1 << 13,
    FS_TRUNCATE = 1 << 14,
    FS_UP_TO_ABI_1 = (1 << 13) - 1,
    FS_UP_TO_ABI_2 = (1 << 14) - 1,
    FS_UP_TO_ABI_3 = (1 << 15) - 1,
    FS_UP_TO_ABI_5 = (1 << 16) - 1, /* 5: IOCTL_DEV */
    FS_OF_FILES =
        FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE, /* all a file's rule may name */
    FS_READ = FS_READ_FILE | FS_READ_DIR,
    FS_WRITE = FS_READ | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR |
               FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
    SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0,
    SCOPE_SIGNAL = 1 << 1,
};

typedef struct LandlockRuleset {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
} LandlockRuleset;

typedef struct __attribute__((packed)) LandlockPath {
    uint64_t allowed_access;
    int32_t parent_fd;
} LandlockPath;

/** What a kernel of this ABI can forbid. All of it is handled: what no rule allows is denied. */
static LandlockRuleset ruleset_of(int abi)
{
    return (LandlockRuleset){
        .handled_access_fs = abi >= 5   ? FS_UP_TO_ABI_5
                             : abi >= 3 ? FS_UP_TO_ABI_3
                             : abi == 2 ? FS_UP_TO_ABI_2
                                        : FS_UP_TO_ABI_1,
        .scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0,
    };
}

static bool allow_path(int ruleset_fd, const LandlockRuleset *ruleset, const SandboxPath *allowed)
{
    struct stat info;
    int fd = open(allowed->path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
    }
    LandlockPath rule = {
        .allowed_access =
            (allowed->access == SANDBOX_WRITE ? FS_WRITE : FS_READ) & ruleset->handled_access_fs,
        .parent_fd = fd,
    };
    bool is_good = fstat(fd, &info) == 0;
    if (is_good && !S_ISDIR(info.st_mode)) {
        rule.allowed_access &= FS_OF_FILES;
    }
    is_good =
        is_good && syscall(LANDLOCK_ADD_RULE, ruleset_fd, LANDLOCK_PATH_BENEATH, &rule, 0U) == 0;
    int error = errno;
    (void)close(fd);
    errno = error;
    return is_good;
}

static bool restrict_files(int abi, const SandboxPath *paths, size_t path_count, char *ret_problem,
                           size_t problem_size)
{
    LandlockRuleset ruleset = ruleset_of(abi);
    int fd = (int)syscall(LANDLOCK_CREATE_RULESET, &ruleset, sizeof(ruleset), 0U);
    if (fd < 0) {
        return fail("Landlock refuses its rules", errno, ret_problem, problem_size);
    }
    bool is_good = true;
    for (size_t i = 0; i < path_count && is_good; i++) {
        is_good = allow_path(fd, &ruleset, &paths[i]);
        if (!is_good) {
            (void)fail(paths[i].path, errno, ret_problem, problem_size);
        }
    }
    if (is_good && syscall(LANDLOCK_RESTRICT_SELF, fd, 0U) != 0) {
        is_good = fail("Landlock does not take effect", errno, ret_problem, problem_size);
    }
    (void)close(fd);
    return is_good;
}

/* ---- seccomp ---- */

/** One row of syscalls.def. */
typedef struct SyscallRow {
    SandboxProfile profile;
    const char *name;
    uint32_t action;
    bool is_conditional;
    unsigned argument;
    uint64_t mask;
    uint64_t value;
} SyscallRow;

static const SyscallRow rows[] = {
#define ALLOW(profile, name) {SANDBOX_##profile, #name, SCMP_ACT_ALLOW, false, 0, 0, 0},
#define ALLOW_IF(profile, name, argument, mask, value)                                             \
    {SANDBOX_##profile, #name, SCMP_ACT_ALLOW, true, argument, mask, value},
#define PRETEND(profile, name) {SANDBOX_##profile, #name, SCMP_ACT_ERRNO(0), false, 0, 0, 0},
#define KILL(profile, name) {SANDBOX_##profile, #name, SCMP_ACT_KILL_PROCESS, false, 0, 0, 0},
#include "lib/sandbox/syscalls.def"
#undef ALLOW
#undef ALLOW_IF
#undef PRETEND
#undef KILL
};

static bool has_row(SandboxProfile profile, const SyscallRow *row)
{
    return row->profile == profile ||
           (profile == SANDBOX_DICOM_REQUESTOR && row->profile == SANDBOX_DICOM_WORKER);
}

static int add_row(scmp_filter_ctx filter, const SyscallRow *row)
{
    int number = seccomp_syscall_resolve_name(row->name);
    if (number == __NR_SCMP_ERROR) {
        return 0;
    }
    if (!row->is_conditional) {
        return seccomp_rule_add_array(filter, row->action, number, 0, NULL);
    }
    const struct scmp_arg_cmp condition = {.arg = row->argument,
                                           .op = SCMP_CMP_MASKED_EQ,
                                           .datum_a = row->mask,
                                           .datum_b = row->value};
    return seccomp_rule_add_array(filter, row->action, number, 1, &condition);
}

/** Calls of another architecture (32 bits) end the process; no slower mode of the processor comes
 * with the filter; rows are found by halving. */
static int set_attributes(scmp_filter_ctx filter)
{
    static const struct {
        enum scmp_filter_attr attribute;
        uint32_t value;
    } settings[] = {
        {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
        {SCMP_FLTATR_CTL_SSB, 1},
        {SCMP_FLTATR_CTL_OPTIMIZE, 2},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(settings) && rc == 0; i++) {
        rc = seccomp_attr_set(filter, settings[i].attribute, settings[i].value);
    }
    return rc;
}

static bool restrict_calls(SandboxProfile profile, char *ret_problem, size_t problem_size)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int rc = filter ? set_attributes(filter) : -ENOMEM;
    for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++) {
        rc = has_row(profile, &rows[i]) ? add_row(filter, &rows[i]) : 0;
    }
    rc = rc ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return rc == 0 || fail("seccomp refuses the filter", -rc, ret_problem, problem_size);
}

/* ---- both ---- */

SandboxSupport sandbox_support(void)
{
    const uint32_t action = SECCOMP_RET_ERRNO;
    long abi = syscall(LANDLOCK_CREATE_RULESET, NULL, 0UL, LANDLOCK_ASK_ABI);
    return (SandboxSupport){
        .landlock_abi = abi > 0 ? (int)abi : 0,
        .has_seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &action) == 0,
    };
}

bool sandbox_enter(SandboxProfile profile, const SandboxPath *paths, size_t path_count,
                   char *ret_problem, size_t problem_size)
{
    SandboxSupport support = sandbox_support();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail("no_new_privs is refused", errno, ret_problem, problem_size);
    }
    return (support.landlock_abi == 0 ||
            restrict_files(support.landlock_abi, paths, path_count, ret_problem, problem_size)) &&
           (!support.has_seccomp || restrict_calls(profile, ret_problem, problem_size));
}
