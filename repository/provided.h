#pragma once

#include "lib/ebrim/metadata.h"
#include "lib/soap/receive.h"
#include "repository/document_rows.h"

/** A DocumentEntry with the bytes that came for it. */
typedef struct ProvidedDocument {
    DocumentEntry *entry;
    size_t index;                   /* into message->documents */
    const DocumentContent *content; /* borrowed from the message until it is taken */
} ProvidedDocument;

/** What one ITI-41 brought. */
typedef struct Provided {
    Submission *submission;
    ProvidedDocument *documents; /* sorted by uniqueId */
    size_t count;
} Provided;

/**
 * Reads and matches metadata and documents of an xds:ProvideAndRegisterDocumentSetRequest, and
 * checks what a repository has to: one document for each DocumentEntry and conversely, uniqueIds
 * once, hash and size as stated (TF-2 3.41.4.1.2, 3.41.4.1.3). Adds every fault found.
 */
int provided_read(Request *req, const SoapMessage *message, Provided *ret_provided) MUST_CHECK;

/** Sets repositoryUniqueId, hash and size of every entry (TF-2 3.41.4.1.3.2). */
void provided_complete(Request *req, const Provided *provided, const char *repository_unique_id);

/** The row that will say that this document may be served. In req->arena. */
DocumentRow provided_row(Request *req, const ProvidedDocument *document, DocumentState state);
