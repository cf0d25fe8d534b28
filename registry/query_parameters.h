#pragma once

#include "lib/base/request.h"
#include "lib/base/uuid.h"
#include "lib/ebrim/metadata.h"
#include "lib/xml/tree.h"

/**
 * Reads query:AdhocQueryRequest into the typed values of a stored query's parameters, as the rows
 * of queries.def say. Touches no database.
 *
 * Spec: ITI TF-2 3.18.4.1.2.3.3 to .7 (parameters and their coding), 3.18.4.1.3 (errors).
 */

/** Values of $MetadataLevel: latest versions, or all of them. */
enum { METADATA_LEVEL_LATEST = 1, METADATA_LEVEL_ALL = 2 };

/** What parameters select on. */
typedef enum QueryField {
#define FIELD(object, attribute) FIELD_##object##_##attribute,
#include "registry/queries.def"
    QUERY_FIELD_COUNT
} QueryField;

typedef enum QueryNeed { NEED_REQUIRED, NEED_OPTIONAL, NEED_EITHER, NEED_SOME } QueryNeed;

typedef enum QueryHowMany { MANY_ONE, MANY_LIST, MANY_AND_LISTS } QueryHowMany;

typedef enum QueryForm {
    FORM_PATIENT,      /* texts: CX */
    FORM_STATUS,       /* numbers: AvailabilityStatus */
    FORM_CODE,         /* codes */
    FORM_TIME,         /* time_us */
    FORM_TEXT,         /* texts */
    FORM_PATTERN,      /* texts: LIKE patterns without an escape character */
    FORM_ENTRY_UUID,   /* uuids */
    FORM_ENTRY_TYPE,   /* numbers: 0 Stable, 1 On-Demand */
    FORM_ASSOCIATION,  /* numbers: AssociationType */
    FORM_LEVEL,        /* numbers: 1 or 2 */
    FORM_AVAILABILITY, /* numbers: 0 Online, 1 Offline */
} QueryForm;

typedef enum QueryPatients {
    QUERY_ANY_PATIENTS,
    QUERY_ONE_PATIENT,
    QUERY_MANY_PATIENTS, /* of ITI-51 */
} QueryPatients;

/** A PARAM row. */
typedef struct QueryParameter {
    Str name; /* "$XDSDocumentEntryPatientId"; empty behind the last one of a query */
    QueryNeed need;
    QueryHowMany how_many;
    QueryForm form;
    QueryField field;
} QueryParameter;

typedef struct QueryRun QueryRun; /* registry/query_run.h */

/** A QUERY row. */
typedef struct Query {
    Str id; /* "urn:uuid:..." */
    Str name;
    int (*run)(QueryRun *run);
    QueryPatients patients;
    const QueryParameter *parameters; /* ends with an empty name */
} Query;

/** The values of one field. Which member of the union holds them follows from the form. */
typedef struct QueryValue {
    const QueryParameter *parameter; /* NULL: the message does not have it */
    size_t count;                    /* values of all groups */
    union {
        void *items;
        Str *texts;
        Code *codes;
        int32_t *numbers;
        Uuid *uuids;
        int64_t time_us;
    };
    size_t *group_ends; /* values group_ends[i - 1] to group_ends[i] - 1 are alternatives; groups
                           are a conjunction */
    size_t group_count;
    size_t capacity;
    size_t group_capacity;
} QueryValue;

typedef struct QueryRequest {
    const Query *query;
    bool is_leaf_class; /* else ObjectRef */
    QueryValue values[QUERY_FIELD_COUNT];
} QueryRequest;

/** The stored query of this id, regardless of case and surrounding white space; NULL if unknown. */
const Query *query_find(Str id);

/**
 * Reads the Slots of a rim:AdhocQuery as the parameters of a query that need not be one of ITI-18
 * (TF-2 3.52.5.2: the same syntax). Faults as those of query_request_read().
 */
int query_values_read(Request *req, const XmlNode *adhoc_query, const Query *query,
                      QueryRequest **ret_request) MUST_CHECK;

/**
 * Reads the request; every fault found is in req->errors: XDS_UNKNOWN_STORED_QUERY,
 * XDS_STORED_QUERY_MISSING_PARAM, XDS_STORED_QUERY_PARAM_NUMBER, XDS_REGISTRY_ERROR (syntax).
 * Parameters that the query does not have are ignored.
 *
 * @param is_multi_patient  of ITI-51, which has queries of its own (TF-2 3.51.4.1.2.1)
 * @param ret_request  in req->arena; set also on failure, as far as the message could be read
 */
int query_request_read(Request *req, const XmlNode *adhoc_query_request, bool is_multi_patient,
                       QueryRequest **ret_request) MUST_CHECK;

/** A patient's id in a query: "id^^^&OID&ISO" (TF-3 Table 4.2.3.1.7-2, CX); a namespace, and what
 * is behind the authority, are passed over. @param ret_identifier  the canonical form, in the arena
 * @return false: it is none */
bool query_patient_read(Arena *arena, Str text, Str *ret_identifier) MUST_CHECK;
