#pragma once

#include "atna/head.h"

/**
 * What data_dir/audit knows of the chain, beside the database: `chain`, its name; `head`, its
 * newest signed head; `head.UUID`, the last head of each chain that was given up because the
 * database did not have it any more; `head.key`. Private to this folder.
 */

#define CHAIN_KEY_FILE "head.key"

/** The name of the chain of this directory. @return 1, 0 if there is none, or a negative errno */
int chain_files_read(const char *directory, Uuid *ret_chain) MUST_CHECK;

/** The same; a new one is made if there is none. @return 0 or a negative errno */
int chain_files_open(const char *directory, Uuid *ret_chain) MUST_CHECK;

/** Gives the chain up: keeps its head under its name, and begins a new one. */
int chain_files_renew(const char *directory, Uuid *ret_chain) MUST_CHECK;

/** The newest head. @return 1, 0 if there is none yet, or a negative errno: -EBADMSG if the file
 * holds none */
int chain_files_read_head(const char *directory, Head *ret_head) MUST_CHECK;

/**
 * Replaces it. Without a sync: a crash of the machine may leave an older one.
 * @return 0 or a negative errno
 */
int chain_files_write_head(const char *directory, const Head *head) MUST_CHECK;

/** Appends a line to a file, durably. @return 0 or a negative errno */
int head_file_append(const char *path, const Head *head) MUST_CHECK;

/** @return 0 to go on */
typedef int (*HeadFn)(void *ctx, const Head *head);

/**
 * Calls back for each line of a file that is a head.
 * @param ret_bad_lines  lines that are neither empty nor a head
 * @return 0, what the callback returned, or a negative errno
 */
int head_file_read(const char *path, HeadFn callback, void *ctx,
                   unsigned *ret_bad_lines) MUST_CHECK;

/** The same for `head` and every `head.UUID` of the directory. */
int chain_files_read_heads(const char *directory, HeadFn callback, void *ctx,
                           unsigned *ret_bad_lines) MUST_CHECK;
