#pragma once

#include "lib/base/str.h"
#include "lib/dicom/dcmtk/association.h"
#include "lib/dicom/worker_fields.h"

/**
 * Messages of DIMSE (PS3.7) over an association, as worker processes read and write them. Command
 * sets are flat and small: group 0000 in Implicit VR Little Endian (PS3.7 6.3.1); what is not is
 * refused before anything looks at it.
 */

#define DIMSE_COMMAND_MAX ((size_t)16 << 10)

typedef enum DimseCommand {
#define COMMAND(name, number) DIMSE_##name = number,
#include "lib/dicom/worker_dimse.def"
#undef COMMAND
    DIMSE_RESPONSE = 0x8000,
} DimseCommand;

/** Elements of group 0000 (PS3.7 E.2). */
typedef enum DimseElement {
    DIMSE_GROUP_LENGTH = 0x0000,
    DIMSE_AFFECTED_CLASS = 0x0002,
    DIMSE_REQUESTED_CLASS = 0x0003,
    DIMSE_COMMAND_FIELD = 0x0100,
    DIMSE_MESSAGE_ID = 0x0110,
    DIMSE_ANSWERED_ID = 0x0120,
    DIMSE_DESTINATION = 0x0600,
    DIMSE_PRIORITY = 0x0700,
    DIMSE_DATA_SET_TYPE = 0x0800,
    DIMSE_STATUS = 0x0900,
    DIMSE_OFFENDING = 0x0901,
    DIMSE_COMMENT = 0x0902,
    DIMSE_AFFECTED_INSTANCE = 0x1000,
    DIMSE_REQUESTED_INSTANCE = 0x1001,
    DIMSE_EVENT_TYPE = 0x1002,
    DIMSE_ACTION_TYPE = 0x1008,
    DIMSE_REMAINING = 0x1020,
    DIMSE_COMPLETED = 0x1021,
    DIMSE_FAILED = 0x1022,
    DIMSE_WARNINGS = 0x1023,
    DIMSE_ORIGINATOR_AE = 0x1030,
    DIMSE_ORIGINATOR_ID = 0x1031,
} DimseElement;

/** Statuses of PS3.7 C and PS3.4 that workers give by themselves. */
enum {
    DIMSE_SUCCESS = 0x0000,
    DIMSE_NO_SUCH_INSTANCE = 0x0112,
    DIMSE_INVALID_INSTANCE = 0x0117,
    DIMSE_NO_SUCH_CLASS = 0x0122,
    DIMSE_NO_SUCH_ACTION = 0x0123,
    DIMSE_UNRECOGNIZED = 0x0211,
    DIMSE_MISTYPED = 0x0212,
    DIMSE_MISMATCH = 0xA900,
    DIMSE_CANNOT_UNDERSTAND = 0xC000,
    DIMSE_PENDING = 0xFF00,
};

/** How the conversation with the peer goes on. */
typedef enum DimseState {
    DIMSE_OPEN,
    DIMSE_RELEASED,
    DIMSE_ABORTED,
    DIMSE_REFUSED,     /* by A-ASSOCIATE-RJ */
    DIMSE_BROKEN,      /* closed without a word, too slow, or against PS3.8 */
    DIMSE_VIOLATED,    /* no DIMSE message: the association is aborted */
    DIMSE_SERVER_GONE, /* the association is aborted */
} DimseState;

/** What a worker with an association works with. */
typedef struct DimseSession {
    DicomAssociation *association;
    int control;
    uint16_t last_id; /* of messages that we sent */
    StrBuf request;   /* the peer's command that is being served */
    uint8_t context;  /* of it */
    StrBuf command;   /* the last one that came */
    uint8_t command_context;
    StrBuf content; /* of the last message from the server */
    StrBuf said;    /* fields on their way to the server */
} DimseSession;

/** Ends the association as the state demands, says RELEASED, and frees what the session holds. */
void dimse_end(DimseSession *session, DimseState state);

/* ---- command sets ---- */

/** Whether the elements are of group 0000, in order, and end where the bytes end. */
bool dimse_is_command(Str command);
uint32_t dimse_number(Str command, DimseElement element, uint32_t otherwise);
/** Without padding; empty if absent. */
Str dimse_text(Str command, DimseElement element);
bool dimse_has_data_set(Str command);

/** Elements find their place by themselves. */
void dimse_put_number(StrBuf *command, DimseElement element, uint32_t value);
/** NUL pads UIDs, a blank all others. Nothing if text is empty. */
void dimse_put_text(StrBuf *command, DimseElement element, Str text);

/* ---- messages ---- */

/** Reads the next command set. timeout_s: for its first byte. @return DIMSE_OPEN, or the end */
DimseState dimse_receive(DimseSession *session, int timeout_s) MUST_CHECK;

/** Takes the pieces of a data set as they come. @return false: the rest is passed over */
typedef bool (*DimseDataFn)(void *ctx, const void *bytes, size_t len);
/** Reads the data set of the last command. take may be NULL. */
DimseState dimse_receive_data_set(DimseSession *session, DimseDataFn take, void *ctx) MUST_CHECK;

/** Writes a command set, its group length before it. @return false: the peer is gone */
bool dimse_send(DimseSession *session, uint8_t context, const StrBuf *command) MUST_CHECK;
bool dimse_send_data(DimseSession *session, uint8_t context, Str bytes, bool is_last) MUST_CHECK;

/** The accepted presentation context. @return false: there is none of this number */
bool dimse_context(const DimseSession *session, uint8_t id, AssociationContext *ret_context);

/** Reads a command that can only be C-CANCEL. */
DimseState dimse_receive_cancel(DimseSession *session) MUST_CHECK;

/**
 * Writes the response to the last command.
 * @param fields    of STATUS (worker_messages.def)
 * @param data_set  goes with it; empty: none, but for the failed instances that fields name
 */
DimseState dimse_respond(DimseSession *session, Str fields, Str data_set) MUST_CHECK;
/** The same with a status of our own. */
DimseState dimse_respond_status(DimseSession *session, uint32_t status,
                                const char *comment) MUST_CHECK;

/** Begins a request of our own. @return its message ID */
uint16_t dimse_begin_request(DimseSession *session, DimseCommand command, bool has_data_set,
                             StrBuf *ret_command);

/** What the peer may do while we wait for its response: C-CANCEL. */
typedef struct DimseInterruption {
    void (*cancelled)(void *ctx);
    void *ctx;
} DimseInterruption;

/** Reads until the response to message id comes. @param interruption  NULL: none is expected */
DimseState dimse_receive_response(DimseSession *session, uint16_t id,
                                  const DimseInterruption *interruption) MUST_CHECK;

/* ---- the server ---- */

/** Reads the next message of the server into session->content. @return false: the server is gone */
bool dimse_hear(DimseSession *session, WorkerMessageKind *ret_kind) MUST_CHECK;
/** Sends session->said, and empties it. */
bool dimse_say(DimseSession *session, WorkerMessageKind kind) MUST_CHECK;

/**
 * Carries out a SEND that was just heard: C-STORE-RQ, the data set as the server gives it, OUTCOME.
 * @param role  in which the context must have been agreed
 */
DimseState dimse_store(DimseSession *session, AssociationRole role,
                       const DimseInterruption *interruption) MUST_CHECK;
/** Says OUTCOME with the status of the response that was just received. */
DimseState dimse_tell_outcome(DimseSession *session) MUST_CHECK;
