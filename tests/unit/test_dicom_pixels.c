#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/base/clock.h"
#include "lib/base/file_io.h"
#include "lib/dicom/pixels_job.h"

#include "tests/unit/child_process.h"
#include "tests/unit/dicom_fixture.h"

/* Real processes: images that are made here go through JOB_PIXELS, and what comes back is looked
 * at.
 */

#define SKIPPED 77 /* for meson: under valgrind, workers have no room */
#define ROWS 24
#define COLUMNS 40
#define TAG_PIXEL_DATA DICOM_TAG(0x7FE0, 0x0010)
#define TAG_PHOTOMETRIC DICOM_TAG(0x0028, 0x0004)
#define DEFLATED "1.2.840.10008.1.2.1.99"
#define JPEG_EXTENDED "1.2.840.10008.1.2.4.51"
#define JPEG_LOSSLESS "1.2.840.10008.1.2.4.57"
#define JPEG_LOSSLESS_SV1 "1.2.840.10008.1.2.4.70"
#define JPEG_LS "1.2.840.10008.1.2.4.80"
#define JPEG_2000 "1.2.840.10008.1.2.4.90"
#define RLE "1.2.840.10008.1.2.5"
#define CT "1.2.840.10008.5.1.4.1.1.2"
#define INSTANCE "1.2.392.200036.1"

static DicomWorkers *workers;
static Arena *arena;
static ErrorList errors;

/* ---- images ---- */

typedef struct Image {
    const char *photometric;
    uint16_t samples;
    uint16_t bits_allocated;
    uint16_t bits_stored;
    bool is_signed;
    bool is_planar;
    const char *frames; /* NULL: no Number of Frames */
    bool only_native;   /* encapsulated syntaxes have no such depth */
} Image;

static const Image images[] = {
    {.photometric = "MONOCHROME2", .samples = 1, .bits_allocated = 8, .bits_stored = 8},
    {.photometric = "MONOCHROME1", .samples = 1, .bits_allocated = 8, .bits_stored = 8},
    {.photometric = "MONOCHROME2", .samples = 1, .bits_allocated = 16, .bits_stored = 12},
    {.photometric = "MONOCHROME1", .samples = 1, .bits_allocated = 16, .bits_stored = 16},
    {.photometric = "MONOCHROME2",
     .samples = 1,
     .bits_allocated = 16,
     .bits_stored = 12,
     .is_signed = true},
    {.photometric = "MONOCHROME2",
     .samples = 1,
     .bits_allocated = 16,
     .bits_stored = 16,
     .is_signed = true,
     .frames = "3"},
    {.photometric = "RGB", .samples = 3, .bits_allocated = 8, .bits_stored = 8},
    {.photometric = "RGB", .samples = 3, .bits_allocated = 8, .bits_stored = 8, .frames = "2"},
    {.photometric = "RGB", .samples = 3, .bits_allocated = 8, .bits_stored = 8, .is_planar = true},
    {.photometric = "YBR_FULL", .samples = 3, .bits_allocated = 8, .bits_stored = 8},
    {.photometric = "PALETTE COLOR", .samples = 1, .bits_allocated = 8, .bits_stored = 8},
    {.photometric = "MONOCHROME2",
     .samples = 1,
     .bits_allocated = 1,
     .bits_stored = 1,
     .frames = "2",
     .only_native = true},
};

/** With (0028,0008) as it will be counted. */
static size_t frames_of(const Image *image)
{
    return image->frames ? (size_t)(image->frames[0] - '0') : 1;
}

static size_t frame_bytes(const Image *image)
{
    return (size_t)ROWS * COLUMNS * image->samples * image->bits_allocated / 8;
}

static void put_text(DicomDataset *dataset, uint32_t tag, DicomVr vr, const char *value)
{
    dicom_put(arena, dataset, tag, vr, str_from(value));
}

/** A slope with some noise, the highest and the lowest value among them. */
static uint32_t sample_at(const Image *image, size_t index)
{
    uint32_t mask = image->bits_stored == 16 ? 0xFFFF : (1U << image->bits_stored) - 1;
    uint32_t noise = (uint32_t)(index * 2654435761U) >> 29;
    uint32_t value = (uint32_t)(index * (mask + 1U) / ((size_t)ROWS * COLUMNS)) + noise;
    value = index == 0 ? 0 : index == 1 ? mask : value & mask;
    bool is_negative = image->is_signed && (value >> (image->bits_stored - 1)) != 0;
    return is_negative ? value | ~mask : value; /* the sign goes on to the highest bit */
}

static Str samples_of(const Image *image)
{
    StrBuf bytes = {0};
    size_t len = frame_bytes(image) * frames_of(image);
    for (size_t at = 0; bytes.len < len; at++) {
        uint32_t sample = sample_at(image, at);
        strbuf_append_char(&bytes, (char)(uint8_t)sample);
        if (image->bits_allocated == 16) {
            strbuf_append_char(&bytes, (char)(uint8_t)(sample >> 8));
        }
    }
    Str copy = str_dup(arena, strbuf_str(&bytes));
    strbuf_done(&bytes);
    return copy;
}

static void put_palette(DicomDataset *dataset)
{
    static char table[3][256];
    for (size_t i = 0; i < sizeof(table[0]); i++) {
        table[0][i] = (char)(uint8_t)i;
        table[1][i] = (char)(uint8_t)(255 - i);
        table[2][i] = (char)(uint8_t)(i / 2);
    }
    for (uint32_t i = 0; i < 3; i++) {
        dicom_put(arena, dataset, DICOM_TAG(0x0028, 0x1101 + i), DICOM_VR_US,
                  (Str){"\0\1\0\0\x08\0", 6});
        dicom_put(arena, dataset, DICOM_TAG(0x0028, 0x1201 + i), DICOM_VR_OW,
                  (Str){table[i], sizeof(table[i])});
    }
}

