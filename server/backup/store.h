#pragma once

#include "lib/base/error.h"
#include "lib/base/str.h"

/**
 * The folder of backups: pieces of files, each stored once and named by its SHA-256, that all
 * generations share, and a folder for each generation (generations.h).
 *
 *   musubi-backup     "musubi backup 1": what this folder is
 *   lock              held by whoever writes (alone) or reads
 *   objects/ab/<hex>  a piece: one zstd frame (RFC 8878), named by the SHA-256 of its content
 *   TIME/             a generation that is whole;  TIME.partial: one that is not
 *
 * Everything is readable for its owner only. A piece is trusted once it has its name and a whole
 * generation names it: before that, everything was made durable at once.
 */
typedef struct BackupStore BackupStore;

#define BACKUP_DIGEST_BYTES 32
#define BACKUP_DIGEST_HEX (2 * BACKUP_DIGEST_BYTES)
/** Files are cut at multiples of this; what has other cuts (the database) at most at this. */
#define BACKUP_PIECE_BYTES ((size_t)4 << 20)

typedef struct BackupDigest {
    uint8_t bytes[BACKUP_DIGEST_BYTES]; /* all zero: a piece of zero bytes, which is not stored */
} BackupDigest;

bool backup_digest_is_hole(const BackupDigest *digest);

/** For backups: makes the folder if there is none, or if it is empty; waits for nobody.
 * @return 0, -ERR_CONFIGURATION if the folder is something else, else -ERR_IO */
int backup_store_make(const char *folder, ErrorList *errors, BackupStore **ret_store) MUST_CHECK;

/** @param is_writer  generations and pieces will be removed */
int backup_store_open(const char *folder, bool is_writer, ErrorList *errors,
                      BackupStore **ret_store) MUST_CHECK;

/** backup_store_close(NULL) is fine. */
void backup_store_close(BackupStore *store);
void backup_store_closep(BackupStore **store);

const char *backup_store_folder(const BackupStore *store);
int backup_store_fd(const BackupStore *store);

/** From now on a piece that is there already is read, and written again if it is damaged. */
void backup_store_doubt(BackupStore *store);

/** How many bytes were added to the folder since it was opened. */
uint64_t backup_store_written(const BackupStore *store);

/**
 * Stores a piece, unless it is there. Durable after backup_store_sync().
 * @param len  BACKUP_PIECE_BYTES at most
 * @return 0 or -ERR_IO in errors: ENOSPC says what to do
 */
int backup_store_put(BackupStore *store, ErrorList *errors, const void *bytes, size_t len,
                     BackupDigest *ret_digest) MUST_CHECK;

/** Makes everything in the folder durable. */
int backup_store_sync(const BackupStore *store, ErrorList *errors) MUST_CHECK;

bool backup_store_has(const BackupStore *store, const BackupDigest *digest);

/**
 * Reads a piece and checks it against its name.
 * @param ret_bytes  emptied first
 * @return 0, -ENOENT it is not there, -EBADMSG it is damaged, or another negative errno
 */
int backup_store_get(BackupStore *store, const BackupDigest *digest, StrBuf *ret_bytes) MUST_CHECK;

/** "objects/ab/<hex>" for texts, in the arena. */
const char *backup_object_path(Arena *arena, const BackupDigest *digest);

/** -ERR_IO with a text that says what to do about it. */
int backup_io_error(ErrorList *errors, const char *path, const char *what, int error);

/** A set of digests; zero-initialise it. */
typedef struct DigestSet {
    BackupDigest *slots; /* holes are free slots */
    size_t count;
    size_t capacity; /* a power of two */
} DigestSet;

/** @return whether it was not there before */
bool digest_set_add(DigestSet *set, const BackupDigest *digest);
bool digest_set_has(const DigestSet *set, const BackupDigest *digest);
void digest_set_done(DigestSet *set);

/** Removes every piece that is not in the set. @return 0 or -ERR_IO; ret_bytes that were freed */
int backup_store_collect(const BackupStore *store, const DigestSet *kept, ErrorList *errors,
                         uint64_t *ret_bytes) MUST_CHECK;
