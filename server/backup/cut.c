#include "server/backup/cut.h"

#include "server/backup/store.h"

#define WINDOW_BYTES ((size_t)64)
#define LEAST_BYTES ((size_t)64 << 10)
#define LONG_BYTES ((size_t)512 << 10)
/** The highest bits are those that all bytes of the window have had a part in. */
#define HIGHEST_BITS(n) (((UINT64_C(1) << (n)) - 1) << (64 - (n)))
#define MASK HIGHEST_BITS(18)
#define LONG_MASK HIGHEST_BITS(15)

/** splitmix64 (Steele, Lea, Flood 2014): any fixed random numbers do. */
static uint64_t gear_of(unsigned byte)
{
    uint64_t z = (byte + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void backup_cutter_init(BackupCutter *cutter)
{
    for (unsigned i = 0; i < 256; i++) {
        cutter->gears[i] = gear_of(i);
    }
}

size_t backup_cut(const BackupCutter *cutter, const char *bytes, size_t len)
{
    const size_t most = MIN(len, BACKUP_PIECE_BYTES);
    uint64_t hash = 0;
    for (size_t i = LEAST_BYTES - WINDOW_BYTES; i < most; i++) {
        hash = (hash << 1) + cutter->gears[(uint8_t)bytes[i]];
        const uint64_t mask = i < LONG_BYTES ? MASK : LONG_MASK;
        if (i >= LEAST_BYTES && (hash & mask) == 0) {
            return i + 1;
        }
    }
    return most;
}