static DicomDataset *dataset_of(const Image *image)
{
    DicomDataset *dataset = dicom_dataset_new(arena);
    put_text(dataset, DICOM_TAG(0x0008, 0x0016), DICOM_VR_UI, CT);
    put_text(dataset, DICOM_TAG(0x0008, 0x0018), DICOM_VR_UI, INSTANCE);
    put_text(dataset, DICOM_TAG(0x0010, 0x0010), DICOM_VR_PN, "Yamada^Tarou");
    put_text(dataset, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, "1.2.392.1");
    put_text(dataset, DICOM_TAG(0x0020, 0x000E), DICOM_VR_UI, "1.2.392.2");
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0002), image->samples);
    put_text(dataset, TAG_PHOTOMETRIC, DICOM_VR_CS, image->photometric);
    if (image->samples > 1) {
        dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0006), image->is_planar);
    }
    if (image->frames) {
        put_text(dataset, DICOM_TAG(0x0028, 0x0008), DICOM_VR_IS, image->frames);
    }
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0010), ROWS);
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0011), COLUMNS);
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0100), image->bits_allocated);
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0101), image->bits_stored);
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0102), (uint16_t)(image->bits_stored - 1));
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0103), image->is_signed);
    if (strcmp(image->photometric, "PALETTE COLOR") == 0) {
        put_palette(dataset);
    }
    dicom_put(arena, dataset, TAG_PIXEL_DATA, DICOM_VR_OW, samples_of(image));
    return dataset;
}

static Str written(const DicomDataset *dataset)
{
    StrBuf buf = {0};
    dicom_write(dataset, transfer_syntax_find(STR(EXPLICIT)), &buf);
    Str copy = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return copy;
}

/* ---- jobs ---- */

/** A data set in memory, as blocks. */
typedef struct Blocks {
    Str rest;
    int fails_with; /* after the first block; 0: not at all */
    bool kills;     /* the process that is fed */
} Blocks;

/** Our one worker: the nursery's child. Waits until both have been made. */
static void crash_worker(void)
{
    pid_t worker = 0;
    for (int tries = 0; worker == 0 && tries < 1000; tries++) {
        pid_t nursery = child_of(child_of(getpid()));
        worker = nursery > 0 ? child_of(nursery) : 0;
        (void)usleep(1000);
    }
    assert_true(worker > 0);
    assert_int_equal(kill(worker, SIGSEGV), 0);
}

static int next_block(void *ctx, StrBuf *buf)
{
    Blocks *blocks = ctx;
    strbuf_append(buf, str_slice(blocks->rest, 0, 1000));
    blocks->rest = str_from_offset(blocks->rest, 1000);
    if (blocks->kills && blocks->rest.len == 0) {
        crash_worker();
    }
    if (blocks->fails_with) {
        return blocks->fails_with;
    }
    return blocks->rest.len > 0;
}

static int read_all(BodySource *source, Str *ret_bytes)
{
    StrBuf bytes = {0};
    int r = 1;
    while (r == 1) {
        r = source->next(source->ctx, &bytes);
    }
    source->done(source->ctx);
    *ret_bytes = str_dup(arena, strbuf_str(&bytes));
    strbuf_done(&bytes);
    return r;
}

static int transcode(const char *from, const char *to, const FileMeta *file, Str bytes, Str *ret)
{
    Blocks blocks = {.rest = bytes};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = str_from(from), .data_set = &data_set};
    BodySource made;
    error_list_init(&errors, arena);
    int r = pixels_transcode(workers, &errors, &source, str_from(to), file, &made);
    return r < 0 ? r : read_all(&made, ret);
}

static Str transcoded(const char *from, const char *to, Str bytes)
{
    Str made = STR_EMPTY;
    int r = transcode(from, to, NULL, bytes, &made);
    if (r < 0) {
        fail_msg("%s to %s: %.*s", from, to,
                 STR_ARG(errors.first ? errors.first->context : STR("ended")));
    }
    return made;
}

static int render(const char *from, Str bytes, const DicomRendering *rendering, StrBuf *ret_image)
{
    Blocks blocks = {.rest = bytes};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = str_from(from), .data_set = &data_set};
    error_list_init(&errors, arena);
    return pixels_render(workers, &errors, &source, rendering, ret_image);
}

static Str pixel_data(Str bytes, const DicomDataset **ret_dataset)
{
    DicomScanned scanned = fixture_good(arena, EXPLICIT, bytes);
    const DicomElement *element = dicom_find(scanned.dataset, TAG_PIXEL_DATA);
    assert_non_null(element);
    *ret_dataset = scanned.dataset;
    return str_slice(bytes, element->offset, element->length);
}

static void assert_fault(int r, ErrorCode code, const char *words)
{
    assert_int_equal(r, -(int)code);
    assert_non_null(errors.first);
    if (!str_contains(errors.first->context, str_from(words))) {
        fail_msg("\"%s\" is not in \"%.*s\"", words, STR_ARG(errors.first->context));
    }
}

/* ---- transcoding ---- */

static const char *const writable[] = {
    IMPLICIT,      EXPLICIT,          DEFLATED, BIG_ENDIAN_EXPLICIT,
    JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS,  RLE};

static bool has_syntax(const Image *image, const char *syntax)
{
    return !image->only_native || !transfer_syntax_find(str_from(syntax))->is_encapsulated;
}

static bool is_by_plane(const DicomDataset *dataset)
{
    int64_t number = 0;
    return dicom_number(dataset, DICOM_TAG(0x0028, 0x0006), &number) && number == 1;
}

/** Three planes of one frame, as pixels. */
static Str by_pixel(Str planes)
{
    char *pixels = arena_alloc(arena, planes.len);
    size_t plane = planes.len / 3;
    for (size_t i = 0; i < planes.len; i++) {
        pixels[i % plane * 3 + i / plane] = planes.data[i];
    }
    return (Str){pixels, planes.len};
}

/** PS3.5 8.2, A.4: lossless means that no sample changes. Colour by plane may become colour by
 * pixel. */
static void check_same(const Image *image, const char *way, Str original, Str made)
{
    const DicomDataset *before;
    const DicomDataset *after;
    Str expected = pixel_data(original, &before);
    Str found = pixel_data(made, &after);
    assert_int_equal(expected.len, found.len);
    if (is_by_plane(before) && !is_by_plane(after)) {
        expected = by_pixel(expected);
    }
    if (!str_equal(expected, found)) {
        fail_msg("%s %u bits %s: other samples", image->photometric, image->bits_stored, way);
    }
    static const uint32_t kept[] = {DICOM_TAG(0x0008, 0x0018), DICOM_TAG(0x0010, 0x0010),
                                    TAG_PHOTOMETRIC, DICOM_TAG(0x0028, 0x0101),
                                    DICOM_TAG(0x0028, 0x0103)};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const DicomElement *a = dicom_find(before, kept[i]);
        const DicomElement *b = dicom_find(after, kept[i]);
        if (!b || !str_equal(a->value, b->value)) {
            fail_msg("%s %s: other %08x", image->photometric, way, kept[i]);
        }
    }
    assert_null(dicom_find(after, DICOM_TAG(0x0028, 0x2110)));
}

