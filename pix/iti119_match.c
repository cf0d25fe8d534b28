/** ITI-119 Patient Demographics Match (PDQm 2:3.119; FHIR R4 Patient/$match). */
#include "pix/candidates.h"
#include "pix/fhir.h"

#define COUNT_DEFAULT 20
#define GRADE_URL "http://hl7.org/fhir/StructureDefinition/match-grade"

static const char *const grade_codes[] = {[CANDIDATE_POSSIBLE] = "possible",
                                          [CANDIDATE_PROBABLE] = "probable",
                                          [CANDIDATE_CERTAIN] = "certain"};

typedef struct Matching {
    Pix *pix;
    FhirExchange *exchange;
    const Authorities *authorities;
    const FhirNode *patient;
    size_t count;
    bool wants_certain; /* onlyCertainMatches */
    Demographics demographics;
    Candidate candidates[CANDIDATES_KEPT_MAX + 1]; /* best first, also beyond count */
    size_t candidate_count;
} Matching;

/* ---- the question ---- */

static int read_parameter(Matching *matching, const FhirNode *parameter)
{
    Str name = fhir_text(parameter, "name");
    const FhirNode *value = fhir_value_x(parameter);
    uint64_t count;
    if (str_equal(name, STR("resource"))) {
        matching->patient = fhir_child(parameter, "resource");
    } else if (str_equal(name, STR("onlyCertainMatches")) && value) {
        matching->wants_certain = str_equal(value->value, STR("true"));
    } else if (str_equal(name, STR("count")) && value) {
        if (!str_to_u64(value->value, &count) || count == 0) {
            return error_add(&matching->exchange->req->errors, ERR_FHIR_INVALID, "Parameters",
                             "Parameter count is \"%.*s\"; send a number above 0.",
                             STR_ARG(value->value));
        }
        matching->count = MIN(count, CANDIDATES_KEPT_MAX);
    }
    return 0;
}

static int read_question(Matching *matching)
{
    Request *req = matching->exchange->req;
    const FhirNode *body = matching->exchange->resource;
    const FhirNode *parameter =
        fhir_is_resource(body, "Parameters") ? fhir_child(body, "parameter") : NULL;
    int rc = 0;
    matching->patient = body; /* a Patient alone is accepted too */
    for (; rc == 0 && parameter; parameter = fhir_next(parameter)) {
        rc = read_parameter(matching, parameter);
    }
    if (rc == 0 && !fhir_is_resource(matching->patient, "Patient")) {
        rc = error_add(&req->errors, ERR_FHIR_REQUIRED, NULL,
                       "The body names no Patient; send Parameters with a parameter \"resource\" "
                       "that holds one.");
    }
    return rc ? rc : fhir_patient_read(req, matching->patient, "Patient", &matching->demographics);
}

/** The identifiers of the question whose authority is known here. */
static size_t read_identifiers(const Matching *matching, FoundIdentifier **ret_identifiers)
{
    const FhirNode *first = fhir_child(matching->patient, "identifier");
    size_t count = 0;
    for (const FhirNode *node = first; node; node = fhir_next(node)) {
        count++;
    }
    *ret_identifiers = ARENA_ARRAY(matching->exchange->req->arena, FoundIdentifier, count);
    count = 0;
    for (const FhirNode *node = first; node; node = fhir_next(node)) {
        const AssigningAuthority *authority =
            pix_fhir_authority(matching->authorities, fhir_text(node, "system"));
        Str value = str_trim(fhir_text(node, "value"));
        if (authority && !str_is_empty(value)) {
            (*ret_identifiers)[count++] = (FoundIdentifier){.authority = authority, .value = value};
        }
    }
    return count;
}

/* ---- candidates ---- */

/** What is kept of a candidate. */
typedef struct Kept {
    FhirNode *resource;
    AuditObject patient;
} Kept;

