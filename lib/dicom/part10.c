#include "lib/dicom/part10.h"

#include <assert.h>
#include <string.h>

#include "lib/dicom/scan.h"

#define PREAMBLE_BYTES 128
#define PREFIX STR("DICM")
#define META_START (PREAMBLE_BYTES + 4)
#define GROUP_LENGTH_BYTES 12 /* (0002,0000) as a whole */

#define TAG_GROUP_LENGTH DICOM_TAG(2, 0x0000)
#define TAG_VERSION DICOM_TAG(2, 0x0001)
#define TAG_SOP_CLASS DICOM_TAG(2, 0x0002)
#define TAG_SOP_INSTANCE DICOM_TAG(2, 0x0003)
#define TAG_TRANSFER_SYNTAX DICOM_TAG(2, 0x0010)
#define TAG_IMPLEMENTATION_CLASS DICOM_TAG(2, 0x0012)
#define TAG_IMPLEMENTATION_VERSION DICOM_TAG(2, 0x0013)
#define TAG_SOURCE_AE_TITLE DICOM_TAG(2, 0x0016)

static const TransferSyntax *meta_syntax(void)
{
    return transfer_syntax_find(STR(UID_EXPLICIT_LITTLE_ENDIAN));
}

/** Reads the elements of group 2 (PS3.10 7.1: always Explicit VR Little Endian). */
static int read_elements(Arena *arena, ErrorList *errors, Str bytes, DicomDataset **ret_dataset)
{
    DicomScan *scan = dicom_scan_new(arena, meta_syntax());
    DicomScanned scanned = {0};
    int r = dicom_scan_push(scan, errors, bytes.data, bytes.len);
    if (r == 0) {
        r = dicom_scan_end(scan, errors, &scanned);
    }
    dicom_scan_free(scan);
    if (r < 0) {
        return error_add(errors, ERR_DICOM_FILE, "(0002,0000)",
                         "The file meta information cannot be read; its group length (0002,0000) "
                         "must be the number of bytes from there to the data set");
    }
    const DicomDataset *dataset = scanned.dataset;
    assert(dataset != NULL); /* of a scan that has come to its end */
    if (dataset->count > 0 && dataset->elements[dataset->count - 1].tag >> 16 != 2) {
        return error_add(errors, ERR_DICOM_FILE, "(0002,0000)",
                         "The group length (0002,0000) of the file meta information reaches into "
                         "the data set");
    }
    *ret_dataset = scanned.dataset;
    return 0;
}

static int check_uid(ErrorList *errors, const char *location, Str uid, bool is_required)
{
    if (is_required && uid.len == 0) {
        return error_add(errors, ERR_DICOM_FILE, location,
                         "The file meta information has no %s, a UID that it must have (PS3.10 "
                         "7.1)",
                         location);
    }
    if (uid.len > 0 && !dicom_uid_is_valid(uid)) {
        return error_add(errors, ERR_DICOM_FILE, location,
                         "%s of the file meta information is no UID: digits and dots, at most 64 "
                         "characters (PS3.5 9.1)",
                         location);
    }
    return 0;
}

static int read_meta(Arena *arena, ErrorList *errors, Str bytes, FileMeta *ret_meta)
{
    DicomDataset *dataset = NULL;
    if (read_elements(arena, errors, bytes, &dataset) < 0) {
        return -ERR_DICOM_FILE;
    }
    FileMeta meta = {.sop_class = dicom_value(dataset, TAG_SOP_CLASS),
                     .sop_instance = dicom_value(dataset, TAG_SOP_INSTANCE),
                     .transfer_syntax = dicom_value(dataset, TAG_TRANSFER_SYNTAX),
                     .source_ae_title = dicom_value(dataset, TAG_SOURCE_AE_TITLE)};
    if (check_uid(errors, "(0002,0010) Transfer Syntax UID", meta.transfer_syntax, true) < 0 ||
        check_uid(errors, "(0002,0002) Media Storage SOP Class UID", meta.sop_class, false) < 0 ||
        check_uid(errors, "(0002,0003) Media Storage SOP Instance UID", meta.sop_instance, false) <
            0) {
        return -ERR_DICOM_FILE;
    }
    *ret_meta = meta;
    return 0;
}