static void test_every_syntax_into_every_other_and_back_keeps_each_sample(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(images); i++) {
        Str original = written(dataset_of(&images[i]));
        for (size_t a = 0; a < ARRAY_LEN(writable); a++) {
            if (!has_syntax(&images[i], writable[a])) {
                continue;
            }
            Str first = transcoded(EXPLICIT, writable[a], original);
            (void)fixture_good(arena, writable[a], first);
            for (size_t b = 0; b < ARRAY_LEN(writable); b++) {
                if (has_syntax(&images[i], writable[b])) {
                    Str second = transcoded(writable[a], writable[b], first);
                    Str way = str_printf(arena, "by %s and %s", writable[a], writable[b]);
                    check_same(&images[i], way.data, original,
                               transcoded(writable[b], EXPLICIT, second));
                }
            }
        }
    }
}

/* ---- rendering ---- */

/** A PNG of 8 bits per sample without interlacing (ISO/IEC 15948). */
typedef struct Picture {
    uint32_t width;
    uint32_t height;
    size_t channels; /* 1 or 3 */
    uint8_t *samples;
} Picture;

static uint32_t be32(const char *at)
{
    const uint8_t *bytes = (const uint8_t *)at;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint8_t paeth(int a, int b, int c)
{
    int p = a + b - c;
    int pa = abs(p - a);
    int pb = abs(p - b);
    int pc = abs(p - c);
    return (uint8_t)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

static void unfilter(const Picture *picture, const uint8_t *raw)
{
    size_t line = picture->width * picture->channels;
    for (size_t y = 0; y < picture->height; y++) {
        uint8_t filter = raw[y * (line + 1)];
        for (size_t x = 0; x < line; x++) {
            uint8_t *at = &picture->samples[y * line + x];
            uint8_t a = x >= picture->channels ? *(at - picture->channels) : 0;
            uint8_t b = y > 0 ? *(at - line) : 0;
            uint8_t c = x >= picture->channels && y > 0 ? *(at - line - picture->channels) : 0;
            const uint8_t predicted[] = {0, a, b, (uint8_t)((a + b) / 2), paeth(a, b, c)};
            assert_true(filter < ARRAY_LEN(predicted));
            *at = (uint8_t)(raw[y * (line + 1) + 1 + x] + predicted[filter]);
        }
    }
}

static Picture read_png(Str file)
{
    StrBuf data = {0};
    assert_true(str_starts_with(file, STR("\x89PNG\r\n\x1a\n")));
    Picture picture = {be32(file.data + 16), be32(file.data + 20), file.data[25] == 2 ? 3 : 1,
                       NULL};
    assert_int_equal(file.data[24], 8);
    assert_int_equal(file.data[28], 0);
    for (size_t at = 8; at + 12 <= file.len; at += be32(file.data + at) + 12) {
        if (memcmp(file.data + at + 4, "IDAT", 4) == 0) {
            strbuf_append_bytes(&data, file.data + at + 8, be32(file.data + at));
        }
    }
    uLongf len = picture.height * (picture.width * picture.channels + 1);
    uint8_t *raw = arena_alloc(arena, len);
    assert_int_equal(uncompress(raw, &len, (const uint8_t *)data.data, data.len), Z_OK);
    picture.samples = arena_alloc(arena, len);
    unfilter(&picture, raw);
    strbuf_done(&data);
    return picture;
}

static Picture rendered(const Image *image, const DicomRendering *rendering)
{
    StrBuf file = {0};
    if (render(EXPLICIT, written(dataset_of(image)), rendering, &file) < 0) {
        fail_msg("%s: %.*s", image->photometric, STR_ARG(errors.first->context));
    }
    Picture picture = read_png(strbuf_str(&file));
    strbuf_done(&file);
    return picture;
}

static DicomRendering png(void)
{
    DicomRendering rendering = pixels_rendering();
    rendering.is_png = true;
    return rendering;
}

static void assert_near(const char *what, size_t index, double expected, uint8_t found)
{
    if (fabs(expected - found) > 1) {
        fail_msg("%s, sample %zu: expected %g, found %u", what, index, expected, found);
    }
}

/** Without a window (PS3.3 C.11.2.1.2): from the least to the greatest sample. */
static void test_a_picture_shows_each_sample_where_it_is(void **state)
{
    (void)state;
    const DicomRendering rendering = png();
    for (size_t i = 0; i < ARRAY_LEN(images); i++) {
        const Image *image = &images[i];
        if (image->samples > 1 || image->bits_stored == 1 || image->photometric[0] == 'P') {
            continue;
        }
        Picture picture = rendered(image, &rendering);
        assert_int_equal(picture.width, COLUMNS);
        assert_int_equal(picture.height, ROWS);
        double all = (double)((1U << image->bits_stored) - 1);
        for (size_t at = 0; at < (size_t)ROWS * COLUMNS; at++) {
            uint32_t sample = sample_at(image, at) & ((1U << image->bits_stored) - 1);
            sample ^= image->is_signed ? 1U << (image->bits_stored - 1) : 0;
            double grey = 255 * sample / all;
            bool is_inverse = strcmp(image->photometric, "MONOCHROME1") == 0;
            bool has_extremes = !image->is_signed; /* 0 and mask are in the middle of signed ones */
            if (has_extremes) {
                assert_near(image->photometric, at, is_inverse ? 255 - grey : grey,
                            picture.samples[at]);
            }
        }
    }
}

static void test_colours_are_those_of_the_data_set(void **state)
{
    (void)state;
    static const Image rgb = {
        .photometric = "RGB", .samples = 3, .bits_allocated = 8, .bits_stored = 8};
    static const Image palette = {
        .photometric = "PALETTE COLOR", .samples = 1, .bits_allocated = 8, .bits_stored = 8};
    const DicomRendering rendering = png();
    Picture picture = rendered(&rgb, &rendering);
    assert_int_equal(picture.channels, 3);
    for (size_t at = 0; at < (size_t)ROWS * COLUMNS * 3; at++) {
        assert_int_equal(picture.samples[at], sample_at(&rgb, at));
    }
    picture = rendered(&palette, &rendering);
    assert_int_equal(picture.channels, 3);
    for (size_t at = 0; at < (size_t)ROWS * COLUMNS; at++) {
        uint32_t index = sample_at(&palette, at);
        assert_int_equal(picture.samples[3 * at], index);
        assert_int_equal(picture.samples[3 * at + 1], 255 - index);
        assert_int_equal(picture.samples[3 * at + 2], index / 2);
    }
}

/** PS3.3 C.11.2.1.2.1, C.11.2.1.3. */
static double windowed(DicomWindowFunction function, double x, double center, double width)
{
    double y = function == DICOM_WINDOW_SIGMOID        ? 1 / (1 + exp(-4 * (x - center) / width))
               : function == DICOM_WINDOW_LINEAR_EXACT ? (x - center) / width + 0.5
                                                       : (x - (center - 0.5)) / (width - 1) + 0.5;
    return 255 * fmin(1, fmax(0, y));
}

static void test_windows_are_applied_as_they_are_defined(void **state)
{
    (void)state;
    static const struct {
        DicomWindowFunction function;
        double center, width;
    } windows[] = {{DICOM_WINDOW_LINEAR, 2048, 4096},       {DICOM_WINDOW_LINEAR, 1000, 100},
                   {DICOM_WINDOW_LINEAR, 1000, 1.5},        {DICOM_WINDOW_LINEAR_EXACT, 2048, 20},
                   {DICOM_WINDOW_LINEAR_EXACT, 3000, 2000}, {DICOM_WINDOW_SIGMOID, 2000, 1000}};
    static const Image image = {
        .photometric = "MONOCHROME2", .samples = 1, .bits_allocated = 16, .bits_stored = 12};
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        DicomRendering rendering = png();
        rendering.has_window = true;
        rendering.function = windows[i].function;
        rendering.window_center = windows[i].center;
        rendering.window_width = windows[i].width;
        Picture picture = rendered(&image, &rendering);
        for (size_t at = 0; at < (size_t)ROWS * COLUMNS; at++) {
            assert_near("window", i,
                        windowed(windows[i].function, sample_at(&image, at), windows[i].center,
                                 windows[i].width),
                        picture.samples[at]);
        }
    }
}

static void test_the_window_of_the_data_set_is_used_and_that_of_a_frame(void **state)
{
    (void)state;
    static const Image image = {.photometric = "MONOCHROME2",
                                .samples = 1,
                                .bits_allocated = 16,
                                .bits_stored = 12,
                                .frames = "2"};
    for (uint32_t frame = 0; frame <= 2; frame++) { /* 0: no functional groups */
        DicomDataset *dataset = dataset_of(&image);
        double center = 1000 * (frame + 1.0);
        for (uint32_t i = 1; i <= frame; i++) {
            DicomDataset *groups =
                dicom_add_item(arena, dataset, DICOM_TAG(0x5200, 0x9230)); /* per frame */
            DicomDataset *voi = dicom_add_item(arena, groups, DICOM_TAG(0x0028, 0x9132));
            put_text(voi, DICOM_TAG(0x0028, 0x1050), DICOM_VR_DS, i == 1 ? "2000" : "3000");
            put_text(voi, DICOM_TAG(0x0028, 0x1051), DICOM_VR_DS, "500");
        }
        if (frame == 0) {
            put_text(dataset, DICOM_TAG(0x0028, 0x1050), DICOM_VR_DS, "1000");
            put_text(dataset, DICOM_TAG(0x0028, 0x1051), DICOM_VR_DS, "500");
        }
        DicomRendering rendering = png();
        rendering.frame = MAX(frame, 1);
        StrBuf file = {0};
        assert_int_equal(render(EXPLICIT, written(dataset), &rendering, &file), 0);
        Picture picture = read_png(strbuf_str(&file));
        size_t first = (rendering.frame - 1) * ROWS * COLUMNS;
        for (size_t at = 0; at < (size_t)ROWS * COLUMNS; at++) {
            double x = sample_at(&image, first + at);
            assert_near("frame", frame, windowed(DICOM_WINDOW_LINEAR, x, center, 500),
                        picture.samples[at]);
        }
        strbuf_done(&file);
    }
}

/** PS3.18 8.3.5.1.3: the aspect ratio stays. */
static void test_pictures_have_the_size_and_the_region_that_were_asked_for(void **state)
{
    (void)state;
    static const struct {
        uint32_t rows, columns;
        bool may_enlarge;
        double left, top, width, height;
        uint32_t expected_height, expected_width;
    } cases[] = {
        {0, 0, false, 0, 0, 1, 1, ROWS, COLUMNS},     {12, 0, false, 0, 0, 1, 1, 12, 20},
        {0, 20, false, 0, 0, 1, 1, 12, 20},           {12, 10, false, 0, 0, 1, 1, 6, 10},
        {100, 100, false, 0, 0, 1, 1, ROWS, COLUMNS}, {100, 80, true, 0, 0, 1, 1, 48, 80},
        {0, 0, false, 0.5, 0.5, 0.5, 0.5, 12, 20},    {0, 0, false, 0.25, 0, 0.5, 1, ROWS, 20},
        {6, 0, false, 0.5, 0.5, 0.5, 0.5, 6, 10},     {1, 1, false, 0, 0, 1, 1, 1, 1},
        {0, 0, false, 0, 0, 0.001, 0.001, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        DicomRendering rendering = png();
        rendering.rows = cases[i].rows;
        rendering.columns = cases[i].columns;
        rendering.may_enlarge = cases[i].may_enlarge;
        rendering.left = cases[i].left;
        rendering.top = cases[i].top;
        rendering.width = cases[i].width;
        rendering.height = cases[i].height;
        Picture picture = rendered(&images[0], &rendering);
        if (picture.width != cases[i].expected_width ||
            picture.height != cases[i].expected_height) {
            fail_msg("case %zu: %u x %u", i, picture.height, picture.width);
        }
        if (rendering.rows == 0 && rendering.columns == 0) {
            size_t first =
                (size_t)(cases[i].top * ROWS) * COLUMNS + (size_t)(cases[i].left * COLUMNS);
            assert_near("region", i, sample_at(&images[0], first), picture.samples[0]);
        }
    }
}

static void test_pixels_that_are_no_squares_become_some(void **state)
{
    (void)state;
    DicomDataset *dataset = dataset_of(&images[0]);
    DicomRendering rendering = png();
    StrBuf file = {0};
    put_text(dataset, DICOM_TAG(0x0028, 0x0034), DICOM_VR_IS, "2\\1"); /* twice as high as wide */
    assert_int_equal(render(EXPLICIT, written(dataset), &rendering, &file), 0);
    Picture picture = read_png(strbuf_str(&file));
    assert_int_equal(picture.width, COLUMNS);
    assert_int_equal(picture.height, 2 * ROWS);
    strbuf_done(&file);
}

static void test_jpeg_has_the_quality_that_was_asked_for(void **state)
{
    (void)state;
    DicomRendering rendering = pixels_rendering();
    StrBuf good = {0};
    StrBuf poor = {0};
    Str bytes = written(dataset_of(&images[6]));
    assert_int_equal(render(EXPLICIT, bytes, &rendering, &good), 0);
    rendering.quality = 10;
    assert_int_equal(render(EXPLICIT, bytes, &rendering, &poor), 0);
    assert_true(poor.len < good.len);
    Str frame = str_from_offset(strbuf_str(&good), str_find(strbuf_str(&good), STR("\xff\xc0")));
    assert_true(str_starts_with(strbuf_str(&good), STR("\xff\xd8\xff")));
    assert_int_equal(frame.data[6], ROWS);
    assert_int_equal(frame.data[8], COLUMNS);
    strbuf_done(&good);
    strbuf_done(&poor);
}

/* ---- what cannot be done ---- */

static void test_what_cannot_be_done_is_said(void **state)
{
    (void)state;
    static const char nothing[] = "";
    Str made;
    Str image = written(dataset_of(&images[0]));
    Str bits = written(dataset_of(&images[ARRAY_LEN(images) - 1]));
    DicomDataset *report = dicom_dataset_new(arena);
    StrBuf picture = {0};
    DicomRendering rendering = png();

    put_text(report, DICOM_TAG(0x0008, 0x0018), DICOM_VR_UI, INSTANCE);
    assert_fault(transcode(JPEG_2000, EXPLICIT, NULL, image, &made), ERR_DICOM_PIXELS,
                 "JPEG 2000 (Lossless Only)), which this server cannot decode");
    assert_fault(transcode(EXPLICIT, JPEG_EXTENDED, NULL, image, &made), ERR_DICOM_PIXELS,
                 "without loss");
    assert_fault(transcode(EXPLICIT, "1.2.3", NULL, image, &made), ERR_DICOM_PIXELS, "unknown");
    assert_fault(transcode(EXPLICIT, RLE, NULL, written(report), &made), ERR_DICOM_PIXELS,
                 "is for images");
    assert_fault(transcode(EXPLICIT, RLE, NULL, bits, &made), ERR_DICOM_PIXELS,
                 "an image of 1 bits per sample");
    assert_fault(transcode(EXPLICIT, RLE, NULL, (Str){image.data, image.len - 1}, &made),
                 ERR_DICOM_PIXELS, "1 bytes of the value are missing");
    assert_fault(transcode(DEFLATED, EXPLICIT, NULL, image, &made), ERR_DICOM_PIXELS, "deflate");
    assert_fault(transcode(EXPLICIT, RLE, NULL, (Str){nothing, 0}, &made), ERR_DICOM_PIXELS,
                 "is for images");
    assert_fault(render(EXPLICIT, written(report), &rendering, &picture), ERR_DICOM_PIXELS,
                 "no pixel data");
    rendering.frame = 2;
    assert_fault(render(EXPLICIT, image, &rendering, &picture), ERR_DICOM_PIXELS,
                 "there is no frame 2; the image has 1");
    rendering = png();
    rendering.left = 1;
    assert_fault(render(EXPLICIT, image, &rendering, &picture), ERR_DICOM_PIXELS, "region");
    rendering.left = NAN;
    assert_fault(render(EXPLICIT, image, &rendering, &picture), ERR_DICOM_PIXELS, "region");
    assert_int_equal(picture.len, 0);
    strbuf_done(&picture);
}

/* ---- parts, files, ends ---- */

static int read_frame(const char *from, Str bytes, uint32_t frame, Str *ret_frame)
{
    Blocks blocks = {.rest = bytes};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = str_from(from), .data_set = &data_set};
    BodySource made;
    error_list_init(&errors, arena);
    int r = pixels_frame(workers, &errors, &source, frame, &made);
    return r < 0 ? r : read_all(&made, ret_frame);
}

static void test_a_frame_is_had_alone(void **state)
{
    (void)state;
    static const size_t with_frames[] = {5, 7};
    for (size_t i = 0; i < ARRAY_LEN(with_frames); i++) {
        const Image *image = &images[with_frames[i]];
        Str original = written(dataset_of(image));
        Str samples = samples_of(image);
        for (size_t a = 0; a < ARRAY_LEN(writable); a++) {
            Str bytes = transcoded(EXPLICIT, writable[a], original);
            for (size_t frame = frames_of(image); frame > 0; frame--) {
                Str found = STR_EMPTY;
                assert_int_equal(read_frame(writable[a], bytes, (uint32_t)frame, &found), 0);
                size_t start = (frame - 1) * frame_bytes(image);
                if (!str_equal(found, str_slice(samples, start, frame_bytes(image)))) {
                    fail_msg("%s %s: other samples in frame %zu", image->photometric, writable[a],
                             frame);
                }
            }
            Str found;
            assert_fault(read_frame(writable[a], bytes, 4, &found), ERR_DICOM_PIXELS,
                         "there is no frame 4");
        }
    }
}

static void test_a_file_begins_with_its_meta_information(void **state)
{
    (void)state;
    const FileMeta file = {.sop_class = STR(CT),
                           .sop_instance = STR(INSTANCE),
                           .transfer_syntax = STR(RLE),
                           .source_ae_title = STR("GATEWAY")};
    FileMeta found;
    size_t offset = 0;
    Str made = STR_EMPTY;
    assert_int_equal(transcode(EXPLICIT, RLE, &file, written(dataset_of(&images[0])), &made), 0);
    assert_int_equal(part10_read(arena, &errors, made, &found, &offset), 1);
    assert_true(str_equal(found.transfer_syntax, STR(RLE)));
    assert_true(str_equal(found.sop_instance, STR(INSTANCE)));
    (void)fixture_good(arena, RLE, str_from_offset(made, offset));
}

/** PS3.3 C.7.6.1.1.5: what has lost something says so, whatever syntax it is in. */
static void test_an_image_that_has_lost_something_says_so(void **state)
{
    (void)state;
    DicomDataset *dataset = dataset_of(&images[2]);
    put_text(dataset, DICOM_TAG(0x0028, 0x2110), DICOM_VR_CS, "01");
    Str made = transcoded(RLE, EXPLICIT, transcoded(EXPLICIT, RLE, written(dataset)));
    DicomScanned scanned = fixture_good(arena, EXPLICIT, made);
    assert_true(str_equal(dicom_value(scanned.dataset, DICOM_TAG(0x0028, 0x2110)), STR("01")));
}

static void test_an_instance_that_cannot_be_read_is_none(void **state)
{
    (void)state;
    Blocks blocks = {.rest = written(dataset_of(&images[0])), .fails_with = -ERR_CORRUPT};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = STR(EXPLICIT), .data_set = &data_set};
    BodySource made;
    error_list_init(&errors, arena);
    assert_int_equal(pixels_transcode(workers, &errors, &source, STR(RLE), NULL, &made),
                     -ERR_CORRUPT);
}

