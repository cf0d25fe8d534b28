#include "lib/dicom/scan.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/base/heap.h"
#include "lib/dicom/dictionary.h"
#include "lib/dicom/fragments.h"

#define UNDEFINED_LENGTH UINT32_MAX
#define TAG_ITEM DICOM_TAG(0xFFFE, 0xE000)
#define TAG_ITEM_END DICOM_TAG(0xFFFE, 0xE00D)
#define TAG_SEQUENCE_END DICOM_TAG(0xFFFE, 0xE0DD)
#define TAG_PADDING DICOM_TAG(0xFFFC, 0xFFFC)
#define TAG_NUMBER_OF_FRAMES DICOM_TAG(0x0028, 0x0008)
#define TAG_PIXEL_REPRESENTATION DICOM_TAG(0x0028, 0x0103)
#define TAG_EXTENDED_OFFSETS DICOM_TAG(0x7FE0, 0x0001)
#define TAG_PIXEL_DATA DICOM_TAG(0x7FE0, 0x0010)

#define SHORT_HEADER_BYTES 8
#define LONG_HEADER_BYTES 12
#define INFLATE_BLOCK_BYTES ((size_t)64 << 10)
/** Of a deflated data set: what inflates to more is an attack, not an image. */
#define INFLATED_BYTES_MAX ((uint64_t)4 << 30)
#define CAPACITY_FIRST 256
/** The data set, and a sequence and an item for each level of nesting, and fragments. */
#define LEVELS_MAX (2 * DICOM_NESTING_MAX + 2)

typedef enum LevelKind { LEVEL_DATASET, LEVEL_SEQUENCE, LEVEL_FRAGMENTS } LevelKind;

/** What encloses the bytes that are read: the data set or an item, a sequence, pixel fragments. */
typedef struct Level {
    LevelKind kind;
    bool has_length; /* else a delimiter ends it */
    bool is_implicit;
    bool is_big_endian;
    bool is_unsorted;
    uint64_t end;   /* of this or, without a length, of what encloses it */
    size_t first;   /* its first one on the stack of elements, or of items */
    uint64_t items; /* of fragments: seen, with the offset table */
    DicomDataset *dataset;
} Level;

typedef enum Step {
    STEP_HEADER,
    STEP_VALUE, /* kept */
    STEP_SKIP,  /* bulk */
    STEP_ZEROS, /* after the data set, up to its end */
} Step;

struct DicomScan {
    Arena *arena;
    const TransferSyntax *syntax;
    Step step;
    uint64_t pushed_bytes;
    uint64_t position; /* in the data set, inflated */
    uint8_t header[LONG_HEADER_BYTES];
    size_t header_len;

    uint64_t remaining; /* of the value */
    char *value;        /* its place, when kept */
    size_t value_len;
    Str *target;  /* where the value goes that is no element's: an offset table */
    uint32_t tag; /* of the value, or of what holds it */

    Level levels[LEVELS_MAX];
    size_t depth; /* levels in use */
    size_t nesting;
    DicomElement *elements; /* of all open data sets; heap */
    size_t element_count, element_capacity;
    DicomDataset **items; /* of all open sequences; heap */
    size_t item_count, item_capacity;
    size_t seen_count; /* elements and items */
    size_t head_bytes;
    bool is_signed_pixels;
    bool is_encapsulated;
    Fragments fragments;
    const char *warning;

    bool is_inflated; /* the deflate stream has ended */
    z_stream *inflate;
    uint8_t *inflate_block;
    uint8_t vr_of_letters[26][26]; /* DicomVr + 1, or 0 */
};

static const struct {
    bool has_long_length;
} vr_forms[] = {
#define VR(name, kind, has_long, pad) {has_long},
#include "lib/dicom/vr.def"
#undef VR
};

/* ---- life ---- */

static Level *top_of(DicomScan *scan)
{
    return &scan->levels[scan->depth - 1];
}

/** The innermost data set or item. */
static Level *dataset_level(DicomScan *scan)
{
    Level *level = top_of(scan);
    while (level->kind != LEVEL_DATASET) {
        level--;
    }
    return level;
}

