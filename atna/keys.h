#pragma once

#include "atna/chain.h"
#include "atna/record_read.h"

/** The keys of one record, on the heap: zero-initialise, reuse, free with key_list_done(). Private
 * to this folder. */
typedef struct KeyList {
    int64_t *values;
    size_t count;
    size_t cap;
    ChainHasher *hasher;    /* NULL until the first record */
    struct KnownKey *known; /* keys of texts that came lately: most of a record's came before */
} KeyList;

void key_list_done(KeyList *keys);

/** All keys of a record, each once, in ascending order; what was in the list before is gone. */
void keys_of_record(KeyList *keys, const AuditContent *content, const AuditSender *sender);

/** Only those of a login: under which names its user is known. None, if the record is none. */
void keys_of_login(KeyList *keys, const AuditContent *content);
