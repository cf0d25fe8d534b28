#include "lib/fhir/outcome.h"

typedef struct FixedOutcome {
    ErrorCode error;
    Str severity;
    Str diagnostics;
} FixedOutcome;

static const FixedOutcome fixed_outcomes[] = {
#define OUTCOME(error, severity, diagnostics)                                                      \
    {ERR_##error, STR_INIT(severity), STR_INIT(diagnostics)},
#include "lib/fhir/outcomes.def"
#undef OUTCOME
};

static const FixedOutcome *find_fixed(ErrorCode error)
{
    for (size_t i = 0; i < ARRAY_LEN(fixed_outcomes); i++) {
        if (fixed_outcomes[i].error == error) {
            return &fixed_outcomes[i];
        }
    }
    return NULL;
}

static Str with_reference(const Request *req, Str text)
{
    return str_printf(req->arena, "%.*s [ref %s]", STR_ARG(text), req->ref);
}

/** Whether a location is a FHIRPath, which issue.expression takes: "Patient.identifier[0].value".
 */
static bool is_expression(Str location)
{
    return location.len > 0 && location.data[0] >= 'A' && location.data[0] <= 'Z' &&
           str_find_char(location, '^') == SIZE_MAX;
}

static void add_issue(const Request *req, FhirNode *outcome, const Error *error)
{
    Arena *arena = req->arena;
    const FixedOutcome *fixed = find_fixed(error->code);
    Str text = with_reference(req, error->context);
    FhirNode *issue = fhir_add(arena, outcome, "issue");
    Str severity = error->severity == SEVERITY_WARNING ? STR("warning") : STR("error");
    fhir_add_text(arena, issue, "severity", fixed ? fixed->severity : severity);
    fhir_add_text(arena, issue, "code", str_from(error_info(error->code)->fhir_issue));
    if (fixed) {
        fhir_add_text(arena, fhir_add(arena, issue, "details"), "text", text);
    }
    fhir_add_text(arena, issue, "diagnostics", fixed ? fixed->diagnostics : text);
    if (is_expression(error->location)) {
        fhir_add_text(arena, issue, "expression", error->location);
    }
}

FhirNode *fhir_outcome_of_errors(const Request *req)
{
    FhirNode *outcome = fhir_resource_new(req->arena, "OperationOutcome");
    for (const Error *error = req->errors.first; error; error = error->next) {
        add_issue(req, outcome, error);
    }
    if (!req->errors.first) {
        Error unknown = {.code = ERR_FHIR_INTERNAL,
                         .context = STR("The request could not be processed.")};
        add_issue(req, outcome, &unknown);
    }
    return outcome;
}

FhirNode *fhir_outcome_of_success(const Request *req, Str text)
{
    FhirNode *outcome = fhir_resource_new(req->arena, "OperationOutcome");
    FhirNode *issue = fhir_add(req->arena, outcome, "issue");
    fhir_add_text(req->arena, issue, "severity", STR("information"));
    fhir_add_text(req->arena, issue, "code", STR("informational"));
    fhir_add_text(req->arena, issue, "diagnostics", text);
    return outcome;
}

int fhir_status_of_errors(const Request *req)
{
    const Error *error = req->errors.first;
    while (error && error->severity == SEVERITY_WARNING) {
        error = error->next;
    }
    return error_info(error ? error->code : ERR_FHIR_INTERNAL)->http_status;
}
