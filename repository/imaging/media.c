#include "repository/imaging/media.h"

#include <stdlib.h>

#include "lib/dicom/pixels_job.h"
#include "lib/soap/mime.h"

#define QUALITY_MAX 1000

/** Cuts the next range off; commas within quotes belong to it. */
static bool next_range(Str *rest, Str *ret_range)
{
    bool is_quoted = false;
    size_t len = 0;
    if (rest->data == NULL) {
        return false;
    }
    while (len < rest->len && (is_quoted || rest->data[len] != ',')) {
        is_quoted ^= rest->data[len] == '"';
        len++;
    }
    *ret_range = str_trim(str_slice(*rest, 0, len));
    *rest = len < rest->len ? str_from_offset(*rest, len + 1) : (Str){NULL, 0};
    return true;
}

/** 0 to 1 with at most three digits (RFC 9110 12.4.2). */
static bool read_quality(Str text, unsigned *ret_quality)
{
    unsigned quality = 0;
    unsigned weight = QUALITY_MAX;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (i == 1 ? c != '.' : c < '0' || c > '9') {
            return false;
        }
        if (i != 1) {
            quality += (unsigned)(c - '0') * weight;
            weight /= 10;
        }
    }
    *ret_quality = quality;
    return text.len > 0 && text.len <= 5 && quality <= QUALITY_MAX;
}

static bool read_range(Request *req, Str text, MediaRange *ret_range)
{
    ContentType type;
    if (!content_type_parse(req->arena, text, &type)) {
        return false;
    }
    Str quality = content_type_parameter(&type, "q");
    *ret_range = (MediaRange){
        .type = type.media_type,
        .is_multipart = str_equal(type.media_type, STR("multipart/related")),
        .transfer_syntax = str_trim(content_type_parameter(&type, "transfer-syntax")),
        .quality = QUALITY_MAX,
    };
    if (ret_range->is_multipart) {
        Str inner = str_trim(content_type_parameter(&type, "type"));
        ret_range->type = str_is_empty(inner) ? STR("*/*") : str_lower(req->arena, inner);
    }
    return str_is_empty(quality) || read_quality(quality, &ret_range->quality);
}

/** The most wanted first; of equal ones in the order of the header. */
static void insert_range(MediaRanges *ranges, const MediaRange *range)
{
    size_t at = ranges->count++;
    while (at > 0 && ranges->items[at - 1].quality < range->quality) {
        ranges->items[at] = ranges->items[at - 1];
        at--;
    }
    ranges->items[at] = *range;
}

int media_ranges_read(Request *req, Str accept, MediaRanges *ret_ranges)
{
    Str rest = str_is_empty(str_trim(accept)) ? STR("*/*") : accept;
    Str text;
    *ret_ranges = (MediaRanges){.items = ARENA_ARRAY(req->arena, MediaRange, MEDIA_RANGES_MAX)};
    while (next_range(&rest, &text)) {
        MediaRange range;
        if (str_is_empty(text)) {
            continue;
        }
        if (!read_range(req, text, &range) || ret_ranges->count == MEDIA_RANGES_MAX) {
            return error_add(&req->errors, ERR_DICOM_REQUEST, NULL,
                             "Accept: \"%.*s\" is no media range, or there are more than %d; send "
                             "TYPE/SUBTYPE with parameters, and commas between ranges.",
                             STR_ARG(str_shown(req->arena, text)), MEDIA_RANGES_MAX);
        }
        if (range.quality > 0) {
            insert_range(ret_ranges, &range);
        }
    }
    return 0;
}

bool media_range_takes(const MediaRange *range, Str type, bool is_multipart)
{
    bool is_any = str_equal(range->type, STR("*/*"));
    size_t slash = str_find_char(type, '/');
    bool is_kind =
        str_ends_with(range->type, STR("/*")) &&
        str_equal(str_slice(range->type, 0, range->type.len - 1), str_slice(type, 0, slash + 1));
    if (range->is_multipart != is_multipart && !(is_any && !range->is_multipart)) {
        return false;
    }
    return is_any || is_kind || str_equal(range->type, type);
}

const MediaRange *media_ranges_find(const MediaRanges *ranges, Str type, bool is_multipart)
{
    for (size_t i = 0; i < ranges->count; i++) {
        if (media_range_takes(&ranges->items[i], type, is_multipart)) {
            return &ranges->items[i];
        }
    }
    return NULL;
}

bool media_choose_syntax(const MediaRanges *ranges, Str type, bool is_multipart,
                         const ImagingInstance *instance, Str *ret_target)
{
    const Str stored = instance->transfer_syntax;
    bool is_found = false;
    for (size_t i = 0; i < ranges->count; i++) {
        const MediaRange *range = &ranges->items[i];
        Str named = str_is_empty(range->transfer_syntax) ? STR(UID_EXPLICIT_LITTLE_ENDIAN)
                                                         : range->transfer_syntax;
        if (!media_range_takes(range, type, is_multipart)) {
            continue;
        }
        if (str_equal(named, STR("*")) || str_equal(named, stored)) {
            *ret_target = STR_EMPTY;
            return true;
        }
        if (!is_found && pixels_can_transcode(stored, named, instance->bits_allocated)) {
            *ret_target = named;
            is_found = true;
        }
    }
    return is_found;
}
