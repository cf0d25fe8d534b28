#pragma once

#include "lib/dicom/scan.h"

/** The items of encapsulated pixel data as they came (PS3.5 A.4), for the scanner. Zero-initialise.
 */

typedef struct Fragment {
    uint64_t offset; /* of its value */
    uint32_t length;
} Fragment;

typedef struct Fragments {
    Fragment *list; /* on the heap: fragments_done() */
    size_t count;
    size_t capacity;
    Str basic_offsets;    /* the first item, 32 bits little endian each */
    Str extended_offsets; /* (7FE0,0001), 64 bits little endian each */
} Fragments;

/** @return false: there are DICOM_FRAMES_MAX already */
bool fragments_add(Fragments *fragments, uint64_t offset, uint32_t length) MUST_CHECK;
void fragments_done(Fragments *fragments);

/**
 * Which fragments make which frame: by the offset tables, or by their number where each frame has
 * one fragment, or all are of one frame.
 * @param number_of_frames  of (0028,0008), 1 without it
 * @param scanned  gets frames (none if nothing tells) and, if something is wrong, a warning
 */
void fragments_frames(const Fragments *fragments, Arena *arena, int64_t number_of_frames,
                      DicomScanned *scanned);
