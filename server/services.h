#pragma once

#include "atna/repository.h"
#include "lib/access/nodes.h"
#include "lib/ebrim/codes.h"
#include "lib/saml/saml.h"
#include "pix/pix.h"
#include "registry/gateway/gateway.h"
#include "registry/registry.h"
#include "repository/imaging/imaging.h"
#include "repository/repository.h"
#include "server/config.h"
#include "server/journal.h"

/** The modules of one process, wired as its roles say. */
typedef struct Services {
    const Config *config;
    Tls *tls;     /* borrowed; NULL without certificate */
    Arena *arena; /* of the wiring: paths, configurations of modules */
    DbPool *pool;
    NodeDirectory *nodes;
    Audit *audit;
    AuditRepository *audit_repository; /* NULL without the role */
    Journal *journal;
    Saml *saml;              /* NULL: users are not asked for at any endpoint */
    CodeSets *_Atomic codes; /* NULL with code_check = off */
    Pix *pix;
    PatientDirectory patients;
    Registry *registry;                 /* NULL without the role */
    RegistryClient local_registry;      /* of this process */
    PatientMover mover;                 /* the registry, as the PIX manager calls it */
    DocumentCatalogue catalogue;        /* the registry of this database, as the repository does */
    PatientDocuments patient_documents; /* the registry, as the generator of documents does */
    PatientDescription patient_description; /* the PIX manager, likewise */
    PatientStudies patient_studies;         /* images, likewise */
    DocumentFollower documents;      /* the repository of this database, as the registry does */
    RegistryClient *remote_registry; /* with [repository] registry_url */
    Repository *repository;          /* NULL without the role */
    DicomWorkers *workers;           /* borrowed; NULL without the role imaging */
    Imaging *imaging;                /* NULL without the role */
    InitiatingGateway *initiating;   /* NULL without a homeCommunityId */
} Services;

/** The certificate of [server] tls_*, for who calls and for whom we call. @return NULL: none is
 * configured, or, with a problem, it cannot be used */
Tls *services_tls(const Config *config, char *ret_problem, size_t problem_size);

/** The subfolders of data_dir that the modules use; NULL ends them. */
extern const char *const services_folders[];

/** data_dir/NAME in the arena. */
const char *services_path(Arena *arena, const Config *config, const char *name);

/** Makes data_dir and its subfolders, with the rights that they need. */
bool services_make_folders(const Config *config, char *ret_problem, size_t problem_size);

/** The repository of this configuration, for the server and for fsck and scrub. */
RepositoryConfig services_repository_config(Arena *arena, const Config *config, DbPool *pool);

/** Opens every module; tls and workers are borrowed; on failure nothing stays open and the reason
 * is in ret_problem. */
bool services_open(Services *ret_services, const Config *config, Tls *tls, DicomWorkers *workers,
                   const char *conninfo, char *ret_problem, size_t problem_size);

/**
 * Opens the PIX manager, and the registry with its role, for a command that may run beside the
 * server: audit events go through the outbox.
 * @param connections  of its pool
 */
bool services_open_identity(Services *ret_services, const Config *config, const char *conninfo,
                            unsigned connections, char *ret_problem, size_t problem_size);

/** As services_open_identity(), where the registry is needed. */
bool services_open_registry(Services *ret_services, const Config *config, const char *conninfo,
                            unsigned connections, char *ret_problem, size_t problem_size);
void services_close(Services *services);

/** From now on these code sets count, which become the services' own. */
void services_take_codes(Services *services, CodeSets *codes);
