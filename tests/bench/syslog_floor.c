#include "tests/bench/syslog_floor.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/measure.h"
#include "tests/bench/parts.h"

#define ROOM_BYTES (64 * 1024)
#define SYNC_EVERY_NS 20000000

typedef struct SyslogFloor {
    GroupFile file;
    _Atomic uint64_t written_bytes;
} SyslogFloor;

static _Noreturn void *run_syncs(void *argument)
{
    static const struct timespec pause = {.tv_nsec = SYNC_EVERY_NS};
    SyslogFloor *floor = argument;
    for (;;) {
        nanosleep(&pause, NULL);
        group_file_settle(&floor->file, floor->written_bytes);
    }
}

/** How many bytes the whole frames at the beginning have. */
static size_t measure_frames(const char *bytes, size_t len)
{
    size_t at = 0;
    for (;;) {
        const char *space = memchr(bytes + at, ' ', len - at);
        if (!space) {
            return at;
        }
        size_t end = (size_t)(space - bytes) + 1 + strtoul(bytes + at, NULL, 10);
        if (end > len) {
            return at;
        }
        at = end;
    }
}

static void converse(void *ctx, SSL *ssl)
{
    SyslogFloor *floor = ctx;
    char *bytes = allocate(ROOM_BYTES, 1);
    size_t len = 0;
    uint64_t written_bytes = 0;
    for (int n = 0; (n = SSL_read(ssl, bytes + len, (int)(ROOM_BYTES - len))) > 0;) {
        len += (size_t)n;
        size_t whole = measure_frames(bytes, len);
        if (whole > 0) {
            written_bytes = group_file_write(&floor->file, bytes, whole);
            floor->written_bytes = written_bytes;
            memmove(bytes, bytes + whole, len - whole);
            len -= whole;
        }
        if (len == ROOM_BYTES) {
            die("floor: a frame is too long");
        }
    }
    group_file_settle(&floor->file, written_bytes);
    SSL_shutdown(ssl);
    free(bytes);
}

void syslog_floor_run(HttpsFloor https, const char *path)
{
    static SyslogFloor floor;
    pthread_t thread;
    group_file_open(&floor.file, path);
    if (pthread_create(&thread, NULL, run_syncs, &floor) != 0) {
        die("floor: cannot start a thread");
    }
    https.ctx = &floor;
    https.converse = converse;
    https_floor_run(&https);
}
