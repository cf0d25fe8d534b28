/* WADO-RS, frames and bulk data (PS3.18 10.4.1.1.3, 10.4.1.1.4). */

#include "repository/imaging/file_part.h"
#include "repository/imaging/instance_pixels.h"
#include "repository/imaging/parts.h"
#include "repository/imaging/wado_rs.h"

#define TYPE_OCTETS STR("application/octet-stream")
#define TYPE_ANY STR("*/*")

/** Frames on their way out. */
typedef struct Frames {
    Retrieval *retrieval;
    const ImagingInstance *instance;
    Str base;
    int64_t *numbers;
    size_t count;
    uint64_t offset; /* of bulk data in the file */
    uint64_t length;
    bool is_multipart;
    Str type;            /* of the parts */
    Str transfer_syntax; /* of the parts; empty: not told */
    Arena *arena;        /* of the part that is sent */
    FilePart part;
    bool is_decoded;    /* or as stored */
    BodySource samples; /* of the part that is sent, if a process makes them */
    PixelsLine line;
} Frames;

/* ---- the question ---- */

/** Number of Frames is what a sender wrote: beyond what an index can have there is no frame. */
int64_t wado_frame_count(const ImagingInstance *instance)
{
    return instance->has_pixel_data
               ? MIN(MAX(instance->number_of_frames, INT64_C(1)), (int64_t)DICOM_FRAMES_MAX)
               : 0;
}

int wado_frame_list(const DicomwebExchange *exchange, const ImagingInstance *instance,
                    int64_t **ret_numbers, size_t *ret_count)
{
    Request *req = exchange->req;
    Str rest = exchange->path[3];
    Str text;
    *ret_numbers = ARENA_ARRAY(req->arena, int64_t, rest.len / 2 + 1);
    *ret_count = 0;
    while (str_split_next(&rest, ',', &text)) {
        int64_t number;
        if (!str_to_i64(text, &number) || number < 1) {
            return error_add(&req->errors, ERR_DICOM_REQUEST, NULL,
                             "\"%.*s\" is no list of frames: send numbers from 1 on, with commas "
                             "between them.",
                             STR_ARG(str_shown(req->arena, exchange->path[3])));
        }
        if (number > wado_frame_count(instance)) {
            return error_add(&req->errors, ERR_DICOM_NOT_FOUND, NULL,
                             "The instance has no frame %lld.", (long long)number);
        }
        (*ret_numbers)[(*ret_count)++] = number;
    }
    return 0;
}

static bool has_word(Str named, Str stored)
{
    return str_is_empty(named) || str_equal(named, STR("*")) || str_equal(named, stored);
}

/** Whether frames as they are stored are what the range wants. */
static bool takes_stored(const MediaRange *range, const TransferSyntax *syntax, Str type)
{
    Str uid = str_from(syntax->uid);
    if (!syntax->is_encapsulated) {
        return media_range_takes(range, TYPE_OCTETS, range->is_multipart) &&
               (has_word(range->transfer_syntax, uid) ||
                str_equal(range->transfer_syntax, STR(UID_EXPLICIT_LITTLE_ENDIAN)));
    }
    bool is_octets = str_equal(range->type, TYPE_OCTETS);
    return is_octets
               ? !str_is_empty(range->transfer_syntax) && has_word(range->transfer_syntax, uid)
               : media_range_takes(range, type, range->is_multipart) &&
                     has_word(range->transfer_syntax, uid);
}

static bool may_be_single(const MediaRange *range, size_t count)
{
    return !range->is_multipart && count == 1 && !str_equal(range->type, TYPE_ANY);
}

/** Whether samples, decoded, are what the range wants. */
static bool takes_samples(const MediaRange *range, const TransferSyntax *syntax)
{
    return syntax->can_decode && media_range_takes(range, TYPE_OCTETS, range->is_multipart) &&
           has_word(range->transfer_syntax, STR(UID_EXPLICIT_LITTLE_ENDIAN));
}

/** Whether bytes of the file are not those of a value: they are deflated, or numbers are big
 * endian. */
static bool is_rewritten(const TransferSyntax *syntax)
{
    return syntax->is_deflated || syntax->is_big_endian;
}

/** As stored wherever a range allows it at its place, else decoded, if it may be. */
static bool choose_by(const MediaRange *range, const TransferSyntax *syntax, bool may_decode,
                      Frames *frames)
{
    Str type = syntax->is_encapsulated && syntax->frame_media_type
                   ? str_from(syntax->frame_media_type)
                   : TYPE_OCTETS;
    const bool is_single = may_be_single(range, frames->count);
    const bool is_multipart = range->is_multipart || str_equal(range->type, TYPE_ANY);
    const bool is_stored = !is_rewritten(syntax) && takes_stored(range, syntax, type);
    if ((!is_single && !is_multipart) ||
        (!is_stored && !(may_decode && takes_samples(range, syntax)))) {
        return false;
    }
    frames->is_multipart = !is_single;
    frames->is_decoded = !is_stored;
    frames->type = is_stored ? type : TYPE_OCTETS;
    frames->transfer_syntax = is_stored && syntax->is_encapsulated
                                  ? str_from(syntax->uid)
                                  : STR(UID_EXPLICIT_LITTLE_ENDIAN);
    return true;
}

