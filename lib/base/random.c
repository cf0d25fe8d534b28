#include "lib/base/random.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/macros.h"

#define BLOCK_BYTES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char block[BLOCK_BYTES];
static size_t used = BLOCK_BYTES;

static void refill_locked(void)
{
    if (RAND_bytes(block, sizeof(block)) != 1) {
        abort();
    }
    used = 0;
}

void random_bytes(void *ret_bytes, size_t len)
{
    unsigned char *out = ret_bytes;
    pthread_mutex_lock(&lock);
    while (len > 0) {
        if (used == sizeof(block)) {
            refill_locked();
        }
        size_t piece = MIN(len, sizeof(block) - used);
        memcpy(out, block + used, piece);
        used += piece;
        out += piece;
        len -= piece;
    }
    pthread_mutex_unlock(&lock);
}
