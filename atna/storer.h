#pragma once

#include "atna/chain_store.h"

/** A thread that stores one batch while the next one is made. Private to this folder. */
typedef struct Storer Storer;

/** @param pool  borrowed. NULL if there is no thread */
Storer *storer_new(DbPool *pool);
/** Nothing may be on its way. storer_free(NULL) is fine. */
void storer_free(Storer *storer);

/** Hands a batch over, as chain_store_batch(); the one before must have been waited for.
 * @param batch  borrowed until storer_wait() */
void storer_begin(Storer *storer, Batch *batch, const Head *head,
                  const SpoolPosition loaded[SPOOL_COUNT]);

/**
 * Waits until it is stored.
 * @param ret_problem  why not; borrowed until the next storer_begin()
 * @return whether it is
 */
bool storer_wait(Storer *storer, const char **ret_problem);
