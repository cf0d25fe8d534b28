#include "lib/dicom/worker_fields.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/base/clock.h"

#define FIELD_HEAD_BYTES 5   /* number, length */
#define MESSAGE_HEAD_BYTES 5 /* length, kind */
#define RECEIVE_BYTES ((size_t)256 << 10)

static void write_u32(uint8_t *at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* ---- fields ---- */

void worker_put(StrBuf *content, WorkerField field, Str value)
{
    assert(value.len < WORKER_MESSAGE_MAX);
    uint8_t head[FIELD_HEAD_BYTES] = {(uint8_t)field};
    write_u32(head + 1, (uint32_t)value.len);
    strbuf_append_bytes(content, head, sizeof(head));
    strbuf_append(content, value);
}

void worker_put_number(StrBuf *content, WorkerField field, uint64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRIu64, value);
    worker_put(content, field, (Str){text, (size_t)len});
}

bool worker_next(Str *rest, WorkerField *ret_field, Str *ret_value)
{
    if (rest->len < FIELD_HEAD_BYTES) {
        *rest = rest->len == 0 ? (Str){NULL, 0} : *rest;
        return false;
    }
    const uint8_t *head = (const uint8_t *)rest->data;
    size_t length = read_u32(head + 1);
    if (head[0] >= WORKER_FIELD_COUNT || length > rest->len - FIELD_HEAD_BYTES) {
        return false;
    }
    *ret_field = (WorkerField)head[0];
    *ret_value = str_slice(*rest, FIELD_HEAD_BYTES, length);
    *rest = str_from_offset(*rest, FIELD_HEAD_BYTES + length);
    return true;
}

Str worker_get(Str content, WorkerField field)
{
    WorkerField found;
    Str value;
    while (worker_next(&content, &found, &value)) {
        if (found == field) {
            return value;
        }
    }
    return STR_EMPTY;
}

bool worker_get_number(Str content, WorkerField field, uint64_t *ret_value)
{
    return str_to_u64(worker_get(content, field), ret_value);
}

/* ---- messages ---- */

bool worker_say(int socket, WorkerMessageKind kind, Str content)
{
    assert(content.len < WORKER_MESSAGE_MAX);
    uint8_t head[MESSAGE_HEAD_BYTES];
    write_u32(head, (uint32_t)content.len + 1);
    head[4] = (uint8_t)kind;
    struct iovec parts[] = {{head, sizeof(head)}, {WITHOUT_CONST(content.data), content.len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_LEN(parts)};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            size_t done = MIN((size_t)sent, parts[i].iov_len);
            parts[i].iov_base = (char *)parts[i].iov_base + done;
            parts[i].iov_len -= done;
            sent -= (ssize_t)done;
        }
    }
    return true;
}

/** Waits until there is something to read. @return 0 or -ETIMEDOUT */
static int wait_readable(int socket, int64_t deadline_ns)
{
    for (;;) {
        int timeout_ms = -1;
        if (deadline_ns != INT64_MAX) {
            int64_t left_ns = deadline_ns - clock_now_ns();
            if (left_ns <= 0) {
                return -ETIMEDOUT;
            }
            timeout_ms = (int)MIN((left_ns + 999999) / 1000000, (int64_t)INT32_MAX);
        }
        struct pollfd fd = {.fd = socket, .events = POLLIN};
        if (poll(&fd, 1, timeout_ms) > 0) {
            return 0;
        }
    }
}

/** Reads at most len bytes. @return their number, 0 at the end, or -ETIMEDOUT */
static ssize_t receive(int socket, int64_t deadline_ns, void *bytes, size_t len)
{
    for (;;) {
        ssize_t got = recv(socket, bytes, len, MSG_DONTWAIT);
        if (got >= 0) {
            return got;
        }
        if (errno == EAGAIN) {
            if (wait_readable(socket, deadline_ns) < 0) {
                return -ETIMEDOUT;
            }
        } else if (errno != EINTR) {
            return 0; /* a connection that broke has ended */
        }
    }
}

/** @return 1, 0 the other side has closed before the first byte, or negative */
static int hear_head(int socket, int64_t deadline_ns, uint8_t *head)
{
    size_t have = 0;
    while (have < MESSAGE_HEAD_BYTES) {
        ssize_t got = receive(socket, deadline_ns, head + have, MESSAGE_HEAD_BYTES - have);
        if (got <= 0) {
            return got == 0 && have > 0 ? -EPROTO : (int)got;
        }
        have += (size_t)got;
    }
    return 1;
}

int worker_hear(int socket, int64_t deadline_ns, WorkerMessageKind *ret_kind, StrBuf *buf)
{
    uint8_t head[MESSAGE_HEAD_BYTES];
    int r = hear_head(socket, deadline_ns, head);
    if (r <= 0) {
        return r;
    }
    uint32_t length = read_u32(head);
    if (length == 0 || length > WORKER_MESSAGE_MAX || head[4] >= WORKER_SAYS_COUNT) {
        return -EPROTO;
    }
    strbuf_clear(buf);
    while (buf->len < length - 1) { /* memory follows what came, not what was promised */
        size_t wanted = MIN(length - 1 - buf->len, RECEIVE_BYTES);
        char *place = strbuf_reserve(buf, wanted);
        ssize_t got = receive(socket, deadline_ns, place, wanted);
        if (got <= 0) {
            return got == 0 ? -EPROTO : (int)got;
        }
        buf->len += (size_t)got;
        buf->data[buf->len] = '\0';
    }
    *ret_kind = (WorkerMessageKind)head[4];
    return 1;
}