static int choose(const DicomwebExchange *exchange, const MediaRanges *ranges, Frames *frames)
{
    const TransferSyntax *syntax = transfer_syntax_find(frames->instance->transfer_syntax);
    /* What has lost something stays as stored where any range takes that: decoded, its colours may
     * be others than the metadata say. */
    for (int may_decode = !syntax || !syntax->may_be_lossy; may_decode <= 1; may_decode++) {
        for (size_t i = 0; syntax && i < ranges->count; i++) {
            if (choose_by(&ranges->items[i], syntax, may_decode == 1, frames)) {
                return 0;
            }
        }
    }
    return wado_refuse_accept(exchange, "The frames are not to be had like that.");
}

/* ---- the answer ---- */

static void end_part(Frames *frames)
{
    file_part_done(&frames->part);
    if (frames->samples.done) {
        frames->samples.done(frames->samples.ctx);
    }
    frames->samples = (BodySource){0};
}

/** @return 1, 0: only decoding tells where it is, or negative */
static int open_stored(Frames *frames, int64_t number)
{
    const ImagingInstance *instance = frames->instance;
    Retrieval *retrieval = frames->retrieval;
    BlobStore *blobs = retrieval->imaging->blobs;
    DicomFrame frame;
    retrieval_renew(retrieval);
    int rc = index_frame(retrieval->imaging, retrieval->req, instance, number, &frame);
    if (rc <= 0) {
        return rc;
    }
    rc = frame.fragments > 0
             ? file_part_open_frame(&frames->part, blobs, instance->sha256, frame.offset,
                                    frame.length)
             : file_part_open(&frames->part, blobs, instance->sha256, frame.offset, frame.length);
    return rc < 0 ? rc : 1;
}

static int frame_begin(void *ctx, size_t index, Str *ret_type, Str *ret_location)
{
    Frames *frames = ctx;
    Retrieval *retrieval = frames->retrieval;
    const int64_t number = frames->numbers[index];
    const bool is_native = str_equal(frames->type, TYPE_OCTETS);
    arena_clear(frames->arena);
    frames->line.is_amidst = index > 0;
    end_part(frames);
    *ret_type = str_printf(frames->arena, "%.*s; transfer-syntax=%.*s", STR_ARG(frames->type),
                           STR_ARG(frames->transfer_syntax));
    Str url = wado_instance_url(frames->arena, frames->base, frames->instance);
    *ret_location = str_printf(frames->arena, "%.*s/frames/%lld", STR_ARG(url), (long long)number);
    int rc = frames->is_decoded ? 0 : open_stored(frames, number);
    if (rc != 0) {
        return MIN(rc, 0);
    }
    return frames->is_decoded || is_native
               ? instance_frame(retrieval->imaging, &retrieval->req->errors, &frames->line,
                                frames->instance, number, &frames->samples)
               : -ERR_CORRUPT;
}

static int frame_next(void *ctx, StrBuf *buf)
{
    Frames *frames = ctx;
    return frames->samples.next ? frames->samples.next(frames->samples.ctx, buf)
                                : file_part_next(&frames->part, buf);
}

static void frames_done(void *ctx, bool is_whole)
{
    Frames *frames = ctx;
    end_part(frames);
    pixels_line_done(&frames->line);
    arena_free(frames->arena);
    if (!is_whole) {
        retrieval_record_cut(frames->retrieval);
    }
}

static int find(Imaging *imaging, DicomwebExchange *exchange, MediaRanges *ranges,
                Frames **ret_frames)
{
    Frames *frames = ARENA_NEW(exchange->req->arena, Frames);
    *frames = (Frames){.base = exchange->base};
    int rc = media_ranges_read(exchange->req, exchange->accept, ranges);
    rc = rc < 0 ? rc
                : wado_find(imaging, exchange, AUDIT_RAD107_RETRIEVE, ACCESS_DOWNLOAD,
                            &frames->retrieval);
    if (rc >= 0) {
        frames->instance = &frames->retrieval->instances[0];
        *ret_frames = frames;
    }
    return rc;
}

static int reply(DicomwebExchange *exchange, Frames *frames)
{
    int rc = retrieval_record(frames->retrieval);
    if (rc < 0) {
        return rc;
    }
    frames->arena = arena_new();
    const Parts parts = {frames, frames->count, frame_begin, frame_next, frames_done};
    return parts_reply(exchange, &parts, frames->is_multipart, frames->type);
}

int dicomweb_frames(Imaging *imaging, DicomwebExchange *exchange)
{
    Frames *frames = NULL;
    MediaRanges ranges;
    int rc = find(imaging, exchange, &ranges, &frames);
    rc =
        rc < 0 ? rc : wado_frame_list(exchange, frames->instance, &frames->numbers, &frames->count);
    rc = rc < 0 ? rc : choose(exchange, &ranges, frames);
    return rc < 0 ? wado_refused(imaging, exchange, AUDIT_RAD107_RETRIEVE, rc)
                  : reply(exchange, frames);
}

