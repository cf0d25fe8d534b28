#pragma once

#include "lib/fhir/exchange.h"
#include "lib/fhir/patient.h"
#include "pix/feed_rules.h"
#include "pix/pix_state.h"
#include "pix/search.h"

/** What the FHIR transactions of this folder share (ITI TF-2 Appendix Z). */

/** The authorities of the moment, in the request's arena. */
const Authorities *pix_fhir_authorities(Pix *pix, const FhirExchange *exchange);

/** The authority that Identifier.system names: "urn:oid:" and its OID (Z.9.1), else its namespace
 * as it is. NULL if there is none. */
const AssigningAuthority *pix_fhir_authority(const Authorities *authorities, Str system);

/** An identifier as the rules of feeds take it. */
Hl7Cx pix_fhir_cx(Str system, Str value);

/** "urn:oid:1.2.3", in the arena. */
Str pix_fhir_system(Arena *arena, const AssigningAuthority *authority);
FhirIdentifier pix_fhir_identifier(Arena *arena, const FoundIdentifier *identifier);

/** Fills a Patient resource; the patient is borrowed only during the call. */
void pix_fhir_write_patient(Arena *arena, FhirNode *resource, const FoundPatient *patient);

/** The patient as CX for the audit record: by its identifier of the affinity domain, else by its
 * first. */
AuditObject pix_fhir_audit_patient(Arena *arena, const FoundPatient *patient);

/** The patient that a request names: as CX of an authority that is configured, else as sent. */
AuditObject pix_fhir_audit_token(Arena *arena, const Authorities *authorities,
                                 const FhirToken *token);

/** The X-Request-Id as an object of the audit record (BALP). @return 1; 0: it has none */
size_t pix_fhir_audit_request(const Request *req, AuditObject *ret_object);

/**
 * Calls back for the person with this logical id, if there is one with identifiers.
 * @param id  as it stands in a URL: of any form
 */
int pix_fhir_find_person(Pix *pix, FhirExchange *exchange, const Authorities *authorities, Str id,
                         FoundPatientFn found, void *ctx) MUST_CHECK;

/** "system|value" of the one parameter of this name, which must be there once.
 * @param incomplete  the fault of a value without system or identifier
 * @return 0, or -ERR_FHIR_REQUIRED, -ERR_FHIR_INVALID, -incomplete */
int pix_fhir_read_identifier(FhirExchange *exchange, const char *name, ErrorCode incomplete,
                             FhirToken *ret_token) MUST_CHECK;

/** With handling=strict: no parameter may be left over (FHIR R4 3.1.1.4.4).
 * @return 0, or -ERR_FHIR_NOT_SUPPORTED */
int pix_fhir_check_strict(FhirExchange *exchange) MUST_CHECK;

/** Records a query and whose data its answer holds; its outcome is rc with req->errors.
 * @return rc, or -ERR_IO: nothing may be given out */
int pix_fhir_record_query(Pix *pix, FhirExchange *exchange, AuditEventType type,
                          const AuditObject *patients, size_t count, int rc) MUST_CHECK;
