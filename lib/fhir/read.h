#pragma once

#include "lib/base/request.h"
#include "lib/fhir/format.h"

/**
 * Resources from outside. Both readers build the same tree and are lenient where FHIR's own rules
 * are (FHIR R4 2.6.2: a single value where the specification has a list), strict where a document
 * could mean two things: a name twice in a JSON object, characters that XML cannot hold, bytes that
 * are not UTF-8. Not kept: null, extensions of primitive JSON elements, XHTML.
 */

#define FHIR_BODY_MAX_BYTES ((size_t)4 * 1024 * 1024)
#define FHIR_DEPTH_MAX 32
#define FHIR_NODES_MAX 100000
/** Different names in one JSON object. */
#define FHIR_NAMES_MAX 256

/**
 * Reads one resource.
 *
 * @param ret_resource  in req->arena; texts may be borrowed from bytes
 * @return 0, -ERR_FHIR_STRUCTURE, -ERR_TOO_LARGE, or what xml_read() says
 */
int fhir_read(Request *req, FhirFormat format, Str bytes, const FhirNode **ret_resource) MUST_CHECK;

/** The two of fhir_read(). */
int fhir_read_json(Request *req, Str bytes, const FhirNode **ret_resource) MUST_CHECK;
int fhir_read_xml(Request *req, Str bytes, const FhirNode **ret_resource) MUST_CHECK;