/** A decoder that crashes is the end of this job alone, and is counted. */
static void test_a_crash_is_an_error_and_the_next_image_is_converted(void **state)
{
    (void)state;
    uint64_t crashes = dicom_workers_crashes(workers);
    Str bytes = written(dataset_of(&images[0]));
    Blocks blocks = {.rest = bytes, .kills = true};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = STR(EXPLICIT), .data_set = &data_set};
    BodySource made;
    error_list_init(&errors, arena);
    assert_fault(pixels_transcode(workers, &errors, &source, STR(RLE), NULL, &made),
                 ERR_DICOM_WORKER, "ended by a crash");
    for (int tries = 0; dicom_workers_crashes(workers) == crashes && tries < 1000; tries++) {
        (void)usleep(1000);
    }
    assert_int_equal(dicom_workers_crashes(workers), crashes + 1);
    (void)transcoded(EXPLICIT, RLE, bytes);
}

/** The reader of the answer goes away in the middle of a large one. */
static void test_an_answer_may_be_left(void **state)
{
    (void)state;
    DicomDataset *dataset = dataset_of(&images[0]);
    StrBuf opaque = {0};
    memset(strbuf_reserve(&opaque, 4U << 20), 1, 4U << 20);
    dicom_put(arena, dataset, DICOM_TAG(0x0009, 0x1000), DICOM_VR_OB, (Str){opaque.data, 4U << 20});
    Blocks blocks = {.rest = written(dataset)};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {.transfer_syntax = STR(EXPLICIT), .data_set = &data_set};
    BodySource made;
    StrBuf piece = {0};
    error_list_init(&errors, arena);
    assert_int_equal(pixels_transcode(workers, &errors, &source, STR(IMPLICIT), NULL, &made), 0);
    assert_int_equal(made.next(made.ctx, &piece), 1);
    made.done(made.ctx);
    strbuf_done(&piece);
    strbuf_done(&opaque);
}

