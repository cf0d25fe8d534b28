#pragma once

#include "lib/dicom/dataset.h"

/** Files: preamble, "DICM", file meta information, data set (PS3.10 7). */

typedef struct FileMeta {
    Str sop_class;    /* empty if a file does not say */
    Str sop_instance; /* the same */
    Str transfer_syntax;
    Str source_ae_title; /* empty: unknown */
} FileMeta;

/** Of this implementation: in files, and in associations (PS3.7 D.3.3.2). */
#define DICOM_IMPLEMENTATION_CLASS_UID "2.25.179795100961960927837148726576140517271"
#define DICOM_IMPLEMENTATION_VERSION "MUSUBI"

#define PART10_META_MAX ((size_t)64 << 10)

/**
 * Reads what comes before the data set.
 * @return 1 and where the data set begins; 0: more bytes are needed; -ERR_DICOM_FILE with the
 * reason: no preamble, no (0002,0000), no transfer syntax, a meta element that is broken
 */
int part10_read(Arena *arena, ErrorList *errors, Str bytes, FileMeta *ret_meta,
                size_t *ret_data_set_offset) MUST_CHECK;

/** Appends preamble, prefix and file meta information with our implementation class UID and
 * version. */
void part10_write(const FileMeta *meta, StrBuf *buf);
