#pragma once

#include "repository/imaging/study_copies.h"

/**
 * Application entities of registered nodes and the assigning authorities of their PatientIDs, as a
 * snapshot in memory, renewed within seconds of a change (polled). Thread-safe: what is found is
 * copied into the caller's arena.
 */
typedef struct AeDirectory AeDirectory;

typedef struct AeDirectoryConfig {
    DbPool *pool;
    Str affinity_domain;   /* OID of its authority */
    Str default_authority; /* OID, for who has none in mode open; empty: the affinity domain's */
    Str class_code;        /* CODE^^SCHEME of images */
    Str confidentiality_code;
} AeDirectoryConfig;

/** One application entity: who it is, and what its images belong to. */
typedef struct Ae {
    Str title;              /* empty: who has none, as over HTTP */
    int32_t node;           /* 0: of no registered node */
    int32_t facility;       /* 0: none */
    int32_t authority;      /* of its PatientIDs; 0: not known */
    const int32_t *issuers; /* authorities that its IssuerOfPatientID may name */
    size_t issuer_count;
    const Str *institutions; /* Institution Names of its own; none: not known */
    size_t institution_count;
    bool makes_manifests; /* itself: this server makes none of its studies */
    Str host;             /* where it takes associations; empty: nowhere */
    int32_t port;
    bool is_tls;
    Str fingerprint;
} Ae;

typedef struct ImagingAuthority {
    int32_t id;
    int32_t facility;    /* 0: none */
    int32_t derive_from; /* authority from whose numbers its own follow; 0: none */
    bool is_pacs;
    bool is_configured;
    Str oid;
    Str name; /* namespace */
} ImagingAuthority;

/** All of it in the arena. */
Ae *ae_copy(Arena *arena, const Ae *ae);

AeDirectory *ae_directory_new(const AeDirectoryConfig *config);
void ae_directory_free(AeDirectory *directory);
int ae_directory_refresh(AeDirectory *directory, Request *req) MUST_CHECK;

/**
 * Who calls with this AE title. In mode open anybody is somebody.
 * @return NULL: the title is not registered for this node; on a plain listener for a node of a
 * facility for which it submits
 */
const Ae *ae_directory_find(AeDirectory *directory, Arena *arena, const Principal *principal,
                            Str title);

/** Who sends without a title, as over HTTP: what its node's titles have in common. */
const Ae *ae_directory_of_node(AeDirectory *directory, Arena *arena, const Principal *principal);

/** Where C-MOVE may send: an AE with an address, of the caller's node if it has one of that title,
 * else of its facility, else the only one. NULL: none, or several. */
const Ae *ae_directory_destination(AeDirectory *directory, Arena *arena, const Principal *principal,
                                   Str title);

/** NULL: there is none. */
const ImagingAuthority *ae_directory_authority(AeDirectory *directory, Arena *arena, int32_t id);
/** By OID, else by namespace; of configured ones and the affinity domain's. */
const ImagingAuthority *ae_directory_issuer(AeDirectory *directory, Arena *arena, Str name,
                                            Str oid);
/** The domains whose numbers a caller may write without issuer: of its AE and of its facility.
 * @return how many */
size_t ae_directory_own(AeDirectory *directory, Arena *arena, const Ae *ae,
                        int32_t **ret_authorities);
/** Row of the affinity domain's authority; 0: it has none yet. */
int32_t ae_directory_affinity_domain(AeDirectory *directory);
ImagingCodes ae_directory_codes(AeDirectory *directory);