/** However slowly an answer is read, its process is free for others once all of it is made; without
 * room on disk it is whole all the same. */
static void test_a_slow_reader_holds_no_process(void **state)
{
    (void)state;
    DicomDataset *dataset = dataset_of(&images[0]);
    static char opaque[4U << 20];
    for (size_t i = 0; i < sizeof(opaque); i++) {
        opaque[i] = (char)(uint8_t)(i * 2654435761U >> 24);
    }
    dicom_put(arena, dataset, DICOM_TAG(0x0009, 0x1000), DICOM_VR_OB,
              (Str){opaque, sizeof(opaque)});
    Str bytes = written(dataset);
    static const uint64_t rooms[] = {64U << 20, 100000, 0};
    Str expected = transcoded(EXPLICIT, IMPLICIT, bytes);
    dicom_workers_limit(workers, JOB_PIXELS, 1);
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        Blocks blocks = {.rest = bytes};
        BodySource data_set = {.ctx = &blocks, .next = next_block};
        PixelsSource source = {.transfer_syntax = STR(EXPLICIT), .data_set = &data_set};
        BodySource slow;
        Str made;
        dicom_workers_give_room(workers, "/tmp", rooms[i]);
        error_list_init(&errors, arena);
        assert_int_equal(pixels_transcode(workers, &errors, &source, STR(IMPLICIT), NULL, &slow),
                         0);
        if (i == 0) {
            (void)transcoded(EXPLICIT, RLE, written(dataset_of(&images[1])));
            assert_in_range(dicom_workers_room(workers)->used_bytes, 3U << 20, 4U << 20);
        }
        assert_int_equal(read_all(&slow, &made), 0);
        assert_true(str_equal(made, expected));
        assert_int_equal(dicom_workers_room(workers)->used_bytes, 0);
    }
    dicom_workers_give_room(workers, NULL, 0);
    dicom_workers_limit(workers, JOB_PIXELS, DICOM_WORKERS_MAX);
}

