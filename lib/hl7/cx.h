#pragma once

#include "lib/hl7/er7.h"

/** Identifiers with their assigning authority (HL7 v2 CX and HD; ITI TF-2 Appendix E; TF-3
 * Table 4.2.3.1.7-2). */

/** Longest CX-1 that is stored; Appendix E asks for 15, XDS metadata for the whole CX in 256. */
#define HL7_CX_ID_MAX_BYTES 190

typedef struct Hl7Cx {
    Str id;                /* CX-1 */
    Str namespace_id;      /* CX-4.1 */
    Str universal_id;      /* CX-4.2 */
    Str universal_id_type; /* CX-4.3, "ISO" for an OID */
    bool has_more;         /* another component has a value */
} Hl7Cx;

/** Cuts one CX; texts are unescaped, in the arena or borrowed from text. */
Hl7Cx hl7_cx_parse(Arena *arena, const Er7Delimiters *delimiters, Hl7Charset charset, Str text);

/** Whether this is an identifier of the authority with this OID: CX-1 valued, CX-4 names the OID
 * with type ISO. */
bool hl7_cx_is_of_authority(const Hl7Cx *cx, Str oid);

/** "id^^^&oid&ISO" with id escaped: as XDS metadata and audit records carry it. In the arena. */
Str hl7_cx_format(Arena *arena, Str id, Str oid);
