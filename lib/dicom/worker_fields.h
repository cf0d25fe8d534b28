#pragma once

#include "lib/base/str.h"

/**
 * The content of messages between server and workers: fields, each a number (8 bits), a length (32
 * bits, little endian) and its bytes; a field may come several times. Readers take nothing for
 * granted: the other side may be in somebody else's hands.
 */

#define WORKER_BYTES_MAX ((uint32_t)256 << 10)
#define WORKER_MESSAGE_MAX ((uint32_t)64 << 20)

typedef enum WorkerField {
#define WORKER_FIELD(name, description) WORKER_##name,
#include "lib/dicom/worker_fields.def"
#undef WORKER_FIELD
    WORKER_FIELD_COUNT
} WorkerField;

typedef enum WorkerMessageKind {
#define MESSAGE(name, sender, content) WORKER_SAYS_##name,
#include "lib/dicom/worker_messages.def"
#undef MESSAGE
    WORKER_SAYS_COUNT
} WorkerMessageKind;

void worker_put(StrBuf *content, WorkerField field, Str value);
void worker_put_number(StrBuf *content, WorkerField field, uint64_t value);

/** Takes the next field off *rest. @return false: none is left, or the rest is no field: *rest is
 * then {NULL, 0}, or not empty */
bool worker_next(Str *rest, WorkerField *ret_field, Str *ret_value);
/** The first field of this kind; empty if there is none. */
Str worker_get(Str content, WorkerField field);
bool worker_get_number(Str content, WorkerField field, uint64_t *ret_value);

/** Writes one message, blocking. @return false: the other side is gone */
bool worker_say(int socket, WorkerMessageKind kind, Str content);
/**
 * Reads one message, blocking until deadline_ns (clock_now_ns(); INT64_MAX: for ever).
 * @param buf  of the content, kept between calls
 * @return 1, 0 the other side has closed, or negative: -ETIMEDOUT, or -EPROTO for what is no
 * message
 */
int worker_hear(int socket, int64_t deadline_ns, WorkerMessageKind *ret_kind,
                StrBuf *buf) MUST_CHECK;