/* ---- one after the other ---- */

/** @return the process that the line keeps then; 0: none */
static uint64_t in_line(PixelsLine *line, const char *from, Str bytes, int64_t study)
{
    const char *to = strcmp(from, RLE) == 0 ? EXPLICIT : RLE;
    Blocks blocks = {.rest = bytes};
    BodySource data_set = {.ctx = &blocks, .next = next_block};
    PixelsSource source = {str_from(from), &data_set, line, study};
    BodySource made;
    Str found;
    error_list_init(&errors, arena);
    assert_int_equal(pixels_transcode(workers, &errors, &source, str_from(to), NULL, &made), 0);
    assert_int_equal(read_all(&made, &found), 0);
    assert_true(str_equal(found, transcoded(from, to, bytes)));
    return line->process;
}

static void test_a_process_makes_small_instances_of_one_study_in_one_syntax(void **state)
{
    (void)state;
    PixelsLine line = {0};
    Str plain = written(dataset_of(&images[0]));
    Str other = written(dataset_of(&images[1]));
    Str packed = transcoded(EXPLICIT, RLE, plain);
    uint64_t first = in_line(&line, EXPLICIT, plain, 1);
    assert_int_not_equal(first, 0);
    assert_int_equal(in_line(&line, EXPLICIT, other, 1), first);
    assert_int_equal(in_line(&line, EXPLICIT, plain, 1), first);
    uint64_t of_another = in_line(&line, EXPLICIT, plain, 2);
    assert_int_not_equal(of_another, first);
    assert_int_not_equal(in_line(&line, RLE, packed, 2), of_another);
    pixels_line_done(&line);
    assert_int_equal(line.process, 0);
}

