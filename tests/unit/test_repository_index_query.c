#include "tests/unit/imaging_fixture.h"

/* Numbers of patients: see imaging_fixture.h. */
static const Image stored[] = {
    {"1.2.1", "1.2.1.1", "1.2.1.1.1", .date = "20260401", .accession = "ACC1"},
    {"1.2.1", "1.2.1.1", "1.2.1.1.2", .number = "2"},
    {"1.2.1", "1.2.1.2", "1.2.1.2.1", .modality = "SR", .number = "+3"},
    /* the other hospital's copy of the same study: one instance the same, one more, of another
       series one */
    {"1.2.1", "1.2.1.1", "1.2.1.1.2", "B1", .facility = 2, .authority = 3, .bytes = "other",
     .accession = "ACC1B"},
    {"1.2.1", "1.2.1.1", "1.2.1.1.4", "B1", .facility = 2, .authority = 3, .number = "4"},
    {"1.2.1", "1.2.1.3", "1.2.1.3.1", "B1", .facility = 2, .authority = 3},
    /* the same number, another person in hospital two */
    {"1.2.2", "1.2.2.1", "1.2.2.1.1", "A1", .facility = 2, .authority = 3, .date = "20260402",
     .time = "1230", .accession = "ACC2", .name = "Suzuki^Hanako", .modality = "MR",
     .description = "MR of the head"},
    {"1.2.3", "1.2.3.1", "1.2.3.1.1", "A2", .date = "20251231", .time = "235959",
     .accession = "ACC3", .name = "Suzuki^Hanako"},
    /* waits for its patient */
    {"1.2.4", "1.2.4.1", "1.2.4.1.1", "A3", .accession = "WAIT"},
    {"1.2.6", "1.2.6.1", "1.2.6.1.1", "A9", .accession = "WAIT"},
    /* copies of two persons: none is given out */
    {"1.2.5", "1.2.5.1", "1.2.5.1.1", "A1", .accession = "BOTH"},
    {"1.2.5", "1.2.5.1", "1.2.5.1.2", "A2", .accession = "BOTH"},
};

static int set_up(void **state)
{
    int rc = images_set_up(state);
    Images *images = *state;
    for (size_t i = 0; i < ARRAY_LEN(stored); i++) {
        assert_int_equal(image_insert(images->service->pool, &stored[i]), INSTANCE_ADDED);
    }
    return rc;
}

#define PATIENT_NAME 0x00100010
#define PATIENT_ID 0x00100020
#define ISSUER 0x00100021
#define BIRTH_DATE 0x00100030
#define STUDY_UID 0x0020000D
#define SERIES_UID 0x0020000E
#define SOP_UID 0x00080018
#define STUDY_DATE 0x00080020
#define STUDY_TIME 0x00080030
#define ACCESSION 0x00080050
#define MODALITIES 0x00080061
#define MODALITY 0x00080060
#define DESCRIPTION 0x00081030
#define INSTANCE_NUMBER 0x00200013
#define PATIENT_STUDIES 0x00201200
#define PATIENT_SERIES 0x00201202
#define PATIENT_INSTANCES 0x00201204
#define STUDY_SERIES 0x00201206
#define STUDY_INSTANCES 0x00201208
#define SERIES_INSTANCES 0x00201209

typedef struct Given {
    uint32_t tag;
    StrBuf text;
} Given;

static int take_match(void *ctx, UNUSED Arena *arena, const DicomDataset *match)
{
    Given *given = ctx;
    strbuf_append(&given->text, given->text.len ? STR(" ") : STR_EMPTY);
    strbuf_append(&given->text, dicom_value(match, given->tag));
    return 0;
}

typedef struct QueryCase {
    ImagingLevel level;
    ImagingKey keys[3];
    uint32_t given; /* of each match */
    const char *expected;
    bool is_fuzzy;
    uint64_t offset;
    uint64_t limit;
} QueryCase;

#define KEY(tag, text)                                                                             \
    {                                                                                              \
        tag,                                                                                       \
        {                                                                                          \
            text, sizeof(text) - 1                                                                 \
        }                                                                                          \
    }
#define EMPTY(tag) KEY(tag, "")

