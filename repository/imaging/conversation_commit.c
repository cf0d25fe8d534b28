/* N-ACTION of storage commitment (PS3.4 J.3.2; RAD TF-2 4.10): the report follows later. */

#include "lib/dicom/uid.h"
#include "repository/imaging/commitments.h"
#include "repository/imaging/conversation.h"

#define STATUS_PROCESSING 0x0110
#define STATUS_ARGUMENT 0x0115
#define STATUS_FORBIDDEN 0x0124
#define STATUS_DUPLICATE 0x0131
#define STATUS_RESOURCES 0x0213

static size_t count_references(Str fields)
{
    WorkerField field;
    Str value;
    size_t count = 0;
    while (worker_next(&fields, &field, &value)) {
        count += field == WORKER_REFERENCE;
    }
    return count;
}

/** @return false: something of it is no UID */
static bool read_request(Arena *arena, Str fields, CommitmentRequest *request)
{
    size_t room = count_references(fields);
    Str *sop_classes = ARENA_ARRAY(arena, Str, room);
    Str *sop_instances = ARENA_ARRAY(arena, Str, room);
    WorkerField field;
    Str value;
    request->transaction_uid = str_dup(arena, worker_get(fields, WORKER_TRANSACTION_UID));
    bool is_good = dicom_uid_is_valid(request->transaction_uid) && room > 0;
    while (is_good && worker_next(&fields, &field, &value)) {
        if (field == WORKER_REFERENCE) {
            Str reference = str_dup(arena, value);
            size_t at = request->count++;
            is_good = str_split_next(&reference, ' ', &sop_classes[at]) &&
                      str_split_next(&reference, ' ', &sop_instances[at]) &&
                      dicom_uid_is_valid(sop_classes[at]) && dicom_uid_is_valid(sop_instances[at]);
        }
    }
    request->sop_classes = sop_classes;
    request->sop_instances = sop_instances;
    return is_good;
}

static DimseAnswer refuse(Request *req, uint16_t status, const char *text)
{
    error_add(&req->errors, ERR_DICOM_DATA_SET, NULL, "%s", text);
    return (DimseAnswer){status, conversation_comment(req, str_from(text))};
}

/** Of what failed here: N-ACTION has statuses of its own (PS3.7 10.1.4.1.10). */
static DimseAnswer failure(Request *req)
{
    DimseAnswer answer = conversation_failure(req);
    answer.status = answer.status == STATUS_FORBIDDEN ? STATUS_FORBIDDEN : STATUS_RESOURCES;
    return answer;
}

static DimseAnswer add(DicomConversation *conversation, Request *req)
{
    const Ae *ae = conversation->ae;
    CommitmentRequest request = {.node = ae->node, .facility = ae->facility, .ae_title = ae->title};
    if (str_is_empty(ae->host)) {
        return refuse(req, STATUS_PROCESSING, "no address to report to: ask the operator");
    }
    if (!read_request(req->arena, strbuf_str(&conversation->heard), &request)) {
        return refuse(req, STATUS_ARGUMENT, "each reference needs class and instance UID");
    }
    req->subject = request.transaction_uid;
    int rc = commitments_add(conversation->imaging->commitments, req, &request);
    if (rc == 0) {
        return refuse(req, STATUS_DUPLICATE, "this Transaction UID was used before");
    }
    return rc < 0 ? failure(req) : (DimseAnswer){0};
}

ConversationState conversation_commit(DicomConversation *conversation, Request *req)
{
    DimseAnswer answer;
    req->received_bytes = conversation->heard.len;
    if (conversation_check_right(req, "RAD-10") < 0) {
        const AuditEvent event = audit_refused_message(req);
        (void)!audit_record_event(conversation->imaging->config.audit, req, &event);
        answer = failure(req);
    } else {
        answer = add(conversation, req);
    }
    return conversation_answer(conversation, &answer);
}
