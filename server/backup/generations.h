#pragma once

#include "server/backup/store.h"

/** The generations of a folder of backups: TIME/ where whole, TIME.partial/ where not. */

/** The names of the whole ones, oldest first; in the arena. @return 0 or -ERR_IO */
int backup_generations(const BackupStore *store, Arena *arena, ErrorList *errors, Str **ret_names,
                       size_t *ret_count) MUST_CHECK;

/** The one of this name, or the newest (NULL). @return 0 or -ERR_CONFIGURATION */
int backup_generation_choose(const BackupStore *store, Arena *arena, ErrorList *errors,
                             const char *wanted, const char **ret_name) MUST_CHECK;

/**
 * Makes TIME.partial, durably, of the time that it is. What an interrupted backup has left is
 * removed before: its pieces may not be durable.
 * @param ret_name  TIME, in the arena
 * @param ret_fd    of the folder; the caller closes it
 */
int backup_generation_begin(BackupStore *store, Arena *arena, ErrorList *errors,
                            const char **ret_name, int *ret_fd) MUST_CHECK;

/** Makes everything durable, then TIME.partial becomes TIME. */
int backup_generation_publish(const BackupStore *store, ErrorList *errors,
                              const char *name) MUST_CHECK;

/** Removes all whole generations but the newest so many, then the pieces that no other one has.
 * @param ret_removed  generations */
int backup_generations_prune(BackupStore *store, ErrorList *errors, size_t keep,
                             size_t *ret_removed, uint64_t *ret_bytes) MUST_CHECK;

/** Removes what a backup that failed has left, as far as it can. */
void backup_generations_clean_up(BackupStore *store);
