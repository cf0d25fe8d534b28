/* The worker that decodes: one instance in another transfer syntax, one of its frames, or a picture
 * of it; then perhaps another one. */

#include <stdlib.h>
#include <zlib.h>

#include "lib/dicom/dcmtk/pixels.h"
#include "lib/dicom/scan.h"
#include "lib/dicom/worker_fields.h"
#include "lib/dicom/worker_main.h"

#define BLOCK_BYTES ((size_t)64 << 10)
#define RAW_DEFLATE (-MAX_WBITS) /* no zlib header (PS3.5 A.5) */

/** What is asked for. */
typedef struct Wish {
    WorkerMessageKind kind;
    const TransferSyntax *source;
    const TransferSyntax *target; /* of TRANSCODE without frame */
    uint64_t frame;               /* of TRANSCODE; 0: all */
    DicomRendering rendering;     /* of RENDER */
} Wish;

typedef struct PixelJob {
    int control;
    Arena *arena;
    ErrorList errors; /* of the scanner */
    Wish wish;
    DicomScan *scan;
    DicomPixels *pixels;
    z_stream zlib; /* of the source if it is deflated, then of the target */
    uint8_t inflated[BLOCK_BYTES];
    bool has_ended;   /* the deflated stream */
    uint64_t written; /* bytes said */
} PixelJob;

static bool say_problem(int control, Str text)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put(&fields, WORKER_TEXT, text);
    (void)worker_say(control, WORKER_SAYS_PROBLEM, strbuf_str(&fields));
    return false;
}

static bool say_pixels_problem(const PixelJob *job)
{
    return say_problem(job->control, str_from(dicom_pixels_problem(job->pixels)));
}

/* ---- what comes out ---- */

static bool say_data(void *ctx, const void *bytes, size_t len)
{
    PixelJob *job = ctx;
    bool is_said = true;
    for (size_t at = 0; is_said && at < len; at += WORKER_BYTES_MAX) {
        Str piece = {(const char *)bytes + at, MIN(len - at, (size_t)WORKER_BYTES_MAX)};
        is_said = worker_say(job->control, WORKER_SAYS_DATA, piece);
    }
    job->written += len;
    return is_said;
}

/** Deflates what it is given, and says it. @param flush  Z_NO_FLUSH, or Z_FINISH for the end */
static bool deflate_and_say(PixelJob *job, const void *bytes, size_t len, int flush)
{
    uint8_t block[BLOCK_BYTES];
    job->zlib.next_in = WITHOUT_CONST(bytes);
    job->zlib.avail_in = (uInt)len; /* of one write: small */
    do {
        job->zlib.next_out = block;
        job->zlib.avail_out = sizeof(block);
        (void)deflate(&job->zlib, flush);
        if (!say_data(job, block, sizeof(block) - job->zlib.avail_out)) {
            return false;
        }
    } while (job->zlib.avail_out == 0);
    return true;
}

static bool deflate_data(void *ctx, const void *bytes, size_t len)
{
    return deflate_and_say(ctx, bytes, len, Z_NO_FLUSH);
}

