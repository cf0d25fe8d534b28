#include "lib/dicom/pixels_job.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/dicom/worker_fields.h"

/** For what 60 s of processor time may take on a machine that does much else. */
#define PATIENCE_NS (INT64_C(180) * 1000000000)
/** Until one of the processes that run has ended. */
#define PLACE_PATIENCE_NS (INT64_C(20) * 1000000000)
/** So much of what is taken off a process is kept in memory, the rest on disk. */
#define AHEAD_BYTES ((size_t)1 << 20)
/** A process that is kept has most of its time and memory left for what comes. */
#define KEPT_MAX_NS (INT64_C(5) * 1000000000)
#define KEPT_MAX_BYTES ((uint64_t)16 << 20)
#define QUALITY 90

/** A process that answers, until its last byte is taken. */
typedef struct PixelsReply {
    WorkerProcess process;
    PixelsLine *line; /* NULL: the process is not kept */
    int64_t started_ns;
    int64_t study;
    const TransferSyntax *syntax;
    uint64_t bytes; /* that went in and came out */
    StrBuf first;   /* what was said before the caller began to read */
    Spill spill;    /* what was said then */
    StrBuf rest;    /* and for what there was no room */
    bool is_whole;
} PixelsReply;

/* ---- a process for one instance after the other ---- */

static bool is_kept(const PixelsReply *reply)
{
    return reply->line && reply->is_whole && reply->bytes <= KEPT_MAX_BYTES &&
           clock_now_ns() - reply->started_ns <= KEPT_MAX_NS;
}

/** The process has no work any more, or none that is wanted. */
static void leave_process(PixelsReply *reply)
{
    if (reply->process.workers && is_kept(reply)) {
        *reply->line = (PixelsLine){.workers = reply->process.workers,
                                    .process = reply->process.id,
                                    .started_ns = reply->started_ns,
                                    .study = reply->study,
                                    .syntax = reply->syntax,
                                    .is_amidst = reply->line->is_amidst};
        dicom_worker_park(&reply->process);
    }
    dicom_worker_end(&reply->process);
}

void pixels_line_done(PixelsLine *line)
{
    WorkerProcess process;
    if (line->process != 0 && dicom_worker_unpark(line->workers, line->process, &process)) {
        dicom_worker_end(&process);
    }
    line->process = 0;
}

/** Whether the process that the line keeps is there, and may have this instance too. */
static bool take_kept(PixelsReply *reply)
{
    PixelsLine *line = reply->line;
    const bool is_next =
        line && line->process != 0 && line->study == reply->study && line->syntax == reply->syntax;
    if (!is_next) {
        return false;
    }
    const bool is_there = dicom_worker_unpark(line->workers, line->process, &reply->process);
    line->process = 0;
    reply->started_ns = line->started_ns;
    struct pollfd control = {.fd = is_there ? reply->process.control : -1, .events = POLLIN};
    if (is_there && poll(&control, 1, 0) > 0) { /* it has ended: there is nothing for it to say */
        dicom_worker_end(&reply->process);
        return false;
    }
    return is_there;
}

static int take_process(DicomWorkers *workers, ErrorList *errors, PixelsReply *reply)
{
    const bool is_amidst = reply->line && reply->line->is_amidst;
    if (take_kept(reply)) {
        return 0;
    }
    if (reply->line) {
        pixels_line_done(reply->line);
    }
    int r = dicom_worker_start(workers, errors, JOB_PIXELS,
                               clock_now_ns() + (is_amidst ? PATIENCE_NS : PLACE_PATIENCE_NS),
                               &reply->process);
    reply->started_ns = clock_now_ns();
    return r;
}

static void reply_free(void *ctx)
{
    PixelsReply *reply = ctx;
    leave_process(reply);
    spill_done(&reply->spill);
    strbuf_done(&reply->first);
    strbuf_done(&reply->rest);
    free(reply);
}

/** Whether samples of so many bits have an encoding in the syntax: JPEG and JPEG-LS have 2 to 16
 * bits, RLE any number of bytes (PS3.5 8.2, Annex G). */
