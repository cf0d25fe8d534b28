/* C-STORE (PS3.4 B; RAD TF-2 4.8): the bytes of a data set as the worker passes them on, then what
 * it read in them. */

#include "lib/base/clock.h"
#include "repository/imaging/conversation.h"

#define STALL_TIMEOUT_MS 120000 /* without a byte within a data set */
#define SETTLE_TIMEOUT_MS 30000 /* for disk and database */
#define NS_PER_MS INT64_C(1000000)
#define INSTANCE_MAX_BYTES ((uint64_t)64 << 30)

typedef struct Storing {
    DicomConversation *conversation;
    Request *req;
    Arrival *arrival; /* NULL: it is not kept */
    int rc;           /* of what failed first; the rest is passed over */
    uint64_t received_bytes;
    uint16_t fault_status; /* 0: the worker found none */
} Storing;

static FileMeta read_meta(const DicomConversation *conversation, Arena *arena)
{
    Str heard = strbuf_str(&conversation->heard);
    return (FileMeta){
        .sop_class = str_dup(arena, worker_get(heard, WORKER_SOP_CLASS)),
        .sop_instance = str_dup(arena, worker_get(heard, WORKER_SOP_INSTANCE)),
        .transfer_syntax = str_dup(arena, worker_get(heard, WORKER_TRANSFER_SYNTAX)),
        .source_ae_title = conversation->ae->title,
    };
}

static int begin(Storing *storing, const FileMeta *meta)
{
    DicomConversation *conversation = storing->conversation;
    Request *req = storing->req;
    int rc = conversation_check_right(req, "RAD-8");
    if (rc == 0 && !req->principal->may_submit && !req->principal->may_do_everything) {
        rc = error_add(&req->errors, ERR_FORBIDDEN, NULL,
                       "this node is registered with --no-submit: ask the operator");
    }
    if (rc < 0) {
        return rc;
    }
    if (!conversation->arrivals) {
        conversation->arrivals = arrivals_new(conversation->imaging, conversation->ae,
                                              AUDIT_RAD8_BEGIN, AUDIT_RAD8_STORED);
    }
    return arrival_begin(conversation->arrivals, req, meta, &storing->arrival);
}

static void give_up(Storing *storing, int rc)
{
    storing->rc = rc;
    arrival_abandon(storing->arrival);
    storing->arrival = NULL;
}

static void take_data(Storing *storing)
{
    Request *req = storing->req;
    Str bytes = strbuf_str(&storing->conversation->heard);
    storing->received_bytes += bytes.len;
    if (storing->rc < 0) {
        return;
    }
    int rc = storing->received_bytes > INSTANCE_MAX_BYTES
                 ? error_add(&req->errors, ERR_TOO_LARGE, NULL, "the instance is too large")
                 : arrival_write(storing->arrival, req, bytes.data, bytes.len);
    if (rc < 0) {
        give_up(storing, rc);
    }
}

/** The worker's own words, which name the element and never its value. */
static void take_fault(Storing *storing)
{
    Request *req = storing->req;
    Str heard = strbuf_str(&storing->conversation->heard);
    uint64_t status = 0;
    if (storing->rc < 0) {
        return;
    }
    (void)worker_get_number(heard, WORKER_STATUS, &status);
    storing->fault_status = (uint16_t)status;
    give_up(storing, error_add(&req->errors, ERR_DICOM_DATA_SET, NULL, "%.*s",
                               STR_ARG(worker_get(heard, WORKER_COMMENT))));
}

static void take_record(Storing *storing, const FileMeta *meta)
{
    Request *req = storing->req;
    InstanceRecord record;
    ArrivalOutcome outcome;
    if (storing->rc < 0) {
        return;
    }
    req->deadline_ns = clock_now_ns() + SETTLE_TIMEOUT_MS * NS_PER_MS;
    if (!instance_record_read(req->arena, strbuf_str(&storing->conversation->heard), &record) ||
        !str_equal(record.sop_instance, meta->sop_instance)) {
        give_up(storing, error_add(&req->errors, ERR_DICOM_DATA_SET, NULL,
                                   "(0008,0018) SOP Instance UID is not that of the command"));
        return;
    }
    storing->rc = arrival_end(storing->arrival, req, &record, &outcome);
    storing->arrival = NULL;
}

/** @return false: the association is over before the data set was complete */
static bool receive(Storing *storing, const FileMeta *meta)
{
    for (;;) {
        WorkerMessageKind kind;
        int rc = worker_hear(storing->conversation->worker.control,
                             clock_now_ns() + STALL_TIMEOUT_MS * NS_PER_MS, &kind,
                             &storing->conversation->heard);
        if (rc > 0 && kind == WORKER_SAYS_DATA) {
            take_data(storing);
        } else if (rc > 0 && kind == WORKER_SAYS_FAULT) {
            take_fault(storing);
        } else if (rc > 0 && kind == WORKER_SAYS_STORED) {
            take_record(storing, meta);
            return true;
        } else {
            return false;
        }
    }
}

ConversationState conversation_store(DicomConversation *conversation, Request *req)
{
    const FileMeta meta = read_meta(conversation, req->arena);
    Storing storing = {.conversation = conversation, .req = req};
    req->subject = str_shown(req->arena, meta.sop_instance);
    storing.rc = begin(&storing, &meta);
    bool is_complete = receive(&storing, &meta);
    req->received_bytes = storing.received_bytes;
    if (!is_complete) {
        arrival_abandon(storing.arrival);
        error_add(&req->errors, ERR_DICOM_DATA_SET, NULL,
                  "the association ended within a data set: nothing was stored");
        return CONVERSATION_OVER;
    }
    DimseAnswer answer = {0};
    if (storing.rc < 0) {
        conversation_record_failure(conversation, req, AUDIT_RAD8_STORED);
        answer = conversation_failure(req);
        answer.status = storing.fault_status ? storing.fault_status : answer.status;
    }
    return conversation_answer(conversation, &answer);
}
