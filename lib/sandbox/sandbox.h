#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/macros.h"

/**
 * What a process that parses foreign bytes may still do: system calls by seccomp (syscalls.def),
 * files by Landlock. Neither is ever given back; threads made later inherit both.
 */

/** Which column of syscalls.def applies. */
typedef enum SandboxProfile {
    SANDBOX_SERVER, /* serve: sockets, its own files, threads; no programs, no other processes */
    SANDBOX_DICOM_WORKER,    /* descriptors that are open already; no files, sockets, threads */
    SANDBOX_DICOM_REQUESTOR, /* the same, and calls that are answered without being made */
} SandboxProfile;

typedef enum SandboxAccess {
    SANDBOX_READ,  /* read files, list folders */
    SANDBOX_WRITE, /* and make, change, rename and remove regular files and folders */
} SandboxAccess;

/** A file, or a folder with all below it. What does not exist is left out. */
typedef struct SandboxPath {
    const char *path;
    SandboxAccess access;
} SandboxPath;

/** What this kernel offers. */
typedef struct SandboxSupport {
    int landlock_abi; /* 0: no Landlock; files are then protected by their permissions alone */
    bool has_seccomp;
} SandboxSupport;

SandboxSupport sandbox_support(void);

/**
 * Confines the calling thread and all that it makes from now on. To be called before any other
 * thread runs: Landlock binds single threads. Opened descriptors stay usable. What the kernel does
 * not offer is left out (sandbox_support()).
 * @param paths  all that may be opened from now on; borrowed
 * @return false and the reason if something that the kernel offers cannot be set up; then the
 *         process must not go on
 */
bool sandbox_enter(SandboxProfile profile, const SandboxPath *paths, size_t path_count,
                   char *ret_problem, size_t problem_size) MUST_CHECK;
