#pragma once

#include "lib/dicom/text.h"

/**
 * Appends the DICOM JSON model of a data set (PS3.18 F.2), without pixel data: bulk values become a
 * BulkDataURI "bulk/OFFSET-LENGTH" that whoever serves it completes. File meta information and
 * group lengths are left out (F.2.2).
 */
void dicom_json_write(const DicomDataset *dataset, const TextReading *reading, StrBuf *buf);
