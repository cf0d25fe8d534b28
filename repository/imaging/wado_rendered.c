/* WADO-RS, pictures and thumbnails (PS3.18 10.4.1.1.5, 10.4.1.1.6). */

#include "repository/imaging/instance_pixels.h"
#include "repository/imaging/parts.h"
#include "repository/imaging/rendering.h"
#include "repository/imaging/wado_rs.h"

#define TYPE_JPEG STR("image/jpeg")
#define TYPE_PNG STR("image/png")
#define THUMBNAIL_SIDE 128

/** Pictures on their way out. */
typedef struct Pictures {
    Retrieval *retrieval; /* images alone */
    Str base;
    DicomRendering rendering;
    uint32_t *frames; /* of the only instance; NULL: the first of each instance */
    bool is_multipart;
    Str type;
    Arena *arena; /* of the part that is sent */
    StrBuf image; /* the same */
    PixelsLine line;
} Pictures;

static int picture_begin(void *ctx, size_t index, Str *ret_type, Str *ret_location)
{
    Pictures *pictures = ctx;
    Retrieval *retrieval = pictures->retrieval;
    const ImagingInstance *instance = &retrieval->instances[pictures->frames ? 0 : index];
    arena_clear(pictures->arena);
    strbuf_clear(&pictures->image);
    pictures->line.is_amidst = index > 0;
    *ret_type = pictures->type;
    *ret_location = wado_instance_url(pictures->arena, pictures->base, instance);
    if (pictures->frames) {
        pictures->rendering.frame = pictures->frames[index];
    }
    return instance_render(retrieval->imaging, &retrieval->req->errors, &pictures->line, instance,
                           &pictures->rendering, &pictures->image);
}

static int picture_next(void *ctx, StrBuf *buf)
{
    Pictures *pictures = ctx;
    strbuf_append(buf, strbuf_str(&pictures->image));
    return 0;
}

static void pictures_done(void *ctx, bool is_whole)
{
    Pictures *pictures = ctx;
    pixels_line_done(&pictures->line);
    strbuf_done(&pictures->image);
    arena_free(pictures->arena);
    if (!is_whole) {
        retrieval_record_cut(pictures->retrieval);
    }
}

/** Drops what has no pixels. */
static int keep_images(const DicomwebExchange *exchange, Retrieval *retrieval)
{
    size_t count = 0;
    for (size_t i = 0; i < retrieval->count; i++) {
        if (retrieval->instances[i].has_pixel_data) {
            retrieval->instances[count++] = retrieval->instances[i];
        }
    }
    retrieval->count = count;
    return count > 0 ? 0 : wado_refuse_accept(exchange, "There is no image to make a picture of.");
}

/** What stands for all: the one in the middle. */
static void keep_one(Retrieval *retrieval)
{
    retrieval->instances = &retrieval->instances[retrieval->count / 2];
    retrieval->count = 1;
}

static int read_frames(const DicomwebExchange *exchange, Pictures *pictures, size_t *ret_count)
{
    const ImagingInstance *instance = &pictures->retrieval->instances[0];
    int64_t *numbers;
    int rc = wado_frame_list(exchange, instance, &numbers, ret_count);
    pictures->frames = ARENA_ARRAY(exchange->req->arena, uint32_t, rc < 0 ? 0 : *ret_count);
    for (size_t i = 0; rc == 0 && i < *ret_count; i++) {
        pictures->frames[i] = (uint32_t)numbers[i];
    }
    return rc;
}

/** The first of the ranges that can be met: one picture by itself, or several in multipart. */
static int choose(const DicomwebExchange *exchange, const MediaRanges *ranges, Pictures *pictures,
                  size_t count)
{
    const Str types[] = {TYPE_JPEG, TYPE_PNG};
    for (size_t i = 0; i < ranges->count; i++) {
        const MediaRange *range = &ranges->items[i];
        for (size_t k = 0; k < ARRAY_LEN(types); k++) {
            if (media_range_takes(range, types[k], range->is_multipart)) {
                pictures->type = types[k];
                pictures->rendering.is_png = k == 1;
                pictures->is_multipart = range->is_multipart;
                return pictures->frames && count > 1 && !range->is_multipart
                           ? wado_refuse_accept(exchange, "Several frames need multipart/related.")
                           : 0;
            }
        }
    }
    return wado_refuse_accept(exchange, "Pictures are not to be had like that.");
}

static int prepare(Imaging *imaging, DicomwebExchange *exchange, Pictures *pictures,
                   size_t *ret_count)
{
    MediaRanges ranges;
    int rc = media_ranges_read(exchange->req, exchange->accept, &ranges);
    rc = rc < 0 ? rc : rendering_of_rs(exchange, &pictures->rendering);
    rc = rc < 0 ? rc
                : wado_find(imaging, exchange, AUDIT_RAD107_RETRIEVE, ACCESS_VIEW,
                            &pictures->retrieval);
    rc = rc < 0 ? rc : keep_images(exchange, pictures->retrieval);
    *ret_count = 1;
    if (rc == 0 && !str_is_empty(exchange->path[3])) {
        rc = read_frames(exchange, pictures, ret_count);
    }
    rc = rc < 0 ? rc : choose(exchange, &ranges, pictures, *ret_count);
    if (rc == 0 && !pictures->is_multipart) {
        keep_one(pictures->retrieval);
    }
    if (rc == 0 && !pictures->frames) {
        *ret_count = pictures->retrieval->count;
    }
    return rc;
}

static int answer(Imaging *imaging, DicomwebExchange *exchange, bool is_thumbnail)
{
    Pictures *pictures = ARENA_NEW(exchange->req->arena, Pictures);
    size_t count;
    *pictures = (Pictures){.base = exchange->base};
    int rc = prepare(imaging, exchange, pictures, &count);
    if (rc < 0) {
        return wado_refused(imaging, exchange, AUDIT_RAD107_RETRIEVE, rc);
    }
    if (is_thumbnail && pictures->rendering.rows == 0) {
        pictures->rendering.rows = THUMBNAIL_SIDE;
        pictures->rendering.columns = THUMBNAIL_SIDE;
    }
    rc = retrieval_record(pictures->retrieval);
    if (rc < 0) {
        return rc;
    }
    pictures->arena = arena_new();
    const Parts parts = {pictures, count, picture_begin, picture_next, pictures_done};
    return parts_reply(exchange, &parts, pictures->is_multipart, pictures->type);
}

int dicomweb_rendered(Imaging *imaging, DicomwebExchange *exchange)
{
    return answer(imaging, exchange, false);
}

int dicomweb_thumbnail(Imaging *imaging, DicomwebExchange *exchange)
{
    return answer(imaging, exchange, true);
}
