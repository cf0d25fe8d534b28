#pragma once

#include "atna/record_search.h"

/**
 * Where a page of ITI-81 begins, as parameter _page of link[next] says it:
 * EVENT.CHAIN.SEQUENCE.TOTAL(.CHAIN:SEQUENCE)+ with times in microseconds of UTC. Nothing is kept
 * between pages. Whoever changes it sees no more than what he may search for anyway. Private to
 * this folder.
 */
typedef struct Iti81Page {
    RecordPlace after;
    uint64_t total;      /* of the whole search; ITI81_UNKNOWN_TOTAL: not counted */
    RecordBounds bounds; /* where the chains ended at the first page */
} Iti81Page;

#define ITI81_UNKNOWN_TOTAL UINT64_MAX

/** In the arena. */
Str iti81_page_write(Arena *arena, const Iti81Page *page);

/** False: not what iti81_page_write() gives. */
bool iti81_page_read(Arena *arena, Str text, Iti81Page *ret_page) MUST_CHECK;
