#pragma once

#include "lib/dicom/record.h"

/** More instances than a selection may name. */
#define KEY_OBJECT_REFERENCES_MAX 50000U

/**
 * What a key object selection names (PS3.3 C.17.2.1, C.17.3): each instance of the Evidence
 * Sequence in its order, then those that only the Content Sequence has; and from where it can be
 * retrieved. The title is the caller's.
 */
int key_object_read(Arena *arena, ErrorList *errors, const DicomDataset *dataset,
                    KeyObjectSelection *selection) MUST_CHECK;
