#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

/** The first child of a process that runs; 0: none. */
static inline pid_t child_of(pid_t pid)
{
    char path[64];
    char text[64] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "re");
    if (file) {
        (void)!fgets(text, sizeof(text), file);
        (void)fclose(file);
    }
    return (pid_t)strtol(text, NULL, 10);
}
