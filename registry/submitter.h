#pragma once

#include "registry/store.h"

/**
 * For which facility a submission is: that of the hospital numbers in it (sourcePatientId), else
 * the submitting node's own. It is fixed now, and later decides who may see and change what was
 * submitted. Sets submission->source_facility; adds an error for each number or sourceId that the
 * node may not submit with.
 */
void submitter_check(const Registry *registry, Request *req, Submission *submission);
