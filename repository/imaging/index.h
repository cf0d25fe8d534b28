#pragma once

#include "lib/access/access.h"
#include "lib/dicom/record.h"
#include "repository/imaging/imaging.h"

/**
 * Studies, series and instances as rows, and what a reader may see of them: the one way in which
 * every surface (C-FIND, QIDO-RS, C-MOVE, C-GET, WADO, RAD-69, manifests) finds them.
 *
 * A study row is one (source facility, Study Instance UID, PatientID with its authority): what two
 * hospitals, or one hospital for two patients, sent under the same UID are two rows. Whose it is
 * follows from the PIX manager at the moment of the question (patient_identifier of authority and
 * number, then the XAD-PID of that person), so links and merges need no change here, and a study of
 * an unknown patient waits: it is there, is in no answer, and shows once the patient is fed.
 */

typedef enum ImagingLevel {
    IMAGING_PATIENT,
    IMAGING_STUDY,
    IMAGING_SERIES,
    IMAGING_INSTANCE
} ImagingLevel;

/** Why the operator may want to look at a study: bits. */
typedef enum StudyFlag {
    STUDY_WRONG_CHARACTER_SET = 1 << 0, /* the declared one does not hold for its bytes */
    STUDY_FOREIGN = 1 << 1,             /* institution or issuer is not the sender's */
    STUDY_DIFFERENT_BYTES = 1 << 2,     /* an instance came twice with different bytes */
    STUDY_ISSUER_REFUSED = 1 << 3, /* IssuerOfPatientID that the node may not use was passed over */
} StudyFlag;

/** One instance that is kept, with its study and series. In the request's arena. */
typedef struct ImagingInstance {
    int64_t study; /* rows */
    int64_t series;
    int64_t instance;
    int32_t facility;
    int64_t patient; /* row of the XAD-PID */
    Str study_uid;
    Str series_uid;
    Str sop_class;
    Str sop_instance;
    Str transfer_syntax;
    uint8_t sha256[32];       /* of the blob: a whole file (PS3.10) */
    uint64_t size_bytes;      /* of the file */
    uint64_t data_set_offset; /* in the file */
    int64_t number_of_frames;
    int32_t bits_allocated; /* of its pixel data; 0: it has none */
    bool has_pixel_data;
} ImagingInstance;

/** What a retrieve names: from the study down; what is empty is not named. */
typedef struct ImagingTarget {
    Str study_uid;
    Str series_uid;
    Str sop_instance;
} ImagingTarget;

/** Called for each instance, in the order of series and instance number, while a connection to the
 * database is held. @return 0 to go on, or a negative ErrorCode, which ends the reading */
typedef int (*ImagingInstanceFn)(void *ctx, const ImagingInstance *instance);

/**
 * The instances below a target that the reader may have: not rejected, of a patient whose rules
 * permit it, and of one person alone where copies are several (index_conflicts()). None found,
 * unknown and denied are alike, in time too.
 * @param purpose  ACCESS_DOWNLOAD, or ACCESS_VIEW for metadata and rendered images
 */
int index_find_instances(Imaging *imaging, Request *req, const ImagingTarget *target,
                         AccessPurpose purpose, ImagingInstanceFn found, void *ctx) MUST_CHECK;

/** A key of a query: "" matches all and only asks for the value. */
typedef struct ImagingKey {
    uint32_t tag;
    Str value; /* UTF-8; wildcards, ranges and lists of UIDs as PS3.4 C.2.2.2 has them */
} ImagingKey;

struct Ae; /* repository/imaging/ae_directory.h */

typedef struct ImagingQuery {
    const struct Ae *ae; /* who asks, and whose numbers it writes; NULL: told by its node */
    ImagingLevel level;
    const ImagingKey *keys;
    size_t key_count;
    bool is_fuzzy;   /* names: fuzzymatching of QIDO-RS */
    uint64_t offset; /* of what is given */
    uint64_t limit;  /* 0: none */
} ImagingQuery;

/** One match: attributes as a data set in the arena of the match (text UTF-8), cleared afterwards.
 */
typedef int (*ImagingMatchFn)(void *ctx, Arena *arena, const DicomDataset *match);

/**
 * PatientID without issuer is a number of the caller's own domains, else an XAD-PID; with issuer
 * (its name or OID in (0010,0021), or a CX as the value), it is that person across hospitals. What
 * is given names the patient in the domain that was asked in, else in the caller's, else in that
 * of the study.
 */
int index_query(Imaging *imaging, Request *req, const ImagingQuery *query, ImagingMatchFn match,
                void *ctx) MUST_CHECK;

/** How many keys have no effect, for status FF01 and Warning 299. */
size_t index_unsupported_keys(const ImagingQuery *query);

/** The DICOM JSON of an instance, as made when it came. */
int index_metadata(Imaging *imaging, Request *req, const ImagingInstance *instances, size_t count,
                   int (*metadata)(void *ctx, size_t index, Str json), void *ctx) MUST_CHECK;

/** Where a frame is in the file of an instance, as stored; frame counts from 1.
 * @return 1, 0: there is no such frame, or negative */
int index_frame(Imaging *imaging, Request *req, const ImagingInstance *instance, int64_t frame,
                DicomFrame *ret_frame) MUST_CHECK;