static bool has_encoding(const TransferSyntax *target, int32_t bits_allocated)
{
    const bool is_rle = str_equal(str_from(target->uid), STR(UID_RLE));
    return !target->is_encapsulated || bits_allocated == 8 || bits_allocated == 16 ||
           (bits_allocated == 32 && is_rle);
}

bool pixels_can_transcode(Str from, Str to, int32_t bits_allocated)
{
    const TransferSyntax *source = transfer_syntax_find(from);
    const TransferSyntax *target = transfer_syntax_find(to);
    return source && target && source->can_decode && target->can_encode &&
           has_encoding(target, bits_allocated);
}

/* ---- to the process ---- */

/** @return false: it listens no more, and may have said why */
static bool say_bytes(int control, Str bytes)
{
    bool is_said = true;
    for (size_t at = 0; is_said && at < bytes.len; at += WORKER_BYTES_MAX) {
        is_said = worker_say(control, WORKER_SAYS_DATA_OUT, str_slice(bytes, at, WORKER_BYTES_MAX));
    }
    return is_said;
}

static int feed(PixelsReply *reply, ErrorList *errors, const BodySource *data_set)
{
    _cleanup_(strbuf_done) StrBuf piece = {0};
    const int control = reply->process.control;
    int more = 1;
    while (more == 1) {
        strbuf_clear(&piece);
        more = data_set->next(data_set->ctx, &piece);
        if (more < 0) {
            return error_add(errors, (ErrorCode)-more, NULL, "The stored instance cannot be read");
        }
        reply->bytes += piece.len;
        if (!say_bytes(control, strbuf_str(&piece))) {
            return 0;
        }
    }
    (void)worker_say(control, WORKER_SAYS_SENT, STR_EMPTY);
    return 0;
}

/* ---- from the process ---- */

/** @return 1: data was appended; 0: that was all; negative, and the reason if errors is there */
static int hear(PixelsReply *reply, ErrorList *errors, StrBuf *buf)
{
    _cleanup_(strbuf_done) StrBuf content = {0};
    WorkerMessageKind kind = WORKER_SAYS_COUNT;
    int r = worker_hear(reply->process.control, clock_now_ns() + PATIENCE_NS, &kind, &content);
    if (r == 1 && kind == WORKER_SAYS_DATA) {
        strbuf_append(buf, strbuf_str(&content));
        reply->bytes += content.len;
        return 1;
    }
    if (r == 1 && kind == WORKER_SAYS_STORED) {
        reply->is_whole = true;
        leave_process(reply);
        return 0;
    }
    if (!errors) {
        return -ERR_DICOM_WORKER;
    }
    if (r == 1 && kind == WORKER_SAYS_PROBLEM) {
        Str text = worker_get(strbuf_str(&content), WORKER_TEXT);
        return error_add(errors, ERR_DICOM_PIXELS, NULL, "The instance cannot be converted: %.*s",
                         STR_ARG(text));
    }
    return error_add(errors, ERR_DICOM_WORKER, NULL,
                     "The instance cannot be converted: the process that decodes it ended by a "
                     "crash, or needed more time or memory than it may take");
}

/** What was said before, in its order. @return false: it has been given */
static bool take_said(PixelsReply *reply, StrBuf *buf, int *ret_rc)
{
    StrBuf *kept = reply->first.len > 0 ? &reply->first : &reply->rest;
    *ret_rc = 0;
    if (reply->first.len == 0 && spill_left_bytes(&reply->spill) > 0) {
        *ret_rc = spill_read(&reply->spill, buf);
    } else if (kept->len > 0) {
        strbuf_append(buf, strbuf_str(kept));
        strbuf_done(kept);
    } else {
        return false;
    }
    return true;
}

