#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/** The entry of every target (libFuzzer's interface). Aborts when a property does not hold; returns
 * 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
