#include "repository/imaging/sub_operation.h"

#include <errno.h>
#include <poll.h>

#include "lib/base/clock.h"
#include "repository/imaging/file_part.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/instance_pixels.h"

/** A worker that has begun a message is not slow with it. */
#define HEAR_TIMEOUT_NS (10 * INT64_C(1000000000))
/** Until a peer has stored what it was sent. */
#define OUTCOME_TIMEOUT_MS 660000
/** The same, once who asked has cancelled: what is under way may still end. */
#define CANCEL_TIMEOUT_NS (10 * INT64_C(1000000000))
#define NS_PER_MS INT64_C(1000000)
#define STATUS_NO_CONTEXT 0x0122
#define STATUS_FAILED 0x0110
/** What is smaller is looked at in whole before its first byte is sent: should it be damaged, the
 * association goes on. */
#define CHECKED_FIRST_BYTES ((uint64_t)64 << 20)

void sub_operations_done(SubOperations *operations)
{
    strbuf_done(&operations->heard);
    pixels_line_done(&operations->line);
}

/* ---- what workers say ---- */

static bool hear(SubOperations *operations, int control, WorkerMessageKind *ret_kind)
{
    return worker_hear(control, clock_now_ns() + HEAR_TIMEOUT_NS, ret_kind, &operations->heard) > 0;
}

static void cancel(SubOperations *operations)
{
    operations->cancelled_ns = operations->is_cancelled ? operations->cancelled_ns : clock_now_ns();
    operations->is_cancelled = true;
}

/** For the peer to answer, in milliseconds; 0: it has had its time. */
static int time_left_ms(const SubOperations *operations)
{
    int64_t left = operations->cancelled_ns + CANCEL_TIMEOUT_NS - clock_now_ns();
    return operations->is_cancelled ? (int)(MAX(left, 0) / NS_PER_MS) : OUTCOME_TIMEOUT_MS;
}

/** From the peer that asked: it can only cancel, or be gone. */
static void hear_asker(SubOperations *operations)
{
    WorkerMessageKind kind;
    if (hear(operations, operations->asking, &kind) && kind == WORKER_SAYS_CANCEL) {
        cancel(operations);
    } else {
        operations->is_asker_gone = true;
    }
}

void sub_operations_look(SubOperations *operations)
{
    struct pollfd asking = {.fd = operations->asking, .events = POLLIN};
    if (!operations->is_asker_gone && poll(&asking, 1, 0) > 0) {
        hear_asker(operations);
    }
}

/** @return true once OUTCOME is in heard; false: it will not come */
static bool hear_outcome(SubOperations *operations)
{
    WorkerMessageKind kind;
    if (hear(operations, operations->control, &kind)) {
        if (kind == WORKER_SAYS_OUTCOME) {
            return true;
        }
        if (kind == WORKER_SAYS_CANCEL) { /* of C-GET */
            cancel(operations);
            return false;
        }
    }
    operations->is_gone = true;
    return false;
}

static bool await_outcome(SubOperations *operations)
{
    const bool is_get = operations->asking == operations->control;
    struct pollfd sides[] = {{.fd = operations->control, .events = POLLIN},
                             {.fd = is_get ? -1 : operations->asking, .events = POLLIN}};
    while (!operations->is_gone && !operations->is_asker_gone) {
        int rc = poll(sides, ARRAY_LEN(sides), time_left_ms(operations));
        if (rc < 0 && errno == EINTR) {
            continue;
        }
        if (rc <= 0) {
            operations->is_gone = true;
        } else if (sides[0].revents) {
            if (hear_outcome(operations)) {
                return true;
            }
        } else {
            hear_asker(operations);
            sides[1].fd = operations->is_asker_gone ? -1 : sides[1].fd;
        }
    }
    return false;
}

/* ---- what is sent ---- */

/** What it may be sent in: as stored, else what it can be made into without loss. @return false: no
 * context was agreed for that */
static bool choose_syntax(const SubOperations *operations, const ImagingInstance *instance,
                          Str *ret_syntax)
{
    Str rest = operations->contexts;
    WorkerField field;
    Str value;
    bool is_found = false;
    while (worker_next(&rest, &field, &value)) {
        Str abstract_syntax;
        Str syntax;
        if (field != WORKER_CONTEXT || !str_split_next(&value, ' ', &abstract_syntax) ||
            !str_split_next(&value, ' ', &syntax) ||
            !str_equal(abstract_syntax, instance->sop_class)) {
            continue;
        }
        if (str_equal(syntax, instance->transfer_syntax)) {
            *ret_syntax = syntax;
            return true;
        }
        if (!is_found &&
            pixels_can_transcode(instance->transfer_syntax, syntax, instance->bits_allocated)) {
            *ret_syntax = syntax;
            is_found = true;
        }
    }
    return is_found;
}

