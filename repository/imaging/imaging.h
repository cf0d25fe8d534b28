#pragma once

#include "lib/access/nodes.h"
#include "lib/dicom/workers.h"
#include "lib/ebrim/codes.h"
#include "repository/repository.h"

/**
 * The Imaging Document Source of the center (XDS-I.b, RAD TF-1 18): keeps what hospitals push,
 * serves it by DICOM, DICOMweb and RAD-69, and sees to manifests. The only header of this folder
 * for others.
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
    unsigned manifest_delay_ms;
    Tls *tls; /* for C-MOVE and storage commitment to others; NULL: none */
} ImagingConfig;

typedef struct Imaging Imaging;

/** Starts the threads that make manifests. NULL and a reason on failure. */
Imaging *imaging_new(const ImagingConfig *config, char *ret_problem, size_t problem_size);
void imaging_free(Imaging *imaging);

/** Reads anew what operators may have changed: application entities, authorities. */
int imaging_refresh(Imaging *imaging, Request *req) MUST_CHECK;

/** SoapHandler of RAD-69 Retrieve Imaging Document Set (RAD TF-2 4.69). module is the Imaging. */
int imaging_rad69_retrieve(void *imaging, SoapExchange *exchange);