static void start_inflate(DicomScan *scan)
{
    scan->inflate = ARENA_NEW(scan->arena, z_stream);
    scan->inflate_block = arena_alloc(scan->arena, INFLATE_BLOCK_BYTES);
    if (inflateInit2(scan->inflate, -MAX_WBITS) != Z_OK) {
        abort();
    }
}

DicomScan *dicom_scan_new(Arena *arena, const TransferSyntax *syntax)
{
    DicomScan *scan = ARENA_NEW(arena, DicomScan);
    scan->arena = arena;
    scan->syntax = syntax;
    scan->depth = 1;
    scan->levels[0] = (Level){.kind = LEVEL_DATASET,
                              .is_implicit = syntax && syntax->is_implicit,
                              .is_big_endian = syntax && syntax->is_big_endian,
                              .end = UINT64_MAX,
                              .dataset = dicom_dataset_new(arena)};
    for (unsigned vr = 0; vr < DICOM_VR_COUNT; vr++) {
        const char *name = dicom_vr_name((DicomVr)vr);
        scan->vr_of_letters[name[0] - 'A'][name[1] - 'A'] = (uint8_t)(vr + 1);
    }
    if (syntax && syntax->is_deflated) {
        start_inflate(scan);
    }
    return scan;
}

void dicom_scan_free(DicomScan *scan)
{
    if (!scan) {
        return;
    }
    free(scan->elements);
    free(scan->items);
    fragments_done(&scan->fragments);
    if (scan->inflate) {
        inflateEnd(scan->inflate);
        scan->inflate = NULL;
    }
}

/* ---- errors ---- */

/** "(0028,0010) Rows", for a reader. */
static Str shown_tag(Arena *arena, uint32_t tag)
{
    const DictionaryEntry *entry = dictionary_find(tag);
    return str_printf(arena, "(%04X,%04X)%s%s", tag >> 16, tag & 0xFFFF, entry ? " " : "",
                      entry ? entry->keyword : "");
}

static int fault(DicomScan *scan, ErrorList *errors, uint32_t tag, const char *text)
{
    Str shown = shown_tag(scan->arena, tag);
    return error_add(errors, ERR_DICOM_DATA_SET, str_cstr(scan->arena, shown),
                     "%.*s, before byte %llu of the data set: %s", STR_ARG(shown),
                     (unsigned long long)scan->position, text);
}

static void warn(DicomScan *scan, const char *text)
{
    if (!scan->warning) {
        scan->warning = text;
    }
}

/* ---- elements and levels ---- */

static DicomElement *add_element(DicomScan *scan, DicomElement element)
{
    if (scan->element_count == scan->element_capacity) {
        scan->elements = heap_grow(scan->elements, &scan->element_capacity, CAPACITY_FIRST,
                                   sizeof(DicomElement));
    }
    Level *level = top_of(scan);
    if (scan->element_count > level->first &&
        scan->elements[scan->element_count - 1].tag >= element.tag) {
        level->is_unsorted = true;
    }
    scan->seen_count++;
    scan->elements[scan->element_count] = element;
    return &scan->elements[scan->element_count++];
}

static int compare_tags(const void *a, const void *b)
{
    uint32_t left = ((const DicomElement *)a)->tag;
    uint32_t right = ((const DicomElement *)b)->tag;
    return left < right ? -1 : left > right;
}

/** Elements stand in the order of their tags, each once (PS3.5 7.1). Out of order they are put in
 * order; one that comes twice is refused: readers would differ in what they take it for. */
static int sort_elements(DicomScan *scan, ErrorList *errors, DicomElement *elements, size_t count)
{
    warn(scan, "elements are not in the order of their tags");
    qsort(elements, count, sizeof(*elements), compare_tags);
    for (size_t i = 1; i < count; i++) {
        if (elements[i].tag == elements[i - 1].tag) {
            return fault(scan, errors, elements[i].tag,
                         "the element comes twice; send it once in each data set or item");
        }
    }
    return 0;
}

