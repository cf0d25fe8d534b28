#pragma once

#include "lib/dicom/dataset.h"

/** The data dictionary (PS3.6), retired elements included; no private ones. */
typedef struct DictionaryEntry {
    uint32_t tag; /* of repeating groups (50xx, 60xx, 7Fxx) the first */
    DicomVr vr;
    bool is_signed_as_pixels; /* US, or SS where Pixel Representation (0028,0103) is 1 */
    const char *keyword;      /* "PatientName" */
} DictionaryEntry;

/** NULL: unknown, or private. */
const DictionaryEntry *dictionary_find(uint32_t tag);
/** NULL: unknown. */
const DictionaryEntry *dictionary_find_keyword(Str keyword);