static int next_piece(void *ctx, StrBuf *buf)
{
    PixelsReply *reply = ctx;
    int r;
    if (take_said(reply, buf, &r)) {
        const bool is_over =
            reply->is_whole && spill_left_bytes(&reply->spill) == 0 && reply->rest.len == 0;
        return r < 0 ? r : !is_over;
    }
    return reply->is_whole ? 0 : hear(reply, NULL, buf);
}

/** The process waits for no slow reader as long as there is room for what it says. */
static int spill_rest(PixelsReply *reply, ErrorList *errors)
{
    int r = 1;
    while (r == 1 && reply->rest.len == 0) {
        r = hear(reply, errors, &reply->rest);
        if (r == 1 && spill_write(&reply->spill, strbuf_str(&reply->rest))) {
            strbuf_clear(&reply->rest);
        }
    }
    return MIN(r, 0);
}

/** Gives a process its job and the data set, and takes the first bytes of the answer. */
static int order(PixelsReply *reply, ErrorList *errors, WorkerMessageKind kind, Str wish,
                 const PixelsSource *source)
{
    int r = 0;
    if (worker_say(reply->process.control, kind, wish)) {
        r = feed(reply, errors, source->data_set);
    }
    if (r == 0) {
        do {
            r = hear(reply, errors, &reply->first);
        } while (r == 1 && reply->first.len < AHEAD_BYTES);
    }
    return r == 1 && kind != WORKER_SAYS_RENDER ? spill_rest(reply, errors) : MIN(r, 0);
}

/**
 * Starts a process, or takes the one of the line, and has it begin.
 * @param wish  fields of kind
 * @param file  to begin with, or NULL
 */
static int begin(DicomWorkers *workers, ErrorList *errors, WorkerMessageKind kind, Str wish,
                 const PixelsSource *source, const FileMeta *file, BodySource *ret_source)
{
    PixelsReply *reply = HEAP_NEW(PixelsReply);
    reply->spill.room = dicom_workers_room(workers);
    reply->line = source->line;
    reply->study = source->study;
    reply->syntax = transfer_syntax_find(source->transfer_syntax);
    if (file) {
        part10_write(file, &reply->first);
    }
    int r = take_process(workers, errors, reply);
    r = r < 0 ? r : order(reply, errors, kind, wish, source);
    if (r < 0) {
        reply_free(reply);
        return r;
    }
    *ret_source = (BodySource){.ctx = reply, .next = next_piece, .done = reply_free};
    return 0;
}

/* ---- jobs ---- */

/** The syntax is one whose pixels can be decoded. */
static int check_source(ErrorList *errors, const PixelsSource *source)
{
    const TransferSyntax *syntax = transfer_syntax_find(source->transfer_syntax);
    if (syntax && syntax->can_decode) {
        return 0;
    }
    return error_add(
        errors, ERR_DICOM_PIXELS, NULL,
        "The instance is stored in transfer syntax %.*s (%s), which this server cannot "
        "decode; ask for it in that syntax",
        STR_ARG(source->transfer_syntax), syntax ? syntax->name : "unknown");
}

static void put_source(StrBuf *wish, const PixelsSource *source)
{
    worker_put(wish, WORKER_TRANSFER_SYNTAX, source->transfer_syntax);
}

int pixels_transcode(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                     Str target, const FileMeta *file, BodySource *ret_source)
{
    _cleanup_(strbuf_done) StrBuf wish = {0};
    const TransferSyntax *syntax = transfer_syntax_find(target);
    int r = check_source(errors, source);
    if (r < 0) {
        return r;
    }
    if (!syntax || !syntax->can_encode) {
        return error_add(errors, ERR_DICOM_PIXELS, NULL,
                         "This server cannot write transfer syntax %.*s (%s) without loss",
                         STR_ARG(target), syntax ? syntax->name : "unknown");
    }
    put_source(&wish, source);
    worker_put(&wish, WORKER_TARGET_SYNTAX, target);
    return begin(workers, errors, WORKER_SAYS_TRANSCODE, strbuf_str(&wish), source, file,
                 ret_source);
}

