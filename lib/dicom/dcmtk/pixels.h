#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One instance in the memory of a worker: read, its pixel data decoded and encoded, or one frame of
 * it rendered. Only for bytes that the scanner (lib/dicom/scan.h) has let pass: DCMTK's reader is
 * recursive and has no limit of depth.
 *
 * Functions that return false leave the reason, without patient data, in dicom_pixels_problem().
 */
typedef struct DicomPixels DicomPixels;

/** Most that the pixel data may take when they are decoded: what is needed to encode them again is
 * as much once more, and a worker has 4 GiB. */
#define DICOM_PIXELS_MAX (UINT64_C(1536) << 20)
/** Rows and columns of a rendered image at most. */
#define DICOM_RENDERED_SIDE_MAX 16384U

/**
 * One at a time, all of a process with the same arguments: which one decoder there is of lossy
 * colour follows from the first.
 * @param transfer_syntax  of what is pushed; none that is deflated
 * @param is_lossy  it loses: YCbCr becomes RGB when it is decoded, as in every other viewer, and
 * (0028,2110) says 01. Without, samples stay as they are, whatever they mean
 */
DicomPixels *dicom_pixels_new(const char *transfer_syntax, bool is_lossy);
void dicom_pixels_free(DicomPixels *pixels);
const char *dicom_pixels_problem(const DicomPixels *pixels);

/** The data set in pieces of any size. */
bool dicom_pixels_push(DicomPixels *pixels, const void *bytes, size_t len);
/** It is complete. */
bool dicom_pixels_end(DicomPixels *pixels);

/** Decodes and encodes as the transfer syntax wants it; samples, SOP Instance UID and all else
 * stay. */
bool dicom_pixels_convert(DicomPixels *pixels, const char *transfer_syntax);

/** Takes the bytes that were made. @return false: no more are wanted */
typedef bool (*DicomPixelsSink)(void *ctx, const void *bytes, size_t len);

/** The data set in the transfer syntax of dicom_pixels_convert(). */
bool dicom_pixels_write(DicomPixels *pixels, DicomPixelsSink sink, void *ctx);

/** The samples of one frame as Explicit VR Little Endian has them; none whose colours are other
 * ones than the data set says. @param frame from 1 */
bool dicom_pixels_write_frame(DicomPixels *pixels, uint32_t frame, DicomPixelsSink sink, void *ctx);

typedef enum DicomWindowFunction {
    DICOM_WINDOW_LINEAR,
    DICOM_WINDOW_LINEAR_EXACT,
    DICOM_WINDOW_SIGMOID,
} DicomWindowFunction;

/** How a frame is to be shown (PS3.18 8.3.5.1, 8.7.4). */
typedef struct DicomRendering {
    uint32_t frame;   /* from 1 */
    bool is_png;      /* otherwise JPEG */
    bool may_enlarge; /* to fill rows and columns; otherwise they are only limits */
    bool has_window;  /* otherwise that of the data set, its VOI LUT, or from the least to the
                         greatest sample */
    DicomWindowFunction function;
    double window_center; /* PS3.3 C.11.2.1.2 */
    double window_width;
    uint32_t rows; /* at most; 0: no limit. The aspect ratio stays */
    uint32_t columns;
    unsigned quality;                /* of JPEG, 1 to 100 */
    double left, top, width, height; /* of the region, as fractions of the image */
} DicomRendering;

/** One frame as an image of 8 bits per sample. */
bool dicom_pixels_render(DicomPixels *pixels, const DicomRendering *rendering, DicomPixelsSink sink,
                         void *ctx);

#ifdef __cplusplus
}
#endif
