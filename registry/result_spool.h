#pragma once

#include "lib/base/request.h"

/**
 * A queue of records that is first written, then read once: the rows of an answer between database
 * and peer. Up to 1 MiB stays in memory; beyond that everything goes to a temporary file without a
 * name, so that memory does not grow with the answer (contract: memory). One thread at a time.
 */
typedef struct ResultSpool ResultSpool;

#define RESULT_SPOOL_MEMORY_BYTES (1024 * 1024)

/** @param directory  for the temporary file; borrowed */
ResultSpool *result_spool_new(const char *directory);
/** result_spool_free(NULL) is fine. */
void result_spool_free(ResultSpool *spool);

/** Adds one record, made of parts that are joined. @return 0, -ERR_XDS_REGISTRY_OUT_OF_RESOURCES if
 * the disk is full */
int result_spool_append(ResultSpool *spool, Request *req, const Str *parts,
                        size_t part_count) MUST_CHECK;

/** Writing is over. */
int result_spool_finish(ResultSpool *spool, Request *req) MUST_CHECK;

/**
 * The next record.
 * @param ret_record  borrowed until the next call
 * @return 1, 0 at the end, or -ERR_IO if the file cannot be read
 */
int result_spool_next(ResultSpool *spool, Str *ret_record) MUST_CHECK;

/** What the records take, before the first is read. */
size_t result_spool_bytes(const ResultSpool *spool);

/** Whether the records are in a file. */
bool result_spool_is_on_disk(const ResultSpool *spool);