static void assert_query(Images *images, const QueryCase *one)
{
    Request *req = images_request(images);
    ImagingKey keys[4];
    size_t count = 0;
    for (; count < ARRAY_LEN(one->keys) && one->keys[count].tag; count++) {
        keys[count] = one->keys[count];
    }
    keys[count++] = (ImagingKey){one->given, STR_EMPTY};
    /* a key that is asked for and returned stands once */
    for (size_t i = 0; i + 1 < count; i++) {
        if (keys[i].tag == one->given) {
            count--;
            break;
        }
    }
    const ImagingQuery query = {.level = one->level,
                                .keys = keys,
                                .key_count = count,
                                .is_fuzzy = one->is_fuzzy,
                                .offset = one->offset,
                                .limit = one->limit};
    Given given = {.tag = one->given};
    if (index_query(&images->imaging, req, &query, take_match, &given) < 0) {
        fail_msg("%s", db_last_failure());
    }
    if (!str_equal(strbuf_str(&given.text), str_from(one->expected))) {
        fail_msg("level %d, key %08x \"%.*s\": \"%.*s\" instead of \"%s\"", (int)one->level,
                 one->keys[0].tag, STR_ARG(one->keys[0].value), STR_ARG(strbuf_str(&given.text)),
                 one->expected);
    }
    strbuf_done(&given.text);
    request_free(req);
}

static void assert_queries(void **state, const QueryCase *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_query(*state, &cases[i]);
    }
}

/** PS3.4 C.2.2.2: single value, list of UIDs, universal, wildcards, ranges, names. */
static void test_keys_match_as_the_standard_has_them(void **state)
{
    static const QueryCase cases[] = {
        /* universal: what waits, and what is of two persons, is in no answer */
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(STUDY_UID)},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "*")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "WAIT")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "BOTH")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.5")},
         .given = STUDY_UID,
         .expected = ""},
        /* single value */
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC2")},
         .given = STUDY_UID,
         .expected = "1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "acc2")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(DESCRIPTION, "MR of the head")},
         .given = STUDY_UID,
         .expected = "1.2.2"},
        /* lists of UIDs */
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.3\\1.2.1")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.3\\1.2.9")},
         .given = STUDY_UID,
         .expected = "1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2")},
         .given = STUDY_UID,
         .expected = ""},
        /* wildcards */
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC?")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "*2")},
         .given = STUDY_UID,
         .expected = "1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "AC?")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(DESCRIPTION, "*chest*")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.3"},
        /* ranges of dates and times; those of a range come in its order */
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "20260401")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "20260401-")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "-20260401")},
         .given = STUDY_UID,
         .expected = "1.2.3 1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "20251231-20260402")},
         .given = STUDY_UID,
         .expected = "1.2.3 1.2.1 1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "20260403-")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_TIME, "0800-0900")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_TIME, "12-")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_TIME, "-235958")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_TIME, "noon")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "April")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_DATE, "20260101-"), KEY(ACCESSION, "ACC2")},
         .given = STUDY_UID,
         .expected = "1.2.2"},
        /* names: each group, without case, wildcards; words by fuzzymatching */
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "yamada^tarou")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "SUZUKI*")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "Suzuki")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "\xe5\xb1\xb1\xe7\x94\xb0*")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "=\xe5\xb1\xb1\xe7\x94\xb0*")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "hana")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3",
         .is_fuzzy = true},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_NAME, "ana")},
         .given = STUDY_UID,
         .expected = "",
         .is_fuzzy = true},
        /* what is counted */
        {.level = IMAGING_STUDY,
         .keys = {KEY(MODALITIES, "SR")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(MODALITIES, "SR\\MR")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(MODALITIES, "US")},
         .given = STUDY_UID,
         .expected = ""},
        /* pages */
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(STUDY_UID)},
         .given = STUDY_UID,
         .expected = "1.2.1",
         .limit = 1},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(STUDY_UID)},
         .given = STUDY_UID,
         .expected = "1.2.2",
         .offset = 1,
         .limit = 1},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(STUDY_UID)},
         .given = STUDY_UID,
         .expected = "",
         .offset = 3},
    };
    assert_queries(state, cases, ARRAY_LEN(cases));
}

