/*
 * Writes invented audit messages (audit_messages.h) as frames of RFC 5425: what load --syslog
 * sends.
 *
 *   audit_frames PATIENTS FIRST COUNT > FILE
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"

#include "tests/bench/audit_messages.h"

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: audit_frames PATIENTS FIRST COUNT\n");
        return 2;
    }
    const AuditInvention invention = {.patients = strtoull(argv[1], NULL, 10),
                                      .arena = arena_new()};
    uint64_t first = strtoull(argv[2], NULL, 10);
    uint64_t end = first + strtoull(argv[3], NULL, 10);
    int64_t now_us = clock_utc_us();
    StrBuf message = {0};
    for (uint64_t number = first; number < end; number++) {
        strbuf_clear(&message);
        audit_message_invent(&invention, number, now_us, &message);
        printf("%zu %s", message.len, message.data);
    }
    strbuf_done(&message);
    arena_free(invention.arena);
    return 0;
}
