#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/db/db.h"
#include "lib/ebrim/codes.h"
#include "lib/ebrim/document_catalogue.h"
#include "lib/ebrim/patient_directory.h"
#include "lib/ebrim/patient_move.h"
#include "lib/ebrim/patient_record.h"
#include "lib/ebrim/registry_client.h"
#include "lib/soap/exchange.h"
#include "lib/tls/tls.h"

/** The Document Registry: metadata at rest (ITI-42), stored queries (ITI-18). The only header of
 * this folder for others. */

typedef enum CodeCheck { CODE_CHECK_STRICT, CODE_CHECK_WARN, CODE_CHECK_OFF } CodeCheck;

typedef struct RegistryConfig {
    DbPool *pool;
    Audit *audit;
    const PatientDirectory *patients;
    const DocumentFollower *documents; /* the repository beside it; NULL: none of this database */
    /** Where the code sets of the moment are: a reload puts new ones there, the old ones live on.
     * Not read with CODE_CHECK_OFF. */
    CodeSets *_Atomic *codes;
    NodeDirectory *nodes; /* who may submit with which sourceId; NULL: everybody */
    CodeCheck code_check;
    const char *patient_id_authority; /* OID of the affinity domain */
    const char *home_community_id;    /* empty: none is written */
    const char *spill_directory;      /* for unlinked temporary files of large answers */
    Tls *tls;                         /* for notifications to https; NULL: none */
    bool is_notifying;                /* sends notifications; false in commands, which queue them */
    int64_t notify_for_ms; /* a subscription whose recipient takes nothing so long is suspended */
    int64_t notifications_max; /* that wait for one subscription, likewise */
} RegistryConfig;

typedef struct Registry Registry;

/** Borrows what config points to. NULL and a reason on failure (e.g. the database's dictionaries
 * cannot be read). */
Registry *registry_new(const RegistryConfig *config, char *ret_problem, size_t problem_size);
void registry_free(Registry *registry);

/** SoapHandler of ITI-42 Register Document Set-b (TF-2 3.42). module is the Registry. */
int registry_iti42_register(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-61 Register On-Demand Document Entry (TF-2 3.61). */
int registry_iti61_register_on_demand(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-57 Update Document Set (XDS Metadata Update 3.57). */
int registry_iti57_update(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-92 Restricted Update Document Set (Restricted Metadata Update 3.92). */
int registry_iti92_update(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-62 Remove Metadata (Remove Metadata and Documents 3.62). */
int registry_iti62_remove(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-18 Registry Stored Query (TF-2 3.18). */
int registry_iti18_stored_query(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-51 Multi-Patient Stored Query (TF-2 3.51). */
int registry_iti51_multi_patient_query(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-38 Cross Gateway Query, responding (TF-2 3.38). The registry has a
 * home_community_id. */
int registry_iti38_cross_gateway_query(void *registry, SoapExchange *exchange);

/** SoapHandler of ITI-52 Document Metadata Subscribe: Subscribe and Unsubscribe (TF-2 3.52). */
int registry_iti52_subscribe(void *registry, SoapExchange *exchange);
int registry_iti52_unsubscribe(void *registry, SoapExchange *exchange);
/** SoapHandler of ITI-54 Document Metadata Publish (TF-2 3.54), a one-way message. */
int registry_iti54_publish(void *registry, SoapExchange *exchange);

/** Moves documents to another patient (ITI-64, TF-2 3.64.4.1.3); ctx is the Registry. */
PatientMover registry_patient_mover(Registry *registry);

/** The local RegistryClient for a repository of the same process. */
RegistryClient registry_client_local(Registry *registry);

/** What a repository of the same database asks about documents. */
DocumentCatalogue registry_document_catalogue(void);

/** The documents of a patient, for whoever makes a document of them. */
PatientDocuments registry_patient_documents(Registry *registry);

/** One finding of fsck, as one line for the operator. */
typedef void (*RegistryFindingFn)(void *ctx, const char *line);

/** Checks the versions of all DocumentEntries and Folders. @return number of findings, or negative
 */
int64_t registry_fsck(DbPool *pool, Request *req, RegistryFindingFn finding, void *ctx);

/** What became of a submission of a bulk import. */
typedef enum ImportOutcome {
    IMPORT_WAITS, /* depends on the order of submissions: for registry_import_one() */
    IMPORT_STORED,
    IMPORT_PRESENT, /* the very same submission is registered already (contract C3) */
    IMPORT_REFUSED, /* by its own errors, as ITI-42 would */
    IMPORT_FAILED,  /* the database could not do it: outcome unknown or not stored */
} ImportOutcome;

/** One submission of a bulk import. */
typedef struct ImportItem {
    Request *req;                          /* of its own: principal in, errors out */
    const XmlNode *submit_objects_request; /* NULL: could not be read; req has the errors */
    Submission *submission;                /* NULL until it is read */
    ImportOutcome outcome;
} ImportItem;

/**
 * Registers submissions by the rules of ITI-42 (TF-2 3.42.4.1.3), as many as possible in one
 * transaction with their audit events. One that cannot be stored changes nothing for the others.
 * Those with Folders, relationships or references to registered objects are left to
 * registry_import_one(), with outcome IMPORT_WAITS. Thread-safe, also beside ITI-42.
 *
 * @param req  for what concerns all of them: arena, deadline
 */
void registry_import_batch(Registry *registry, Request *req, ImportItem *items, size_t count);

/** Registers an item with outcome IMPORT_WAITS in a transaction of its own. */
void registry_import_one(Registry *registry, ImportItem *item);