static void test_every_level_is_answered(void **state)
{
    static const QueryCase cases[] = {
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_ID,
         .expected = "A1 A2"},
        {.level = IMAGING_PATIENT,
         .keys = {KEY(PATIENT_NAME, "suzuki*")},
         .given = PATIENT_ID,
         .expected = "A2"},
        {.level = IMAGING_PATIENT,
         .keys = {KEY(BIRTH_DATE, "19700101-19701231")},
         .given = PATIENT_ID,
         .expected = "A1 A2"},
        {.level = IMAGING_PATIENT,
         .keys = {KEY(BIRTH_DATE, "1969")},
         .given = PATIENT_ID,
         .expected = ""},
        {.level = IMAGING_SERIES,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = SERIES_UID,
         .expected = "1.2.1.1 1.2.1.2 1.2.1.3"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(STUDY_UID, "1.2.1"), KEY(MODALITY, "SR")},
         .given = SERIES_UID,
         .expected = "1.2.1.2"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(SERIES_UID, "1.2.3.1\\1.2.2.1")},
         .given = SERIES_UID,
         .expected = "1.2.2.1 1.2.3.1"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(ACCESSION, "ACC3")},
         .given = SERIES_UID,
         .expected = "1.2.3.1"},
        {.level = IMAGING_INSTANCE,
         .keys = {KEY(STUDY_UID, "1.2.1"), KEY(SERIES_UID, "1.2.1.1")},
         .given = SOP_UID,
         .expected = "1.2.1.1.1 1.2.1.1.2 1.2.1.1.4"},
        {.level = IMAGING_INSTANCE,
         .keys = {KEY(SOP_UID, "1.2.1.1.4\\1.2.2.1.1\\1.2.9")},
         .given = SOP_UID,
         .expected = "1.2.1.1.4 1.2.2.1.1"},
        {.level = IMAGING_INSTANCE,
         .keys = {KEY(STUDY_UID, "1.2.1"), KEY(INSTANCE_NUMBER, "3")},
         .given = SOP_UID,
         .expected = "1.2.1.2.1"},
        {.level = IMAGING_INSTANCE,
         .keys = {KEY(SERIES_UID, "1.2.5.1")},
         .given = SOP_UID,
         .expected = ""},
    };
    assert_queries(state, cases, ARRAY_LEN(cases));
}

/** Without issuer a number is of the caller's own domains, else an XAD-PID; with one, of that
 * domain. */
static void test_a_patient_id_is_the_callers_own(void **state)
{
    static const QueryCase cases[] = {
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A2")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "B1")},
         .given = STUDY_UID,
         .expected = ""}, /* another hospital's */
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "P2")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1"), KEY(ISSUER, "TWO")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1^^^&1.2.3.3&ISO")},
         .given = STUDY_UID,
         .expected = "1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1^^^ONE")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1"), KEY(ISSUER, "NOBODY")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A3")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A9")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A*")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A1"), KEY(STUDY_UID, "1.2.2")},
         .given = STUDY_UID,
         .expected = ""},
        /* named as it was asked for, else in the caller's domain */
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "P2")},
         .given = PATIENT_ID,
         .expected = "P2 P2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.2")},
         .given = PATIENT_ID,
         .expected = "A2"},
    };
    assert_queries(state, cases, ARRAY_LEN(cases));
}

/** A pattern is of numbers of the caller's own domains, or of those of the issuer, which is a key
 * like others (PS3.4 C.2.2.2): nobody is found by a number that another hospital gave him. */
static void test_a_pattern_of_numbers_is_of_the_callers_own_domains_or_the_issuers(void **state)
{
    static const QueryCase cases[] = {
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "B*")},
         .given = STUDY_UID,
         .expected = ""},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A?")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "B*"), KEY(ISSUER, "TWO")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.7"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "B7*^^^&1.2.3.3&ISO")},
         .given = STUDY_UID,
         .expected = "1.2.7"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A*"), KEY(ISSUER, "ONE")},
         .given = STUDY_UID,
         .expected = "1.2.1 1.2.2 1.2.3"},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(PATIENT_ID), KEY(ISSUER, "TWO")},
         .given = PATIENT_ID,
         .expected = "B1 A1 B7"},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(PATIENT_ID), KEY(ISSUER, "DEP")},
         .given = PATIENT_ID,
         .expected = "A2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "P*"), KEY(ISSUER, "AD")},
         .given = PATIENT_ID,
         .expected = "P1 P2 P2 P7"},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(PATIENT_ID), KEY(ISSUER, "NOBODY")},
         .given = PATIENT_ID,
         .expected = ""},
    };
    static const Image of_two = {"1.2.7",       "1.2.7.1",      "1.2.7.1.1",        "B7",
                                 .facility = 2, .authority = 3, .accession = "ACC7"};
    Images *images = *state;
    service_run(images->service->pool,
                "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) VALUES "
                "(1, 'P7', 7, true), (3, 'B7', 7, false)");
    assert_int_equal(image_insert(images->service->pool, &of_two), INSTANCE_ADDED);
    assert_queries(state, cases, ARRAY_LEN(cases));
}

/** A study is found by what any of its copies says, once; the one that matches tells it. */
static void test_a_copy_is_found_by_its_own_attributes(void **state)
{
    static const QueryCase cases[] = {
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC1B")},
         .given = STUDY_UID,
         .expected = "1.2.1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC1B")},
         .given = STUDY_INSTANCES,
         .expected = "5"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(ACCESSION, "ACC1*")},
         .given = ACCESSION,
         .expected = "ACC1"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(ACCESSION, "ACC1B"), KEY(STUDY_UID, "1.2.1")},
         .given = SERIES_INSTANCES,
         .expected = "3 1 1"},
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_STUDIES,
         .expected = "1 2"},
    };
    assert_queries(state, cases, ARRAY_LEN(cases));
}

