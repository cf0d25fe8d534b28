#pragma once

#include "atna/record_search.h"
#include "lib/fhir/node.h"

/** DICOM AuditMessage -> FHIR R4 AuditEvent (RESTful ATNA supplement to ITI TF-2 3.81; DICOM PS3.15
 * A.5 as FHIR R4 AuditEvent maps it). Private to this folder. */

#define AUDIT_EVENT_TYPE_DCM "http://dicom.nema.org/resources/ontology/DCM"

/** Fills an AuditEvent; texts are in the arena, or borrowed from the record. */
void audit_event_write(Arena *arena, FhirNode *resource, const FoundRecord *record);

/** "17-4711": the logical id of a record, in the arena. */
Str audit_event_id(Arena *arena, int32_t chain, int64_t sequence);
/** False: not an id that we gave out. */
bool audit_event_id_parse(Str id, int32_t *ret_chain, int64_t *ret_sequence) MUST_CHECK;

/** Coding.system of a codeSystemName; empty: none that is a URI. In the arena. */
Str audit_event_system(Arena *arena, Str code_system_name);
