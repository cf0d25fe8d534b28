#pragma once

#include "lib/base/body.h"
#include "registry/load.h"
#include "registry/registry_private.h"

/**
 * The objects of an answer on their way from rows to XML. While the rows are read they are kept in
 * compact form (columns and compressed metadata, lib/ebrim/rendered.h) in a ResultSpool; once the
 * database connection is given back they are rendered, a piece at a time.
 *
 * Spec: ITI TF-2 3.18.4.1.2.3.6 (query:AdhocQueryResponse), 3.18.4.1.2.3.1 (LeafClass, ObjectRef).
 */
typedef struct QueryAnswer QueryAnswer;

QueryAnswer *query_answer_new(const Registry *registry, bool is_leaf_class);
/** query_answer_free(NULL) is fine. */
void query_answer_free(QueryAnswer *answer);
void query_answer_freep(QueryAnswer **answer);

/**
 * Adds an object or Association, in the order of the answer.
 * @param patient  number of the patient among those of query_answer_set_patient(); any for an
 * Association
 */
int query_answer_add(QueryAnswer *answer, Request *req, const LoadedObject *object,
                     uint32_t patient) MUST_CHECK;

/** The patientId to show for this number. Copied. */
void query_answer_set_patient(QueryAnswer *answer, uint32_t patient, Str identifier);

/** Whose objects the answer shows: each patientId once, empty for a reply of ObjectRefs. In the
 * arena. @return how many */
size_t query_answer_patients(const QueryAnswer *answer, Arena *arena, Str **ret_patients);

/** The entryUUIDs of an answer of ObjectRefs, in its order and in the request's arena, instead of
 * query_answer_write(). */
int query_answer_references(QueryAnswer *answer, Request *req, Uuid **ret_uuids,
                            size_t *ret_count) MUST_CHECK;

/** Looks up what rendering needs; the last use of the connection. */
int query_answer_finish(QueryAnswer *answer, Request *req, DbConn *conn) MUST_CHECK;

/**
 * Writes the whole query:AdhocQueryResponse with status Success into xml if it fits in 1 MiB; else
 * the beginning, and the rest comes from ret_source, which then owns the answer.
 * @return 0, or -ERR_XDS_REGISTRY_ERROR if stored metadata cannot be read; xml then is empty again.
 * The answer is freed in each case
 */
int query_answer_write(QueryAnswer *answer, Request *req, StrBuf *xml,
                       BodySource *ret_source) MUST_CHECK;

/** Writes the query:AdhocQueryResponse with status Failure and req->errors. */
void query_answer_write_failure(Request *req, StrBuf *xml);