/** PS3.4 C.6.1.1: numbers are of what a retrieve gives, the union of all copies of one person. */
static void test_counts_are_of_what_a_retrieve_gives(void **state)
{
    Images *images = *state;
    static const QueryCase cases[] = {
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = STUDY_SERIES,
         .expected = "3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = STUDY_INSTANCES,
         .expected = "5"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.2")},
         .given = STUDY_INSTANCES,
         .expected = "1"},
        {.level = IMAGING_STUDY,
         .keys = {EMPTY(STUDY_UID)},
         .given = STUDY_INSTANCES,
         .expected = "5 1 1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = MODALITIES,
         .expected = "CT"}, /* the first of CT\SR */
        {.level = IMAGING_SERIES,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = SERIES_INSTANCES,
         .expected = "3 1 1"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(STUDY_UID, "1.2.3")},
         .given = SERIES_INSTANCES,
         .expected = "1"},
        {.level = IMAGING_INSTANCE,
         .keys = {KEY(SERIES_UID, "1.2.1.1")},
         .given = SERIES_INSTANCES,
         .expected = "3 3 3"},
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_STUDIES,
         .expected = "1 2"},
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_SERIES,
         .expected = "3 2"},
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_INSTANCES,
         .expected = "5 2"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(PATIENT_ID, "A2")},
         .given = PATIENT_INSTANCES,
         .expected = "2 2"},
    };
    static const QueryCase rejected[] = {
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = STUDY_SERIES,
         .expected = "3"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = STUDY_INSTANCES,
         .expected = "5"},
        {.level = IMAGING_SERIES,
         .keys = {KEY(STUDY_UID, "1.2.1")},
         .given = SERIES_INSTANCES,
         .expected = "3 1 1"},
        {.level = IMAGING_STUDY,
         .keys = {KEY(STUDY_UID, "1.2.3")},
         .given = STUDY_INSTANCES,
         .expected = ""},
        {.level = IMAGING_PATIENT,
         .keys = {EMPTY(PATIENT_ID)},
         .given = PATIENT_STUDIES,
         .expected = "1 1"},
    };
    assert_queries(state, cases, ARRAY_LEN(cases));
    /* the other copy's stands in for what is rejected of one; a study of nothing is none */
    service_run(
        images->service->pool,
        "UPDATE imaging_instance SET rejected = 'X', rejected_by = '1.2.3.1.1' "
        "WHERE sop_instance = '1.2.3.1.1' OR (sop_instance = '1.2.1.1.2' AND facility = 1)");
    assert_queries(state, rejected, ARRAY_LEN(rejected));
}

