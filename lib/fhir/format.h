#pragma once

#include <stdbool.h>

#include "lib/base/str.h"
#include "lib/fhir/node.h"

/** The two formats of a resource (FHIR R4 2.6, 2.21; ITI TF-2 Z.6). */
typedef enum FhirFormat { FHIR_JSON, FHIR_XML } FhirFormat;

#define NS_FHIR "http://hl7.org/fhir"

/** "application/fhir+json; charset=utf-8" */
const char *fhir_content_type(FhirFormat format);

/** The format of a media type with or without parameters, or of a short name for _format; the names
 * are those of FHIR R4 3.1.0.1.11 and of earlier versions. False: neither. */
bool fhir_format_find(Str media_type, FhirFormat *ret_format);

/** The best of an Accept header; empty or of any type: JSON. False: none that we have. */
bool fhir_format_accept(Str accept, FhirFormat *ret_format);

/** Appends the resource in this format. Memory is the buffer alone; no recursion. */
void fhir_write(StrBuf *buf, FhirFormat format, const FhirNode *resource);
