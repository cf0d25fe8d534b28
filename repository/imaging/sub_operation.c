#include "repository/imaging/sub_operation.h"

#include <errno.h>
#include <poll.h>

#include "lib/base/clock.h"
#include "repository/imaging/file_part.h"
#include "repository/imaging/imaging_state.h"

/** A worker that has begun a message is not slow with it. */
#define HEAR_TIMEOUT_NS (10 * INT64_C(1000000000))
/** Until a peer has stored what it was sent. */
#define OUTCOME_TIMEOUT_MS 660000
#define STATUS_NO_CONTEXT 0x0122
#define STATUS_FAILED 0x0110
/** What is smaller is looked at in whole before its first byte is sent: should it be damaged, the
 * association goes on. */
#define CHECKED_FIRST_BYTES ((uint64_t)64 << 20)

void sub_operations_done(SubOperations *operations)
{
    strbuf_done(&operations->heard);
}

/* ---- what workers say ---- */

static bool hear(SubOperations *operations, int control, WorkerMessageKind *ret_kind)
{
    return worker_hear(control, clock_now_ns() + HEAR_TIMEOUT_NS, ret_kind, &operations->heard) > 0;
}

/** From the peer that asked: it can only cancel, or be gone. */
static void hear_asker(SubOperations *operations)
{
    WorkerMessageKind kind;
    if (hear(operations, operations->asking, &kind) && kind == WORKER_SAYS_CANCEL) {
        operations->is_cancelled = true;
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
    if (!hear(operations, operations->control, &kind)) {
        operations->is_gone = true;
    } else if (kind == WORKER_SAYS_CANCEL) { /* of C-GET */
        operations->is_cancelled = true;
    } else if (kind == WORKER_SAYS_OUTCOME) {
        return true;
    } else {
        operations->is_gone = true;
    }
    return false;
}

static bool await_outcome(SubOperations *operations)
{
    const bool is_get = operations->asking == operations->control;
    struct pollfd sides[] = {{.fd = operations->control, .events = POLLIN},
                             {.fd = is_get ? -1 : operations->asking, .events = POLLIN}};
    while (!operations->is_gone && !operations->is_asker_gone) {
        int rc = poll(sides, ARRAY_LEN(sides), OUTCOME_TIMEOUT_MS);
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

/** Whether a context was agreed for the SOP class with this transfer syntax. */
static bool has_context(const SubOperations *operations, const ImagingInstance *instance)
{
    Str rest = operations->contexts;
    WorkerField field;
    Str value;
    while (worker_next(&rest, &field, &value)) {
        Str abstract_syntax;
        Str syntax;
        if (field == WORKER_CONTEXT && str_split_next(&value, ' ', &abstract_syntax) &&
            str_split_next(&value, ' ', &syntax) &&
            str_equal(abstract_syntax, instance->sop_class) &&
            str_equal(syntax, instance->transfer_syntax)) {
            return true;
        }
    }
    return false;
}

static bool say_store(const SubOperations *operations, const ImagingInstance *instance)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put(&fields, WORKER_SOP_CLASS, instance->sop_class);
    worker_put(&fields, WORKER_SOP_INSTANCE, instance->sop_instance);
    worker_put(&fields, WORKER_TRANSFER_SYNTAX, instance->transfer_syntax);
    if (!str_is_empty(operations->originator_ae)) {
        worker_put(&fields, WORKER_ORIGINATOR_AE, operations->originator_ae);
        worker_put_number(&fields, WORKER_ORIGINATOR_ID, operations->originator_id);
    }
    return worker_say(operations->control, WORKER_SAYS_SEND, strbuf_str(&fields));
}

static int say_data_set(SubOperations *operations, Request *req, FilePart *part)
{
    _cleanup_(strbuf_done) StrBuf bytes = {0};
    int rc = 1;
    while (rc > 0 && !operations->is_gone) {
        strbuf_clear(&bytes);
        rc = file_part_next(part, &bytes);
        operations->is_gone =
            rc >= 0 && bytes.len > 0 &&
            !worker_say(operations->control, WORKER_SAYS_DATA_OUT, strbuf_str(&bytes));
        req->sent_bytes += bytes.len;
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

/** The data set, without what comes before it in the file. */
static int open_data_set(const SubOperations *operations, const ImagingInstance *instance,
                         FilePart *part)
{
    int rc = instance->data_set_offset < instance->size_bytes ? check_file(operations, instance)
                                                              : -ERR_CORRUPT;
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

SubOperationOutcome sub_operation_send(SubOperations *operations, Request *req,
                                       const ImagingInstance *instance)
{
    const SubOperationOutcome failed = {.status = STATUS_FAILED};
    FilePart part = {0};
    if (!has_context(operations, instance)) {
        return (SubOperationOutcome){.status = STATUS_NO_CONTEXT};
    }
    int rc = open_data_set(operations, instance, &part);
    if (rc < 0) {
        (void)add_unreadable(req, instance, rc);
        return failed;
    }
    operations->is_gone = !say_store(operations, instance);
    rc = operations->is_gone ? 0 : say_data_set(operations, req, &part);
    file_part_done(&part);
    if (rc < 0) { /* half of it is with the peer, who must not take it for the whole */
        (void)add_unreadable(req, instance, rc);
        operations->is_gone = true;
    }
    if (operations->is_gone || !worker_say(operations->control, WORKER_SAYS_SENT, STR_EMPTY) ||
        !await_outcome(operations)) {
        operations->is_gone |= !operations->is_asker_gone;
        return failed;
    }
    return read_outcome(operations);
}
