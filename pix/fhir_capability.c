/** What the CapabilityStatement says of this folder (ITI TF-2 Z.3; server/fhir_transactions.def).
 */
#include "lib/fhir/capability.h"
#include "pix/pdqm_criteria.h"

typedef struct Entry {
    const char *name;
    const char *value;
} Entry;

#define PROFILES "https://profiles.ihe.net/ITI/"

static const char *const profiles[] = {
    PROFILES "PIXm/CapabilityStatement/IHE.PIXm.Manager",
    PROFILES "PDQm/CapabilityStatement/IHE.PDQm.PatientDemographicsSupplier",
    PROFILES "PDQm/CapabilityStatement/IHE.PDQm.PatientDemographicsSupplierMatch",
};

static const char *const patient_profiles[] = {
    PROFILES "PDQm/StructureDefinition/IHE.PDQm.Patient",
    PROFILES "PIXm/StructureDefinition/IHE.PIXm.Patient",
};

static const char *const interactions[] = {"read", "update", "delete", "search-type"};

static const Entry operations[] = {
    {"ihe-pix", "https://profiles.ihe.net/ITI/PIXm/OperationDefinition/IHE.PIXm.pix"},
    {"match", "http://hl7.org/fhir/OperationDefinition/Patient-match"}};

static void add_search_parameters(Arena *arena, FhirNode *resource)
{
    for (size_t i = 0; i < pdqm_parameter_count; i++) {
        FhirNode *parameter = fhir_add(arena, resource, "searchParam");
        fhir_add_text(arena, parameter, "name", str_from(pdqm_parameters[i].name));
        fhir_add_text(arena, parameter, "type", str_from(pdqm_parameters[i].type));
    }
}

/** In the order of the elements of CapabilityStatement.rest.resource. */
static void add_patient(Arena *arena, FhirNode *rest)
{
    FhirNode *resource = fhir_add(arena, rest, "resource");
    fhir_add_text(arena, resource, "type", STR("Patient"));
    fhir_add_text(arena, resource, "profile", str_from(patient_profiles[0]));
    for (size_t i = 0; i < ARRAY_LEN(patient_profiles); i++) {
        fhir_add_text(arena, resource, "supportedProfile", str_from(patient_profiles[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(interactions); i++) {
        fhir_add_text(arena, fhir_add(arena, resource, "interaction"), "code",
                      str_from(interactions[i]));
    }
    fhir_add_text(arena, resource, "versioning", STR("no-version"));
    fhir_add_boolean(arena, resource, "conditionalCreate", false);
    fhir_add_boolean(arena, resource, "conditionalUpdate", true);
    fhir_add_text(arena, resource, "conditionalDelete", STR("single"));
    add_search_parameters(arena, resource);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        fhir_capability_add_operation(arena, resource, operations[i].name, operations[i].value);
    }
}

static void add_process_message(Arena *arena, FhirNode *rest)
{
    fhir_capability_add_operation(
        arena, rest, "process-message",
        "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message");
}

const FhirCapability pix_fhir_capability = {
    .description = "Patient identity manager",
    .instantiates = profiles,
    .instantiates_count = ARRAY_LEN(profiles),
    .add_resources = add_patient,
    .add_operations = add_process_message,
};
