#pragma once

#include <stdint.h>

/* The compiler extensions that the code uses, in one place. */

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(index, first) __attribute__((__format__(__printf__, index, first)))
#define NONNULL_RETURN __attribute__((returns_nonnull))
#define UNUSED __attribute__((unused))

/** Runs fn(&variable) when the variable leaves its scope. */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

/** For libraries that take a pointer without const although they only read. */
#define WITHOUT_CONST(pointer)                                                                     \
    ((void *)(uintptr_t)(pointer)) /* NOLINT(performance-no-int-to-ptr): no arithmetic is meant */

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