/** What it keeps is gone when somebody else needs its place. */
static void test_a_line_goes_on_when_its_process_has_ended(void **state)
{
    (void)state;
    PixelsLine line = {0};
    Str plain = written(dataset_of(&images[0]));
    dicom_workers_limit(workers, JOB_PIXELS, 1);
    uint64_t first = in_line(&line, EXPLICIT, plain, 1); /* its own check takes the place */
    uint64_t second = in_line(&line, EXPLICIT, plain, 1);
    assert_int_not_equal(second, first);
    dicom_workers_limit(workers, JOB_PIXELS, DICOM_WORKERS_MAX);
    pixels_line_done(&line);
}

/* ---- what real systems write ---- */

#define FILE_MAX ((size_t)16 << 20)

typedef struct RealFile {
    char name[256];
    Str transfer_syntax;
    Str data_set;
    bool is_image; /* of 8 or 16 bits */
} RealFile;

static bool load(const char *folder, const char *name, RealFile *ret_file)
{
    StrBuf bytes = {0};
    FileMeta meta;
    DicomScanned scanned;
    size_t offset = 0;
    int64_t bits = 0;
    const char *path = str_cstr(arena, str_printf(arena, "%s/%s", folder, name));
    assert_int_equal(io_read_file(path, FILE_MAX, &bytes), 0);
    Str file = str_dup(arena, strbuf_str(&bytes));
    strbuf_done(&bytes);
    error_list_init(&errors, arena);
    if (part10_read(arena, &errors, file, &meta, &offset) != 1) {
        return false;
    }
    Str data_set = str_from_offset(file, offset);
    const char *syntax = str_cstr(arena, meta.transfer_syntax);
    if (fixture_scan(arena, &errors, syntax, data_set, data_set.len + 1, &scanned) < 0 ||
        !dicom_number(scanned.dataset, DICOM_TAG(0x0028, 0x0010), &bits)) {
        return false;
    }
    (void)dicom_number(scanned.dataset, DICOM_TAG(0x0028, 0x0100), &bits);
    *ret_file = (RealFile){.transfer_syntax = meta.transfer_syntax,
                           .data_set = data_set,
                           .is_image = scanned.has_pixel_data && (bits == 8 || bits == 16)};
    (void)snprintf(ret_file->name, sizeof(ret_file->name), "%s", name);
    return true;
}

/** The good files with pixels. @return their number */
static size_t load_all(RealFile *files, size_t files_max)
{
    char folder[4096];
    const char *reference = getenv("MUSUBI_REFERENCE");
    size_t count = 0;
    if (!reference) {
        return 0;
    }
    (void)snprintf(folder, sizeof(folder), "%s/dicom/pydicom", reference);
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        if (str_ends_with(str_from(entry->d_name), STR(".dcm")) && count < files_max &&
            load(folder, entry->d_name, &files[count])) {
            count++;
        }
    }
    closedir(directory);
    return count;
}

/** Bytes that the samples take; what stands behind them is padding. */
static size_t sample_bytes(const DicomDataset *dataset)
{
    static const uint32_t factors[] = {DICOM_TAG(0x0028, 0x0002), DICOM_TAG(0x0028, 0x0008),
                                       DICOM_TAG(0x0028, 0x0010), DICOM_TAG(0x0028, 0x0011),
                                       DICOM_TAG(0x0028, 0x0100)};
    int64_t bits = 1;
    for (size_t i = 0; i < ARRAY_LEN(factors); i++) {
        int64_t factor = 1;
        bits *= dicom_number(dataset, factors[i], &factor) ? factor : 1;
    }
    return (size_t)bits / 8;
}

