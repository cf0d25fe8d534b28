#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/db/db.h"
#include "lib/ebrim/patient_directory.h"

/** Patient identity: feeds (ITI-8) and the identifiers of the affinity domain. The only header of
 * this folder for others. */

typedef struct PixConfig {
    DbPool *pool;
    Audit *audit;
    NodeDirectory *nodes;
    const char *patient_id_authority; /* OID of the affinity domain */
    const char *patient_id_namespace; /* may be empty */
} PixConfig;

typedef struct Pix Pix;

Pix *pix_new(const PixConfig *config, char *ret_problem, size_t problem_size);
void pix_free(Pix *pix);

/** The identifiers of the affinity domain, for a registry of the same process. */
PatientDirectory pix_patient_directory(Pix *pix);

/**
 * Handles one HL7 v2 message (the payload of an MLLP frame) and writes the acknowledgement
 * (payload, without frame).
 * @return 0 when reply is to be sent; negative when the connection should be closed without one
 */
int pix_hl7_message(Pix *pix, Request *req, Str payload, StrBuf *reply);
