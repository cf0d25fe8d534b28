/* Messages between server and workers, over a socket, and their fields. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/dicom/worker_fields.h"

#include "tests/fuzz/fuzz.h"

#define SOCKET_BYTES (1 << 20) /* all of an input at once */

static void read_fields(Str content)
{
    Str rest = content;
    WorkerField field;
    Str value;
    StrBuf same = {0};
    while (worker_next(&rest, &field, &value)) {
        worker_put(&same, field, value);
        uint64_t number;
        (void)worker_get_number(content, field, &number);
    }
    FUZZ_CHECK(same.len + rest.len == content.len);
    FUZZ_CHECK(same.len == 0 || memcmp(same.data, content.data, same.len) == 0);
    strbuf_done(&same);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int ends[2];
    const int room = SOCKET_BYTES;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    ssize_t sent = send(ends[0], bytes, len, MSG_DONTWAIT);
    FUZZ_CHECK(close(ends[0]) == 0);
    StrBuf content = {0};
    WorkerMessageKind kind;
    int r = 0;
    while (sent > 0 && (r = worker_hear(ends[1], INT64_MAX, &kind, &content)) == 1) {
        FUZZ_CHECK(kind < WORKER_SAYS_COUNT);
        read_fields(strbuf_str(&content));
    }
    FUZZ_CHECK(r == 0 || r == -EPROTO);
    strbuf_done(&content);
    (void)close(ends[1]);
    return 0;
}
