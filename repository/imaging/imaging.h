#pragma once

#include "lib/access/nodes.h"
#include "lib/dicom/workers.h"
#include "lib/ebrim/codes.h"
#include "lib/ebrim/patient_record.h"
#include "repository/repository.h"

/**
 * The Imaging Document Source of the center (XDS-I.b, RAD TF-1 18): keeps what hospitals push,
 * serves it by DICOM, DICOMweb and RAD-69, and sees to manifests. For others there are besides
 * dicomweb.h and study_copies.h.
 */

typedef struct ImagingConfig {
    DbPool *pool;
    Audit *audit;
    NodeDirectory *nodes;
    Repository
        *repository; /* whose blob store keeps the instances, and which registers manifests */
    DicomWorkers *workers;
    CodeSets *_Atomic *codes; /* NULL with code_check = off */
    const char *unique_id;    /* Retrieve Location UID: repositoryUniqueId of RAD-69 */
    const char *ae_title;
    const char *public_url; /* base of DICOMweb, for Retrieve URL; empty: none is written */
    const char *home_community_id;
    const char *patient_id_authority; /* OID of the affinity domain */
    const char *default_authority;    /* OID, of PatientIDs for which none is known, in mode open */
    const char *source_timezone;      /* IANA name: of times without offset */
    const char *class_code;           /* CODE^^SCHEME of imaging manifests: what disclosures name */
    const char *confidentiality_code;
    const char *type_code;             /* CODE^^SCHEME, of studies without a known procedure code */
    const char *practice_setting_code; /* the same, of manifests */
    const char *facility_type_code;
    const char *language_code;
    unsigned manifest_delay_ms;
    Tls *tls; /* for C-MOVE and storage commitment to others; NULL: none */
} ImagingConfig;

typedef struct Imaging Imaging;

/** Starts the threads that make manifests. NULL and a reason on failure. */
Imaging *imaging_new(const ImagingConfig *config, char *ret_problem, size_t problem_size);
void imaging_free(Imaging *imaging);

/** Reads anew what operators may have changed: application entities, authorities. */
int imaging_refresh(Imaging *imaging, Request *req) MUST_CHECK;

/** The studies of a patient, for whoever makes a document of them. */
PatientStudies imaging_patient_studies(Imaging *imaging);

/** An application entity that takes associations. */
typedef struct ImagingPeer {
    Str ae_title;
    Str host;
    int32_t port;
    bool is_tls;     /* false: reached on loopback only */
    Str fingerprint; /* of its certificate; empty: the certificate names the host */
} ImagingPeer;

/**
 * Asks it for C-ECHO, for an operator.
 * @param tls  NULL: none
 * @param own_title  by which we call
 * @return 0, or negative: req->errors says what is wrong and what can be done
 */
int imaging_echo(DicomWorkers *workers, Tls *tls, const char *own_title, Request *req,
                 const ImagingPeer *peer) MUST_CHECK;

/** For metrics. Those of the database are renewed once a minute. */
typedef struct ImagingCounts {
    int64_t associations; /* that are open */
    int64_t stored;       /* instances since the start */
    int64_t studies;      /* each as one facility sent it for one PatientID */
    int64_t waiting;      /* studies of unknown patients */
    int64_t manifests_due;
    int64_t manifests_failed;
    int64_t conflicts; /* studies of several persons */
} ImagingCounts;

int imaging_counts(Imaging *imaging, Request *req, ImagingCounts *ret_counts) MUST_CHECK;

/** Those of the database, for a command; the others are 0. */
int imaging_counts_read(DbConn *conn, Request *req, ImagingCounts *ret_counts) MUST_CHECK;

/** One connection of DICOM, as its listener knows it; borrowed. */
typedef struct DicomPeer {
    void *ctx;
    const char *address; /* "192.0.2.7" */
    /** Asked for every request. NULL: it may not go on. */
    const Principal *(*principal)(void *ctx, Arena *arena);
    /** A request was answered, or the association refused: req->errors says why. */
    void (*finished)(void *ctx, Request *req, bool is_good);
} DicomPeer;

typedef struct DicomConversation DicomConversation;

/**
 * Starts a worker for an association and a thread that answers what it asks.
 * @param ret_socket  the bytes of the association; borrowed until imaging_conversation_end()
 * @return NULL: there is no worker now; peer->finished() was told
 */
DicomConversation *imaging_conversation_start(Imaging *imaging, const DicomPeer *peer,
                                              int *ret_socket);
/** Whether a request is in work. */
bool imaging_conversation_is_busy(const DicomConversation *conversation);
/** Ends the association, if it has not ended, and waits for its thread. */
void imaging_conversation_end(DicomConversation *conversation);

/** SoapHandler of RAD-69 Retrieve Imaging Document Set (RAD TF-2 4.69). module is the Imaging. */
int imaging_rad69_retrieve(void *imaging, SoapExchange *exchange);
/** SoapHandler of RAD-75 Cross Gateway Retrieve Imaging Document Set, responding (RAD TF-2 4.75).
 * The imaging source has a home_community_id. */
int imaging_rad75_cross_gateway_retrieve(void *imaging, SoapExchange *exchange);
