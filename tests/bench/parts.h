#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What each operation is made of, done in the most direct way known: the floors of README.md.
 */

/** An append-only file with one fdatasync for all that wait (leader and followers). */
typedef struct GroupFile {
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t synced;
    uint64_t written_bytes; /* by appends that have returned from write */
    uint64_t synced_bytes;
    bool is_syncing;
} GroupFile;

void group_file_open(GroupFile *file, const char *path);
/** Writes the bytes. @return what group_file_settle() waits for */
uint64_t group_file_write(GroupFile *file, const void *bytes, size_t len);
/** Returns when what was written up to there is durable. */
void group_file_settle(GroupFile *file, uint64_t written_bytes);
/** Both. */
void group_file_append(GroupFile *file, const void *bytes, size_t len);

/** libxml2's SAX2 parser with handlers that do nothing. @return whether it is well-formed */
bool part_sax(const char *bytes, size_t len);
/** Once, before part_xmlsec(). @param certificate  PEM file of who signed */
void part_xmlsec_init(const char *certificate);
/** A signed assertion parsed as DOM and verified by xmlsec. @return whether it is good */
bool part_xmlsec(const char *bytes, size_t len);
/** SHA-1 and SHA-256. */
void part_sha(const void *bytes, size_t len);
/** CRC-32C of each 64 KiB. */
uint32_t part_crc(const void *bytes, size_t len);
/** Temporary name, write, fsync, rename, fsync of the folder, which is open as directory. */
void part_file(int directory, uint64_t number, const void *bytes, size_t len);
