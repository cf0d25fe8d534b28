#pragma once

#include "lib/dicom/worker_fields.h"
#include "lib/dicom/workers.h"
#include "lib/tls/tls.h"
#include "repository/imaging/ae_directory.h"

/**
 * An association that this server asks for (C-MOVE sub-operations, storage commitment reports,
 * C-ECHO): the TCP or TLS connection, a worker process that speaks DICOM on it, and the thread that
 * passes bytes between the two. Every wait of the thread ends.
 */
typedef struct Outgoing Outgoing;

/** Who asks; all borrowed. */
typedef struct OutgoingSide {
    DicomWorkers *workers;
    Tls *tls;             /* NULL: no AE with TLS can be reached */
    const char *ae_title; /* ours */
} OutgoingSide;

/**
 * Connects, and proposes one presentation context for each text.
 * @param to        an AE with an address; without TLS it is reached on loopback only
 * @param contexts  as field CONTEXT (worker_fields.def); at most OUTGOING_CONTEXTS_MAX
 * @return 0; -ERR_DICOM_PEER: it cannot be reached, or refuses; -ERR_DICOM_BUSY, -ERR_DICOM_WORKER
 */
int outgoing_open(const OutgoingSide *side, Request *req, const Ae *to, const Str *contexts,
                  size_t count, Outgoing **ret_outgoing) MUST_CHECK;
#define OUTGOING_CONTEXTS_MAX 128

/** The contexts that were agreed: fields CONTEXT, each with one transfer syntax. */
Str outgoing_contexts(const Outgoing *outgoing);
/** Where the worker hears and answers (worker_messages.def). */
int outgoing_control(const Outgoing *outgoing);

/** Has the worker carry out one order, and reads the status of OUTCOME. @return 0; -ERR_DICOM_PEER:
 * the association is over */
int outgoing_order(Outgoing *outgoing, Request *req, WorkerMessageKind order, Str fields,
                   uint16_t *ret_status) MUST_CHECK;

/** Releases the association, and frees. */
void outgoing_release(Outgoing *outgoing);
/** Ends it at once, in whatever state, and frees. NULL is fine. */
void outgoing_abort(Outgoing *outgoing);

/** Connects and asks for C-ECHO. @return 0; -ERR_DICOM_PEER with what the operator can do */
int outgoing_echo(const OutgoingSide *side, Request *req, const Ae *to) MUST_CHECK;
