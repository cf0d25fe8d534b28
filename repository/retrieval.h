#pragma once

#include "lib/soap/exchange.h"
#include "lib/xml/namespaces.h"

/** What ITI-43 and RAD-69 have alike: requests of documents, and the reply that brings them
 * (TF-2 3.43.4, 3.43.5; RAD TF-2 4.69.5). */

/** One xds:DocumentRequest and what became of it. */
typedef struct DocumentRequest {
    Str home; /* as in the request; empty if absent */
    Str repository_unique_id;
    Str unique_id;
    bool is_delivered;
    const Error *error;           /* why not; NULL: what failed is the whole request */
    Str mime_type;                /* of what is delivered */
    Str new_unique_id;            /* of what was made for an On-Demand entry; else empty */
    Str new_repository_unique_id; /* where that is kept; empty: it is not */
    Str content_id;               /* of its part */
} DocumentRequest;

/** Adds the error of an element that is not as TF-2 3.43.4.1.2 has it. */
int retrieval_refuse_element(Request *req, size_t number, const char *fault, Str name);

/** @param number       of the xds:DocumentRequest in the message, from 1; for texts
 *  @param ret_request  zeroed; also on failure what could be read */
int retrieval_read_request(Request *req, const XmlNode *node, size_t number,
                           DocumentRequest *ret_request) MUST_CHECK;

/** One error of this document alone: its uniqueId is the location. */
int retrieval_refuse(Request *req, const DocumentRequest *document, ErrorCode code,
                     const char *text);

/** A document on its way out. */
typedef struct OutgoingDocument {
    uint64_t size_bytes;
    BodySource source;
} OutgoingDocument;

typedef OutgoingDocument (*RetrievalOpenFn)(void *ctx, size_t index);

/** Adds a part for each document that is delivered. @param open  called for each, in order */
void retrieval_add_parts(SoapExchange *exchange, DocumentRequest *documents, size_t count,
                         RetrievalOpenFn open, void *ctx);

/** Begins the xds:RetrieveDocumentSetResponse with the errors of the request; what is delivered is
 * listed while the reply is sent. @param documents  in the request's arena */
void retrieval_write_reply(SoapExchange *exchange, const DocumentRequest *documents, size_t count);
