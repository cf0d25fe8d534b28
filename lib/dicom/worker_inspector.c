/* The worker that reads files which came another way than by C-STORE: STOW-RS, ITI-41. */

#include "lib/dicom/part10.h"
#include "lib/dicom/worker_instance.h"
#include "lib/dicom/worker_main.h"

/** One file, or one bare data set. */
typedef struct Inspection {
    Arena *arena;
    ErrorList errors;
    StrBuf head; /* of a file, as long as its meta information is not whole */
    FileMeta meta;
    InstanceReading reading;
    bool is_reading; /* the data set has begun */
    bool is_refused; /* errors say why */
} Inspection;

static void begin_data_set(Inspection *inspection, Str transfer_syntax)
{
    reading_begin(&inspection->reading, transfer_syntax);
    inspection->is_reading = true;
}

static void push_head(Inspection *inspection, Str bytes)
{
    size_t offset = 0;
    strbuf_append(&inspection->head, bytes);
    int rc = part10_read(inspection->arena, &inspection->errors, strbuf_str(&inspection->head),
                         &inspection->meta, &offset);
    inspection->is_refused = rc < 0;
    if (rc == 1) {
        Str rest = str_from_offset(strbuf_str(&inspection->head), offset);
        begin_data_set(inspection, inspection->meta.transfer_syntax);
        (void)reading_push(&inspection->reading, rest.data, rest.len);
    }
}

static void push(Inspection *inspection, Str bytes)
{
    if (inspection->is_reading) {
        (void)reading_push(&inspection->reading, bytes.data, bytes.len);
    } else if (!inspection->is_refused) {
        push_head(inspection, bytes);
    }
}

static void finish(Inspection *inspection, StrBuf *ret_record, StrBuf *ret_fault)
{
    const Error *error = inspection->errors.first;
    const InstanceIdentity identity = {inspection->meta.sop_class, inspection->meta.sop_instance,
                                       false};

    if (inspection->is_reading) {
        reading_end(&inspection->reading, &identity, ret_record, ret_fault);
    } else {
        reading_refuse(error ? error->context : STR("the file ends before its data set"),
                       ret_fault);
    }
}

/** DATA_OUT up to SENT. @return false: the server is gone */
static bool take_bytes(int control, Inspection *inspection)
{
    _cleanup_(strbuf_done) StrBuf content = {0};
    for (;;) {
        WorkerMessageKind kind;
        if (worker_hear(control, INT64_MAX, &kind, &content) != 1 ||
            (kind != WORKER_SAYS_DATA_OUT && kind != WORKER_SAYS_SENT)) {
            return false;
        }
        if (kind == WORKER_SAYS_SENT) {
            return true;
        }
        push(inspection, strbuf_str(&content));
    }
}

static bool inspect(int control, Str fields)
{
    _cleanup_(strbuf_done) StrBuf record = {0};
    _cleanup_(strbuf_done) StrBuf fault = {0};
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Inspection inspection = {.arena = arena};
    Str syntax = worker_get(fields, WORKER_TRANSFER_SYNTAX);

    error_list_init(&inspection.errors, arena);
    if (syntax.len > 0) {
        begin_data_set(&inspection, syntax);
    }
    bool is_there = take_bytes(control, &inspection);
    if (is_there) {
        finish(&inspection, &record, &fault);
    }
    if (inspection.is_reading) {
        reading_done(&inspection.reading);
    }
    strbuf_done(&inspection.head);
    return is_there &&
           (fault.len == 0 || worker_say(control, WORKER_SAYS_FAULT, strbuf_str(&fault))) &&
           worker_say(control, WORKER_SAYS_STORED, strbuf_str(&record));
}

void worker_inspect(int control, int peer)
{
    _cleanup_(strbuf_done) StrBuf content = {0};
    WorkerMessageKind kind;

    (void)peer;
    while (worker_hear(control, INT64_MAX, &kind, &content) == 1 && kind == WORKER_SAYS_INSPECT &&
           inspect(control, strbuf_str(&content))) {
    }
}
