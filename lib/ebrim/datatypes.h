#pragma once

#include "lib/base/str.h"

/**
 * Data types of attribute values (ITI TF-3 Table 4.2.3.1.7-2), one parser each. Values come without
 * surrounding white space. HL7 length limits are not enforced.
 */

/** CX: Id^^^&OID&ISO, nothing else. */
typedef struct Cx {
    Str id;
    Str authority; /* OID */
} Cx;

bool cx_parse(Str value, Cx *ret_cx) MUST_CHECK;

/** Number of characters of UTF-8 text. */
size_t text_length(Str value);

bool is_cx(Str value);
/** CXi: Id^^^[authority]^TypeCode; what the authority must be depends on the type code. */
bool is_cxi(Str value);
bool is_xcn(Str value);
bool is_xon(Str value);
bool is_xtn(Str value);
/** XON|XCN|XTN, each optional but not all absent (TF-3 4.2.3.3.7). */
bool is_recipient(Str value);
bool is_dtm(Str value);
bool is_integer(Str value);
/** 40 hexadecimal digits of either case. */
bool is_sha1(Str value);
/** The shape of an RFC 5646 tag. */
bool is_language(Str value);
/** RFC 2046 type/subtype. */
bool is_mime_type(Str value);
/** PID-n| and anything: real sources break stricter rules (TF-3 4.2.3.2.23). */
bool is_pid_field(Str value);
bool is_availability(Str value);
bool is_document_type(Str value);

/** rim LongName that is not empty: 1 to 256 characters. */
bool is_text(Str value);
/** At most 128, 256 and 1024 characters. */
bool is_short_title(Str value);
bool is_title(Str value);
bool is_free_text(Str value);
