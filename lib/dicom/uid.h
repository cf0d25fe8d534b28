#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

/** Unique identifiers of DICOM (PS3.5 9), and those that we know by name (uids.def). */

/** 1 to 64 characters of [0-9.], components without leading zero (PS3.5 9.1). */
bool dicom_uid_is_valid(Str uid);

/** How a data set is encoded (PS3.5 10). Rows of uids.def; unknown ones have no row. */
typedef struct TransferSyntax {
    const char *uid;
    const char *name;
    bool is_implicit;             /* no VR in the data set */
    bool is_big_endian;           /* retired */
    bool is_deflated;             /* all after the file meta information is one deflate stream */
    bool is_encapsulated;         /* pixel data in fragments (PS3.5 A.4) */
    bool may_be_lossy;            /* the syntax allows it; whether an image is says (0028,2110) */
    bool can_decode;              /* pixels, by DCMTK in the pixel worker */
    bool can_encode;              /* without loss, by DCMTK in the pixel worker */
    const char *frame_media_type; /* of a frame as it is stored (PS3.18 Table 8.7.3-5), or NULL */
} TransferSyntax;

/** NULL: none that we know. A data set of it can be kept and given back, not looked into. */
const TransferSyntax *transfer_syntax_find(Str uid);

/** What a service object pair is about. */
typedef enum SopKind {
    SOP_OTHER,     /* no storage, or unknown */
    SOP_IMAGE,     /* stored; has pixel data */
    SOP_WAVEFORM,  /* stored; referred to as WAVEFORM (PS3.3 C.18.5) */
    SOP_COMPOSITE, /* stored; all others: reports, states, plans, documents */
} SopKind;

/** By uids.def; a class below 1.2.840.10008.5.1.4.1.1 that has no row is an image if the instance
 * has pixel data, else SOP_COMPOSITE. */
SopKind sop_kind(Str sop_class, bool has_pixel_data);

#define UID_IMPLICIT_LITTLE_ENDIAN "1.2.840.10008.1.2"
#define UID_EXPLICIT_LITTLE_ENDIAN "1.2.840.10008.1.2.1"
#define UID_RLE "1.2.840.10008.1.2.5"
#define UID_KEY_OBJECT_SELECTION "1.2.840.10008.5.1.4.1.1.88.59"
