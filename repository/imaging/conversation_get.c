/* C-GET (PS3.4 C.4.3; RAD TF-2 4.16): instances go back on the association that asked. */

#include "repository/imaging/dimse_retrieval.h"

ConversationState conversation_get(DicomConversation *conversation, Request *req)
{
    DimseRetrieval retrieval = {.conversation = conversation, .req = req};
    SubOperations *operations = &retrieval.operations;
    req->received_bytes = conversation->heard.len;
    int rc = dimse_retrieval_find(&retrieval);
    rc = rc < 0 ? rc : dimse_retrieval_begin(&retrieval);
    if (rc < 0) {
        return dimse_retrieval_refuse(&retrieval);
    }
    operations->control = conversation->worker.control;
    operations->contexts = conversation->contexts;
    ConversationState state = dimse_retrieval_send(&retrieval);
    return dimse_retrieval_end(&retrieval, operations->is_gone ? CONVERSATION_OVER : state);
}
