#pragma once

#include "lib/dicom/dataset.h"

/**
 * Reads the bytes of a data set as they arrive, in pieces of any size, without recursion: nesting
 * up to DICOM_NESTING_MAX, every length held against what encloses it, memory bounded by
 * DICOM_HEAD_MAX. So what DCMTK would parse afterwards is known to be harmless. Fuzzed.
 */
typedef struct DicomScan DicomScan;

/** Most that the elements besides bulk values may take together. */
#define DICOM_HEAD_MAX ((size_t)32 << 20)
#define DICOM_ELEMENTS_MAX 1000000U
#define DICOM_FRAMES_MAX 1000000U

/** Where one frame of the pixel data is: in the bytes that were pushed, in as many pieces as there
 * are fragments of it (PS3.5 A.4). */
typedef struct DicomFrame {
    uint64_t offset; /* of its first fragment's value */
    uint64_t
        length; /* up to the end of its last fragment: item headers between fragments included */
    uint32_t fragments;
} DicomFrame;

typedef struct DicomScanned {
    DicomDataset *dataset;
    uint64_t size_bytes; /* as pushed */
    bool has_pixel_data;
    bool is_encapsulated; /* the pixel data is in fragments */
    DicomFrame
        *frames; /* of encapsulated pixel data by its offset table, or one fragment each; native
                    ones are not listed: they follow from rows, columns and the like */
    size_t frame_count;
    const char *warning; /* what a lenient reader lets pass (trailing padding, a VR that the
                            dictionary contradicts), or NULL */
} DicomScanned;

/**
 * @param arena   of the result; errors name element and byte position, never a value
 * @param syntax  NULL: unknown; then bytes are counted, and the data set is empty
 */
DicomScan *dicom_scan_new(Arena *arena, const TransferSyntax *syntax);
void dicom_scan_free(DicomScan *scan);

/** @return 0, or -ERR_DICOM_DATA_SET with the reason in errors; then nothing more may be pushed */
int dicom_scan_push(DicomScan *scan, ErrorList *errors, const void *bytes, size_t len) MUST_CHECK;
/** The bytes are all there. @return 0, or -ERR_DICOM_DATA_SET: cut off inside of an element */
int dicom_scan_end(DicomScan *scan, ErrorList *errors, DicomScanned *ret_scanned) MUST_CHECK;
