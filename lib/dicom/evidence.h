#pragma once

#include "lib/dicom/text_decoder.h"

/** How one text reads by one declaration. Private to text.c. */
typedef struct TextEvidence {
    int64_t points;    /* by evidence.def */
    size_t bytes;      /* that count: above 7F, and the rest of their characters */
    size_t unreadable; /* bytes */
    size_t cut;        /* of them: at the end of the value */
    uint32_t departed; /* as in TextDecoder */
} TextEvidence;

TextEvidence text_evidence(const TextDeclaration *declaration, const char *delimiters, Str value);

/** Whether the reading leaves nothing to doubt: no alternative needs to be looked at. */
bool text_evidence_is_good(const TextEvidence *evidence);

/** Whether an alternative reads better, and as text at all. */
bool text_evidence_is_better(const TextEvidence *evidence, const TextEvidence *declared);
