/** ITI-119 Patient Demographics Match (PDQm 2:3.119; FHIR R4 Patient/$match). */
#include <stdlib.h>

#include "pix/fhir.h"

#define COUNT_DEFAULT 20
#define COUNT_MAX 100
/** Records that one search may bring; a patient of the same birth date, name or phone is among
 * them. */
#define CANDIDATES_MAX 2000
#define GRADE_URL "http://hl7.org/fhir/StructureDefinition/match-grade"

typedef enum Grade { GRADE_POSSIBLE, GRADE_PROBABLE, GRADE_CERTAIN } Grade;

static const char *const grade_codes[] = {
    [GRADE_POSSIBLE] = "possible", [GRADE_PROBABLE] = "probable", [GRADE_CERTAIN] = "certain"};

typedef struct Candidate {
    int64_t person;
    double score; /* 0 to 1 */
    Grade grade;
    FhirNode *resource;
    AuditObject patient;
} Candidate;

typedef struct Matching {
    Pix *pix;
    FhirExchange *exchange;
    const Authorities *authorities;
    const FhirNode *patient;
    size_t count;
    bool wants_certain; /* onlyCertainMatches */
    Demographics demographics;
    const MatchProfile *profile;
    Candidate candidates[COUNT_MAX + 1]; /* best first, also beyond count */
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
        matching->count = MIN(count, COUNT_MAX);
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
    rc = rc ? rc : fhir_patient_read(req, matching->patient, "Patient", &matching->demographics);
    if (rc == 0) {
        matching->profile = match_profile_new(req->arena, &matching->demographics);
    }
    return rc;
}

/* ---- scores ---- */

static bool has_identifier(const Matching *matching, const FoundPatient *patient)
{
    const FhirNode *node = fhir_child(matching->patient, "identifier");
    for (; node; node = fhir_next(node)) {
        const AssigningAuthority *authority =
            pix_fhir_authority(matching->authorities, fhir_text(node, "system"));
        for (size_t i = 0; authority && i < patient->identifier_count; i++) {
            if (patient->identifiers[i].authority == authority &&
                str_equal(patient->identifiers[i].value, str_trim(fhir_text(node, "value")))) {
                return true;
            }
        }
    }
    return false;
}

/** Where the scores of a grade begin and end; within, they grow with the weight. */
static const struct {
    double low;
    double high;
} grade_scores[] = {
    [GRADE_POSSIBLE] = {0.0, 0.5}, [GRADE_PROBABLE] = {0.5, 0.9}, [GRADE_CERTAIN] = {0.9, 1.0}};

/** The weight, in bits, on a scale from 0 to 1. */
static double scale(Grade grade, double weight)
{
    const double half = 20.0; /* the weight at the middle of a grade's scores */
    double part = weight > 0 ? weight / (weight + half) : 0.0;
    return grade_scores[grade].low + (grade_scores[grade].high - grade_scores[grade].low) * part;
}

static Candidate assess(const Matching *matching, Arena *arena, const FoundPatient *patient)
{
    const MatchConfig *config = &matching->pix->config.match;
    const MatchProfile *profile = match_profile_new(arena, &patient->demographics);
    Match match = match_compare(config, arena, matching->profile, profile);
    Grade grade = match.verdict == MATCH_SAME     ? GRADE_CERTAIN
                  : match.verdict == MATCH_REVIEW ? GRADE_PROBABLE
                                                  : GRADE_POSSIBLE;
    Candidate candidate = {
        .person = patient->person, .grade = grade, .score = scale(grade, match.score)};
    if (has_identifier(matching, patient)) { /* the very number: only contradictions speak against
                                                it */
        bool is_agreed = match.verdict != MATCH_DIFFERENT;
        candidate.grade = is_agreed ? GRADE_CERTAIN : GRADE_PROBABLE;
        candidate.score = is_agreed ? 1.0 : MAX(candidate.score, 0.5);
    }
    return candidate;
}

/* ---- candidates ---- */

static bool is_there(const Matching *matching, int64_t person)
{
    for (size_t i = 0; i < matching->candidate_count; i++) {
        if (matching->candidates[i].person == person) {
            return true;
        }
    }
    return false;
}

/** Puts it in its place; the worst falls off. */
static void insert(Matching *matching, Candidate candidate)
{
    size_t at = matching->candidate_count;
    while (at > 0 && matching->candidates[at - 1].score < candidate.score) {
        matching->candidates[at] = matching->candidates[at - 1];
        at--;
    }
    matching->candidates[at] = candidate;
    matching->candidate_count = MIN(matching->candidate_count + 1, (size_t)COUNT_MAX);
}