static void check_real_file(const RealFile *file)
{
    static const char *const between[] = {RLE, JPEG_LOSSLESS_SV1, JPEG_LS, DEFLATED, IMPLICIT};
    const char *from = str_cstr(arena, file->transfer_syntax);
    const DicomDataset *dataset;
    Str made = STR_EMPTY;
    if (!pixels_can_transcode(file->transfer_syntax, STR(EXPLICIT), 16)) {
        assert_fault(transcode(from, EXPLICIT, NULL, file->data_set, &made), ERR_DICOM_PIXELS,
                     "cannot decode");
        return;
    }
    Str expected = pixel_data(transcoded(from, EXPLICIT, file->data_set), &dataset);
    if (transfer_syntax_find(file->transfer_syntax)->may_be_lossy &&
        (!str_equal(dicom_value(dataset, DICOM_TAG(0x0028, 0x2110)), STR("01")) ||
         str_starts_with(dicom_value(dataset, TAG_PHOTOMETRIC), STR("YBR")))) {
        fail_msg("%s: hides that it was lossy, or is no RGB", file->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(between); i++) {
        bool is_possible =
            file->is_image || !transfer_syntax_find(str_from(between[i]))->is_encapsulated;
        if (is_possible) {
            made = transcoded(from, between[i], file->data_set);
            Str found = pixel_data(transcoded(between[i], EXPLICIT, made), &dataset);
            size_t len = sample_bytes(dataset);
            if (found.len < len ||
                !str_equal(str_slice(expected, 0, len), str_slice(found, 0, len))) {
                fail_msg("%s by %s: other samples", file->name, between[i]);
            }
        }
    }
}

static void test_real_files_keep_their_samples(void **state)
{
    (void)state;
    RealFile files[64];
    size_t count = load_all(files, ARRAY_LEN(files));
    if (count == 0) {
        print_message("MUSUBI_REFERENCE is not set; no file was looked at\n");
        skip();
    }
    assert_true(count >= 17);
    for (size_t i = 0; i < count; i++) {
        const DicomRendering rendering = pixels_rendering();
        StrBuf picture = {0};
        const char *from = str_cstr(arena, files[i].transfer_syntax);
        check_real_file(&files[i]);
        int r = render(from, files[i].data_set, &rendering, &picture);
        bool is_expected = pixels_can_transcode(files[i].transfer_syntax, STR(EXPLICIT), 16);
        if ((r == 0) != is_expected) {
            fail_msg("%s: %.*s", files[i].name,
                     STR_ARG(errors.first ? errors.first->context : STR("shown")));
        }
        strbuf_done(&picture);
    }
}

/* ---- what broke on its way, or was made to break us ---- */

#define MUTATIONS 1000
/** Longer than is waited for a worker. */
#define MUTATION_NS (300 * INT64_C(1000000000))

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/** Mostly near the end of the elements that say how the pixels are to be read, or in the pixels. */
static Str mutated(Str original, uint64_t *seed)
{
    Str copy = str_dup(arena, original);
    char *bytes = WITHOUT_CONST(copy.data);
    uint32_t changes = 1 + next_random(seed) % 8;
    for (uint32_t i = 0; i < changes; i++) {
        static const uint8_t extremes[] = {0, 1, 0x7F, 0x80, 0xFE, 0xFF};
        size_t range = next_random(seed) % 2 ? copy.len : MIN(copy.len, (size_t)3000);
        size_t at = next_random(seed) % range;
        uint32_t how = next_random(seed) % 3;
        bytes[at] = (char)(how == 0   ? bytes[at] ^ (1 << next_random(seed) % 8)
                           : how == 1 ? (int)extremes[next_random(seed) % ARRAY_LEN(extremes)]
                                      : (int)(next_random(seed) & 0xFF));
    }
    copy.len -= next_random(seed) % 16 == 0 ? next_random(seed) % copy.len : 0;
    return copy;
}

static void test_broken_images_end_in_an_error_or_a_picture(void **state)
{
    (void)state;
    RealFile files[64];
    size_t count = load_all(files, ARRAY_LEN(files) - ARRAY_LEN(writable));
    uint64_t seed = 1;
    for (size_t i = 0; i < ARRAY_LEN(writable); i++) {
        const Image *image = &images[i % 8];
        files[count] = (RealFile){.transfer_syntax = str_from(writable[i])};
        files[count++].data_set = transcoded(EXPLICIT, writable[i], written(dataset_of(image)));
    }
    for (int i = 0; i < MUTATIONS; i++) {
        const RealFile *file = &files[next_random(&seed) % count];
        DicomRendering rendering = png();
        StrBuf picture = {0};
        Str made;
        Arena *kept = arena;
        rendering.rows = next_random(&seed) % 64;
        arena = arena_new();
        Str bytes = mutated(file->data_set, &seed);
        const char *from = str_cstr(arena, file->transfer_syntax);
        int64_t start = clock_now_ns();
        int r = i % 2 ? render(from, bytes, &rendering, &picture)
                      : transcode(from, writable[next_random(&seed) % ARRAY_LEN(writable)], NULL,
                                  bytes, &made);
        if (r != 0 && r != -ERR_DICOM_PIXELS && r != -ERR_DICOM_WORKER) {
            fail_msg("mutation %d of %s: error %d", i, file->name, -r);
        }
        if (clock_now_ns() - start > MUTATION_NS) {
            fail_msg("mutation %d of %s: no end", i, file->name);
        }
        strbuf_done(&picture);
        arena_free(arena);
        arena = kept;
    }
    print_message("%" PRIu64 " crashes of workers\n", dicom_workers_crashes(workers));
}

/** Rows and columns promise 4 GiB of pixels that 16 bytes of RLE would be. */
static void test_an_image_that_is_larger_than_it_may_be_is_not_decoded(void **state)
{
    (void)state;
    static const char fragments[] = "\xfe\xff\x00\xe0\x00\x00\x00\x00"
                                    "\xfe\xff\x00\xe0\x08\x00\x00\x00\x01\0\0\0\0\0\0\0"
                                    "\xfe\xff\xdd\xe0\x00\x00\x00\x00";
    Image huge = images[0];
    DicomDataset *dataset = dataset_of(&huge);
    StrBuf bytes = {0};
    StrBuf picture = {0};
    Str made;
    const DicomRendering rendering = png();
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0010), UINT16_MAX);
    dicom_put_us(arena, dataset, DICOM_TAG(0x0028, 0x0011), UINT16_MAX);
    dicom_put(arena, dataset, TAG_PIXEL_DATA, DICOM_VR_OB, STR_EMPTY);
    dicom_write(dataset, transfer_syntax_find(STR(EXPLICIT)), &bytes);
    memset(bytes.data + bytes.len - 4, 0xFF, 4); /* undefined length */
    strbuf_append_bytes(&bytes, fragments, sizeof(fragments) - 1);
    assert_fault(transcode(RLE, EXPLICIT, NULL, strbuf_str(&bytes), &made), ERR_DICOM_PIXELS,
                 "takes 4095 MiB when it is decoded, at most 1536 can be");
    assert_fault(render(RLE, strbuf_str(&bytes), &rendering, &picture), ERR_DICOM_PIXELS,
                 "when it is decoded");
    strbuf_done(&bytes);
    strbuf_done(&picture);
}

int main(void)
{
    char problem[256];
    const struct CMUnitTest tests[] = {
        /* the first: no other worker is there that is just about to end */
        cmocka_unit_test(test_a_crash_is_an_error_and_the_next_image_is_converted),
        cmocka_unit_test(test_every_syntax_into_every_other_and_back_keeps_each_sample),
        cmocka_unit_test(test_a_picture_shows_each_sample_where_it_is),
        cmocka_unit_test(test_colours_are_those_of_the_data_set),
        cmocka_unit_test(test_windows_are_applied_as_they_are_defined),
        cmocka_unit_test(test_the_window_of_the_data_set_is_used_and_that_of_a_frame),
        cmocka_unit_test(test_pictures_have_the_size_and_the_region_that_were_asked_for),
        cmocka_unit_test(test_pixels_that_are_no_squares_become_some),
        cmocka_unit_test(test_jpeg_has_the_quality_that_was_asked_for),
        cmocka_unit_test(test_what_cannot_be_done_is_said),
        cmocka_unit_test(test_a_frame_is_had_alone),
        cmocka_unit_test(test_a_file_begins_with_its_meta_information),
        cmocka_unit_test(test_an_image_that_has_lost_something_says_so),
        cmocka_unit_test(test_an_instance_that_cannot_be_read_is_none),
        cmocka_unit_test(test_an_answer_may_be_left),
        cmocka_unit_test(test_a_slow_reader_holds_no_process),
        cmocka_unit_test(test_a_process_makes_small_instances_of_one_study_in_one_syntax),
        cmocka_unit_test(test_a_line_goes_on_when_its_process_has_ended),
        cmocka_unit_test(test_real_files_keep_their_samples),
        cmocka_unit_test(test_broken_images_end_in_an_error_or_a_picture),
        cmocka_unit_test(test_an_image_that_is_larger_than_it_may_be_is_not_decoded),
    };
    if (getenv("VALGRIND_LIB")) {
        return SKIPPED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    workers = dicom_workers_start(problem, sizeof(problem));
    arena = arena_new();
    int failed = workers ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    dicom_workers_stop(workers);
    arena_free(arena);
    return failed;
}
