#pragma once

#include "lib/access/access.h"
#include "lib/db/db.h"
#include "lib/ebrim/metadata.h"
#include "registry/query_parameters.h"
#include "registry/registry.h"

/**
 * Rows into objects: the SELECT statements of the stored queries and the reading of their rows, one
 * at a time. Unless the message asks for metadata level 2, latest versions are read, and no
 * Deprecated Folder or Association (XDS Metadata Update 3.18.4.1.2.3.5.1.1).
 */

/** A row. Texts are borrowed from it, valid during the callback. */
typedef struct LoadedObject {
    ObjectKind kind;
    Uuid entry_uuid;
    Uuid lid;
    int64_t patient; /* internal id; 0 for Associations */
    AccessObject access;
    int32_t version;
    int32_t repository;     /* interned; DocumentEntry */
    int64_t size_bytes;     /* -1 none; DocumentEntry */
    int64_t last_update_us; /* Folder */
    Str hash;               /* 20 bytes, or empty; DocumentEntry */
    Str unique_id;          /* empty for Associations */
    Str metadata;           /* rendered blob; empty if not asked for */
    Uuid package;           /* of which it is a member; MEMBER_DOCUMENTS */
    AssociationType association_type;
    int16_t submission_set_status; /* 0 none, 1 Original, 2 Reference; Association */
    Uuid source;
    Uuid target;
    ObjectKind source_kind;
    ObjectKind target_kind;
} LoadedObject;

/** @return 0 to go on, or a negative ErrorCode to stop */
typedef int (*LoadFn)(void *ctx, Request *req, const LoadedObject *object);

/** Rows of load.def. */
typedef enum LoadKind {
#define LOAD(name, sql_name, object, key, select, filters) LOAD_##name,
#include "registry/load.def"
    LOAD_KIND_COUNT
} LoadKind;

/** Whether it reads SubmissionSets or Folders. */
bool load_kind_is_of_packages(LoadKind kind);

/** Which objects: one member is used, as the LoadKind says; none where parameters of the query
 * alone say it. */
typedef struct LoadKeys {
    const int64_t *patients;
    const Uuid *uuids;
    const Str *unique_ids;
    size_t count;
} LoadKeys;

/** The parameters of a query, ready to be bound: codes are interned ids. */
typedef struct LoadFilters LoadFilters;

/** Looks the codes up; those that the registry does not hold match nothing. In req->arena. At most
 * one round trip. */
int load_filters_new(const Registry *registry, Request *req, DbConn *conn,
                     const QueryRequest *request, LoadFilters **ret_filters) MUST_CHECK;

/** No parameters: for statements with NO_FILTERS. In req->arena. */
const LoadFilters *load_filters_none(const Registry *registry, Request *req);

/** Of a patient, only objects of these facilities are read (borrowed). */
void load_filters_limit(LoadFilters *filters, const int32_t *facilities, size_t count);

/**
 * Reads the rows one by one, in constant memory.
 * @param with_metadata  false: metadata may stay empty (for an ObjectRef answer)
 */
int load_objects(DbConn *conn, Request *req, LoadKind kind, const LoadKeys *keys,
                 const LoadFilters *filters, bool with_metadata, LoadFn object,
                 void *ctx) MUST_CHECK;