static bool write_deflated(PixelJob *job)
{
    job->zlib = (z_stream){0};
    if (deflateInit2(&job->zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW_DEFLATE, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return say_problem(job->control, STR("no memory to deflate"));
    }
    bool is_written = dicom_pixels_write(job->pixels, deflate_data, job);
    if (!is_written) {
        (void)say_pixels_problem(job);
    } else {
        is_written = deflate_and_say(job, "", 0, Z_FINISH) &&
                     (job->written % 2 == 0 || say_data(job, "", 1)); /* PS3.5 A.5: even */
    }
    (void)deflateEnd(&job->zlib);
    return is_written;
}

/** A deflated data set is Explicit VR Little Endian within. */
static const char *inner_syntax(const TransferSyntax *syntax)
{
    return syntax->is_deflated ? UID_EXPLICIT_LITTLE_ENDIAN : syntax->uid;
}

static bool transcode(PixelJob *job)
{
    if (!dicom_pixels_convert(job->pixels, inner_syntax(job->wish.target))) {
        return say_pixels_problem(job);
    }
    if (job->wish.target->is_deflated) {
        return write_deflated(job);
    }
    return dicom_pixels_write(job->pixels, say_data, job) || say_pixels_problem(job);
}

static bool answer(PixelJob *job)
{
    if (job->wish.kind == WORKER_SAYS_RENDER) {
        return dicom_pixels_render(job->pixels, &job->wish.rendering, say_data, job) ||
               say_pixels_problem(job);
    }
    if (job->wish.frame > 0) {
        return dicom_pixels_write_frame(job->pixels, (uint32_t)job->wish.frame, say_data, job) ||
               say_pixels_problem(job);
    }
    return transcode(job);
}

/* ---- what comes in ---- */

static bool say_scan_problem(const PixelJob *job)
{
    const Error *error = job->errors.first;
    return say_problem(job->control, error ? error->context : STR("the data set cannot be read"));
}

static bool push_inflated(PixelJob *job, Str bytes)
{
    job->zlib.next_in = WITHOUT_CONST(bytes.data);
    job->zlib.avail_in = (uInt)bytes.len;
    do {
        job->zlib.next_out = job->inflated;
        job->zlib.avail_out = BLOCK_BYTES;
        int result = job->has_ended ? Z_BUF_ERROR : inflate(&job->zlib, Z_NO_FLUSH);
        size_t len = BLOCK_BYTES - job->zlib.avail_out;
        job->has_ended = job->has_ended || result == Z_STREAM_END;
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            return say_problem(job->control, STR("the deflated data set is broken"));
        }
        if (len > 0 && !dicom_pixels_push(job->pixels, job->inflated, len)) {
            return say_pixels_problem(job);
        }
    } while (job->zlib.avail_out == 0);
    return true;
}

/** DCMTK sees nothing that the scanner has not let pass. */
static bool push(PixelJob *job, Str bytes)
{
    if (dicom_scan_push(job->scan, &job->errors, bytes.data, bytes.len) < 0) {
        return say_scan_problem(job);
    }
    if (job->wish.source->is_deflated) {
        return push_inflated(job, bytes);
    }
    return dicom_pixels_push(job->pixels, bytes.data, bytes.len) || say_pixels_problem(job);
}

static bool end_of_input(PixelJob *job)
{
    DicomScanned scanned;
    if (dicom_scan_end(job->scan, &job->errors, &scanned) < 0) {
        return say_scan_problem(job);
    }
    return dicom_pixels_end(job->pixels) || say_pixels_problem(job);
}

static bool take_data_set(PixelJob *job)
{
    _cleanup_(strbuf_done) StrBuf content = {0};
    WorkerMessageKind kind;
    while (worker_hear(job->control, INT64_MAX, &kind, &content) == 1) {
        if (kind == WORKER_SAYS_SENT) {
            return end_of_input(job);
        }
        if (kind != WORKER_SAYS_DATA_OUT || !push(job, strbuf_str(&content))) {
            return false;
        }
    }
    return false;
}

/* ---- what is asked for ---- */

/** Numbers of the server, which has checked them (pixels_job.c). */
static double number_of(Arena *arena, Str text)
{
    return strtod(str_cstr(arena, text), NULL);
}

static void read_window(Arena *arena, Str fields, DicomRendering *rendering)
{
    Str width = worker_get(fields, WORKER_WINDOW_WIDTH);
    Str function = worker_get(fields, WORKER_WINDOW_FUNCTION);
    rendering->has_window = width.len > 0;
    rendering->window_width = number_of(arena, width);
    rendering->window_center = number_of(arena, worker_get(fields, WORKER_WINDOW_CENTER));
    rendering->function = str_equal(function, STR("SIGMOID"))        ? DICOM_WINDOW_SIGMOID
                          : str_equal(function, STR("LINEAR_EXACT")) ? DICOM_WINDOW_LINEAR_EXACT
                                                                     : DICOM_WINDOW_LINEAR;
}

