#pragma once

#include <stddef.h>
#include <stdint.h>

/** CRC-32C (Castagnoli) of the bytes, continued from crc (0 to begin). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
