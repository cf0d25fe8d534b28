#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

/**
 * Character sets of HL7 v2 (MSH-18, HL7 table 0211; ITI TF-2 C.2.2): a closed list, decoded by our
 * own state machines. No received name reaches iconv.
 */

/** What a message may contain; a set of bits, since MSH-18 repeats. */
typedef enum Hl7CharsetBit {
    HL7_ASCII = 1,
    HL7_UTF_8 = 2,
    HL7_LATIN_1 = 4,
    HL7_JIS_X_0201 = 8,  /* half-width katakana as octets A1 to DF */
    HL7_JIS_X_0208 = 16, /* ISO-2022-JP */
    HL7_JIS_X_0212 = 32,
} Hl7CharsetBit;

typedef unsigned Hl7Charset;

/** The names of the closed list, for error texts. */
extern const char hl7_charset_names[];

/**
 * Reads MSH-18. An empty repetition is ASCII, so "~ISO IR87" is ISO-2022-JP as SS-MIX2 sends it.
 * Unicode and 8859/1 stand alone; the Japanese sets combine.
 *
 * @return false if a name is not in the closed list, or if the names do not go together
 */
bool hl7_charset_parse(Str msh_18, char repetition_separator, Hl7Charset *ret_charset) MUST_CHECK;

/**
 * Appends octets as UTF-8. With a Japanese set all designations of ISO-2022-JP that are met in
 * practice are understood: ESC ( B, ( J, ( I (kept as half-width katakana), $ B, $ @ (both JIS X
 * 0208, and CP932 for what that has not) and $ ( D; a line end returns to ASCII. Control characters
 * other than TAB, CR and LF cannot be decoded. There is never a replacement character.
 *
 * @param ret_offset  where the first octet lies that cannot be decoded; utf8 then holds all before
 * it
 */
bool hl7_charset_decode(Hl7Charset charset, Str octets, StrBuf *utf8,
                        size_t *ret_offset) MUST_CHECK;

/**
 * Appends well-formed UTF-8 as octets of the set; Japanese text ends in ASCII.
 * @return false if the set cannot hold the text exactly; octets is then as before
 */
bool hl7_charset_encode(Hl7Charset charset, Str utf8, StrBuf *octets) MUST_CHECK;
