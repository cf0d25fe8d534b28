#pragma once

#include "lib/base/spill.h"
#include "lib/soap/document_sink.h"
#include "lib/soap/exchange.h"

/**
 * The documents of one community's answer, one behind the other in a temporary file without a name:
 * memory does not grow with them. Written by one thread; read when all are there, any number of
 * times.
 */
typedef struct KeptDocuments {
    DocumentSink sink; /* for a SoapReceiver */
    SpillRoom *room;   /* borrowed; of all answers */
    int fd;            /* -1: none yet */
    uint64_t size_bytes;
} KeptDocuments;

/** One answer gets half of the room at most: a community alone does not take it all. */
void kept_documents_init(KeptDocuments *kept, SpillRoom *room);
void kept_documents_done(KeptDocuments *kept);

/** A document as a part's content; kept lives as long as the source. In the arena. */
BodySource kept_documents_source(const KeptDocuments *kept, Arena *arena,
                                 const DocumentContent *content);
