#include "lib/sandbox/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITY_MAX 63 /* a set has 64 bits (capabilities(7)) */

void privileges_forbid_core_files(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

static bool fail(const char *what, char *ret_problem, size_t problem_size)
{
    (void)snprintf(ret_problem, problem_size, "cannot give up %s: %s", what, strerror(errno));
    return false;
}

/** Only who holds CAP_SETPCAP may; for others the set does not matter under no_new_privs. */
static void empty_bounding_set(void)
{
    for (unsigned long capability = 0; capability <= CAPABILITY_MAX; capability++) {
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
}

static bool set_capabilities(const struct __user_cap_data_struct *sets)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return syscall(SYS_capset, &header, sets) == 0;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    bool has_some = syscall(SYS_capget, &header, sets) != 0;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        has_some = has_some || sets[i].permitted || sets[i].effective || sets[i].inheritable;
    }
    return has_some;
}

bool privileges_drop(uid_t uid, gid_t gid, char *ret_problem, size_t problem_size)
{
    static const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    empty_bounding_set();
    if (geteuid() == 0 && setgroups(0, NULL) != 0) {
        return fail("supplementary groups", ret_problem, problem_size);
    }
    if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) {
        return fail("root", ret_problem, problem_size);
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!set_capabilities(none) || has_capabilities()) {
        return fail("capabilities", ret_problem, problem_size);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail("privileges of programs", ret_problem, problem_size);
    }
    if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) {
        errno = 0;
        return fail("root for good", ret_problem, problem_size);
    }
    return true;
}
