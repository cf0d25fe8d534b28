#include "lib/dicom/fragments.h"

#include <stdlib.h>

#include "lib/base/heap.h"

#define CAPACITY_FIRST 64

bool fragments_add(Fragments *fragments, uint64_t offset, uint32_t length)
{
    if (fragments->count == DICOM_FRAMES_MAX) {
        return false;
    }
    if (fragments->count == fragments->capacity) {
        fragments->list = heap_grow(fragments->list, &fragments->capacity, CAPACITY_FIRST,
                                    sizeof(*fragments->list));
    }
    fragments->list[fragments->count++] = (Fragment){.offset = offset, .length = length};
    return true;
}

void fragments_done(Fragments *fragments)
{
    free(fragments->list);
    *fragments = (Fragments){0};
}

static uint64_t read_offset(Str table, size_t width, size_t index)
{
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;) {
        value = value << 8 | (uint8_t)table.data[index * width + i];
    }
    return value;
}

/** The frame of fragments first to end - 1. */
static DicomFrame frame_of(const Fragments *fragments, size_t first, size_t end)
{
    const Fragment *last = &fragments->list[end - 1];
    uint64_t offset = fragments->list[first].offset;
    return (DicomFrame){.offset = offset,
                        .length = last->offset + last->length - offset,
                        .fragments = (uint32_t)(end - first)};
}

/** Offsets count from the header of the first fragment (PS3.5 A.4, PS3.3 C.7.6.3.1.8).
 * @return false: they do not name fragments in ascending order, the first one first */
static bool frames_by_table(const Fragments *fragments, Str table, size_t width, DicomFrame *frames)
{
    size_t count = table.len / width;
    uint64_t origin = fragments->list[0].offset;
    size_t at = 0; /* the fragment where frame i begins */
    for (size_t i = 0; i < count; i++) {
        size_t end = at + 1;
        uint64_t next = i + 1 < count ? read_offset(table, width, i + 1) : UINT64_MAX;
        while (end < fragments->count && fragments->list[end].offset - origin < next) {
            end++;
        }
        bool is_exact = i + 1 == count ||
                        (end < fragments->count && fragments->list[end].offset - origin == next);
        if (!is_exact || (i == 0 && read_offset(table, width, 0) != 0)) {
            return false;
        }
        frames[i] = frame_of(fragments, at, end);
        at = end;
    }
    return true;
}

static void frames_by_count(const Fragments *fragments, Arena *arena, int64_t number_of_frames,
                            DicomScanned *scanned)
{
    bool is_one_each = number_of_frames == (int64_t)fragments->count;
    if (!is_one_each && number_of_frames != 1) {
        if (number_of_frames < (int64_t)fragments->count) {
            scanned->warning = "no offset table tells which fragments make which frame";
        } /* else a video: one stream of many frames */
        return;
    }
    scanned->frame_count = is_one_each ? fragments->count : 1;
    scanned->frames = ARENA_ARRAY(arena, DicomFrame, scanned->frame_count);
    for (size_t i = 0; i < scanned->frame_count; i++) {
        scanned->frames[i] = frame_of(fragments, i, is_one_each ? i + 1 : fragments->count);
    }
}

void fragments_frames(const Fragments *fragments, Arena *arena, int64_t number_of_frames,
                      DicomScanned *scanned)
{
    if (fragments->count == 0) {
        return;
    }
    bool is_extended = fragments->extended_offsets.len > 0;
    Str table = is_extended ? fragments->extended_offsets : fragments->basic_offsets;
    size_t width = is_extended ? 8 : 4;
    size_t count = table.len / width;
    if (count > 0 && count <= fragments->count) {
        DicomFrame *frames = ARENA_ARRAY(arena, DicomFrame, count);
        if (frames_by_table(fragments, table, width, frames)) {
            scanned->frames = frames;
            scanned->frame_count = count;
            return;
        }
    }
    if (count > 0) {
        scanned->warning = "the offset table of the pixel data does not fit its fragments";
    }
    frames_by_count(fragments, arena, number_of_frames, scanned);
}
