#pragma once

#include "server/backup/manifest.h"

/** From files to pieces and lines of a manifest. What did not change since the generation before is
 * not read again. */
typedef struct FileCopier {
    BackupStore *store;
    ManifestReader *previous; /* NULL: everything is read */
    ManifestWriter *writer;
    ErrorList *errors;
    uint64_t bytes_per_second; /* 0: no limit */
    int64_t started_ns;
    uint64_t read_bytes;
    StrBuf piece;
    BackupDigest *pieces; /* of the file that is being read */
    size_t piece_room;
} FileCopier;

/** Frees what the copier itself has made. */
void file_copier_done(FileCopier *copier);

/**
 * Stores a file and adds its line; paths come in ascending order.
 * @param path   in the backup
 * @param limit_bytes  of the file no more than this; UINT64_MAX: all that it has at this moment
 */
int file_copier_add(FileCopier *copier, Str path, int fd, uint64_t limit_bytes) MUST_CHECK;

/** The same of a file by its name. */
int file_copier_add_file(FileCopier *copier, const char *source, Str path) MUST_CHECK;

/**
 * All files below a folder, which may be a link to one, in ascending order. Anything else in it, a
 * link too, is an error.
 * @param prefix      of their paths in the backup, without a slash behind
 * @param left_out    a name directly below the folder that is no part of it, NULL ends them
 * @param may_vanish  files that are removed meanwhile are left out, and what is none
 */
int file_copier_add_tree(FileCopier *copier, const char *folder, const char *prefix,
                         const char *const *left_out, bool may_vanish) MUST_CHECK;

/**
 * Stores what comes from a pipe, cut where its content says, so that an insertion moves no later
 * cut. Adds no line.
 * @param ret_file  path is the caller's; pieces are on the heap
 */
int file_copier_take_stream(FileCopier *copier, int fd, ManifestFile *ret_file) MUST_CHECK;

/** A small file, whole, as it is at this moment; adds no line, pieces are in the arena.
 * @return 1, 0 there is none, or a negative ErrorCode in errors */
int file_copier_take_small(FileCopier *copier, Arena *arena, const char *source, Str path,
                           ManifestFile *ret_file) MUST_CHECK;
