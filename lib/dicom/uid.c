#include "lib/dicom/uid.h"

#include <string.h>

#include "lib/base/macros.h"

#define UID_MAX 64
#define STORAGE_ROOT STR("1.2.840.10008.5.1.4.1.1.")

/** How uids.def names what TransferSyntax spells out. */
typedef enum Encoding { IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, FRAGMENTS } Encoding;

static const TransferSyntax transfer_syntaxes[] = {
#define TRANSFER_SYNTAX(uid_text, encoding, is_lossy, decode, encode, media_type, title)           \
    {.uid = (uid_text),                                                                            \
     .name = (title),                                                                              \
     .is_implicit = (encoding) == IMPLICIT,                                                        \
     .is_big_endian = (encoding) == BIG_ENDIAN,                                                    \
     .is_deflated = (encoding) == DEFLATED,                                                        \
     .is_encapsulated = (encoding) == FRAGMENTS,                                                   \
     .may_be_lossy = (is_lossy),                                                                   \
     .can_decode = (decode),                                                                       \
     .can_encode = (encode),                                                                       \
     .frame_media_type = (media_type)[0] ? (media_type) : NULL},
#define SOP_CLASS(uid, kind, name)
#include "lib/dicom/uids.def"
#undef TRANSFER_SYNTAX
#undef SOP_CLASS
};

typedef struct SopClass {
    const char *uid;
    SopKind kind;
} SopClass;

static const SopClass sop_classes[] = {
#define TRANSFER_SYNTAX(uid, encoding, is_lossy, decode, encode, media_type, title)
#define SOP_CLASS(uid, kind, name) {uid, SOP_##kind},
#include "lib/dicom/uids.def"
#undef TRANSFER_SYNTAX
#undef SOP_CLASS
};

bool dicom_uid_is_valid(Str uid)
{
    if (uid.len == 0 || uid.len > UID_MAX) {
        return false;
    }
    size_t start = 0; /* of the component */
    for (size_t i = 0; i <= uid.len; i++) {
        if (i == uid.len || uid.data[i] == '.') {
            bool has_leading_zero = i - start > 1 && uid.data[start] == '0';
            if (i == start || has_leading_zero) {
                return false;
            }
            start = i + 1;
        } else if (uid.data[i] < '0' || uid.data[i] > '9') {
            return false;
        }
    }
    return true;
}

const TransferSyntax *transfer_syntax_find(Str uid)
{
    for (size_t i = 0; i < ARRAY_LEN(transfer_syntaxes); i++) {
        if (str_equal(uid, str_from(transfer_syntaxes[i].uid))) {
            return &transfer_syntaxes[i];
        }
    }
    return NULL;
}

static const SopClass *find_sop_class(Str uid)
{
    for (size_t i = 0; i < ARRAY_LEN(sop_classes); i++) {
        if (str_equal(uid, str_from(sop_classes[i].uid))) {
            return &sop_classes[i];
        }
    }
    return NULL;
}

SopKind sop_kind(Str sop_class, bool has_pixel_data)
{
    const SopClass *known = find_sop_class(sop_class);
    if (known) {
        return known->kind;
    }
    if (!str_starts_with(sop_class, STORAGE_ROOT)) {
        return SOP_OTHER;
    }
    return has_pixel_data ? SOP_IMAGE : SOP_COMPOSITE;
}