static int close_dataset(DicomScan *scan, ErrorList *errors, Level *level)
{
    DicomDataset *dataset = level->dataset;
    size_t count = scan->element_count - level->first;
    if (count == 0) {
        return 0;
    }
    DicomElement *elements = &scan->elements[level->first];
    if (level->is_unsorted && sort_elements(scan, errors, elements, count) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    dataset->elements = arena_alloc(scan->arena, count * sizeof(*elements));
    memcpy(dataset->elements, elements, count * sizeof(*elements));
    dataset->count = count;
    dataset->capacity = count;
    scan->element_count = level->first;
    return 0;
}

/** The element that holds the sequence or the fragments is the last one. */
static void close_sequence(DicomScan *scan, const Level *level)
{
    DicomElement *sequence = &scan->elements[scan->element_count - 1];
    sequence->length = scan->position - sequence->offset;
    size_t count = scan->item_count - level->first;
    if (level->kind == LEVEL_FRAGMENTS || count == 0) {
        return;
    }
    sequence->items = arena_alloc(scan->arena, count * sizeof(DicomDataset *));
    memcpy(sequence->items, &scan->items[level->first], count * sizeof(DicomDataset *));
    sequence->item_count = count;
    sequence->item_capacity = (uint32_t)count;
    scan->item_count = level->first;
}

static int close_level(DicomScan *scan, ErrorList *errors)
{
    Level *level = top_of(scan);
    if (level->kind == LEVEL_DATASET) {
        if (close_dataset(scan, errors, level) < 0) {
            return -ERR_DICOM_DATA_SET;
        }
    } else {
        close_sequence(scan, level);
        scan->nesting -= level->kind == LEVEL_SEQUENCE;
    }
    scan->depth--;
    return 0;
}

/** All whose length is used up. */
static int close_finished(DicomScan *scan, ErrorList *errors)
{
    while (top_of(scan)->has_length && scan->position == top_of(scan)->end) {
        if (close_level(scan, errors) < 0) {
            return -ERR_DICOM_DATA_SET;
        }
    }
    return 0;
}

/** A level inside of the top one, with its encoding. */
static Level *open_level(DicomScan *scan, LevelKind kind, uint32_t length)
{
    const Level *outer = top_of(scan);
    Level level = *outer;
    level.kind = kind;
    level.is_unsorted = false;
    level.items = 0;
    level.first = kind == LEVEL_DATASET ? scan->element_count : scan->item_count;
    level.has_length = length != UNDEFINED_LENGTH;
    if (level.has_length) {
        level.end = scan->position + length;
    }
    scan->levels[scan->depth++] = level;
    return top_of(scan);
}

/* ---- values ---- */

static void swap_units(char *bytes, size_t len, size_t width)
{
    for (size_t at = 0; at + width <= len; at += width) {
        for (size_t i = 0; i < width / 2; i++) {
            char c = bytes[at + i];
            bytes[at + i] = bytes[at + width - 1 - i];
            bytes[at + width - 1 - i] = c;
        }
    }
}

static int finish_value(DicomScan *scan, ErrorList *errors)
{
    scan->step = STEP_HEADER;
    if (scan->value) {
        Str value = {scan->value, scan->value_len};
        Level *level = top_of(scan);
        bool is_element = level->kind == LEVEL_DATASET;
        DicomElement *element = &scan->elements[scan->element_count - 1];
        if (level->is_big_endian) {
            swap_units(scan->value, value.len, is_element ? dicom_vr_width(element->vr) : 4);
        }
        if (scan->target) {
            *scan->target = value;
        }
        if (is_element && !element->is_bulk) {
            element->value = value;
            if (scan->depth == 1 && element->tag == TAG_PIXEL_REPRESENTATION && value.len > 0) {
                scan->is_signed_pixels = value.data[0] == 1;
            }
        }
    }
    scan->value = NULL;
    scan->target = NULL;
    return close_finished(scan, errors);
}

/** The value of scan->tag comes now. @param is_kept  in memory, up to DICOM_HEAD_MAX in all */
static int begin_value(DicomScan *scan, ErrorList *errors, uint32_t length, bool is_kept)
{
    scan->remaining = length;
    scan->value_len = 0;
    scan->step = is_kept ? STEP_VALUE : STEP_SKIP;
    if (is_kept && length > 0) {
        scan->head_bytes += length;
        if (scan->head_bytes > DICOM_HEAD_MAX) {
            return fault(scan, errors, scan->tag,
                         "the elements beside bulk data take more than 32 MiB");
        }
        scan->value = arena_alloc(scan->arena, length);
    }
    return length == 0 ? finish_value(scan, errors) : 0;
}

static ssize_t push_value(DicomScan *scan, ErrorList *errors, const uint8_t *bytes, size_t len)
{
    size_t taken = (size_t)MIN((uint64_t)len, scan->remaining);
    if (scan->value) {
        memcpy(scan->value + scan->value_len, bytes, taken);
        scan->value_len += taken;
    }
    scan->remaining -= taken;
    scan->position += taken;
    if (scan->remaining == 0 && finish_value(scan, errors) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    return (ssize_t)taken;
}

/* ---- headers ---- */

static uint32_t read_u16(const Level *level, const uint8_t *at)
{
    return level->is_big_endian ? (uint32_t)at[0] << 8 | at[1] : (uint32_t)at[1] << 8 | at[0];
}

static uint32_t read_u32(const Level *level, const uint8_t *at)
{
    return level->is_big_endian ? read_u16(level, at) << 16 | read_u16(level, at + 2)
                                : read_u16(level, at + 2) << 16 | read_u16(level, at);
}

static uint32_t read_tag(const Level *level, const uint8_t *at)
{
    return read_u16(level, at) << 16 | read_u16(level, at + 2);
}

/** Length of a header by its first 8 bytes: 12 for a VR with a long length in Explicit VR, and for
 * one of two letters that we do not know (PS3.5 7.1.2). */
static size_t header_bytes(const DicomScan *scan, const Level *level, const uint8_t *at)
{
    if (level->kind != LEVEL_DATASET || level->is_implicit || read_u16(level, at) == 0xFFFE) {
        return SHORT_HEADER_BYTES;
    }
    if (at[4] < 'A' || at[4] > 'Z' || at[5] < 'A' || at[5] > 'Z') {
        return SHORT_HEADER_BYTES;
    }
    unsigned vr = scan->vr_of_letters[at[4] - 'A'][at[5] - 'A'];
    return vr == 0 || vr_forms[vr - 1].has_long_length ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
}

/** Of Implicit VR. What is not in the dictionary is UN; private creators are LO, group lengths UL
 * (PS3.5 7.8.1, 7.2). */
static DicomVr implicit_vr(const DicomScan *scan, uint32_t tag)
{
    uint32_t element = tag & 0xFFFF;
    if (element == 0) {
        return DICOM_VR_UL;
    }
    if ((tag >> 16) % 2 != 0) {
        return element >= 0x10 && element <= 0xFF ? DICOM_VR_LO : DICOM_VR_UN;
    }
    const DictionaryEntry *entry = dictionary_find(tag);
    if (!entry) {
        return DICOM_VR_UN;
    }
    return entry->is_signed_as_pixels && scan->is_signed_pixels ? DICOM_VR_SS : entry->vr;
}

/** UN in Explicit VR: a sender that had no dictionary. Its value is as in Implicit VR Little Endian
 * (PS3.5 6.2.2), so the dictionary tells what it is, sequences apart. */
static DicomVr known_vr(const DicomScan *scan, const Level *level, uint32_t tag)
{
    DicomVr vr = level->is_big_endian ? DICOM_VR_UN : implicit_vr(scan, tag);
    return vr == DICOM_VR_SQ ? DICOM_VR_UN : vr;
}

/** VR and length of an element's header. */
static int read_form(DicomScan *scan, ErrorList *errors, const uint8_t *at, uint32_t tag,
                     DicomVr *ret_vr, uint32_t *ret_length)
{
    const Level *level = top_of(scan);
    if (level->is_implicit) {
        *ret_vr = implicit_vr(scan, tag);
        *ret_length = read_u32(level, at + 4);
        return 0;
    }
    if (header_bytes(scan, level, at) == LONG_HEADER_BYTES) {
        unsigned vr = scan->vr_of_letters[at[4] - 'A'][at[5] - 'A'];
        if (vr == 0) {
            warn(scan, "an element has a value representation that is not known");
        }
        *ret_vr = vr == 0 ? DICOM_VR_UN : (DicomVr)(vr - 1);
        *ret_length = read_u32(level, at + 8);
        if (*ret_vr == DICOM_VR_UN && *ret_length != UNDEFINED_LENGTH) {
            *ret_vr = known_vr(scan, level, tag);
        }
        return 0;
    }
    if (at[4] < 'A' || at[4] > 'Z' || at[5] < 'A' || at[5] > 'Z') {
        Str text = str_printf(scan->arena,
                              "its value representation is the bytes %02X %02X, not two capital "
                              "letters as Explicit VR has them (PS3.5 7.1.2), so nobody can tell "
                              "where the next element begins",
                              at[4], at[5]);
        return fault(scan, errors, tag, text.data);
    }
    *ret_vr = (DicomVr)(scan->vr_of_letters[at[4] - 'A'][at[5] - 'A'] - 1);
    *ret_length = read_u16(level, at + 6);
    return 0;
}

static int open_sequence(DicomScan *scan, ErrorList *errors, uint32_t length, bool is_unknown)
{
    if (scan->nesting == DICOM_NESTING_MAX) {
        return fault(scan, errors, scan->tag, "sequences are nested more than 64 deep");
    }
    scan->nesting++;
    Level *level = open_level(scan, LEVEL_SEQUENCE, length);
    if (is_unknown) { /* UN of undefined length holds Implicit VR Little Endian (PS3.5 6.2.2) */
        level->is_implicit = true;
        level->is_big_endian = false;
    }
    return close_finished(scan, errors);
}

static bool is_pixel_data(uint32_t tag)
{
    return tag == TAG_PIXEL_DATA || tag == DICOM_TAG(0x7FE0, 0x0008) ||
           tag == DICOM_TAG(0x7FE0, 0x0009);
}

/** An element without a length: a sequence, or pixel data in fragments. */
static int begin_undefined(DicomScan *scan, ErrorList *errors, DicomElement element)
{
    if (element.tag == TAG_PIXEL_DATA) {
        if (!scan->syntax->is_encapsulated) {
            warn(scan, "pixel data is in fragments, which the transfer syntax does not have");
        }
        scan->is_encapsulated |= scan->depth == 1;
        element.is_bulk = true;
        add_element(scan, element);
        open_level(scan, LEVEL_FRAGMENTS, UNDEFINED_LENGTH);
        return 0;
    }
    bool is_unknown = element.vr == DICOM_VR_UN;
    if (element.vr != DICOM_VR_SQ && !is_unknown) {
        if (!top_of(scan)->is_implicit) {
            return fault(scan, errors, element.tag,
                         "only sequences and encapsulated pixel data may have no length");
        }
        warn(scan, "a sequence stands where the dictionary has another value representation");
    }
    element.vr = DICOM_VR_SQ;
    add_element(scan, element);
    return open_sequence(scan, errors, UNDEFINED_LENGTH, is_unknown);
}

static int begin_defined(DicomScan *scan, ErrorList *errors, DicomElement element)
{
    uint32_t length = (uint32_t)element.length;
    bool is_implicit = top_of(scan)->is_implicit;
    if (element.vr == DICOM_VR_SQ && is_implicit && length > 0 && length < SHORT_HEADER_BYTES) {
        warn(scan, "a value stands where the dictionary has a sequence");
        element.vr = DICOM_VR_UN;
    }
    if (element.vr == DICOM_VR_SQ) {
        add_element(scan, element);
        return open_sequence(scan, errors, length, false);
    }
    if (length % 2 != 0) {
        warn(scan, "a value has an odd length");
    }
    bool is_root = scan->depth == 1;
    bool is_offsets = is_root && element.tag == TAG_EXTENDED_OFFSETS;
    if (is_offsets && length > 8 * DICOM_FRAMES_MAX) {
        return fault(scan, errors, element.tag, "it names more than 1000000 frames");
    }
    element.is_bulk = is_pixel_data(element.tag) || length > DICOM_VALUE_MAX;
    if (is_root && element.tag == TAG_PIXEL_DATA && scan->syntax->is_encapsulated) {
        warn(scan, "pixel data is in one piece, where the transfer syntax has fragments");
    }
    add_element(scan, element);
    scan->target = is_offsets ? &scan->fragments.extended_offsets : NULL;
    return begin_value(scan, errors, length, !element.is_bulk || is_offsets);
}

/** What is no element: delimiters, padding. @return 1: it was such a thing, 0 or negative */
static int take_other(DicomScan *scan, ErrorList *errors, uint32_t tag, const uint8_t *at)
{
    static const uint8_t zeros[SHORT_HEADER_BYTES];
    Level *level = top_of(scan);
    if (tag == TAG_ITEM_END && scan->depth > 1 && !level->has_length) {
        return close_level(scan, errors) < 0 || close_finished(scan, errors) < 0
                   ? -ERR_DICOM_DATA_SET
                   : 1;
    }
    if (tag >> 16 == 0xFFFE) {
        return fault(scan, errors, tag, "it stands where an element is expected");
    }
    if (scan->depth == 1 && scan->element_count > 0 && memcmp(at, zeros, sizeof(zeros)) == 0) {
        warn(scan, "zeros follow the data set");
        scan->step = STEP_ZEROS;
        return 1;
    }
    return 0;
}

static int take_element(DicomScan *scan, ErrorList *errors, const uint8_t *at)
{
    Level *level = top_of(scan);
    uint32_t tag = read_tag(level, at);
    int r = take_other(scan, errors, tag, at);
    if (r != 0) {
        return MIN(r, 0);
    }
    DicomElement element = {.tag = tag, .offset = scan->position};
    uint32_t length;
    if (read_form(scan, errors, at, tag, &element.vr, &length) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    element.length = length;
    scan->tag = tag;
    if (scan->seen_count >= DICOM_ELEMENTS_MAX) {
        return fault(scan, errors, tag, "there are more than 1000000 elements");
    }
    if (length == UNDEFINED_LENGTH) {
        return begin_undefined(scan, errors, element);
    }
    if (length > level->end - scan->position) {
        return fault(scan, errors, tag,
                     "its length reaches beyond the end of the sequence or item that holds it");
    }
    if (tag == TAG_PADDING) {
        return begin_value(scan, errors, length, false);
    }
    return begin_defined(scan, errors, element);
}

/** In Implicit VR, what the dictionary calls a sequence is something else in old or private data:
 * its bytes, of which the first 8 were taken for an item's header, are an opaque value. */
static int take_back_sequence(DicomScan *scan, ErrorList *errors, const uint8_t *at)
{
    warn(scan, "a value stands where the dictionary has a sequence");
    scan->depth--;
    scan->nesting--;
    scan->position -= SHORT_HEADER_BYTES;
    DicomElement *element = &scan->elements[scan->element_count - 1];
    element->vr = DICOM_VR_UN;
    element->is_bulk = element->length > DICOM_VALUE_MAX;
    if (begin_value(scan, errors, (uint32_t)element->length, !element->is_bulk) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    return push_value(scan, errors, at, SHORT_HEADER_BYTES) < 0 ? -ERR_DICOM_DATA_SET : 0;
}

/** An item of a sequence, or the sequence's end. */
static int take_item(DicomScan *scan, ErrorList *errors, const uint8_t *at)
{
    Level *level = top_of(scan);
    uint32_t tag = read_tag(level, at);
    uint32_t length = read_u32(level, at + 4);
    bool is_first =
        scan->position - SHORT_HEADER_BYTES == scan->elements[scan->element_count - 1].offset;
    if (tag == TAG_SEQUENCE_END && !level->has_length) {
        return close_level(scan, errors) < 0 ? -ERR_DICOM_DATA_SET : close_finished(scan, errors);
    }
    if (tag != TAG_ITEM && is_first && level->is_implicit && level->has_length) {
        return take_back_sequence(scan, errors, at);
    }
    if (tag != TAG_ITEM) {
        return fault(scan, errors, tag, "it stands where an item (FFFE,E000) is expected");
    }
    if (length != UNDEFINED_LENGTH && length > level->end - scan->position) {
        return fault(scan, errors, scan->tag,
                     "the length of an item reaches beyond the end of its sequence");
    }
    if (scan->seen_count++ >= DICOM_ELEMENTS_MAX) {
        return fault(scan, errors, scan->tag, "there are more than 1000000 elements and items");
    }
    if (scan->item_count == scan->item_capacity) {
        scan->items = heap_grow((void *)scan->items, &scan->item_capacity, CAPACITY_FIRST,
                                sizeof(DicomDataset *));
    }
    DicomDataset *item = dicom_dataset_new(scan->arena);
    item->parent = dataset_level(scan)->dataset;
    scan->items[scan->item_count++] = item;
    open_level(scan, LEVEL_DATASET, length)->dataset = item;
    return close_finished(scan, errors);
}

/** A fragment of pixel data, the offset table before the first one, or their end (PS3.5 A.4). */
static int take_fragment(DicomScan *scan, ErrorList *errors, uint32_t tag, uint32_t length)
{
    Level *level = top_of(scan);
    if (tag == TAG_SEQUENCE_END) {
        return close_level(scan, errors) < 0 ? -ERR_DICOM_DATA_SET : close_finished(scan, errors);
    }
    if (tag != TAG_ITEM || length == UNDEFINED_LENGTH) {
        return fault(scan, errors, tag,
                     "it stands where a fragment (FFFE,E000) with its length is expected");
    }
    if (length > level->end - scan->position) {
        return fault(scan, errors, TAG_PIXEL_DATA,
                     "a fragment reaches beyond the end of the item that holds it");
    }
    bool is_root = scan->depth == 2;
    bool is_table = level->items++ == 0;
    if (is_table && is_root) {
        if (length > 4 * DICOM_FRAMES_MAX) {
            return fault(scan, errors, TAG_PIXEL_DATA,
                         "its offset table names more than 1000000 "
                         "frames");
        }
        scan->target = &scan->fragments.basic_offsets;
        return begin_value(scan, errors, length, true);
    }
    if (is_root && !fragments_add(&scan->fragments, scan->position, length)) {
        return fault(scan, errors, TAG_PIXEL_DATA, "it has more than 1000000 fragments");
    }
    return begin_value(scan, errors, length, false);
}

static int take_header(DicomScan *scan, ErrorList *errors, const uint8_t *at, size_t len)
{
    const Level *level = top_of(scan);
    uint32_t tag = read_tag(level, at);
    if (len > level->end - scan->position) {
        return fault(scan, errors, tag,
                     "it reaches beyond the end of the sequence or item that holds it");
    }
    scan->position += len;
    switch (level->kind) {
    case LEVEL_SEQUENCE:
        return take_item(scan, errors, at);
    case LEVEL_FRAGMENTS:
        return take_fragment(scan, errors, tag, read_u32(level, at + 4));
    case LEVEL_DATASET:
    default:
        return take_element(scan, errors, at);
    }
}

/* ---- bytes ---- */

/** Gathers a header. @return bytes taken off, or negative */
static ssize_t push_header(DicomScan *scan, ErrorList *errors, const uint8_t *bytes, size_t len)
{
    if (scan->header_len == 0 && len >= LONG_HEADER_BYTES) {
        size_t needed = header_bytes(scan, top_of(scan), bytes);
        int r = take_header(scan, errors, bytes, needed);
        return r < 0 ? r : (ssize_t)needed;
    }
    size_t needed = SHORT_HEADER_BYTES;
    if (scan->header_len >= SHORT_HEADER_BYTES) {
        needed = header_bytes(scan, top_of(scan), scan->header);
    }
    size_t taken = MIN(len, needed - scan->header_len);
    memcpy(scan->header + scan->header_len, bytes, taken);
    scan->header_len += taken;
    if (scan->header_len < SHORT_HEADER_BYTES ||
        scan->header_len < header_bytes(scan, top_of(scan), scan->header)) {
        return (ssize_t)taken;
    }
    size_t header_len = scan->header_len;
    scan->header_len = 0;
    int r = take_header(scan, errors, scan->header, header_len);
    return r < 0 ? r : (ssize_t)taken;
}

static ssize_t push_zeros(DicomScan *scan, ErrorList *errors, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return fault(scan, errors, 0,
                         "zeros are followed by other bytes; send no bytes after "
                         "the last element");
        }
    }
    scan->position += len;
    return (ssize_t)len;
}

static int push_plain(DicomScan *scan, ErrorList *errors, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t taken;
        if (scan->step == STEP_HEADER) {
            taken = push_header(scan, errors, bytes, len);
        } else if (scan->step == STEP_ZEROS) {
            taken = push_zeros(scan, errors, bytes, len);
        } else {
            taken = push_value(scan, errors, bytes, len);
        }
        if (taken < 0) {
            return -ERR_DICOM_DATA_SET;
        }
        bytes += taken;
        len -= (size_t)taken;
    }
    return 0;
}

/** What follows the deflate stream is a pad byte at most (PS3.5 A.5). */
static int push_deflated(DicomScan *scan, ErrorList *errors, const uint8_t *bytes, size_t len)
{
    z_stream *stream = scan->inflate;
    stream->next_in = WITHOUT_CONST(bytes);
    while (len > 0 && !scan->is_inflated) {
        uInt piece = (uInt)MIN(len, INFLATE_BLOCK_BYTES);
        stream->avail_in = piece;
        do {
            stream->next_out = scan->inflate_block;
            stream->avail_out = (uInt)INFLATE_BLOCK_BYTES;
            int r = inflate(stream, Z_NO_FLUSH);
            if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) {
                return fault(scan, errors, scan->tag,
                             "the deflated bytes are no deflate stream "
                             "(RFC 1951)");
            }
            scan->is_inflated = r == Z_STREAM_END;
            size_t made = INFLATE_BLOCK_BYTES - stream->avail_out;
            if (made > INFLATED_BYTES_MAX - scan->position) {
                return fault(scan, errors, scan->tag, "the data set inflates to more than 4 GiB");
            }
            if (push_plain(scan, errors, scan->inflate_block, made) < 0) {
                return -ERR_DICOM_DATA_SET;
            }
        } while (stream->avail_out == 0 && !scan->is_inflated);
        len -= piece - stream->avail_in;
    }
    if (len > 1) {
        warn(scan, "bytes follow the deflate stream");
    }
    return 0;
}