static void test_keys_without_effect_are_counted(void **state)
{
    (void)state;
    static const struct {
        ImagingLevel level;
        ImagingKey key;
        size_t expected;
    } cases[] = {
        {IMAGING_STUDY, KEY(STUDY_UID, "1.2"), 0},     {IMAGING_STUDY, EMPTY(STUDY_INSTANCES), 0},
        {IMAGING_STUDY, KEY(STUDY_INSTANCES, "5"), 1}, /* only given */
        {IMAGING_STUDY, KEY(SERIES_UID, "1.2"), 1},    /* of a level below */
        {IMAGING_PATIENT, EMPTY(PATIENT_STUDIES), 0},  {IMAGING_STUDY, EMPTY(0x00104000), 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const ImagingQuery query = {.level = cases[i].level, .keys = &cases[i].key, .key_count = 1};
        assert_int_equal(index_unsupported_keys(&query), cases[i].expected);
    }
}

static int take_instance(void *ctx, const ImagingInstance *instance)
{
    Given *given = ctx;
    strbuf_printf(&given->text, "%s%.*s/%d", given->text.len ? " " : "",
                  STR_ARG(instance->sop_instance), instance->facility);
    return 0;
}

/** A retrieve by UID: the union of the copies of one person, as it came first; of several persons
 * nothing. */
static void test_instances_are_found_from_any_level(void **state)
{
    Images *images = *state;
    static const struct {
        const char *study;
        const char *series;
        const char *sop;
        const char *expected;
    } cases[] = {
        {"1.2.1", "", "", "1.2.1.1.1/1 1.2.1.1.2/1 1.2.1.1.4/2 1.2.1.2.1/1 1.2.1.3.1/2"},
        {"1.2.1", "1.2.1.1", "", "1.2.1.1.1/1 1.2.1.1.2/1 1.2.1.1.4/2"},
        {"1.2.1", "1.2.1.1", "1.2.1.1.4", "1.2.1.1.4/2"},
        {"1.2.1", "", "1.2.1.1.4", "1.2.1.1.4/2"},
        {"1.2.1", "1.2.1.2", "1.2.1.1.4", ""}, /* of another series */
        {"1.2.2", "1.2.1.1", "", ""},          /* of another study */
        {"", "1.2.1.3", "", "1.2.1.3.1/2"},
        {"", "", "1.2.2.1.1", "1.2.2.1.1/2"},
        {"1.2.4", "", "", ""},
        {"1.2.5", "", "", ""},
        {"1.2.9", "", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = images_request(images);
        const ImagingTarget target = {str_from(cases[i].study), str_from(cases[i].series),
                                      str_from(cases[i].sop)};
        Given given = {0};
        assert_int_equal(index_find_instances(&images->imaging, req, &target, ACCESS_DOWNLOAD,
                                              take_instance, &given),
                         0);
        if (!str_equal(strbuf_str(&given.text), str_from(cases[i].expected))) {
            fail_msg("%s %s %s: %.*s", cases[i].study, cases[i].series, cases[i].sop,
                     STR_ARG(strbuf_str(&given.text)));
        }
        strbuf_done(&given.text);
        request_free(req);
    }
}

/** More studies than a piece of candidates, of few dates: each comes once. */
static void test_long_ranges_come_piece_by_piece(void **state)
{
    Images *images = *state;
    static const ImagingKey keys[][2] = {
        {KEY(STUDY_DATE, "20200101-20201231"), EMPTY(STUDY_UID)},
        {KEY(ACCESSION, "LONG*"), EMPTY(STUDY_UID)},
    };
    service_run(
        images->service->pool,
        "CREATE TEMP TABLE template AS SELECT * FROM imaging_study WHERE study_uid = '1.2.3';"
        "UPDATE template SET accession_number = 'LONG', is_manifest_due = false;"
        ""
        "INSERT INTO imaging_study OVERRIDING SYSTEM VALUE SELECT "
        "(jsonb_populate_record(NULL::imaging_study, "
        "to_jsonb(t) || jsonb_build_object('id', 100000 + n, 'study_uid', '1.9.' || n, "
        "'study_date', '2020010' || (1 + n % 3)))).* FROM template t, generate_series(1, 450) n;"
        "INSERT INTO imaging_series OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record("
        "NULL::imaging_series, to_jsonb(t) || jsonb_build_object('id', s.id, 'study', s.id, "
        "'series_uid', s.study_uid || '.1'))).* FROM imaging_study s, "
        "(SELECT * FROM imaging_series LIMIT 1) t WHERE s.id > 100000;"
        "INSERT INTO imaging_instance OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record("
        "NULL::imaging_instance, to_jsonb(t) || jsonb_build_object('id', s.id, 'series', "
        "s.id, 'study', s.id, 'sop_instance', s.study_uid || '.1.1'))).* "
        "FROM imaging_study s, (SELECT * FROM imaging_instance LIMIT 1) t "
        "WHERE s.id > 100000");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        Request *req = images_request(images);
        const ImagingQuery query = {.level = IMAGING_STUDY, .keys = keys[i], .key_count = 2};
        Given given = {.tag = STUDY_UID};
        size_t count = 1;
        assert_int_equal(index_query(&images->imaging, req, &query, take_match, &given), 0);
        for (size_t at = 0; at < given.text.len; at++) {
            count += strbuf_str(&given.text).data[at] == ' ';
        }
        assert_int_equal(count, 450);
        strbuf_done(&given.text);
        request_free(req);
    }
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
#define WITH_IMAGES(test) cmocka_unit_test_setup_teardown(test, set_up, images_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_IMAGES(test_keys_match_as_the_standard_has_them),
        WITH_IMAGES(test_every_level_is_answered),
        WITH_IMAGES(test_a_patient_id_is_the_callers_own),
        WITH_IMAGES(test_a_pattern_of_numbers_is_of_the_callers_own_domains_or_the_issuers),
        WITH_IMAGES(test_a_copy_is_found_by_its_own_attributes),
        WITH_IMAGES(test_counts_are_of_what_a_retrieve_gives),
        cmocka_unit_test(test_keys_without_effect_are_counted),
        WITH_IMAGES(test_instances_are_found_from_any_level),
        WITH_IMAGES(test_long_ranges_come_piece_by_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
