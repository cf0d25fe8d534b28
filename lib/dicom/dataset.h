#pragma once

#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/base/str.h"
#include "lib/dicom/uid.h"

/**
 * A data set as a tree in an arena (PS3.5 7): what was read, or what is to be written. Values are
 * as they were sent, numbers in little endian; text is decoded by dicom_text() (text.h). Bulk
 * values are not in memory: only where they are.
 */

#define DICOM_TAG(group, element) ((uint32_t)(group) << 16 | (uint32_t)(element))
#define DICOM_NESTING_MAX 64
/** Longer values are bulk: PS3.18 F.2.6 lets metadata name them instead of holding them. */
#define DICOM_VALUE_MAX ((uint32_t)64 << 10)

/** Value representations: rows of vr.def (PS3.5 6.2). */
typedef enum DicomVr {
#define VR(name, kind, has_long_length, pad) DICOM_VR_##name,
#include "lib/dicom/vr.def"
#undef VR
    DICOM_VR_COUNT
} DicomVr;

const char *dicom_vr_name(DicomVr vr);

typedef struct DicomDataset DicomDataset;

typedef struct DicomElement {
    uint32_t tag;
    DicomVr vr;
    bool is_bulk; /* value is empty: longer than DICOM_VALUE_MAX, or pixel data */
    uint32_t item_capacity;
    uint64_t offset; /* of the value in the data set's bytes, deflated ones after inflating */
    uint64_t length; /* bytes as sent; of encapsulated pixel data: to its end */
    Str value;
    DicomDataset **items; /* of SQ; an item stays where it is when others are added */
    size_t item_count;
} DicomElement;

struct DicomDataset {
    DicomElement *elements; /* in the order of tags */
    size_t count;
    size_t capacity;
    const DicomDataset
        *parent; /* NULL: not an item. Text without a (0008,0005) of its own follows it */
};

/** NULL: not there. */
const DicomElement *dicom_find(const DicomDataset *dataset, uint32_t tag);
/** The item of a sequence, or NULL. */
const DicomDataset *dicom_item(const DicomDataset *dataset, uint32_t tag, size_t index);
/** First value of a UI, CS, DA, TM, IS, DS or another VR of the default repertoire, without pad;
 * empty if absent. */
Str dicom_value(const DicomDataset *dataset, uint32_t tag);
/** Value number index of those separated by backslash. @return false: there are fewer */
bool dicom_value_at(const DicomDataset *dataset, uint32_t tag, size_t index, Str *ret_value);
/** US, SS, UL, SL, IS. @return false: absent or no such number */
bool dicom_number(const DicomDataset *dataset, uint32_t tag, int64_t *ret_number);

/** What comes next in a data set with all its items (dicom_walk_next()). */
typedef enum DicomWalkEvent {
    DICOM_WALK_ELEMENT, /* an element; if it is SQ, its items follow, then SEQUENCE_END */
    DICOM_WALK_ITEM,    /* an item begins: its elements follow, then ITEM_END */
    DICOM_WALK_ITEM_END,
    DICOM_WALK_SEQUENCE_END,
    DICOM_WALK_END, /* of the data set */
} DicomWalkEvent;

/** Goes through a data set in the order of its bytes, without recursion. */
typedef struct DicomWalk {
    struct {
        const DicomDataset *dataset;
        size_t next_element;
        size_t next_item; /* of the sequence before next_element; 0 also outside of sequences */
        bool is_in_sequence;
    } levels[DICOM_NESTING_MAX + 1];
    size_t depth; /* of the level that is read; the data set itself is 0 */
} DicomWalk;

void dicom_walk_init(DicomWalk *walk, const DicomDataset *dataset);
/** @param ret_element  of ELEMENT and SEQUENCE_END
 *  @param ret_dataset  that holds it; of ITEM and ITEM_END the item */
DicomWalkEvent dicom_walk_next(DicomWalk *walk, const DicomElement **ret_element,
                               const DicomDataset **ret_dataset);

/** Bytes of one number of a VR that has numbers, and whose bytes are swapped in big endian; 1:
 * none. */
size_t dicom_vr_width(DicomVr vr);

/* ---- making one ---- */

DicomDataset *dicom_dataset_new(Arena *arena);
/** Adds or replaces; copies nothing; order of calls does not matter. value: as in the file,
 * unpadded. */
void dicom_put(Arena *arena, DicomDataset *dataset, uint32_t tag, DicomVr vr, Str value);
void dicom_put_us(Arena *arena, DicomDataset *dataset, uint32_t tag, uint16_t value);
/** A new item at the end of a sequence that is made if it is not there. */
DicomDataset *dicom_add_item(Arena *arena, DicomDataset *dataset, uint32_t tag);

/** The data set in Explicit or Implicit VR Little Endian, sequences and items with their lengths;
 * without bulk values, which are not in memory. */
void dicom_write(const DicomDataset *dataset, const TransferSyntax *syntax, StrBuf *buf);

/** A sequence that is too long to be a tree, in Explicit VR Little Endian: begins it, or an item of
 * it, whose elements are then written. @return its place, for dicom_write_end() */
size_t dicom_write_sequence(StrBuf *buf, uint32_t tag);
size_t dicom_write_item(StrBuf *buf);
/** Fills in the length of the sequence or item. */
void dicom_write_end(StrBuf *buf, size_t place);
