#pragma once

#include "atna/atna.h"
#include "lib/db/db.h"
#include "lib/ebrim/codes.h"
#include "lib/ebrim/document_catalogue.h"
#include "lib/ebrim/patient_move.h"
#include "lib/ebrim/patient_record.h"
#include "lib/ebrim/registry_client.h"
#include "lib/soap/exchange.h"
#include "lib/tls/tls.h"

/** The Document Repository: documents at rest (ITI-41, ITI-43). The only header of this folder for
 * others. */

/** Documents that are made when they are asked for (ITI TF-2 3.43.4.2.2). They need the registry
 * and the PIX manager of the same process. */
typedef struct OnDemandConfig {
    const char *generator;  /* row of generators.def; empty: none */
    bool is_persistent;     /* snapshots are kept (3.43.4.2.3) */
    const char *facility;   /* whose the documents are, by its name; empty: of none */
    const char *class_code; /* CODE^^SCHEME: what disclosures name */
    const char *confidentiality_code;
    const char *timezone;     /* IANA name: of times as they are shown */
    CodeSets *_Atomic *codes; /* of the moment; NULL: every code is taken */
    const PatientDocuments *documents;
    const PatientDescription *description;
} OnDemandConfig;

typedef struct RepositoryConfig {
    DbPool *pool;
    Audit *audit;
    const RegistryClient *registry;
    const DocumentCatalogue *catalogue; /* of the registry beside it; NULL: none of this database */
    const char *unique_id;              /* repositoryUniqueId, OID */
    const char *home_community_id;
    const char *blobs_dir;
    const char *locator_dir;
    uint64_t segment_max_document_bytes;
    OnDemandConfig on_demand;
} RepositoryConfig;

typedef struct Repository Repository;

/** Opens the blob store and starts its sweep thread. NULL and a reason on failure. */
Repository *repository_new(const RepositoryConfig *config, char *ret_problem, size_t problem_size);
void repository_free(Repository *repository);

/** SoapHandler of ITI-41 Provide and Register Document Set-b (TF-2 3.41). module is the Repository.
 */
int repository_iti41_provide(void *repository, SoapExchange *exchange);
/** SoapHandler of ITI-43 Retrieve Document Set (TF-2 3.43). */
int repository_iti43_retrieve(void *repository, SoapExchange *exchange);
/** SoapHandler of ITI-39 Cross Gateway Retrieve, responding (TF-2 3.39). The repository has a
 * home_community_id. */
int repository_iti39_cross_gateway_retrieve(void *repository, SoapExchange *exchange);

/** SoapHandler of ITI-86 Remove Documents (Remove Metadata and Documents 3.86). */
int repository_iti86_remove(void *repository, SoapExchange *exchange);

/** Where the documents of an ITI-41 go while they arrive. */
const DocumentSink *repository_sink(Repository *repository);

/** False when the blob store can no longer be trusted (contract C6): /health/ready fails. */
bool repository_is_writable(const Repository *repository);

/** The studies that On-Demand documents list; without, they list none. Borrowed; called before the
 * first request. */
void repository_set_studies(Repository *repository, const PatientStudies *studies);

/** What a registry of the same database tells of documents that come, or go to another patient.
 * @param generator  of On-Demand documents; empty: none */
DocumentFollower repository_document_follower(const char *generator);

/** A RegistryClient that speaks ITI-42 (and ITI-18 GetDocuments) to another process over HTTPS. */
typedef struct RemoteRegistryConfig {
    const char *url;         /* https://host:port/registry */
    Tls *tls;                /* borrowed */
    const char *fingerprint; /* of the registry's certificate, as in TlsPeer; borrowed */
} RemoteRegistryConfig;
RegistryClient *registry_client_remote_new(const RemoteRegistryConfig *config, char *ret_problem,
                                           size_t problem_size);
void registry_client_remote_free(RegistryClient *client);

/** Writes LMDB anew from segments and files, which nobody else may use meanwhile. @return 0 or a
 * negative ErrorCode with the reason */
int repository_rebuild_locator(const RepositoryConfig *config, char *ret_problem,
                               size_t problem_size) MUST_CHECK;

/** One finding of fsck or scrub, as one line for the operator: names document, patient and file, or
 * image and study. */
typedef void (*RepositoryFindingFn)(void *ctx, const char *line);

/** Checks the invariants between rows and blobs (offline or online). @return number of findings, or
 * negative */
int64_t repository_fsck(const RepositoryConfig *config, Request *req, RepositoryFindingFn finding,
                        void *ctx);
/** Reads and verifies every byte (CRC-32C and SHA-256), at most bytes_per_second (0 = no limit). */
int64_t repository_scrub(const RepositoryConfig *config, Request *req, uint64_t bytes_per_second,
                         RepositoryFindingFn finding, void *ctx);