static bool say_store(const SubOperations *operations, const ImagingInstance *instance, Str syntax)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put(&fields, WORKER_SOP_CLASS, instance->sop_class);
    worker_put(&fields, WORKER_SOP_INSTANCE, instance->sop_instance);
    worker_put(&fields, WORKER_TRANSFER_SYNTAX, syntax);
    if (!str_is_empty(operations->originator_ae)) {
        worker_put(&fields, WORKER_ORIGINATOR_AE, operations->originator_ae);
        worker_put_number(&fields, WORKER_ORIGINATOR_ID, operations->originator_id);
    }
    return worker_say(operations->control, WORKER_SAYS_SEND, strbuf_str(&fields));
}

static int say_data_set(SubOperations *operations, Request *req, const BodySource *data_set)
{
    _cleanup_(strbuf_done) StrBuf bytes = {0};
    int rc = 1;
    while (rc > 0 && !operations->is_gone) {
        strbuf_clear(&bytes);
        rc = data_set->next(data_set->ctx, &bytes);
        operations->is_gone =
            rc >= 0 && bytes.len > 0 &&
            !worker_say(operations->control, WORKER_SAYS_DATA_OUT, strbuf_str(&bytes));
        req->sent_bytes += bytes.len;
        sub_operations_look(operations);
        operations->is_gone |= operations->is_asker_gone || time_left_ms(operations) == 0;
    }
    return rc;
}

/** Whether the file is whole, where that is soon told. */
static int check_file(const SubOperations *operations, const ImagingInstance *instance)
{
    BlobReader *reader = NULL;
    if (instance->size_bytes > CHECKED_FIRST_BYTES) {
        return 0;
    }
    int rc = blob_reader_open(operations->imaging->blobs, instance->sha256, &reader);
    rc = rc < 0 ? rc : blob_reader_verify(reader);
    blob_reader_free(reader);
    return rc;
}

static int stored_next(void *ctx, StrBuf *buf)
{
    return file_part_next(ctx, buf);
}

static void stored_done(void *ctx)
{
    file_part_done(ctx);
}

/** The data set, without what comes before it in the file.
 * @param part  lives as long as the source */
static int open_stored(const SubOperations *operations, const ImagingInstance *instance,
                       FilePart *part, BodySource *ret_data_set)
{
    int rc = instance->data_set_offset < instance->size_bytes ? check_file(operations, instance)
                                                              : -ERR_CORRUPT;
    *ret_data_set = (BodySource){part, stored_next, stored_done};
    return rc < 0 ? rc
                  : file_part_open(part, operations->imaging->blobs, instance->sha256,
                                   instance->data_set_offset,
                                   instance->size_bytes - instance->data_set_offset);
}

static int add_unreadable(Request *req, const ImagingInstance *instance, int rc)
{
    return error_add(&req->errors, (ErrorCode)-rc, NULL,
                     "the bytes of instance %.*s cannot be read", STR_ARG(instance->sop_instance));
}

static SubOperationOutcome read_outcome(const SubOperations *operations)
{
    uint64_t status = STATUS_FAILED;
    (void)worker_get_number(strbuf_str(&operations->heard), WORKER_STATUS, &status);
    return (SubOperationOutcome){.status = (uint16_t)status,
                                 .is_warning = (status & 0xf000) == 0xb000};
}

/** Sends what the source gives, and hears what became of it. */
static SubOperationOutcome send_data_set(SubOperations *operations, Request *req,
                                         const ImagingInstance *instance, Str syntax,
                                         const BodySource *data_set)
{
    operations->is_gone = !say_store(operations, instance, syntax);
    int rc = operations->is_gone ? 0 : say_data_set(operations, req, data_set);
    data_set->done(data_set->ctx);
    if (rc < 0) { /* half of it is with the peer, who must not take it for the whole */
        (void)add_unreadable(req, instance, rc);
        operations->is_gone = true;
    }
    if (operations->is_gone || !worker_say(operations->control, WORKER_SAYS_SENT, STR_EMPTY) ||
        !await_outcome(operations)) {
        operations->is_gone |= !operations->is_asker_gone;
        return (SubOperationOutcome){.status = STATUS_FAILED};
    }
    return read_outcome(operations);
}

SubOperationOutcome sub_operation_send(SubOperations *operations, Request *req,
                                       const ImagingInstance *instance)
{
    FilePart part = {0};
    BodySource data_set;
    Str syntax;
    int rc = 0;
    if (!choose_syntax(operations, instance, &syntax)) {
        return (SubOperationOutcome){.status = STATUS_NO_CONTEXT};
    }
    if (!str_equal(syntax, instance->transfer_syntax)) {
        rc = instance_transcode_data_set(operations->imaging, &req->errors, &operations->line,
                                         instance, syntax, &data_set);
    } else if ((rc = open_stored(operations, instance, &part, &data_set)) < 0) {
        (void)add_unreadable(req, instance, rc);
    }
    return rc < 0 ? (SubOperationOutcome){.status = STATUS_FAILED}
                  : send_data_set(operations, req, instance, syntax, &data_set);
}
