/** ITI-83 Mobile Patient Identifier Cross-reference Query (PIXm 2:3.83). */
#include "pix/fhir.h"

#define TARGETS_MAX 256

typedef struct Query {
    Pix *pix;
    FhirExchange *exchange;
    const Authorities *authorities;
    FhirToken source;
    Identifier asked; /* authority NULL: asked by the logical id of a Patient */
    const AssigningAuthority **targets;
    size_t target_count;
    CrossReference reference;
} Query;

/* ---- the question ---- */

/** The body of a POST has the same parameters (FHIR R4 3.2.0.6). */
static int take_body(FhirExchange *exchange)
{
    if (!exchange->resource) {
        return 0;
    }
    if (!fhir_is_resource(exchange->resource, "Parameters")) {
        return error_add(&exchange->req->errors, ERR_FHIR_STRUCTURE, NULL,
                         "The body is a %.*s; send Parameters.", STR_ARG(exchange->resource->type));
    }
    int rc = 0;
    const FhirNode *parameter = fhir_child(exchange->resource, "parameter");
    for (; rc == 0 && parameter; parameter = fhir_next(parameter)) {
        const FhirNode *value = fhir_value_x(parameter);
        rc = fhir_parameters_add(exchange->req, &exchange->parameters, fhir_text(parameter, "name"),
                                 value ? value->value : STR_EMPTY);
    }
    return rc;
}

/** A patient of this server by its logical id: "https://host/fhir|Patient/17". */
static bool is_logical_id(const Query *query)
{
    return str_equal(query->source.system, query->exchange->base) &&
           str_starts_with(query->source.code, STR("Patient/"));
}

static int find_source_authority(Query *query)
{
    query->asked =
        (Identifier){.authority = pix_fhir_authority(query->authorities, query->source.system),
                     .value = query->source.code};
    if (query->asked.authority || is_logical_id(query)) {
        return 0;
    }
    return error_add(&query->exchange->req->errors, ERR_FHIR_SOURCE_DOMAIN_NOT_FOUND, NULL,
                     "\"%.*s\" is not an assigning authority of this network; send urn:oid: and "
                     "its OID, or ask the operator to register it",
                     STR_ARG(query->source.system));
}

static int add_target(Query *query, Str system)
{
    ErrorList *errors = &query->exchange->req->errors;
    const AssigningAuthority *authority = pix_fhir_authority(query->authorities, system);
    if (!authority) {
        return error_add(errors, ERR_FHIR_TARGET_NOT_FOUND, NULL,
                         "\"%.*s\" is not an assigning authority of this network; send urn:oid: "
                         "and its OID",
                         STR_ARG(system));
    }
    if (query->target_count == TARGETS_MAX) {
        return error_add(errors, ERR_FHIR_INVALID, NULL, "There are more than %d targetSystem.",
                         TARGETS_MAX);
    }
    query->targets[query->target_count++] = authority;
    return 0;
}

static int find_targets(Query *query)
{
    FhirParameters *parameters = &query->exchange->parameters;
    query->targets =
        ARENA_ARRAY(query->exchange->req->arena, const AssigningAuthority *, TARGETS_MAX);
    size_t index = 0;
    int rc = 0;
    const FhirParameter *parameter;
    while ((parameter = fhir_parameters_next(parameters, "targetSystem", &index))) {
        Str rest = parameter->value;
        Str system;
        while (fhir_value_next(&rest, &system)) {
            int fault = str_is_empty(system) ? 0 : add_target(query, system);
            rc = rc ? rc : fault;
        }
    }
    return rc;
}

static int read_query(Query *query)
{
    FhirExchange *exchange = query->exchange;
    int rc = take_body(exchange);
    rc = rc ? rc
            : pix_fhir_read_identifier(exchange, "sourceIdentifier", ERR_FHIR_INVALID,
                                       &query->source);
    if (rc == 0) {
        int source_rc = find_source_authority(query);
        int target_rc = find_targets(query);
        rc = source_rc ? source_rc : target_rc;
    }
    return rc ? rc : pix_fhir_check_strict(exchange);
}

/* ---- the answer ---- */

static bool is_wanted(const Query *query, const AssigningAuthority *authority)
{
    bool is_target = query->target_count == 0;
    for (size_t i = 0; i < query->target_count; i++) {
        is_target |= query->targets[i]->id == authority->id;
    }
    return is_target;
}

static int take_person(void *ctx, Request *req, const FoundPatient *patient)
{
    Query *query = ctx;
    CrossReference *reference = &query->reference;
    reference->is_known = true;
    reference->person = patient->person;
    reference->identifiers = ARENA_ARRAY(req->arena, FoundIdentifier, patient->identifier_count);
    for (size_t i = 0; i < patient->identifier_count; i++) {
        FoundIdentifier identifier = patient->identifiers[i];
        if (is_wanted(query, identifier.authority)) {
            identifier.value = str_dup(req->arena, identifier.value);
            reference->identifiers[reference->identifier_count++] = identifier;
        }
    }
    return 0;
}

static int find_identifiers(Query *query)
{
    FhirExchange *exchange = query->exchange;
    int rc =
        query->asked.authority
            ? identity_cross_reference(query->pix, exchange->req, query->authorities, &query->asked,
                                       query->targets, query->target_count, &query->reference)
            : pix_fhir_find_person(query->pix, exchange, query->authorities,
                                   str_from_offset(query->source.code, strlen("Patient/")),
                                   take_person, query);
    if (rc < 0 || query->reference.is_known) {
        return rc;
    }
    return error_add(&exchange->req->errors, ERR_FHIR_SOURCE_NOT_FOUND, NULL,
                     "The patient is not known by this identifier, or no longer; it becomes known "
                     "with a feed of its Patient Identity Source");
}

static void write_answer(const Query *query)
{
    Arena *arena = query->exchange->req->arena;
    const CrossReference *reference = &query->reference;
    FhirNode *reply = fhir_resource_new(arena, "Parameters");
    for (size_t i = 0; i < reference->identifier_count; i++) {
        FhirNode *parameter = fhir_add(arena, reply, "parameter");
        FhirIdentifier identifier = pix_fhir_identifier(arena, &reference->identifiers[i]);
        fhir_add_text(arena, parameter, "name", STR("targetIdentifier"));
        fhir_identifier_write(arena, parameter, "valueIdentifier", &identifier);
    }
    if (reference->identifier_count > 0) {
        FhirNode *parameter = fhir_add(arena, reply, "parameter");
        fhir_add_text(arena, parameter, "name", STR("targetId"));
        fhir_add_text(arena, fhir_add(arena, parameter, "valueReference"), "reference",
                      str_printf(arena, "%.*s/Patient/%lld", STR_ARG(query->exchange->base),
                                 (long long)reference->person));
    }
    query->exchange->reply = reply;
    query->exchange->status = 200;
}

int pix_iti83_query(void *module, FhirExchange *exchange)
{
    Pix *pix = module;
    Query query = {
        .pix = pix, .exchange = exchange, .authorities = pix_fhir_authorities(pix, exchange)};
    int rc = read_query(&query);
    rc = rc ? rc : find_identifiers(&query);
    if (rc == 0) {
        write_answer(&query);
    }
    AuditObject patient =
        pix_fhir_audit_token(exchange->req->arena, query.authorities, &query.source);
    bool has_patient = !str_is_empty(query.source.code);
    return pix_fhir_record_query(pix, exchange, AUDIT_ITI83_QUERY, &patient, has_patient, rc);
}
