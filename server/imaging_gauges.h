#pragma once

#include "repository/imaging/imaging.h"

/** Appends a gauge for each of what imaging counts; the counts of the database only while it
 * answers. */
void imaging_gauges_write(Imaging *imaging, const DicomWorkers *workers, Request *req, StrBuf *buf);
