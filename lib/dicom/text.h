#pragma once

#include "lib/dicom/dataset.h"

/**
 * Text of a data set in UTF-8 (PS3.5 6.1, PS3.3 C.12.1.1.2). The declared SpecificCharacterSet
 * counts where the bytes agree with it; where they contradict it (escapes of ISO 2022 under a
 * single byte set, Shift_JIS, EUC-JP or UTF-8 under a wrong or missing declaration), what they are
 * is decided by evidence over all texts of the data set together. Nothing is dropped: what no rule
 * can read shows as \xNN.
 */

/** Rows of character_sets.def. */
typedef enum CharacterSet {
#define CHARACTER_SET(name, terms, description) CHARSET_##name,
#include "lib/dicom/character_sets.def"
#undef CHARACTER_SET
    CHARSET_COUNT
} CharacterSet;

typedef struct TextReading {
    CharacterSet declared;
    CharacterSet used;
    double confidence;   /* that used is right: 1 where the declaration holds */
    bool contradicts;    /* the declaration does not hold for the bytes: to be flagged */
    bool has_unreadable; /* some bytes are no text in any of them */
} TextReading;

/** Looks at all texts of the data set, items included, until half a mebibyte of them is not plain
 * ASCII. Made once per data set. */
TextReading dicom_text_reading(Arena *arena, const DicomDataset *root);

/** The value of an element (all values, separated by backslash) in UTF-8, without padding. */
Str dicom_text(Arena *arena, const TextReading *reading, const DicomDataset *dataset,
               const DicomElement *element);
/** The same by tag; empty if absent. */
Str dicom_text_of(Arena *arena, const TextReading *reading, const DicomDataset *dataset,
                  uint32_t tag);

/**
 * Cuts the next value off a text of dicom_text(). Not str_split_next(): a byte that shows as \xNN
 * is no separator.
 * @return false when *rest was used up
 */
bool dicom_text_next(Str *rest, Str *ret_value);

/** The groups of the first PN value: alphabetic, ideographic, phonetic (PS3.5 6.2.1.1); empty where
 * absent.
 */
typedef struct PersonName {
    Str groups[3];
} PersonName;
PersonName dicom_person_name(Str text);
