#pragma once

#include "lib/dicom/pixels_job.h"
#include "repository/imaging/dicomweb.h"

/** Parameters of pictures, checked: of WADO-RS (PS3.18 8.3.5) and of WADO-URI (PS3.18 9.1.2). */

/** viewport, window, quality. @return 0, or -ERR_DICOM_REQUEST: which parameter is wrong, and how
 */
int rendering_of_rs(DicomwebExchange *exchange, DicomRendering *ret_rendering) MUST_CHECK;

/** frameNumber, rows, columns, region, windowCenter, windowWidth, imageQuality. */
int rendering_of_uri(DicomwebExchange *exchange, DicomRendering *ret_rendering) MUST_CHECK;
