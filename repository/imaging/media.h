#pragma once

#include "lib/base/request.h"
#include "repository/imaging/index.h"

/** What a client takes (PS3.18 8.7): ranges of Accept, the most wanted first. */

typedef struct MediaRange {
    Str type; /* "application/dicom"; may end in an asterisk; of multipart/related its type */
    bool is_multipart;   /* multipart/related */
    Str transfer_syntax; /* UID, "*": as stored; empty: not named */
    unsigned quality;    /* thousandths */
} MediaRange;

typedef struct MediaRanges {
    MediaRange *items;
    size_t count;
} MediaRanges;

#define MEDIA_RANGES_MAX 64

/** @param accept  empty: anything. @return 0, or -ERR_DICOM_REQUEST: what it says is no Accept */
int media_ranges_read(Request *req, Str accept, MediaRanges *ret_ranges) MUST_CHECK;

/** Whether a body of this type is in the range, sent by itself or as parts of multipart/related. */
bool media_range_takes(const MediaRange *range, Str type, bool is_multipart);

/** @return the first range that takes it, or NULL */
const MediaRange *media_ranges_find(const MediaRanges *ranges, Str type, bool is_multipart);

/**
 * In which transfer syntax an instance goes to who takes these ranges: as stored wherever a range
 * allows it, else in the first that can be made of it without loss. A range that names none means
 * Explicit VR Little Endian (PS3.18 8.7.3.5.2).
 * @param ret_target  empty: as stored
 * @return false: in none
 */
bool media_choose_syntax(const MediaRanges *ranges, Str type, bool is_multipart,
                         const ImagingInstance *instance, Str *ret_target);
