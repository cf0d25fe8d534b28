#pragma once

#include "atna/atna.h"

/**
 * The Audit Record Repository (ITI TF-2 3.20): takes messages of any sender into a durable spool,
 * and one thread loads them, with this server's own events, into the hash chain of table
 * audit_record. Nothing is refused for its content.
 *
 * README.md says what the tables mean. What a stored message holds: record_read.h. The chain:
 * chain.h. Signed heads: head.h.
 */
typedef struct AuditRepository AuditRepository;

/** Column kind. */
typedef enum AuditKind {
#define KIND(name, label, text) AUDIT_KIND_##name,
#include "atna/record_kinds.def"
#undef KIND
    AUDIT_KIND_COUNT
} AuditKind;

/** Bits of column defects. */
typedef enum AuditDefect {
#define DEFECT(name, label, text) AUDIT_DEFECT_##name,
#include "atna/defects.def"
#undef DEFECT
    AUDIT_DEFECT_COUNT
} AuditDefect;

#define AUDIT_DEFECT_BIT(defect) (UINT64_C(1) << (defect))

/** "dicom-code"; "unknown" for what a newer version wrote. */
const char *audit_kind_name(int kind);

typedef struct AuditDefectRow {
    const char *name; /* "lf-frame" */
    const char *text; /* what to tell the sender */
} AuditDefectRow;

extern const AuditDefectRow audit_defect_rows[AUDIT_DEFECT_COUNT];

/* ---- keys: what a record is found by ---- */

/** What a value of column keys is made of. */
typedef enum AuditKeyKind {
    AUDIT_KEY_PATIENT, /* id of a patient object: audit_patient_keys() */
    AUDIT_KEY_USER,    /* UserID, UserName, and of alias<user@issuer> also user@issuer */
    AUDIT_KEY_NODE,    /* NetworkAccessPointID, AE titles, UserID of a participant with a role; and
                          the registered node and the address that handed the message over */
    AUDIT_KEY_OBJECT,  /* id of any other object: document, submission set, study, query */
    AUDIT_KEY_EVENT,   /* code of EventID, codes of EventTypeCode */
    AUDIT_KEY_SOURCE,  /* AuditSourceID */
    AUDIT_KEY_LOGIN,   /* UserID and UserName of whoever logs in: only of records 110122 */
    AUDIT_KEY_KIND_COUNT
} AuditKeyKind;

/**
 * The value of column keys for this text: the first 8 bytes, as a signed big-endian number, of
 * SHA-256("patient:" text), "user:", "node:", "object:", "event:", "source:",
 * "login:". White space around
 * the text does not count, nor does the case of ASCII letters except of patients.
 *
 * A search is `keys @> ARRAY[...]`. Two texts that share a key are too rare to meet (2^-64), but a
 * report that must be exact compares what record_read() says.
 */
int64_t audit_key(AuditKeyKind kind, Str text);

#define AUDIT_PATIENT_KEY_MAX 2

/**
 * The keys of a patient's identifier. Of a CX "id^^^namespace&oid&ISO" the first one is of "id^oid"
 * ("id^namespace" if there is no OID), the second one of "id" alone; of anything else there is one,
 * of the text itself. A record has all keys of its patients; a search for the first one finds what
 * is asked for and no other authority's patient of that number.
 */
size_t audit_patient_keys(Str id, int64_t ret_keys[AUDIT_PATIENT_KEY_MAX]);

/* ---- taking messages ---- */

typedef enum AuditTransport {
    AUDIT_OWN,
    AUDIT_TLS,
    AUDIT_UDP,
    AUDIT_TRANSPORT_COUNT
} AuditTransport;

/** Who hands a message over. */
typedef struct AuditSender {
    AuditTransport transport;
    Str node;    /* registered node, else subject of the certificate; empty over UDP */
    Str address; /* "192.0.2.7" */
} AuditSender;

/** Column sender: "tls:gateway-a@192.0.2.7", "udp:@192.0.2.7", "own:musubi@"; in the arena. */
Str audit_sender_text(Arena *arena, const AuditSender *sender);
/** Reads it again; the parts are borrowed from text. False if it is none. */
bool audit_sender_parse(Str text, AuditSender *ret_sender);

#define AUDIT_MESSAGE_MAX_BYTES ((size_t)1 << 20)

/** All is borrowed. */
typedef struct AuditRepositoryConfig {
    const char *directory; /* data_dir/audit: key, state of the chain, and received/, the spool of
                              received messages */
    Audit *audit;          /* whose own events are loaded too; NULL: they go elsewhere */
    const char *source_id; /* the node of own events */
    DbPool *pool;
    const char *head_copy;   /* file to which heads are appended; empty: none */
    uint64_t retention_days; /* 0: for ever */
} AuditRepositoryConfig;

/** Opens the spool of received messages and starts the threads. NULL and a reason on failure. */
AuditRepository *audit_repository_new(const AuditRepositoryConfig *config, char *ret_problem,
                                      size_t problem_size);

/** Loads what is spooled, then stops. audit_repository_free(NULL) is fine. */
void audit_repository_free(AuditRepository *repository);

/** Messages on their way into the repository: zero-initialise, free with audit_parcel_done(). */
typedef struct AuditParcel {
    StrBuf frames; /* of the spool */
    size_t message_count;
} AuditParcel;

/** A parcel should not become longer. */
#define AUDIT_PARCEL_BYTES ((size_t)1 << 20)

/**
 * Adds one message, which has just been received whole.
 * @param sender   as audit_sender_text() has it
 * @param defects  of its frame
 */
void audit_parcel_add(AuditParcel *parcel, Str sender, uint64_t defects, Str message);
void audit_parcel_done(AuditParcel *parcel);

/**
 * Takes all messages of a parcel, which is empty then; they are durable within 50 ms. Thread-safe.
 * @return 0, or a negative errno: none is taken, because there is no room; to be tried again
 */
int audit_repository_receive(AuditRepository *repository, AuditParcel *parcel) MUST_CHECK;

/** False once the spool of received messages can no longer be trusted (contract C6). */
bool audit_repository_is_writable(AuditRepository *repository);

/** Of this process, for metrics. */
typedef struct AuditRepositoryCounts {
    uint64_t received; /* messages taken from others */
    uint64_t loaded;   /* records added to the chain */
    uint64_t waiting;  /* taken or made, and not in the chain yet */
    uint64_t sequence; /* of the last record of the chain */
} AuditRepositoryCounts;

void audit_repository_counts(AuditRepository *repository, AuditRepositoryCounts *ret_counts);
