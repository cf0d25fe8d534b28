#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/dicom/worker_fields.h"
#include "repository/imaging/arrival.h"
#include "repository/imaging/imaging_state.h"

/** The thread of one association: hears what its worker was asked, and answers. */
struct DicomConversation {
    Imaging *imaging;
    DicomPeer peer;
    WorkerProcess worker;
    pthread_t thread;
    atomic_bool is_busy;
    StrBuf heard;               /* content of the last message */
    Arena *arena;               /* of what is kept until the association ends */
    const Ae *ae;               /* who calls; NULL: not accepted yet */
    const Principal *principal; /* as it was when the association began, for its last record */
    Str contexts;            /* fields CONTEXT as proposed: the first transfer syntax is agreed */
    int32_t node;            /* counted under; 0: not a registered one */
    Arrivals *arrivals;      /* NULL: nothing was stored yet */
    bool is_moving;          /* under imaging->conversations_lock */
    DicomConversation *next; /* of those that are open: under the same lock */
};

/** After a request: whether the association goes on. */
typedef enum ConversationState { CONVERSATION_OPEN, CONVERSATION_OVER } ConversationState;

/** Answers one request, whose fields are in conversation->heard. */
typedef ConversationState (*ConversationFn)(DicomConversation *conversation, Request *req);

ConversationState conversation_store(DicomConversation *conversation, Request *req);
ConversationState conversation_find(DicomConversation *conversation, Request *req);
ConversationState conversation_get(DicomConversation *conversation, Request *req);
ConversationState conversation_move(DicomConversation *conversation, Request *req);
ConversationState conversation_commit(DicomConversation *conversation, Request *req);

/** Status of an answer, and what Error Comment says. */
typedef struct DimseAnswer {
    uint16_t status;
    Str comment;
} DimseAnswer;

/** What the first error of the request is in DIMSE; texts in the arena. */
DimseAnswer conversation_failure(Request *req);
/** A text as Error Comment (0000,0902), in the default repertoire, with the reference. */
Str conversation_comment(Request *req, Str text);
/** Says STATUS. */
ConversationState conversation_answer(DicomConversation *conversation, const DimseAnswer *answer);

/** Records a request that failed, with the first of its errors. */
void conversation_record_failure(DicomConversation *conversation, Request *req,
                                 AuditEventType type);

/** Whether the principal has the right; the error otherwise. */
int conversation_check_right(Request *req, const char *transaction);
