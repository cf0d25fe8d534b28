#pragma once

#include "lib/base/request.h"
#include "lib/ebrim/rim.h"

/** XDS metadata (ITI TF-3 4.2): a submission in the specification's own terms, over ebRIM. */

typedef struct Code {
    Str code;
    Str scheme;
    Str display;
} Code;

typedef struct CodeList {
    Code *items;
    size_t count;
} CodeList;

typedef struct StrList {
    Str *items;
    size_t count;
} StrList;

typedef enum ObjectKind {
    OBJECT_DOCUMENT_ENTRY,
    OBJECT_SUBMISSION_SET,
    OBJECT_FOLDER,
    OBJECT_ASSOCIATION,
} ObjectKind;

typedef enum AvailabilityStatus { STATUS_APPROVED = 0, STATUS_DEPRECATED = 1 } AvailabilityStatus;

/** Fields of DocumentEntry, SubmissionSet and Folder are attributes as typed values: rows of
 * attributes.def. */
typedef struct DocumentEntry {
    RimObject *object;
    Uuid entry_uuid; /* assigned or as submitted */
    Uuid lid;        /* of a further version */
    bool is_version; /* lid is a UUID other than the id: a further version of a registered object */
    bool is_on_demand;
    Str unique_id;
    Str patient_id;        /* CX, assigning authority required */
    Str source_patient_id; /* CX */
    Code class_code;
    Code type_code;
    Code format_code;
    Code practice_setting_code;
    Code healthcare_facility_type_code;
    CodeList confidentiality_code;
    CodeList event_code_list;
    StrList reference_id_list;
    Str creation_time; /* DTM in UTC, 4 to 14 digits */
    Str service_start_time;
    Str service_stop_time;
    Str language_code;
    Str mime_type;
    Str repository_unique_id; /* OID */
    Str hash;                 /* SHA-1, 40 hexadecimal digits */
    Str size;                 /* decimal */
    uint64_t size_bytes;      /* of size; 0 if absent */
    Str title;
    Str document_availability; /* URN; empty: online */
    struct DocumentEntry *next;
} DocumentEntry;

typedef struct SubmissionSet {
    RimObject *object;
    Uuid entry_uuid;
    Str unique_id;
    Str patient_id;
    Str source_id; /* OID */
    Str submission_time;
    Code content_type_code;
    StrList intended_recipient;
} SubmissionSet;

typedef struct Folder {
    RimObject *object;
    Uuid entry_uuid;
    Uuid lid; /* as of a DocumentEntry */
    bool is_version;
    Str unique_id;
    Str patient_id;
    CodeList code_list;
    Str title;
    struct Folder *next;
} Folder;

typedef enum AssociationType {
#define ASSOCIATION_TYPE(name, urn) ASSOCIATION_##name,
#include "lib/ebrim/association_types.def"
#undef ASSOCIATION_TYPE
    ASSOCIATION_TYPE_COUNT
} AssociationType;

const char *association_type_urn(AssociationType type);
/** ASSOCIATION_TYPE_COUNT if unknown. */
AssociationType association_type_from_urn(Str urn);

/** Whether it says what is to be done to registered objects (XDS Metadata Update 3.57.4.1.3.3). */
static inline bool association_type_is_operation(AssociationType type)
{
    return type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS || type == ASSOCIATION_SUBMIT_ASSOCIATION;
}

/** One end of an Association. */
typedef struct ObjectReference {
    Str text;  /* as submitted */
    Uuid uuid; /* resolved */
    bool is_in_submission;
    ObjectKind kind; /* if in the submission */
    void *object; /* DocumentEntry *, SubmissionSet *, Folder *, Association *; NULL if outside */
} ObjectReference;

typedef struct Association {
    RimObject *object;
    Uuid entry_uuid;
    AssociationType type;
    ObjectReference source;
    ObjectReference target;
    bool is_original;         /* SubmissionSetStatus = Original */
    bool is_reference;        /* SubmissionSetStatus = Reference */
    int32_t previous_version; /* PreviousVersion, from 1; 0: absent or no number */
    bool propagates;          /* AssociationPropagation, unless it is "no" */
    int original_status;      /* OriginalStatus, an AvailabilityStatus; -1: absent or another */
    int new_status;           /* NewStatus, the same */
    struct Association *next;
} Association;

/** Everything of one SubmitObjectsRequest. */
typedef struct Submission {
    const XmlNode *xml;         /* lcm:SubmitObjectsRequest; NULL if made here */
    RimObject *objects;         /* all of them, in the order of the message */
    Classification *unattached; /* top-level Classifications that name no object of the message */
    SubmissionSet *submission_set; /* exactly one after submission_check(); here the first */
    size_t submission_set_count;
    DocumentEntry *documents;
    Folder *folders;
    Association *associations;
    size_t document_count;
    size_t folder_count;
    size_t association_count;
    int32_t source_facility; /* for which it is submitted: set once its registration may begin; 0:
                                none */
} Submission;

/** Where the metadata comes from decides what is required (TF-3 Table 4.3.1-3). */
typedef enum SubmissionKind {
    SUBMISSION_ITI41,
    SUBMISSION_ITI42,
    SUBMISSION_ITI61,
    SUBMISSION_ITI57, /* of what is there already: ITI-42 or ITI-61 by the kind of each entry */
    SUBMISSION_ITI92,
} SubmissionKind;

/**
 * Reads lcm:SubmitObjectsRequest into a Submission, without judging it: unknown parts are kept.
 * Symbolic ids get their UUIDs (TF-3 4.2.3.1.5); references are resolved within the submission.
 * Faults that make reading impossible are added to req->errors; reading goes on.
 */
int submission_read(Request *req, const XmlNode *submit_objects_request,
                    Submission **ret_submission) MUST_CHECK;

struct CodeSets;

/**
 * Checks that need no database: structure, required attributes, data types, codes, and what one
 * message says about itself (TF-2 3.42.4.1.3, TF-3 4.2, Table 4.3.1-3). Adds every fault found.
 * @param codes  affinity domain codes; NULL = not checked
 */
int submission_check(Request *req, const Submission *submission, SubmissionKind kind,
                     const struct CodeSets *codes) MUST_CHECK;

/**
 * Only the part of submission_check() that needs the affinity domain's codes (TF-2
 * 3.42.4.1.3.3.3, .4), each fault with this severity: for a registry that warns about unknown
 * codes.
 */
void submission_check_codes(Request *req, const Submission *submission,
                            const struct CodeSets *codes, Severity severity);

/** Replaces or adds the single-valued slot of a DocumentEntry (repositoryUniqueId, hash, size),
 * typed field included. */
void document_entry_set_slot(Arena *arena, DocumentEntry *entry, const char *slot, Str value);

/** Writes lcm:SubmitObjectsRequest in schema order, for ITI-42 to a remote registry. */
void submission_write(const Submission *submission, StrBuf *buf);