int pixels_frame(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                 uint32_t frame, BodySource *ret_source)
{
    _cleanup_(strbuf_done) StrBuf wish = {0};
    int r = check_source(errors, source);
    if (r < 0) {
        return r;
    }
    if (frame == 0) {
        return error_add(errors, ERR_DICOM_PIXELS, NULL, "Frames are counted from 1");
    }
    put_source(&wish, source);
    worker_put_number(&wish, WORKER_FRAME, frame);
    return begin(workers, errors, WORKER_SAYS_TRANSCODE, strbuf_str(&wish), source, NULL,
                 ret_source);
}

DicomRendering pixels_rendering(void)
{
    return (DicomRendering){.frame = 1, .quality = QUALITY, .width = 1, .height = 1};
}

static bool is_fraction(double number)
{
    return number >= 0 && number <= 1; /* no NaN */
}

static int check_rendering(ErrorList *errors, const DicomRendering *rendering)
{
    bool is_region = is_fraction(rendering->left) && is_fraction(rendering->top) &&
                     is_fraction(rendering->width) && is_fraction(rendering->height);
    bool is_window = !rendering->has_window ||
                     (isfinite(rendering->window_center) && isfinite(rendering->window_width) &&
                      rendering->window_width > 0);
    if (rendering->frame == 0 || rendering->quality < 1 || rendering->quality > 100 || !is_region ||
        !is_window) {
        return error_add(errors, ERR_DICOM_PIXELS, NULL,
                         "No image can be made like this: frames are counted from 1, quality is 1 "
                         "to 100, the width of a window is above 0, and the region lies within the "
                         "image");
    }
    return 0;
}

static void put_real(StrBuf *wish, WorkerField field, double number)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    strbuf_printf(&text, "%.17g", number);
    worker_put(wish, field, strbuf_str(&text));
}

static void put_rendering(StrBuf *wish, const DicomRendering *rendering)
{
    static const char *const functions[] = {"LINEAR", "LINEAR_EXACT", "SIGMOID"};
    _cleanup_(strbuf_done) StrBuf region = {0};
    strbuf_printf(&region, "%.17g,%.17g,%.17g,%.17g", rendering->left, rendering->top,
                  rendering->width, rendering->height);
    worker_put(wish, WORKER_MEDIA_TYPE, rendering->is_png ? STR("image/png") : STR("image/jpeg"));
    worker_put_number(wish, WORKER_FRAME, rendering->frame);
    worker_put_number(wish, WORKER_QUALITY, rendering->quality);
    worker_put_number(wish, WORKER_ROWS, rendering->rows);
    worker_put_number(wish, WORKER_COLUMNS, rendering->columns);
    worker_put_number(wish, WORKER_ENLARGE, rendering->may_enlarge);
    worker_put(wish, WORKER_REGION, strbuf_str(&region));
    if (rendering->has_window) {
        put_real(wish, WORKER_WINDOW_CENTER, rendering->window_center);
        put_real(wish, WORKER_WINDOW_WIDTH, rendering->window_width);
        worker_put(wish, WORKER_WINDOW_FUNCTION, str_from(functions[rendering->function]));
    }
}

int pixels_render(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                  const DicomRendering *rendering, StrBuf *ret_image)
{
    _cleanup_(strbuf_done) StrBuf wish = {0};
    BodySource image;
    int r = check_source(errors, source);
    if (r == 0) {
        r = check_rendering(errors, rendering);
    }
    if (r < 0) {
        return r;
    }
    put_source(&wish, source);
    put_rendering(&wish, rendering);
    r = begin(workers, errors, WORKER_SAYS_RENDER, strbuf_str(&wish), source, NULL, &image);
    if (r < 0) {
        return r;
    }
    size_t start = ret_image->len;
    while ((r = image.next(image.ctx, ret_image)) == 1) {
    }
    image.done(image.ctx);
    if (r < 0) {
        strbuf_truncate(ret_image, start);
        return error_add(errors, ERR_DICOM_WORKER, NULL, "The process that renders has ended");
    }
    return 0;
}
