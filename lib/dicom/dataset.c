#include "lib/dicom/dataset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 8

static const char *const vr_names[] = {
#define VR(name, kind, has_long_length, pad) #name,
#include "lib/dicom/vr.def"
#undef VR
};

const char *dicom_vr_name(DicomVr vr)
{
    return vr_names[vr];
}

size_t dicom_vr_width(DicomVr vr)
{
    static const uint8_t widths[DICOM_VR_COUNT] = {
        [DICOM_VR_AT] = 2, [DICOM_VR_FL] = 4, [DICOM_VR_FD] = 8, [DICOM_VR_OD] = 8,
        [DICOM_VR_OF] = 4, [DICOM_VR_OL] = 4, [DICOM_VR_OV] = 8, [DICOM_VR_OW] = 2,
        [DICOM_VR_SL] = 4, [DICOM_VR_SS] = 2, [DICOM_VR_SV] = 8, [DICOM_VR_UL] = 4,
        [DICOM_VR_US] = 2, [DICOM_VR_UV] = 8,
    };
    return widths[vr] ? widths[vr] : 1;
}

/* ---- reading ---- */

/** Index of the first element whose tag is not below this one. */
static size_t lower_bound(const DicomDataset *dataset, uint32_t tag)
{
    size_t low = 0;
    size_t high = dataset->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (dataset->elements[middle].tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const DicomElement *dicom_find(const DicomDataset *dataset, uint32_t tag)
{
    if (!dataset) {
        return NULL;
    }
    size_t at = lower_bound(dataset, tag);
    return at < dataset->count && dataset->elements[at].tag == tag ? &dataset->elements[at] : NULL;
}

const DicomDataset *dicom_item(const DicomDataset *dataset, uint32_t tag, size_t index)
{
    const DicomElement *element = dicom_find(dataset, tag);
    return element && index < element->item_count ? element->items[index] : NULL;
}

static bool is_padding(char c)
{
    return c == ' ' || c == '\0';
}

/** Spaces around a value of the default repertoire mean nothing (PS3.5 6.2); NUL ends a UID. */
static Str without_padding(Str value)
{
    while (value.len && is_padding(value.data[value.len - 1])) {
        value.len--;
    }
    while (value.len && is_padding(value.data[0])) {
        value = str_from_offset(value, 1);
    }
    return value;
}

bool dicom_value_at(const DicomDataset *dataset, uint32_t tag, size_t index, Str *ret_value)
{
    const DicomElement *element = dicom_find(dataset, tag);
    if (!element || element->value.len == 0) {
        return false;
    }
    Str rest = element->value;
    Str value;
    while (str_split_next(&rest, '\\', &value)) {
        if (index-- == 0) {
            *ret_value = without_padding(value);
            return true;
        }
    }
    return false;
}

Str dicom_value(const DicomDataset *dataset, uint32_t tag)
{
    Str value = STR_EMPTY;
    (void)dicom_value_at(dataset, tag, 0, &value);
    return value;
}

/** A little endian number of 2 or 4 bytes, the first of a value. */
static bool read_integer(const DicomElement *element, bool is_signed, int64_t *ret_number)
{
    size_t width = dicom_vr_width(element->vr);
    if (element->value.len < width) {
        return false;
    }
    uint32_t bits = 0;
    for (size_t i = width; i-- > 0;) {
        bits = bits << 8 | (uint8_t)element->value.data[i];
    }
    if (is_signed) {
        *ret_number = width == 2 ? (int16_t)(uint16_t)bits : (int32_t)bits;
    } else {
        *ret_number = bits;
    }
    return true;
}

bool dicom_number(const DicomDataset *dataset, uint32_t tag, int64_t *ret_number)
{
    const DicomElement *element = dicom_find(dataset, tag);
    if (!element) {
        return false;
    }
    if (element->vr == DICOM_VR_US || element->vr == DICOM_VR_UL) {
        return read_integer(element, false, ret_number);
    }
    if (element->vr == DICOM_VR_SS || element->vr == DICOM_VR_SL) {
        return read_integer(element, true, ret_number);
    }
    if (element->vr != DICOM_VR_IS) {
        return false;
    }
    Str text = dicom_value(dataset, tag);
    if (str_starts_with(text, STR("+"))) {
        text = str_from_offset(text, 1);
    }
    return str_to_i64(text, ret_number);
}

/* ---- walking ---- */

void dicom_walk_init(DicomWalk *walk, const DicomDataset *dataset)
{
    walk->depth = 0;
    walk->levels[0].dataset = dataset;
    walk->levels[0].next_element = 0;
    walk->levels[0].next_item = 0;
    walk->levels[0].is_in_sequence = false;
}

/** Inside of the sequence before next_element: its next item, or its end. */
static DicomWalkEvent walk_sequence(DicomWalk *walk, const DicomElement **ret_element,
                                    const DicomDataset **ret_dataset)
{
    size_t depth = walk->depth;
    const DicomDataset *dataset = walk->levels[depth].dataset;
    const DicomElement *sequence = &dataset->elements[walk->levels[depth].next_element - 1];
    if (walk->levels[depth].next_item == sequence->item_count) {
        walk->levels[depth].is_in_sequence = false;
        *ret_element = sequence;
        *ret_dataset = dataset;
        return DICOM_WALK_SEQUENCE_END;
    }
    assert(depth < DICOM_NESTING_MAX);
    const DicomDataset *item = sequence->items[walk->levels[depth].next_item++];
    walk->depth++;
    walk->levels[walk->depth].dataset = item;
    walk->levels[walk->depth].next_element = 0;
    walk->levels[walk->depth].next_item = 0;
    walk->levels[walk->depth].is_in_sequence = false;
    *ret_dataset = item;
    return DICOM_WALK_ITEM;
}

DicomWalkEvent dicom_walk_next(DicomWalk *walk, const DicomElement **ret_element,
                               const DicomDataset **ret_dataset)
{
    size_t depth = walk->depth;
    if (walk->levels[depth].is_in_sequence) {
        return walk_sequence(walk, ret_element, ret_dataset);
    }
    const DicomDataset *dataset = walk->levels[depth].dataset;
    *ret_dataset = dataset;
    if (walk->levels[depth].next_element == dataset->count) {
        if (depth == 0) {
            return DICOM_WALK_END;
        }
        walk->depth--;
        return DICOM_WALK_ITEM_END;
    }
    const DicomElement *element = &dataset->elements[walk->levels[depth].next_element++];
    walk->levels[depth].is_in_sequence = element->vr == DICOM_VR_SQ;
    walk->levels[depth].next_item = 0;
    *ret_element = element;
    return DICOM_WALK_ELEMENT;
}

/* ---- making ---- */

DicomDataset *dicom_dataset_new(Arena *arena)
{
    return ARENA_NEW(arena, DicomDataset);
}

/** The element of a tag, made at its place if it is not there. */
static DicomElement *element_at(Arena *arena, DicomDataset *dataset, uint32_t tag)
{
    size_t at = lower_bound(dataset, tag);
    if (at < dataset->count && dataset->elements[at].tag == tag) {
        return &dataset->elements[at];
    }
    if (dataset->count == dataset->capacity) {
        dataset->elements = arena_grow(arena, dataset->elements, &dataset->capacity, CAPACITY_FIRST,
                                       sizeof(*dataset->elements));
    }
    DicomElement *place = &dataset->elements[at];
    memmove(place + 1, place, (dataset->count - at) * sizeof(*place));
    dataset->count++;
    *place = (DicomElement){.tag = tag};
    return place;
}

void dicom_put(Arena *arena, DicomDataset *dataset, uint32_t tag, DicomVr vr, Str value)
{
    *element_at(arena, dataset, tag) =
        (DicomElement){.tag = tag, .vr = vr, .value = value, .length = value.len};
}

void dicom_put_us(Arena *arena, DicomDataset *dataset, uint32_t tag, uint16_t value)
{
    char *bytes = arena_alloc(arena, 2);
    bytes[0] = (char)(value & 0xFF);
    bytes[1] = (char)(value >> 8);
    dicom_put(arena, dataset, tag, DICOM_VR_US, (Str){bytes, 2});
}

DicomDataset *dicom_add_item(Arena *arena, DicomDataset *dataset, uint32_t tag)
{
    DicomElement *sequence = element_at(arena, dataset, tag);
    sequence->vr = DICOM_VR_SQ;
    if (sequence->item_count == sequence->item_capacity) {
        size_t capacity = MAX((size_t)sequence->item_capacity * 2, (size_t)1);
        DicomDataset **items = ARENA_ARRAY(arena, DicomDataset *, capacity);
        if (sequence->item_count) {
            memcpy(items, sequence->items, sequence->item_count * sizeof(*items));
        }
        sequence->items = items;
        sequence->item_capacity = (uint32_t)capacity;
    }
    DicomDataset *item = dicom_dataset_new(arena);
    item->parent = dataset;
    sequence->items[sequence->item_count++] = item;
    return item;
}
