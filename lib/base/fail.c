#include "lib/base/fail.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_long passages;

void fail_point(const char *step)
{
    static const char *wanted;
    static atomic_bool looked_up;
    if (!atomic_load_explicit(&looked_up, memory_order_acquire)) {
        wanted = getenv("MUSUBI_FAIL_AT");
        atomic_store_explicit(&looked_up, true, memory_order_release);
    }
    if (!wanted) {
        return;
    }
    const char *colon = strchr(wanted, ':');
    size_t len = colon ? (size_t)(colon - wanted) : strlen(wanted);
    if (strncmp(wanted, step, len) != 0 || step[len] != '\0') {
        return;
    }
    long passage = colon ? strtol(colon + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passages, 1) + 1 == passage) {
        raise(SIGKILL);
    }
}
