#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/db/db.h"
#include "lib/ebrim/codes.h"
#include "lib/ebrim/patient_directory.h"
#include "lib/ebrim/registry_client.h"
#include "lib/soap/exchange.h"

/** The Document Registry: metadata at rest (ITI-42), stored queries (ITI-18). The only header of
 * this folder for others. */

typedef enum CodeCheck { CODE_CHECK_STRICT, CODE_CHECK_WARN, CODE_CHECK_OFF } CodeCheck;

typedef struct RegistryConfig {
    DbPool *pool;
    Audit *audit;
    const PatientDirectory *patients;
    /** Where the code sets of the moment are: a reload puts new ones there, the old ones live on.
     * Not read with CODE_CHECK_OFF. */
    CodeSets *_Atomic *codes;
    NodeDirectory *nodes; /* who may submit with which sourceId; NULL: everybody */
    CodeCheck code_check;
    const char *patient_id_authority; /* OID of the affinity domain */
    const char *home_community_id;    /* empty: none is written */
    const char *spill_directory;      /* for unlinked temporary files of large answers */
} RegistryConfig;

typedef struct Registry Registry;

/** Borrows what config points to. NULL and a reason on failure (e.g. the database's dictionaries
 * cannot be read). */
Registry *registry_new(const RegistryConfig *config, char *ret_problem, size_t problem_size);
void registry_free(Registry *registry);

/** SoapHandler of ITI-42 Register Document Set-b (TF-2 3.42). module is the Registry. */
int registry_iti42_register(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-18 Registry Stored Query (TF-2 3.18). */
int registry_iti18_stored_query(void *registry, SoapExchange *exchange);

/** The local RegistryClient for a repository of the same process. */
RegistryClient registry_client_local(Registry *registry);