static void *keep_patient(void *ctx, Request *req, const FoundPatient *patient,
                          CandidateGrade grade)
{
    Kept *kept = ARENA_NEW(req->arena, Kept);
    (void)ctx;
    (void)grade;
    kept->resource = fhir_node_new(req->arena, "resource");
    kept->resource->type = STR("Patient");
    pix_fhir_write_patient(req->arena, kept->resource, patient);
    kept->patient = pix_fhir_audit_patient(req->arena, patient);
    return kept;
}

static int find_candidates(Matching *matching)
{
    FoundIdentifier *identifiers;
    const size_t identifier_count = read_identifiers(matching, &identifiers);
    const CandidateQuestion question = {.authorities = matching->authorities,
                                        .demographics = &matching->demographics,
                                        .identifiers = identifiers,
                                        .identifier_count = identifier_count};
    return candidates_find(matching->pix, matching->exchange->req, &question, keep_patient, NULL,
                           matching->candidates, &matching->candidate_count);
}

/* ---- the answer ---- */

/** Only certain: the one certain match, or nothing (FHIR R4 Patient/$match). */
static void keep_certain(Matching *matching)
{
    size_t kept = 0;
    for (size_t i = 0; i < matching->candidate_count; i++) {
        if (matching->candidates[i].grade == CANDIDATE_CERTAIN) {
            matching->candidates[kept++] = matching->candidates[i];
        }
    }
    matching->candidate_count = kept == 1 ? 1 : 0;
}

static void add_entry(const Matching *matching, FhirNode *bundle, const Candidate *candidate)
{
    const FhirExchange *exchange = matching->exchange;
    Arena *arena = exchange->req->arena;
    FhirNode *entry = fhir_add(arena, bundle, "entry");
    fhir_add_text(arena, entry, "fullUrl",
                  str_printf(arena, "%.*s/Patient/%lld", STR_ARG(exchange->base),
                             (long long)candidate->person));
    fhir_append(entry, ((const Kept *)candidate->kept)->resource);
    FhirNode *search = fhir_add(arena, entry, "search");
    fhir_add_text(arena, fhir_add_extension(arena, search, GRADE_URL), "valueCode",
                  str_from(grade_codes[candidate->grade]));
    fhir_add_text(arena, search, "mode", STR("match"));
    fhir_add_number(arena, search, "score", str_printf(arena, "%.4f", candidate->score));
}

static void write_bundle(Matching *matching)
{
    Arena *arena = matching->exchange->req->arena;
    FhirNode *bundle = fhir_resource_new(arena, "Bundle");
    fhir_add_text(arena, bundle, "type", STR("searchset"));
    fhir_add_number(arena, bundle, "total", str_printf(arena, "%zu", matching->candidate_count));
    for (size_t i = 0; i < matching->candidate_count; i++) {
        add_entry(matching, bundle, &matching->candidates[i]);
    }
    matching->exchange->reply = bundle;
    matching->exchange->status = 200;
}

int pix_iti119_match(void *module, FhirExchange *exchange)
{
    Pix *pix = module;
    Arena *arena = exchange->req->arena;
    Matching *matching = ARENA_NEW(arena, Matching);
    *matching = (Matching){.pix = pix,
                           .exchange = exchange,
                           .authorities = pix_fhir_authorities(pix, exchange),
                           .count = COUNT_DEFAULT};
    int rc = read_question(matching);
    rc = rc ? rc : find_candidates(matching);
    if (rc == 0) {
        if (matching->wants_certain) {
            keep_certain(matching);
        }
        matching->candidate_count = MIN(matching->candidate_count, matching->count);
        write_bundle(matching);
    }
    AuditObject *patients = ARENA_ARRAY(arena, AuditObject, CANDIDATES_KEPT_MAX);
    size_t count = rc ? 0 : matching->candidate_count;
    for (size_t i = 0; i < count; i++) {
        patients[i] = ((const Kept *)matching->candidates[i].kept)->patient;
    }
    return pix_fhir_record_query(pix, exchange, AUDIT_ITI119_QUERY, patients, count, rc);
}
