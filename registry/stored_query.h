#pragma once

#include "registry/query_parameters.h"
#include "registry/registry_private.h"

/** What the transactions that ask stored queries have in common (ITI-18, ITI-38, ITI-51). */

/** In what one of them differs from the others. */
typedef struct QueryTransaction {
    AuditEventType event;
    bool is_multi_patient; /* it has the queries of several patients, and no other */
    bool
        is_cross_gateway; /* it answers as the community, and its errors say so (TF-2 3.38.4.1.3) */
    /** Refuses what the transaction does not allow. NULL: it allows every query */
    int (*check)(const Registry *registry, Request *req, const XmlNode *adhoc_query,
                 const QueryRequest *request);
} QueryTransaction;

/** Handles one query from its message to the reply, with its audit event. */
int stored_query_answer(Registry *registry, SoapExchange *exchange,
                        const QueryTransaction *transaction);
