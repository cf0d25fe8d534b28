#include "repository/imaging/dimse_retrieval.h"

#include "lib/base/clock.h"
#include "repository/imaging/retrieve_target.h"
#include "repository/imaging/transfers.h"

#define STATUS_PENDING 0xFF00
#define STATUS_CANCELLED 0xFE00
#define STATUS_SOME_FAILED 0xB000
#define STATUS_OUT_OF_RESOURCES 0xA700
#define STATUS_CANNOT_COUNT 0xA701
#define STATUS_ALL_FAILED 0xA702
#define STATUS_IDENTIFIER 0xA900
#define STATUS_NO_CONTEXT 0x0122
#define NS_PER_MS INT64_C(1000000)
/** Of what is read and recorded before the first byte and after the last. */
#define SETTLE_TIMEOUT_MS 30000

/* ---- audit ---- */

static AuditEvent event_of(const DimseRetrieval *retrieval, AuditEventType of_get,
                           AuditEventType of_move)
{
    const Ae *to = retrieval->destination;
    AuditEvent event = {.type = to ? of_move : of_get};
    if (to) {
        event.remote_name = to->title;
        event.remote_endpoint =
            str_printf(retrieval->req->arena, "dicom://%.*s:%d", STR_ARG(to->host), (int)to->port);
    }
    return event;
}

/** Appends events of those instances that are marked so. */
static int append_events(const DimseRetrieval *retrieval, const AuditEvent *event,
                         const bool *marks, bool mark)
{
    Request *req = retrieval->req;
    Transfer *transfers = ARENA_ARRAY(req->arena, Transfer, retrieval->count);
    const Transfer **listed = ARENA_ARRAY(req->arena, const Transfer *, retrieval->count);
    size_t count = 0;
    for (size_t i = 0; i < retrieval->count; i++) {
        const ImagingInstance *instance = &retrieval->instances[i];
        if (marks[i] == mark) {
            transfers[count] =
                (Transfer){instance->patient, instance->study_uid, instance->sop_class};
            listed[count] = &transfers[count];
            count++;
        }
    }
    req->deadline_ns = clock_now_ns() + SETTLE_TIMEOUT_MS * NS_PER_MS;
    return count > 0 ? transfers_append_events(retrieval->conversation->imaging, req, event, listed,
                                               count)
                     : 0;
}

/** Nothing was found: the studies as they were named, of nobody. */
static int append_in_vain(const DimseRetrieval *retrieval, const AuditEvent *event)
{
    Arena *arena = retrieval->req->arena;
    Str rest = retrieval->studies;
    size_t room = rest.len / 2 + 1; /* UIDs with backslash between */
    Transfer *transfers = ARENA_ARRAY(arena, Transfer, room);
    const Transfer **listed = ARENA_ARRAY(arena, const Transfer *, room);
    size_t count = 0;
    while (!str_is_empty(rest) && str_split_next(&rest, '\\', &transfers[count].study_uid)) {
        listed[count] = &transfers[count];
        count++;
    }
    return transfers_append_events(retrieval->conversation->imaging, retrieval->req, event, listed,
                                   count);
}

/** What is not given out, because it may not be had or is not there, is on record as in
 * DICOMweb. */
static int append_refused(const DimseRetrieval *retrieval)
{
    Request *req = retrieval->req;
    AuditEvent event = event_of(retrieval, AUDIT_RAD16_SENT, AUDIT_RAD16_MOVED);
    ErrorList refusal;
    error_list_init(&refusal, req->arena);
    error_add(&refusal, ERR_DICOM_NOT_FOUND, NULL, "there is nothing of these keys for the peer");
    audit_event_refuse_for(req, &event, refusal.first);
    return retrieval->count == 0 ? append_in_vain(retrieval, &event)
                                 : append_events(retrieval, &event, retrieval->is_withheld, true);
}

/* ---- answers ---- */

static size_t remaining(const DimseRetrieval *retrieval)
{
    return retrieval->count - retrieval->completed - retrieval->warnings - retrieval->failed;
}

static ConversationState say_status(const DimseRetrieval *retrieval, const DimseAnswer *answer)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    bool is_under_way = answer->status == STATUS_PENDING || answer->status == STATUS_CANCELLED;
    worker_put_number(&fields, WORKER_STATUS, answer->status);
    if (!str_is_empty(answer->comment)) {
        worker_put(&fields, WORKER_COMMENT, answer->comment);
    }
    if (is_under_way) {
        worker_put_number(&fields, WORKER_REMAINING, remaining(retrieval));
    }
    worker_put_number(&fields, WORKER_COMPLETED, retrieval->completed);
    worker_put_number(&fields, WORKER_FAILED, retrieval->failed);
    worker_put_number(&fields, WORKER_WARNING, retrieval->warnings);
    for (size_t i = 0; i < retrieval->failed && answer->status != STATUS_PENDING; i++) {
        worker_put(&fields, WORKER_FAILED_INSTANCE,
                   retrieval->instances[retrieval->failures[i]].sop_instance);
    }
    return worker_say(retrieval->conversation->worker.control, WORKER_SAYS_STATUS,
                      strbuf_str(&fields))
               ? CONVERSATION_OPEN
               : CONVERSATION_OVER;
}

static uint16_t final_status(const DimseRetrieval *retrieval)
{
    const SubOperations *operations = &retrieval->operations;
    if (operations->is_cancelled && (remaining(retrieval) > 0 || operations->is_gone)) {
        return STATUS_CANCELLED;
    }
    if (retrieval->failed == 0 && retrieval->warnings == 0) {
        return 0;
    }
    return retrieval->failed == retrieval->count ? STATUS_ALL_FAILED : STATUS_SOME_FAILED;
}

