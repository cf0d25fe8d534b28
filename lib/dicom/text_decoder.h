#pragma once

#include <unicode/ucnv.h>

#include "lib/dicom/text.h"

/**
 * Bytes of one value as characters, by a declaration: ISO 2022 code extension as PS3.5 6.1.2.5 has
 * it, and the sets without code extension. Private to text.c.
 */

/** What (0008,0005) says. */
typedef struct TextDeclaration {
    CharacterSet first; /* of value 1 */
    CharacterSet shown; /* that says most: of value 2 if there is one */
    uint32_t declared;  /* a bit for each CharacterSet */
    bool has_extension; /* escapes are allowed */
} TextDeclaration;

/** The declaration that counts for a data set: its own, or that of what encloses it. */
TextDeclaration text_declaration(const DicomDataset *dataset);
/** As if this set alone were declared. */
TextDeclaration text_declaration_of(CharacterSet set);

typedef struct TextChar {
    uint32_t point;   /* 0: the bytes cannot be read */
    Str bytes;        /* as sent */
    CharacterSet set; /* that it was read by */
    bool is_cut;      /* unreadable since the value ends inside of a character */
    bool is_high;     /* its first byte is above 7F */
} TextChar;

/** What bytes 21 to 7E are. */
typedef enum TextG0 {
    G0_ASCII,
    G0_ROMAN, /* JIS X 0201: yen and overline */
    G0_KATAKANA,
    G0_JIS_0208,
    G0_JIS_0212,
} TextG0;

typedef struct TextDecoder {
    TextDeclaration declaration;
    const char *delimiters; /* besides CR, LF, FF and TAB: what value 1 counts again after */
    Str rest;
    TextG0 g0;
    CharacterSet g1;   /* CHARSET_DEFAULT: none */
    uint32_t departed; /* sets that were met although the declaration does not allow them */
    UConverter *converters[CHARSET_COUNT]; /* open while the decoder is used */
} TextDecoder;

/** Also what opens a decoder again for another value. */
void text_decoder_start(TextDecoder *decoder, const TextDeclaration *declaration,
                        const char *delimiters, Str value);
void text_decoder_done(TextDecoder *decoder);
/** @return false at the end */
bool text_decoder_next(TextDecoder *decoder, TextChar *ret_char);
