#pragma once

#include <stdatomic.h>

#include "atna/repository.h"
#include "atna/spool.h"

/** The thread that loads both spools into table audit_record. Private to this folder. */
typedef struct Loader Loader;

typedef struct LoaderConfig {
    const AuditRepositoryConfig *repository; /* borrowed */
    Spool *received;                         /* borrowed, as all */
    const char *received_directory;
    Spool *own; /* NULL: own events go elsewhere */
    Str own_sender;
    atomic_uint_fast64_t *loaded;          /* counted up */
    atomic_uint_fast64_t *loaded_received; /* of it, of others */
    atomic_uint_fast64_t *sequence;        /* set */
} LoaderConfig;

/** Starts the thread. NULL and the reason on failure. */
Loader *loader_new(const LoaderConfig *config, char *ret_problem, size_t problem_size);

/** Loads what is durable in the spools, then stops. loader_free(NULL) is fine. */
void loader_free(Loader *loader);

/** What a record of the spool of received messages holds. */
typedef struct ReceivedMessage {
    Str sender;
    uint64_t defects;
    Str raw;
} ReceivedMessage;

/** Appends "SENDER LF defects in hexadecimal LF message". */
void received_write(StrBuf *buf, const ReceivedMessage *message);
/** The parts are borrowed from payload. */
bool received_read(Str payload, ReceivedMessage *ret_message);