static ConversationState say_end(const DimseRetrieval *retrieval)
{
    Request *req = retrieval->req;
    DimseAnswer answer = {.status = final_status(retrieval)};
    if (retrieval->failed > 0) {
        error_add(&req->errors, ERR_DICOM_PEER, NULL, "%zu of %zu instances were not sent: %.*s",
                  retrieval->failed, retrieval->count, STR_ARG(retrieval->problem));
        req->outcome_is_partial = retrieval->failed < retrieval->count;
        answer.comment = conversation_comment(req, retrieval->problem);
    }
    return say_status(retrieval, &answer);
}

ConversationState dimse_retrieval_refuse(DimseRetrieval *retrieval)
{
    Request *req = retrieval->req;
    const Error *error = req->errors.first;
    DimseAnswer answer = conversation_failure(req);
    if (error && error->code == ERR_DICOM_DATA_SET) {
        answer.status = STATUS_IDENTIFIER;
    } else if (answer.status == STATUS_OUT_OF_RESOURCES) {
        answer.status = STATUS_CANNOT_COUNT;
    }
    conversation_record_failure(retrieval->conversation, req,
                                retrieval->destination ? AUDIT_RAD16_MOVED : AUDIT_RAD16_SENT);
    return conversation_answer(retrieval->conversation, &answer);
}

/* ---- sub-operations ---- */

/** The instance does not go; the first problem is told. */
static void fail_instance(DimseRetrieval *retrieval, size_t at, Str problem)
{
    if (str_is_empty(retrieval->problem)) {
        retrieval->problem = problem;
    }
    retrieval->failures[retrieval->failed++] = at;
}

static Str problem_of(const DimseRetrieval *retrieval, uint16_t status)
{
    return status == STATUS_NO_CONTEXT
               ? STR("no context for SOP class and transfer syntax")
               : str_printf(retrieval->req->arena, "C-STORE was answered %04X", status);
}

static void send_one(DimseRetrieval *retrieval, size_t at)
{
    const ImagingInstance *instance = &retrieval->instances[at];
    SubOperationOutcome outcome =
        sub_operation_send(&retrieval->operations, retrieval->req, instance);
    if (outcome.status != 0 && !outcome.is_warning) {
        fail_instance(retrieval, at, problem_of(retrieval, outcome.status));
        return;
    }
    retrieval->is_sent[at] = true;
    retrieval->completed += !outcome.is_warning;
    retrieval->warnings += outcome.is_warning;
}

ConversationState dimse_retrieval_send(DimseRetrieval *retrieval)
{
    SubOperations *operations = &retrieval->operations;
    for (size_t i = 0; i < retrieval->count && !operations->is_cancelled; i++) {
        if (retrieval->is_withheld[i]) {
            fail_instance(retrieval, i, STR("the destination may not have it"));
        } else if (operations->is_gone) {
            fail_instance(retrieval, i, retrieval->problem);
        } else {
            send_one(retrieval, i);
        }
        sub_operations_look(operations);
        const DimseAnswer pending = {.status = STATUS_PENDING};
        if (operations->is_asker_gone || (i + 1 < retrieval->count && !operations->is_gone &&
                                          say_status(retrieval, &pending) == CONVERSATION_OVER)) {
            return CONVERSATION_OVER;
        }
    }
    return CONVERSATION_OPEN;
}

int dimse_retrieval_begin(DimseRetrieval *retrieval)
{
    const AuditEvent event = event_of(retrieval, AUDIT_RAD16_BEGIN, AUDIT_RAD16_MOVE_BEGIN);
    int rc = append_events(retrieval, &event, retrieval->is_withheld, false);
    rc = rc < 0 ? rc : append_refused(retrieval);
    return rc < 0 ? rc
                  : audit_settle(retrieval->conversation->imaging->config.audit, retrieval->req);
}

ConversationState dimse_retrieval_end(DimseRetrieval *retrieval, ConversationState state)
{
    const AuditEvent event = event_of(retrieval, AUDIT_RAD16_SENT, AUDIT_RAD16_MOVED);
    if (append_events(retrieval, &event, retrieval->is_sent, true) < 0 ||
        audit_settle(retrieval->conversation->imaging->config.audit, retrieval->req) < 0) {
        error_add(&retrieval->req->errors, ERR_IO, NULL, "what was sent cannot be recorded");
    }
    sub_operations_done(&retrieval->operations);
    return state == CONVERSATION_OVER ? CONVERSATION_OVER : say_end(retrieval);
}

int dimse_retrieval_find(DimseRetrieval *retrieval)
{
    DicomConversation *conversation = retrieval->conversation;
    Request *req = retrieval->req;
    RetrieveTarget target;
    int rc = conversation_check_right(req, "RAD-16");
    rc = rc < 0 ? rc : retrieve_target_read(req, strbuf_str(&conversation->heard), &target);
    rc = rc < 0 ? rc
                : retrieve_target_find(conversation->imaging, req, conversation->ae, &target,
                                       &retrieval->instances, &retrieval->count);
    retrieval->studies = rc < 0 ? STR_EMPTY : target.uids[IMAGING_STUDY];
    retrieval->failures = ARENA_ARRAY(req->arena, size_t, retrieval->count);
    retrieval->is_withheld = ARENA_ARRAY(req->arena, bool, retrieval->count);
    retrieval->is_sent = ARENA_ARRAY(req->arena, bool, retrieval->count);
    retrieval->operations.imaging = conversation->imaging;
    retrieval->operations.asking = conversation->worker.control;
    return rc;
}