/* ---- bulk data ---- */

/** "OFFSET-LENGTH" in the data set, as lib/dicom/json.h writes it. */
static int read_place(const DicomwebExchange *exchange, Frames *frames)
{
    const ImagingInstance *instance = frames->instance;
    Str place = exchange->path[3];
    size_t dash = str_find_char(place, '-');
    uint64_t data_set_bytes = instance->size_bytes - instance->data_set_offset;
    if (dash == SIZE_MAX || !str_to_u64(str_slice(place, 0, dash), &frames->offset) ||
        !str_to_u64(str_from_offset(place, dash + 1), &frames->length) ||
        frames->offset > data_set_bytes || frames->length > data_set_bytes - frames->offset) {
        return error_add(&exchange->req->errors, ERR_DICOM_NOT_FOUND, NULL,
                         "The instance has no such bulk data; take the BulkDataURI of its "
                         "metadata.");
    }
    frames->offset += instance->data_set_offset;
    return 0;
}

static int octets_begin(void *ctx, UNUSED size_t index, Str *ret_type, UNUSED Str *ret_location)
{
    Frames *frames = ctx;
    *ret_type = TYPE_OCTETS;
    return file_part_open(&frames->part, frames->retrieval->imaging->blobs,
                          frames->instance->sha256, frames->offset, frames->length);
}

static int choose_octets(const DicomwebExchange *exchange, const MediaRanges *ranges,
                         Frames *frames)
{
    const MediaRange *multipart = media_ranges_find(ranges, TYPE_OCTETS, true);
    const MediaRange *single = media_ranges_find(ranges, TYPE_OCTETS, false);
    frames->is_multipart = multipart && (!single || multipart <= single);
    return multipart || single
               ? 0
               : wado_refuse_accept(exchange, "Bulk data are not to be had like that.");
}

static int reply_octets(DicomwebExchange *exchange, Frames *frames)
{
    int rc = retrieval_record(frames->retrieval);
    if (rc < 0) {
        return rc;
    }
    frames->arena = arena_new();
    const Parts parts = {frames, 1, octets_begin, frame_next, frames_done};
    return parts_reply(exchange, &parts, frames->is_multipart, TYPE_OCTETS);
}

/** Whether this is encapsulated pixel data, which is given as its frames. */
static int is_encapsulated(const Frames *frames)
{
    const TransferSyntax *syntax = transfer_syntax_find(frames->instance->transfer_syntax);
    Retrieval *retrieval = frames->retrieval;
    DicomFrame frame;
    if (!syntax || !syntax->is_encapsulated || !frames->instance->has_pixel_data) {
        return 0;
    }
    int rc = index_frame(retrieval->imaging, retrieval->req, frames->instance, 1, &frame);
    return rc <= 0
               ? rc
               : frame.offset >= frames->offset && frame.offset - frames->offset < frames->length;
}

static int check_rewritten(const DicomwebExchange *exchange, const Frames *frames)
{
    const TransferSyntax *syntax = transfer_syntax_find(frames->instance->transfer_syntax);
    return syntax && is_rewritten(syntax)
               ? error_add(&exchange->req->errors, ERR_DICOM_NOT_ACCEPTABLE, NULL,
                           "The instance is stored in a deflated or big endian transfer syntax, of "
                           "which no value is given alone; ask for its frames, or for the whole "
                           "instance.")
               : 0;
}

static void list_all(const DicomwebExchange *exchange, Frames *frames)
{
    frames->count = (size_t)wado_frame_count(frames->instance);
    frames->numbers = ARENA_ARRAY(exchange->req->arena, int64_t, frames->count);
    for (size_t i = 0; i < frames->count; i++) {
        frames->numbers[i] = (int64_t)i + 1;
    }
}

int dicomweb_bulk_data(Imaging *imaging, DicomwebExchange *exchange)
{
    Frames *frames = NULL;
    MediaRanges ranges;
    int is_of_frames = 0;
    int rc = find(imaging, exchange, &ranges, &frames);
    rc = rc < 0 ? rc : check_rewritten(exchange, frames);
    rc = rc < 0 ? rc : read_place(exchange, frames);
    if (rc == 0) {
        is_of_frames = is_encapsulated(frames);
        rc = MIN(is_of_frames, 0);
    }
    if (rc == 0 && is_of_frames) {
        list_all(exchange, frames);
        rc = choose(exchange, &ranges, frames);
    } else if (rc == 0) {
        rc = choose_octets(exchange, &ranges, frames);
    }
    if (rc < 0) {
        return wado_refused(imaging, exchange, AUDIT_RAD107_RETRIEVE, rc);
    }
    return is_of_frames ? reply(exchange, frames) : reply_octets(exchange, frames);
}