static void read_region(Arena *arena, Str region, DicomRendering *rendering)
{
    double *const sides[] = {&rendering->left, &rendering->top, &rendering->width,
                             &rendering->height};
    Str side;
    rendering->width = 1;
    rendering->height = 1;
    for (size_t i = 0; i < ARRAY_LEN(sides) && str_split_next(&region, ',', &side); i++) {
        *sides[i] = number_of(arena, side);
    }
}

static uint32_t count_of(Str fields, WorkerField field)
{
    uint64_t number = 0;
    return worker_get_number(fields, field, &number) ? (uint32_t)MIN(number, UINT32_MAX) : 0;
}

static void read_rendering(Arena *arena, Str fields, DicomRendering *rendering)
{
    rendering->frame = count_of(fields, WORKER_FRAME);
    rendering->is_png = str_equal(worker_get(fields, WORKER_MEDIA_TYPE), STR("image/png"));
    rendering->rows = count_of(fields, WORKER_ROWS);
    rendering->columns = count_of(fields, WORKER_COLUMNS);
    rendering->may_enlarge = count_of(fields, WORKER_ENLARGE) > 0;
    rendering->quality = count_of(fields, WORKER_QUALITY);
    read_window(arena, fields, rendering);
    read_region(arena, worker_get(fields, WORKER_REGION), rendering);
}

static bool read_wish(int control, Arena *arena, Wish *ret_wish)
{
    _cleanup_(strbuf_done) StrBuf content = {0};
    WorkerMessageKind kind;
    if (worker_hear(control, INT64_MAX, &kind, &content) != 1 ||
        (kind != WORKER_SAYS_TRANSCODE && kind != WORKER_SAYS_RENDER)) {
        return false;
    }
    Str fields = strbuf_str(&content);
    Wish wish = {.kind = kind,
                 .source = transfer_syntax_find(worker_get(fields, WORKER_TRANSFER_SYNTAX)),
                 .target = transfer_syntax_find(worker_get(fields, WORKER_TARGET_SYNTAX)),
                 .frame = count_of(fields, WORKER_FRAME)};
    read_rendering(arena, fields, &wish.rendering);
    bool has_aim = kind == WORKER_SAYS_RENDER || wish.frame > 0 || wish.target;
    if (!wish.source || !has_aim) {
        return say_problem(control, STR("no known transfer syntax"));
    }
    *ret_wish = wish;
    return true;
}

static bool do_job(PixelJob *job)
{
    const TransferSyntax *source = job->wish.source;
    job->scan = dicom_scan_new(job->arena, source);
    job->pixels = dicom_pixels_new(inner_syntax(source), source->may_be_lossy);
    bool is_ready = !source->is_deflated || inflateInit2(&job->zlib, RAW_DEFLATE) == Z_OK;
    bool is_there = is_ready && take_data_set(job);
    if (source->is_deflated) {
        (void)inflateEnd(&job->zlib);
    }
    bool is_done =
        is_there && answer(job) && worker_say(job->control, WORKER_SAYS_STORED, STR_EMPTY);
    dicom_pixels_free(job->pixels);
    dicom_scan_free(job->scan);
    return is_done;
}

void worker_pixels(int control, int peer)
{
    const TransferSyntax *first = NULL;
    bool is_done = true;

    (void)peer;
    while (is_done) {
        PixelJob job = {.control = control, .arena = arena_new()};
        error_list_init(&job.errors, job.arena);
        is_done = read_wish(control, job.arena, &job.wish);
        first = first ? first : job.wish.source;
        if (is_done && job.wish.source != first) { /* as dicom_pixels_new() asks */
            is_done = say_problem(control, STR("another transfer syntax than that before"));
        }
        is_done = is_done && do_job(&job);
        arena_free(job.arena);
    }
}