int part10_read(Arena *arena, ErrorList *errors, Str bytes, FileMeta *ret_meta,
                size_t *ret_data_set_offset)
{
    static const uint8_t group_length_head[] = {2, 0, 0, 0, 'U', 'L', 4, 0};
    if (bytes.len < META_START) {
        return 0;
    }
    if (!str_equal(str_slice(bytes, PREAMBLE_BYTES, PREFIX.len), PREFIX)) {
        return error_add(errors, ERR_DICOM_FILE, "",
                         "This is no DICOM file: after a preamble of 128 bytes there must be "
                         "\"DICM\" and the file meta information (PS3.10 7.1)");
    }
    if (bytes.len < META_START + GROUP_LENGTH_BYTES) {
        return 0;
    }
    const uint8_t *head = (const uint8_t *)bytes.data + META_START;
    if (memcmp(head, group_length_head, sizeof(group_length_head)) != 0) {
        return error_add(errors, ERR_DICOM_FILE, "(0002,0000)",
                         "The file meta information does not begin with its group length "
                         "(0002,0000) UL (PS3.10 7.1)");
    }
    size_t length =
        (size_t)head[8] | (size_t)head[9] << 8 | (size_t)head[10] << 16 | (size_t)head[11] << 24;
    if (length > PART10_META_MAX) {
        return error_add(errors, ERR_DICOM_FILE, "(0002,0000)",
                         "The file meta information takes more than 64 KiB");
    }
    size_t end = META_START + GROUP_LENGTH_BYTES + length;
    if (bytes.len < end) {
        return 0;
    }
    Str elements = str_slice(bytes, META_START, GROUP_LENGTH_BYTES + length);
    if (read_meta(arena, errors, elements, ret_meta) < 0) {
        return -ERR_DICOM_FILE;
    }
    *ret_data_set_offset = end;
    return 1;
}

void part10_write(const FileMeta *meta, StrBuf *buf)
{
    static const char preamble[PREAMBLE_BYTES];
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, TAG_VERSION, DICOM_VR_OB, STR("\0\1"));
    dicom_put(arena, dataset, TAG_SOP_CLASS, DICOM_VR_UI, meta->sop_class);
    dicom_put(arena, dataset, TAG_SOP_INSTANCE, DICOM_VR_UI, meta->sop_instance);
    dicom_put(arena, dataset, TAG_TRANSFER_SYNTAX, DICOM_VR_UI, meta->transfer_syntax);
    dicom_put(arena, dataset, TAG_IMPLEMENTATION_CLASS, DICOM_VR_UI,
              STR(DICOM_IMPLEMENTATION_CLASS_UID));
    dicom_put(arena, dataset, TAG_IMPLEMENTATION_VERSION, DICOM_VR_SH,
              STR(DICOM_IMPLEMENTATION_VERSION));
    if (meta->source_ae_title.len > 0) {
        dicom_put(arena, dataset, TAG_SOURCE_AE_TITLE, DICOM_VR_AE, meta->source_ae_title);
    }
    strbuf_append_bytes(buf, preamble, sizeof(preamble));
    strbuf_append(buf, PREFIX);
    size_t start = buf->len;
    dicom_put(arena, dataset, TAG_GROUP_LENGTH, DICOM_VR_UL, STR("\0\0\0\0"));
    dicom_write(dataset, meta_syntax(), buf);
    size_t length = buf->len - start - GROUP_LENGTH_BYTES;
    for (size_t i = 0; i < 4; i++) {
        buf->data[start + GROUP_LENGTH_BYTES - 4 + i] = (char)(uint8_t)(length >> (8 * i));
    }
}
