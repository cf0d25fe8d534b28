#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/macros.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One DICOM association (PS3.8) over a socket that is connected already, by DCMTK's upper layer.
 * Only for worker processes: one association in the life of a process. What travels in it (PS3.7)
 * is worker_dimse.h's part.
 */
typedef struct DicomAssociation DicomAssociation;

/** Descriptor of the peer's socket in a process that asks for an association: the one that DCMTK's
 * socket() gets (lib/sandbox/syscalls.def). */
#define ASSOCIATION_REQUESTOR_SOCKET 0

/** What one PDU may hold, in both directions. */
#define ASSOCIATION_PDU_MAX 131072
#define ASSOCIATION_CONTEXTS_MAX 128
#define ASSOCIATION_SYNTAXES_MAX 50

/** What was agreed about who may call whom in a presentation context (PS3.7 D.3.3.4). */
typedef enum AssociationRole {
    ASSOCIATION_ROLE_DEFAULT, /* who asked for the association calls */
    ASSOCIATION_ROLE_REVERSE, /* who was asked calls */
    ASSOCIATION_ROLE_BOTH,
} AssociationRole;

/** A presentation context; texts belong to the association. */
typedef struct AssociationContext {
    uint8_t id;
    AssociationRole role; /* proposed, or once accepted: agreed */
    bool is_accepted;
    const char *abstract_syntax;
    const char *syntaxes[ASSOCIATION_SYNTAXES_MAX]; /* proposed; accepted: the one */
    size_t syntax_count;
} AssociationContext;

/** What the peer said of itself. Texts belong to the association. */
typedef struct AssociationPeer {
    const char *calling_ae;
    const char *called_ae;
    const char *application_context;
    const char *implementation; /* version name, may be empty */
    uint32_t max_pdu;           /* 0: any */
} AssociationPeer;

typedef enum AssociationEvent {
    ASSOCIATION_DATA,
    ASSOCIATION_RELEASED, /* the peer has asked for it, and has the answer */
    ASSOCIATION_ABORTED,
    ASSOCIATION_BROKEN, /* closed without a word, too slow, or against PS3.8 */
} AssociationEvent;

/** A presentation data value (PS3.8 9.3.5.1). */
typedef struct AssociationData {
    uint8_t context;
    bool is_command;
    bool is_last;
    const void *bytes; /* until the next read */
    size_t len;
} AssociationData;

/**
 * Loads the dictionary and switches off names, logs and everything else that would open files
 * later. Before the sandbox.
 * @param class_uid, version  of this implementation (PS3.7 D.3.3.2); for the life of the process
 */
void association_prepare(const char *class_uid, const char *version);

/**
 * Reads the peer's A-ASSOCIATE-RQ.
 * @param socket  connected; the association's from now on
 * @return NULL: none came in time, or none that can be read
 */
DicomAssociation *association_receive(int socket, int timeout_s);
AssociationPeer association_peer(const DicomAssociation *association);
/** Presentation contexts in the order of the request. @return false: there are fewer */
bool association_context_at(DicomAssociation *association, size_t index,
                            AssociationContext *ret_context);
/** Accepts one of those that were proposed. A role beyond what was proposed is cut down. */
bool association_accept_context(DicomAssociation *association, uint8_t id, const char *syntax,
                                AssociationRole role);
void association_refuse_context(DicomAssociation *association, uint8_t id,
                                bool is_abstract_syntax_known);
/** A-ASSOCIATE-AC. */
bool association_accept(DicomAssociation *association) MUST_CHECK;
/** A-ASSOCIATE-RJ: result, source and reason as PS3.8 Table 9-21 numbers them. */
void association_reject(DicomAssociation *association, unsigned result, unsigned source,
                        unsigned reason);

/** What is proposed to a peer. */
typedef struct AssociationProposal {
    const char *calling_ae;
    const char *called_ae;
    const AssociationContext *contexts; /* their ids are given here: 1, 3, ... */
    size_t context_count;
} AssociationProposal;

/**
 * Asks the peer at ASSOCIATION_REQUESTOR_SOCKET.
 * @param ret_rejection  result, source and reason, 8 bits each; 0: not rejected
 * @return NULL: refused, or no answer
 */
DicomAssociation *association_request(const AssociationProposal *proposal, int timeout_s,
                                      uint32_t *ret_rejection);

/** The peer's socket, for poll(). */
int association_socket(const DicomAssociation *association);
/** Whether association_read() has something that was read with what came before. */
bool association_has_data(const DicomAssociation *association);
/** Waits for the next data value. */
AssociationEvent association_read(DicomAssociation *association, int timeout_s,
                                  AssociationData *ret_data) MUST_CHECK;
/** Writes one data value, in as many PDUs as the peer wants. @return false: the peer is gone */
bool association_write(DicomAssociation *association, const AssociationData *data) MUST_CHECK;
/** Bytes of a data value that fill one PDU of the peer's. */
size_t association_write_size(const DicomAssociation *association);

/** Asks the peer for the release and waits for the answer. */
void association_release(DicomAssociation *association);
void association_abort(DicomAssociation *association);
/** Closes the socket. NULL is fine. */
void association_free(DicomAssociation *association);

#ifdef __cplusplus
}
#endif
