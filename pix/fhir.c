#include "pix/fhir.h"

#define OID_PREFIX "urn:oid:"

/* ---- authorities and identifiers ---- */

const Authorities *pix_fhir_authorities(Pix *pix, const FhirExchange *exchange)
{
    return authority_directory_hold(pix->authorities, exchange->req->arena);
}

const AssigningAuthority *pix_fhir_authority(const Authorities *authorities, Str system)
{
    if (str_is_empty(system)) {
        return NULL;
    }
    return str_starts_with(system, STR(OID_PREFIX))
               ? authorities_by_oid(authorities, str_from_offset(system, strlen(OID_PREFIX)))
               : authorities_by_namespace(authorities, system);
}

Hl7Cx pix_fhir_cx(Str system, Str value)
{
    if (str_starts_with(system, STR(OID_PREFIX))) {
        return (Hl7Cx){.id = value,
                       .universal_id = str_from_offset(system, strlen(OID_PREFIX)),
                       .universal_id_type = STR("ISO")};
    }
    return (Hl7Cx){.id = value, .namespace_id = system};
}

Str pix_fhir_system(Arena *arena, const AssigningAuthority *authority)
{
    return str_printf(arena, OID_PREFIX "%.*s", STR_ARG(authority->oid));
}

FhirIdentifier pix_fhir_identifier(Arena *arena, const FoundIdentifier *identifier)
{
    return (FhirIdentifier){.system = pix_fhir_system(arena, identifier->authority),
                            .value = str_dup(arena, identifier->value),
                            .assigner = identifier->authority->namespace_id};
}

/* ---- patients ---- */

void pix_fhir_write_patient(Arena *arena, FhirNode *resource, const FoundPatient *patient)
{
    FhirIdentifier *identifiers = ARENA_ARRAY(arena, FhirIdentifier, patient->identifier_count);
    for (size_t i = 0; i < patient->identifier_count; i++) {
        identifiers[i] = pix_fhir_identifier(arena, &patient->identifiers[i]);
    }
    Demographics demographics; /* of its own: texts of the resource are borrowed from it */
    demographics_read(demographics_write(arena, &patient->demographics), &demographics);
    fhir_patient_write(arena, resource,
                       &(FhirPatient){.id = str_printf(arena, "%lld", (long long)patient->person),
                                      .updated_us = patient->updated_us,
                                      .identifiers = identifiers,
                                      .identifier_count = patient->identifier_count,
                                      .demographics = &demographics});
}

AuditObject pix_fhir_audit_patient(Arena *arena, const FoundPatient *patient)
{
    AuditObject object = {.kind = AUDIT_OBJECT_PATIENT};
    const FoundIdentifier *chosen = NULL;
    for (size_t i = 0; i < patient->identifier_count; i++) {
        const FoundIdentifier *identifier = &patient->identifiers[i];
        if (!chosen || identifier->authority->is_affinity_domain) {
            chosen = identifier;
        }
    }
    if (chosen) {
        object.id = hl7_cx_format(arena, chosen->value, chosen->authority->oid);
    }
    return object;
}

int pix_fhir_find_person(Pix *pix, FhirExchange *exchange, const Authorities *authorities, Str id,
                         FoundPatientFn found, void *ctx)
{
    uint64_t person;
    if (!str_to_u64(id, &person) || person > INT64_MAX) {
        return 0; /* not an id that we gave out */
    }
    const SearchTerm term = {.field = SEARCH_PERSON, .match = SEARCH_EQUAL, .text = id};
    const SearchGroup group = {&term, 1};
    const PatientSearch search = {
        .authorities = authorities, .groups = &group, .group_count = 1, .limit = 1};
    return patient_search(pix, exchange->req, &search, found, ctx);
}

/* ---- parameters ---- */

int pix_fhir_read_identifier(FhirExchange *exchange, const char *name, ErrorCode incomplete,
                             FhirToken *ret_token)
{
    Request *req = exchange->req;
    size_t index = 0;
    const FhirParameter *parameter = fhir_parameters_next(&exchange->parameters, name, &index);
    if (!parameter || str_is_empty(parameter->value)) {
        return error_add(&req->errors, ERR_FHIR_REQUIRED, NULL,
                         "Parameter %s is missing; send %s=urn:oid:<OID of the assigning "
                         "authority>|<identifier>, with | as %%7C.",
                         name, name);
    }
    if (fhir_parameters_next(&exchange->parameters, name, &index)) {
        return error_add(&req->errors, ERR_FHIR_INVALID, NULL,
                         "Parameter %s is there more than once; send one identifier.", name);
    }
    FhirToken token = fhir_token_parse(req->arena, parameter->value);
    token.code = str_trim(token.code);
    if (str_is_empty(token.system) || str_is_empty(token.code)) {
        return error_add(&req->errors, incomplete, NULL,
                         "Parameter %s is \"%.*s\"; send the assigning authority and the "
                         "identifier: urn:oid:<OID>|<identifier>, with | as %%7C.",
                         name, STR_ARG(parameter->value));
    }
    *ret_token = token;
    return 0;
}

int pix_fhir_check_strict(FhirExchange *exchange)
{
    return exchange->is_strict ? fhir_parameters_check_used(exchange->req, &exchange->parameters)
                               : 0;
}

/* ---- audit ---- */

/** What names the request: X-Request-Id, or our own reference. */
static Str request_name(const Request *req)
{
    return str_is_empty(req->message_id) ? str_from(req->ref) : req->message_id;
}

AuditObject pix_fhir_audit_token(Arena *arena, const Authorities *authorities,
                                 const FhirToken *token)
{
    const AssigningAuthority *authority = pix_fhir_authority(authorities, token->system);
    return (AuditObject){
        .kind = AUDIT_OBJECT_PATIENT,
        .id = authority
                  ? hl7_cx_format(arena, token->code, authority->oid)
                  : str_printf(arena, "%.*s|%.*s", STR_ARG(token->system), STR_ARG(token->code)),
    };
}

size_t pix_fhir_audit_request(const Request *req, AuditObject *ret_object)
{
    *ret_object = (AuditObject){.kind = AUDIT_OBJECT_REQUEST, .id = req->message_id};
    return str_is_empty(req->message_id) ? 0 : 1;
}

int pix_fhir_record_query(Pix *pix, FhirExchange *exchange, AuditEventType type,
                          const AuditObject *patients, size_t count, int rc)
{
    Request *req = exchange->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, count + 2);
    objects[0] = (AuditObject){
        .kind = AUDIT_OBJECT_QUERY, .id = request_name(req), .query = exchange->request_text};
    for (size_t i = 0; i < count; i++) {
        objects[i + 1] = patients[i];
    }
    count += 1 + pix_fhir_audit_request(req, &objects[count + 1]);
    AuditEvent event = {.type = type, .objects = objects, .object_count = count};
    if (rc < 0) {
        audit_event_refuse(req, &event);
    }
    int recorded = audit_append_event(pix->config.audit, req, &event);
    return rc < 0 ? rc : recorded;
}