static bool is_worth_keeping(const Matching *matching, const Candidate *candidate)
{
    if (candidate->score <= 0) {
        return false;
    }
    return matching->candidate_count < COUNT_MAX ||
           candidate->score > matching->candidates[matching->candidate_count - 1].score;
}

static int take_candidate(void *ctx, Request *req, const FoundPatient *patient)
{
    Matching *matching = ctx;
    if (is_there(matching, patient->person)) {
        return 0;
    }
    _cleanup_(arena_freep) Arena *scratch = arena_new();
    Candidate candidate = assess(matching, scratch, patient);
    if (is_worth_keeping(matching, &candidate)) {
        candidate.resource = fhir_node_new(req->arena, "resource");
        candidate.resource->type = STR("Patient");
        pix_fhir_write_patient(req->arena, candidate.resource, patient);
        candidate.patient = pix_fhir_audit_patient(req->arena, patient);
        insert(matching, candidate);
    }
    return 0;
}

static int search_by(Matching *matching, const SearchGroup *groups, size_t count)
{
    const PatientSearch search = {.authorities = matching->authorities,
                                  .groups = groups,
                                  .group_count = count,
                                  .limit = CANDIDATES_MAX};
    return patient_search(matching->pix, matching->exchange->req, &search, take_candidate,
                          matching);
}

static int search_by_term(Matching *matching, SearchTerm term)
{
    const SearchGroup group = {&term, 1};
    return search_by(matching, &group, 1);
}

static int search_by_identifiers(Matching *matching)
{
    int rc = 0;
    const FhirNode *node = fhir_child(matching->patient, "identifier");
    for (; rc == 0 && node; node = fhir_next(node)) {
        Str value = str_trim(fhir_text(node, "value"));
        const AssigningAuthority *authority =
            pix_fhir_authority(matching->authorities, fhir_text(node, "system"));
        if (authority && !str_is_empty(value)) {
            rc = search_by_term(matching, (SearchTerm){.field = SEARCH_IDENTIFIER,
                                                       .match = SEARCH_EQUAL,
                                                       .text = value,
                                                       .authority = authority});
        }
    }
    return rc;
}

static int search_by_birth_date(Matching *matching)
{
    Str date = demographics_birth_date(matching->exchange->req->arena, &matching->demographics);
    bool is_day = date.len == strlen("YYYYMMDD");
    return is_day ? search_by_term(matching, (SearchTerm){.field = SEARCH_BIRTH_DATE,
                                                          .match = SEARCH_EQUAL,
                                                          .text = date,
                                                          .high = date})
                  : 0;
}

static int search_by_names(Matching *matching)
{
    PersonName *names;
    size_t count = demographics_names(matching->exchange->req->arena, &matching->demographics,
                                      DEMOGRAPHIC_name, &names);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const SearchTerm terms[] = {
            {.field = SEARCH_FAMILY, .match = SEARCH_EQUAL, .text = names[i].family},
            {.field = SEARCH_GIVEN, .match = SEARCH_EQUAL, .text = names[i].given}};
        const SearchGroup groups[] = {{&terms[0], 1}, {&terms[1], 1}};
        if (!str_is_empty(names[i].family) && !str_is_empty(names[i].given)) {
            rc = search_by(matching, groups, ARRAY_LEN(groups));
        }
    }
    return rc;
}

static int search_by_phones(Matching *matching)
{
    Telecom *telecoms;
    size_t count =
        demographics_telecoms(matching->exchange->req->arena, &matching->demographics, &telecoms);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!str_is_empty(telecoms[i].number)) {
            rc = search_by_term(matching, (SearchTerm){.field = SEARCH_TELECOM,
                                                       .match = SEARCH_EQUAL,
                                                       .text = telecoms[i].number});
        }
    }
    return rc;
}

static int find_candidates(Matching *matching)
{
    int rc = search_by_identifiers(matching);
    rc = rc ? rc : search_by_birth_date(matching);
    rc = rc ? rc : search_by_names(matching);
    return rc ? rc : search_by_phones(matching);
}

/* ---- the answer ---- */

/** Only certain: the one certain match, or nothing (FHIR R4 Patient/$match). */
static void keep_certain(Matching *matching)
{
    size_t kept = 0;
    for (size_t i = 0; i < matching->candidate_count; i++) {
        if (matching->candidates[i].grade == GRADE_CERTAIN) {
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
    fhir_append(entry, candidate->resource);
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
    AuditObject *patients = ARENA_ARRAY(arena, AuditObject, COUNT_MAX);
    size_t count = rc ? 0 : matching->candidate_count;
    for (size_t i = 0; i < count; i++) {
        patients[i] = matching->candidates[i].patient;
    }
    return pix_fhir_record_query(pix, exchange, AUDIT_ITI119_QUERY, patients, count, rc);
}
