#pragma once

#include "lib/base/request.h"
#include "lib/fhir/node.h"

/** OperationOutcome: what req->errors say, for FHIR (ITI TF-2 Z.7; FHIR R4 OperationOutcome). */

/**
 * One issue for each error, in order. diagnostics is the error's text with " [ref XXXXX]"; where a
 * profile fixes a text (outcomes.def), diagnostics is that text alone, and details.text has ours.
 */
FhirNode *fhir_outcome_of_errors(const Request *req);

/** One issue of severity information, code informational: a success in words. */
FhirNode *fhir_outcome_of_success(const Request *req, Str text);

/** The HTTP status of the first error; 500 without one. */
int fhir_status_of_errors(const Request *req);
