#pragma once

#include "lib/base/body.h"
#include "lib/dicom/dcmtk/pixels.h"
#include "lib/dicom/part10.h"
#include "lib/dicom/uid.h"
#include "lib/dicom/workers.h"

/**
 * Pixels for serve: an instance in another transfer syntax, a frame or a picture of it, made by
 * DCMTK in a process of its own that ends with the job (JOB_PIXELS). For any thread; each call
 * waits. What crashes or loops there is an error here.
 *
 * As many processes run at once as dicom_workers_limit() lets; who comes later waits, at most 20 s,
 * or 3 min in the midst of an answer.
 *
 * Errors of all of them:
 * -ERR_DICOM_PIXELS  the instance is not to be had in this way: the reason says why. Another way,
 * or another syntax, may do
 * -ERR_DICOM_WORKER  the process crashed, or took more than its 60 s of processor or 4 GiB
 * -ERR_DICOM_BUSY    as many processes ran all the time as may
 * or what the source of the data set said.
 */

/**
 * Instances of one answer, one after the other: a process that has done with one takes the next, if
 * both are of one study and small. Otherwise each has its own. To begin with {0}; one thread at a
 * time uses it. Must live as long as what was begun with it.
 */
typedef struct PixelsLine {
    DicomWorkers *workers;
    uint64_t process;   /* that is parked; 0: none */
    int64_t started_ns; /* it */
    int64_t study;
    const TransferSyntax *syntax;
    bool is_amidst; /* the caller's: the answer has begun, and cannot be taken back */
} PixelsLine;

/** Ends its process. */
void pixels_line_done(PixelsLine *line);

/** The instance. Its bytes are read to the end, or until an error. */
typedef struct PixelsSource {
    Str transfer_syntax;
    const BodySource *data_set; /* borrowed; without preamble and file meta information; the caller
                                   calls its done() */
    PixelsLine *line;           /* NULL: a process of its own */
    int64_t study;              /* with line: what must be the same for the next */
} PixelsSource;

/**
 * Whether an instance can be had without (further) loss in the other syntax, and would be made by
 * pixels_transcode().
 * @param bits_allocated  of its pixel data, which alone decide whether they can be encapsulated; 0:
 * it has none
 */
bool pixels_can_transcode(Str from, Str to, int32_t bits_allocated);

/**
 * The whole instance in another transfer syntax. No sample changes but where the source is lossy
 * and in YCbCr: that becomes RGB. SOP Instance UID stays, and (0028,2110) if the original lost
 * something.
 * @param file  file meta information to begin with, its transfer_syntax being the target; NULL: the
 * target's name and a bare data set
 * @param target  transfer syntax
 * @param ret_source  begins when all that can fail but the process itself is done; ends with
 * -ERR_DICOM_WORKER if that does. What it makes is taken off its process before this returns, as
 * far as there is room for more than 1 MiB (dicom_workers_give_room()); else the process runs until
 * all is read, or done()
 */
int pixels_transcode(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                     Str target, const FileMeta *file, BodySource *ret_source) MUST_CHECK;

/** The samples of one frame, as Explicit VR Little Endian has them. Lossy YCbCr, which becomes RGB
 * when it is decoded and would not be what the metadata say, is refused: -ERR_DICOM_PIXELS.
 * @param frame from 1 */
int pixels_frame(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                 uint32_t frame, BodySource *ret_source) MUST_CHECK;

/** What most callers want: frame 1, whole, JPEG of quality 90, window of the data set. */
DicomRendering pixels_rendering(void);

/** A picture of one frame: grey or RGB, 8 bits per sample. @param ret_image appended */
int pixels_render(DicomWorkers *workers, ErrorList *errors, const PixelsSource *source,
                  const DicomRendering *rendering, StrBuf *ret_image) MUST_CHECK;
