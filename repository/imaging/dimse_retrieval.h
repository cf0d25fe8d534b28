#pragma once

#include "repository/imaging/conversation.h"
#include "repository/imaging/sub_operation.h"

/** What C-GET and C-MOVE have in common: instances are found, and go out one after the other, while
 * the peer that asked is told how many have gone (PS3.4 C.4.2.1.5, C.4.3.1.4). */
typedef struct DimseRetrieval {
    DicomConversation *conversation;
    Request *req;
    const Ae *destination; /* C-GET: NULL */
    SubOperations operations;
    Str studies; /* that it names, with backslash between; empty: of a patient */
    ImagingInstance *instances;
    size_t count;
    size_t completed;
    size_t warnings;
    size_t failed;
    size_t *failures;  /* which of instances */
    bool *is_withheld; /* the destination may not have it */
    bool *is_sent;
    Str problem; /* of what failed first */
} DimseRetrieval;

/** Reads the identifier and finds what it names, for who asks. */
int dimse_retrieval_find(DimseRetrieval *retrieval) MUST_CHECK;
/** Records that instances are about to go, and what was asked for and does not; durable on return.
 */
int dimse_retrieval_begin(DimseRetrieval *retrieval) MUST_CHECK;
/** Sends them, as far as retrieval->operations can. @return CONVERSATION_OVER: the peer that asked
 * is gone */
ConversationState dimse_retrieval_send(DimseRetrieval *retrieval);
/** Records what has arrived, and says how it ended, unless the state says that nobody listens. */
ConversationState dimse_retrieval_end(DimseRetrieval *retrieval, ConversationState state);
/** The answer to what failed before anything was sent. */
ConversationState dimse_retrieval_refuse(DimseRetrieval *retrieval);
