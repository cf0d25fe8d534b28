#pragma once

#include "repository/inspection.h"

/**
 * Whether images, rows and manifests agree: what invariants.def says, the metadata and places of
 * frames of each row, and that manifests are registered. Whether the bytes are there is looked at
 * with those of documents.
 */
int imaging_fsck(Inspection *inspection) MUST_CHECK;
