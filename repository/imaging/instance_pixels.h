#pragma once

#include "lib/dicom/pixels_job.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/index.h"

/** What is made of a stored instance in a process of its own, or in that of the line, if it is not
 * NULL; errors as lib/dicom/pixels_job.h has them, or those of reading its bytes. */

/** The whole file in another transfer syntax. */
int instance_transcode(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                       const ImagingInstance *instance, Str target,
                       BodySource *ret_file) MUST_CHECK;

/** The same without file meta information. */
int instance_transcode_data_set(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                                const ImagingInstance *instance, Str target,
                                BodySource *ret_data_set) MUST_CHECK;

/** The samples of a frame, from 1, as Explicit VR Little Endian has them. */
int instance_frame(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                   const ImagingInstance *instance, int64_t frame,
                   BodySource *ret_samples) MUST_CHECK;

/** A picture of a frame, appended. */
int instance_render(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                    const ImagingInstance *instance, const DicomRendering *rendering,
                    StrBuf *ret_image) MUST_CHECK;