int dicom_scan_push(DicomScan *scan, ErrorList *errors, const void *bytes, size_t len)
{
    scan->pushed_bytes += len;
    if (!scan->syntax) {
        return 0;
    }
    return scan->inflate ? push_deflated(scan, errors, bytes, len)
                         : push_plain(scan, errors, bytes, len);
}

/* ---- the end ---- */

static int check_complete(DicomScan *scan, ErrorList *errors)
{
    static const uint8_t zeros[LONG_HEADER_BYTES];
    if (scan->inflate && !scan->is_inflated) {
        return fault(scan, errors, scan->tag, "the deflate stream is cut off");
    }
    if (scan->step == STEP_VALUE || scan->step == STEP_SKIP) {
        Str text =
            str_printf(scan->arena, "the data set is cut off: %llu bytes of the value are missing",
                       (unsigned long long)scan->remaining);
        return fault(scan, errors, scan->tag, text.data);
    }
    if (scan->depth > 1) {
        return fault(scan, errors, scan->tag,
                     "the data set is cut off inside of a sequence or of pixel data");
    }
    if (scan->header_len > 0) {
        if (memcmp(scan->header, zeros, scan->header_len) != 0) {
            return fault(scan, errors, scan->tag,
                         "the data set is cut off in the header of the element after this one");
        }
        warn(scan, "zeros follow the data set");
    }
    return 0;
}

static void find_frames(DicomScan *scan, DicomScanned *scanned)
{
    int64_t number = 1;
    if (!dicom_number(scanned->dataset, TAG_NUMBER_OF_FRAMES, &number) || number < 1) {
        number = 1;
    }
    fragments_frames(&scan->fragments, scan->arena, number, scanned);
}

int dicom_scan_end(DicomScan *scan, ErrorList *errors, DicomScanned *ret_scanned)
{
    DicomScanned scanned = {.dataset = scan->levels[0].dataset,
                            .size_bytes = scan->pushed_bytes,
                            .is_encapsulated = scan->is_encapsulated};
    if (scan->syntax) {
        if (check_complete(scan, errors) < 0 || close_dataset(scan, errors, top_of(scan)) < 0) {
            return -ERR_DICOM_DATA_SET;
        }
        find_frames(scan, &scanned);
    }
    for (size_t i = 0; i < scanned.dataset->count; i++) {
        scanned.has_pixel_data |= is_pixel_data(scanned.dataset->elements[i].tag);
    }
    if (scan->warning) {
        scanned.warning = scan->warning;
    }
    *ret_scanned = scanned;
    return 0;
}
