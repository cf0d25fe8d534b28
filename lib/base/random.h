#pragma once

#include <stddef.h>

/**
 * Unpredictable bytes of OpenSSL's generator, drawn in blocks: a call costs some nanoseconds
 * instead of microseconds. Thread-safe; never given out twice. Ends the process if the generator
 * fails.
 */
void random_bytes(void *ret_bytes, size_t len);
