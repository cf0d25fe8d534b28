#pragma once

#include "registry/query_answer.h"
#include "registry/query_parameters.h"

/**
 * The stored queries: which objects each returns, and in which order (ITI TF-2 3.18.4.1.2.3.7).
 * Every object is tested with access_decide(); what may not be known is as absent, in the answer,
 * in the single-patient check, and as an end of an Association.
 */

/**
 * Finds what the request asks for. The database connection is borrowed and given back inside.
 * @param ret_answer  caller frees, or hands it to query_answer_write()
 */
int query_run(Registry *registry, Request *req, const QueryRequest *request,
              QueryAnswer **ret_answer) MUST_CHECK;

/** Patients of one round trip. */
#define QUERY_PATIENT_BATCH 256

/* One function for each distinct name in the third column of queries.def. */
int query_run_find_documents(QueryRun *run);
int query_run_find_documents_of_many(QueryRun *run); /* query_many.c */
int query_run_find_submission_sets(QueryRun *run);
int query_run_find_folders(QueryRun *run);
int query_run_find_folders_of_many(QueryRun *run); /* query_many.c */
int query_run_get_all(QueryRun *run);
int query_run_get_documents(QueryRun *run);
int query_run_get_folders(QueryRun *run);
int query_run_get_associations(QueryRun *run);
int query_run_get_documents_and_associations(QueryRun *run);
int query_run_get_submission_sets(QueryRun *run);
int query_run_get_submission_set_and_contents(QueryRun *run);
int query_run_get_folder_and_contents(QueryRun *run);
int query_run_get_folders_for_document(QueryRun *run);
int query_run_get_related_documents(QueryRun *run);
