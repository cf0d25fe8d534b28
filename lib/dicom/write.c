#include <assert.h>

#include "lib/dicom/dataset.h"

#define SHORT_LENGTH_MAX 0xFFFE /* even, and below 2^16 (PS3.5 7.1.2) */

static const struct {
    bool has_long_length;
    char pad;
} vr_forms[] = {
#define VR(name, kind, has_long, pad_byte) {has_long, pad_byte},
#include "lib/dicom/vr.def"
#undef VR
};

static void append_u16(StrBuf *buf, uint32_t value)
{
    const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    strbuf_append_bytes(buf, bytes, sizeof(bytes));
}

static void append_u32(StrBuf *buf, uint32_t value)
{
    append_u16(buf, value & 0xFFFF);
    append_u16(buf, value >> 16);
}

static void append_tag(StrBuf *buf, uint32_t tag)
{
    append_u16(buf, tag >> 16);
    append_u16(buf, tag & 0xFFFF);
}

/** A length that is not known yet, and its place. */
static size_t leave_length(StrBuf *buf)
{
    append_u32(buf, 0);
    return buf->len;
}

/** Fills in a length that was left, of all that was appended since. */
static void fill_length(StrBuf *buf, size_t place)
{
    assert(buf->len - place <= UINT32_MAX - 1);
    uint32_t length = (uint32_t)(buf->len - place);
    for (size_t i = 0; i < 4; i++) {
        buf->data[place - 4 + i] = (char)(uint8_t)(length >> (8 * i));
    }
}

/** Tag and VR, up to the length; in Explicit VR, a value too long for its VR's length becomes UN
 * (PS3.5 6.2.2). @return whether the length takes 32 bits */
static bool append_head(StrBuf *buf, const DicomElement *element, bool is_implicit)
{
    append_tag(buf, element->tag);
    if (is_implicit) {
        return true;
    }
    DicomVr vr = element->vr;
    if (!vr_forms[vr].has_long_length && element->value.len > SHORT_LENGTH_MAX) {
        vr = DICOM_VR_UN;
    }
    strbuf_append_bytes(buf, dicom_vr_name(vr), 2);
    if (vr_forms[vr].has_long_length) {
        append_u16(buf, 0);
    }
    return vr_forms[vr].has_long_length;
}

static void append_element(StrBuf *buf, const DicomElement *element, bool is_implicit)
{
    bool is_odd = element->value.len % 2 != 0;
    uint32_t length = (uint32_t)(element->value.len + is_odd);
    if (append_head(buf, element, is_implicit)) {
        append_u32(buf, length);
    } else {
        append_u16(buf, length);
    }
    strbuf_append(buf, element->value);
    if (is_odd) {
        strbuf_append_char(buf, vr_forms[element->vr].pad);
    }
}

void dicom_write(const DicomDataset *dataset, const TransferSyntax *syntax, StrBuf *buf)
{
    size_t places[2 * DICOM_NESTING_MAX] = {0}; /* of the lengths of open sequences and items */
    size_t open_count = 0;
    DicomWalk walk;
    dicom_walk_init(&walk, dataset);
    const DicomElement *element = NULL;
    const DicomDataset *holder = NULL;
    for (;;) {
        switch (dicom_walk_next(&walk, &element, &holder)) {
        case DICOM_WALK_ELEMENT:
            if (element->vr == DICOM_VR_SQ) {
                (void)append_head(buf, element, syntax->is_implicit);
                assert(open_count < ARRAY_LEN(places));
                places[open_count++] = leave_length(buf);
            } else if (!element->is_bulk) {
                append_element(buf, element, syntax->is_implicit);
            }
            break;
        case DICOM_WALK_ITEM:
            append_tag(buf, DICOM_TAG(0xFFFE, 0xE000));
            assert(open_count < ARRAY_LEN(places));
            places[open_count++] = leave_length(buf);
            break;
        case DICOM_WALK_ITEM_END:
        case DICOM_WALK_SEQUENCE_END:
            fill_length(buf, places[--open_count]);
            break;
        case DICOM_WALK_END:
            return;
        }
    }
}

size_t dicom_write_sequence(StrBuf *buf, uint32_t tag)
{
    const DicomElement sequence = {.tag = tag, .vr = DICOM_VR_SQ};
    (void)append_head(buf, &sequence, false);
    return leave_length(buf);
}

size_t dicom_write_item(StrBuf *buf)
{
    append_tag(buf, DICOM_TAG(0xFFFE, 0xE000));
    return leave_length(buf);
}

void dicom_write_end(StrBuf *buf, size_t place)
{
    fill_length(buf, place);
}
