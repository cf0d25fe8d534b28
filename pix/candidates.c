#include "pix/candidates.h"

/** Records that one search may bring; a patient of the same birth date, name or phone is among
 * them. */
#define FOUND_MAX 2000

typedef struct Matching {
    Pix *pix;
    Request *req;
    const CandidateQuestion *question;
    const MatchProfile *profile;
    CandidateKeepFn keep;
    void *ctx;
    Candidate *candidates; /* best first */
    size_t count;
} Matching;

/* ---- scores ---- */

static bool has_identifier(const CandidateQuestion *question, const FoundPatient *patient)
{
    for (size_t i = 0; i < question->identifier_count; i++) {
        const FoundIdentifier *asked = &question->identifiers[i];
        for (size_t j = 0; j < patient->identifier_count; j++) {
            if (patient->identifiers[j].authority == asked->authority &&
                str_equal(patient->identifiers[j].value, asked->value)) {
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
} grade_scores[] = {[CANDIDATE_POSSIBLE] = {0.0, 0.5},
                    [CANDIDATE_PROBABLE] = {0.5, 0.9},
                    [CANDIDATE_CERTAIN] = {0.9, 1.0}};

/** The weight, in bits, on a scale from 0 to 1. */
static double scale(CandidateGrade grade, double weight)
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
    CandidateGrade grade = match.verdict == MATCH_SAME     ? CANDIDATE_CERTAIN
                           : match.verdict == MATCH_REVIEW ? CANDIDATE_PROBABLE
                                                           : CANDIDATE_POSSIBLE;
    Candidate candidate = {
        .person = patient->person, .grade = grade, .score = scale(grade, match.score)};
    /* The very number: only contradictions speak against it. */
    if (has_identifier(matching->question, patient)) {
        bool is_agreed = matching->question->is_by_identifier || match.verdict != MATCH_DIFFERENT;
        candidate.grade = is_agreed ? CANDIDATE_CERTAIN : CANDIDATE_PROBABLE;
        candidate.score = is_agreed ? 1.0 : MAX(candidate.score, 0.5);
    }
    return candidate;
}

/* ---- candidates ---- */

static bool is_there(const Matching *matching, int64_t person)
{
    for (size_t i = 0; i < matching->count; i++) {
        if (matching->candidates[i].person == person) {
            return true;
        }
    }
    return false;
}

/** Puts it in its place; the worst falls off. */
static void insert(Matching *matching, Candidate candidate)
{
    size_t at = matching->count;
    while (at > 0 && matching->candidates[at - 1].score < candidate.score) {
        matching->candidates[at] = matching->candidates[at - 1];
        at--;
    }
    matching->candidates[at] = candidate;
    matching->count = MIN(matching->count + 1, (size_t)CANDIDATES_KEPT_MAX);
}

static bool is_worth_keeping(const Matching *matching, const Candidate *candidate)
{
    if (candidate->score <= 0) {
        return false;
    }
    return matching->count < CANDIDATES_KEPT_MAX ||
           candidate->score > matching->candidates[matching->count - 1].score;
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
        candidate.kept = matching->keep(matching->ctx, req, patient, candidate.grade);
        if (candidate.kept) {
            insert(matching, candidate);
        }
    }
    return 0;
}

/* ---- searches ---- */

static int search_by(Matching *matching, const SearchGroup *groups, size_t count)
{
    const PatientSearch search = {.authorities = matching->question->authorities,
                                  .groups = groups,
                                  .group_count = count,
                                  .limit = FOUND_MAX};
    return patient_search(matching->pix, matching->req, &search, take_candidate, matching);
}

static int search_by_term(Matching *matching, SearchTerm term)
{
    const SearchGroup group = {&term, 1};
    return search_by(matching, &group, 1);
}

static int search_by_identifiers(Matching *matching)
{
    const CandidateQuestion *question = matching->question;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < question->identifier_count; i++) {
        rc =
            search_by_term(matching, (SearchTerm){.field = SEARCH_IDENTIFIER,
                                                  .match = SEARCH_EQUAL,
                                                  .text = question->identifiers[i].value,
                                                  .authority = question->identifiers[i].authority});
    }
    return rc;
}

static int search_by_birth_date(Matching *matching)
{
    Str date = demographics_birth_date(matching->req->arena, matching->question->demographics);
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
    size_t count = demographics_names(matching->req->arena, matching->question->demographics,
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
        demographics_telecoms(matching->req->arena, matching->question->demographics, &telecoms);
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

int candidates_find(Pix *pix, Request *req, const CandidateQuestion *question, CandidateKeepFn keep,
                    void *ctx, Candidate *ret_candidates, size_t *ret_count)
{
    Matching matching = {.pix = pix,
                         .req = req,
                         .question = question,
                         .profile = match_profile_new(req->arena, question->demographics),
                         .keep = keep,
                         .ctx = ctx,
                         .candidates = ret_candidates};
    int rc = search_by_identifiers(&matching);
    rc = rc ? rc : search_by_birth_date(&matching);
    rc = rc ? rc : search_by_names(&matching);
    rc = rc ? rc : search_by_phones(&matching);
    *ret_count = matching.count;
    return rc;
}
