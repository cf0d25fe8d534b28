#pragma once

#include "atna/head.h"

/**
 * The signed heads that a verification has collected, and the keys that it trusts. Private to this
 * folder.
 */

/** In data_dir/audit: public keys beside that of head.key whose heads count, one in each line, in
 * hexadecimal; what stands behind a space is a comment. */
#define TRUSTED_KEYS_FILE "head.trusted"

/** A head, and where it is from. */
typedef struct KnownHead {
    Head head;
    const char *from; /* borrowed */
    size_t number;    /* in the order in which they were read */
} KnownHead;

/** {0} is empty. */
typedef struct KnownHeads {
    KnownHead *items;
    size_t count;
    size_t cap;
    uint8_t (*keys)[HEAD_KEY_BYTES];
    size_t key_count;
    bool has_own_key; /* head.key is there */
} KnownHeads;

/** Those of one chain, by sequence. */
typedef struct HeadRange {
    const KnownHead *begin;
    const KnownHead *end;
} HeadRange;

void known_heads_done(KnownHeads *heads);

void known_heads_add(KnownHeads *heads, const Head *head, const char *from);

/**
 * Reads head.key and head.trusted of data_dir/audit.
 * @param ret_bad_lines  of head.trusted, which are no keys
 * @return 0 or a negative errno; a file that is not there is fine
 */
int known_heads_read_keys(KnownHeads *heads, const char *directory, unsigned *ret_bad_lines);

/** To be called when all are there, before those below. */
void known_heads_sort(KnownHeads *heads);

HeadRange known_heads_of(const KnownHeads *heads, Uuid chain);

/** Where the heads of this sequence and higher ones begin. */
const KnownHead *head_range_from(HeadRange range, uint64_t sequence);

/** Whether the key is one of those; if none is known, every key is. */
bool known_heads_has_key(const KnownHeads *heads, const uint8_t key[HEAD_KEY_BYTES]);

/** Whether it is signed with such a key. */
bool known_heads_is_genuine(const KnownHeads *heads, const Head *head);
