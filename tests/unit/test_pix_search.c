/* Patient search as ITI-21, ITI-22, ITI-47 and ITI-78 use it (ITI TF-2 3.21.4.1.3.2, 3.21.4.2.2.8,
 * 3.47.4.1.3, 3.78.4.1.2); equal is what has the same normal form. */
#include "pix/search.h"

#include "tests/unit/pix_fixture.h"

#define CLINIC "1.2.392.99999.61.1"
#define LAB "1.2.392.99999.61.2"
#define PACS "1.2.392.99999.61.3"

static const DbStatement insert_identifier = {
    "test_insert_identifier",
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid, is_announced)"
    " SELECT id, $2::text, $3::int8, $4::boolean, $5::boolean FROM assigning_authority"
    " WHERE oid = $1::text RETURNING id",
};

static const DbStatement insert_record = {
    "test_insert_record",
    "INSERT INTO patient_demographics (identifier, updated_at, birth_date, sex, postal_code,"
    " phones, match_profile, record)"
    " VALUES ($1::int8, to_timestamp($2::int8), $3::text, $4::text, $5::text, $6::text[], '',"
    " $7::text)",
};

static const DbStatement insert_names = {
    "test_insert_names",
    "INSERT INTO patient_name SELECT $1::int8, family, given"
    " FROM unnest($2::text[], $3::text[]) AS n (family, given)",
};

/** One identifier and what its source said: fields of PID from PID-5 on. */
typedef struct Held {
    int64_t person;
    const char *oid;
    const char *value;
    int64_t updated_s;  /* 0: no record */
    const char *record; /* as demographics_write() has it */
} Held;

static const Held held[] = {
    /* person 1: two hospitals, of which the second wrote later, and other things */
    {1, FIXTURE_OID, "X1", 0, NULL},
    {1, CLINIC, "0042", 100,
     "山田^花子^^^^^L^I~ヤマダ^ハナコ^^^^^L^P|鈴木^梅|19710412|F|||1-2-3^^那覇市^沖縄県^900-0001^"
     "JPN||"
     "^PRN^PH^^^^^^^^^098-866-0001"},
    {1, LAB, "L1", 200, "山田^花子^^^^^L^I~YAMADA^HANAKO^MARIA KEIKO^^^^L^A||1971|F|||^^浦添市"},
    /* person 2: only a year of birth; an account */
    {2, FIXTURE_OID, "X2", 0, NULL},
    {2, CLINIC, "7", 100, "Müller^Jürgen^^^^^L||1971|M||||||||||A-17^^^&" LAB "&ISO"},
    /* person 3: a brother, with a business phone and mail */
    {3, FIXTURE_OID, "X3", 0, NULL},
    {3, LAB, "L3", 100,
     "山田^太郎~大和田^太郎^^^^^M||19710412|M||||||^WPN^PH^^^^^^^^^+81-98-866-0002~"
     "^NET^Internet^taro@example.jp"},
    /* person 4: no name, no birth date */
    {4, FIXTURE_OID, "X4", 0, NULL},
    {4, LAB, "L4", 100, "|||U"},
    /* person 5: an identifier alone */
    {5, CLINIC, "55", 0, NULL},
    /* person 6: signs that mean something to LIKE, and another alphabet */
    {6, CLINIC, "66", 100, "100%_sure^Ann\\\\a^^^^^L~ﾜﾀﾅﾍﾞ^ｼﾞﾛｳ||200002|O|||^^^^1000001"},
};

static const Authorities *authorities;
static AuthorityDirectory *directory;
static Fixture *fixture;

static int64_t add_identifier(Request *req, DbConn *conn, const char *oid, const char *value,
                              int64_t person, bool is_announced)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, str_from(oid));
    db_param_text(&params, str_from(value));
    db_param_i64(&params, person);
    db_param_bool(&params, strcmp(oid, FIXTURE_OID) == 0);
    db_param_bool(&params, is_announced);
    assert_int_equal(db_exec(conn, req, &insert_identifier, &params, &result), 0);
    return db_i64(result, 0, 0);
}

static void add_record(Request *req, DbConn *conn, int64_t identifier, const Held *row)
{
    Demographics demographics;
    SearchRow search;
    DbParams params;
    DbParams names;
    demographics_read(str_from(row->record), &demographics);
    search_row_make(req->arena, &demographics, &search);
    db_params_init(&params, req->arena);
    db_param_i64(&params, identifier);
    db_param_i64(&params, row->updated_s);
    db_param_text(&params, search.birth_date);
    db_param_text(&params, search.sex);
    db_param_text(&params, search.postal_code);
    db_param_text_array(&params, search.phones, search.phone_count);
    db_param_text(&params, str_from(row->record));
    assert_int_equal(db_exec(conn, req, &insert_record, &params, NULL), 0);
    db_params_init(&names, req->arena);
    db_param_i64(&names, identifier);
    db_param_text_array(&names, search.families, search.name_count);
    db_param_text_array(&names, search.givens, search.name_count);
    assert_int_equal(db_exec(conn, req, &insert_names, &names, NULL), 0);
}

static void add_held(Request *req, DbConn *conn, const Held *row)
{
    int64_t identifier = add_identifier(req, conn, row->oid, row->value, row->person, true);
    if (row->record) {
        add_record(req, conn, identifier, row);
    }
}

static int set_up(void **state)
{
    if (fixture_set_up(state) != 0) {
        return -1;
    }
    fixture = *state;
    fixture_run_script(
        fixture->pool,
        "INSERT INTO assigning_authority (oid, namespace, is_configured) VALUES ('" CLINIC
        "', 'CLINIC', true), ('" LAB "', 'LAB', true);"
        "INSERT INTO assigning_authority (oid, namespace, is_configured, derive_from, derive_rule)"
        " SELECT '" PACS "', 'PACS', true, id, 'pad=8' FROM assigning_authority"
        " WHERE oid = '" CLINIC "'");
    Request *req = fixture_request(30000);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        add_held(req, conn, &held[i]);
    }
    /* merged away, and minted but not announced yet */
    add_identifier(req, conn, CLINIC, "0041", 1, true);
    add_identifier(req, conn, FIXTURE_OID, "X5", 5, false);
    request_free(req);
    fixture_run_script(fixture->pool, "UPDATE patient_identifier SET merged_at = now(), survivor ="
                                      " (SELECT id FROM patient_identifier WHERE value = '0042')"
                                      " WHERE value = '0041'");
    req = fixture_request(30000);
    assert_int_equal(authority_directory_open(fixture->pool, req, STR(FIXTURE_OID),
                                              STR(FIXTURE_NAMESPACE), &directory),
                     0);
    request_free(req);
    return 0;
}

static int tear_down(void **state)
{
    authority_directory_free(directory);
    return fixture_tear_down(state);
}

/* ---- what a search gives, as a text ---- */

static int append_person(void *ctx, Request *req, const FoundPatient *patient)
{
    (void)req;
    strbuf_printf(ctx, "%s%lld", ((StrBuf *)ctx)->len ? " " : "", (long long)patient->person);
    return 0;
}

static int append_identifiers(void *ctx, Request *req, const FoundPatient *patient)
{
    append_person(ctx, req, patient);
    for (size_t i = 0; i < patient->identifier_count; i++) {
        const FoundIdentifier *found = &patient->identifiers[i];
        strbuf_printf(ctx, " %.*s:%.*s%s", STR_ARG(found->authority->namespace_id),
                      STR_ARG(found->value), found->is_derived ? "*" : "");
    }
    return 0;
}

static int append_city(void *ctx, Request *req, const FoundPatient *patient)
{
    Address *addresses;
    append_person(ctx, req, patient);
    if (demographics_addresses(req->arena, &patient->demographics, &addresses) > 0) {
        strbuf_printf(ctx, " %.*s", STR_ARG(addresses[0].city));
    }
    return 0;
}

static void expect(PatientSearch *search, FoundPatientFn append, const char *expected,
                   const char *what)
{
    Request *req = fixture_request(30000);
    StrBuf found = {0};
    search->authorities = authority_directory_hold(directory, req->arena);
    assert_int_equal(patient_search(fixture->pix, req, search, append, &found), 0);
    if (!str_equal(strbuf_str(&found), str_from(expected))) {
        fail_msg("%s: found \"%.*s\", not \"%s\"", what, STR_ARG(strbuf_str(&found)), expected);
    }
    strbuf_done(&found);
    request_free(req);
}

static const AssigningAuthority *authority(Request *req, const char *oid)
{
    authorities = authority_directory_hold(directory, req->arena);
    const AssigningAuthority *found = authorities_by_oid(authorities, str_from(oid));
    assert_non_null(found);
    return found;
}

/* ---- one term ---- */

typedef struct OneTerm {
    SearchField field;
    SearchMatch match;
    const char *text;
    const char *high;
    const char *persons;
} OneTerm;

/* What is equal in normal form is found (3.21.4.1.3.2: at least all exact matches); '*' and '?' are
 * wildcards in SEARCH_PATTERN alone; % and _ never. */
static const OneTerm one_term[] = {
    {SEARCH_FAMILY, SEARCH_EQUAL, "山田", NULL, "1 3"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "やまだ", NULL, "1"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "ﾔﾏﾀﾞ", NULL, "1"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "yamada", NULL, "1"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "山", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EQUAL, "大和田", NULL, "3"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "ワタナベ", NULL, "6"},
    {SEARCH_FAMILY, SEARCH_EQUAL, "鈴木", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EQUAL, "山%", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EQUAL, "*", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EQUAL, "", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EXACT, "Müller", NULL, "2"},
    {SEARCH_FAMILY, SEARCH_EXACT, "muller", NULL, ""},
    {SEARCH_FAMILY, SEARCH_EQUAL, "muller", NULL, "2"},
    {SEARCH_FAMILY, SEARCH_BEGINS, "山", NULL, "1 3"},
    {SEARCH_FAMILY, SEARCH_BEGINS, "MUL", NULL, "2"},
    {SEARCH_FAMILY, SEARCH_BEGINS, "uller", NULL, ""},
    {SEARCH_FAMILY, SEARCH_PATTERN, "山*", NULL, "1 3"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "*田", NULL, "1 3"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "?田", NULL, "1 3"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "大?田", NULL, "3"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "大?", NULL, ""},
    {SEARCH_FAMILY, SEARCH_PATTERN, "ya*a", NULL, "1"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "ya*x", NULL, ""},
    {SEARCH_FAMILY, SEARCH_PATTERN, "yamada", NULL, "1"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "100%*", NULL, "6"},
    {SEARCH_FAMILY, SEARCH_PATTERN, "1%*", NULL, "6"}, /* folded, % is nothing */
    {SEARCH_FAMILY, SEARCH_PATTERN, "_田", NULL, ""},
    {SEARCH_FAMILY, SEARCH_PATTERN, "*", NULL, "1 2 3 6"},
    {SEARCH_FAMILY, SEARCH_CONTAINS, "和", NULL, "3"},
    {SEARCH_GIVEN, SEARCH_EQUAL, "花子", NULL, "1"},
    {SEARCH_GIVEN, SEARCH_EQUAL, "Maria", NULL, "1"},
    {SEARCH_GIVEN, SEARCH_EQUAL, "Keiko", NULL, "1"},
    {SEARCH_GIVEN, SEARCH_BEGINS, "太", NULL, "3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "19710412", "19710412", "1 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "197104", "197104", "1 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "1971", "1971", "1 2 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "1970", "1972", "1 2 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "19710411", "19710411", ""},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "19710413", "", "6"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "", "19710412", "1 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "", "1971", "1 2 3"},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "20000229", "20000229", ""},
    {SEARCH_BIRTH_DATE, SEARCH_EQUAL, "200002", "200002", "6"},
    {SEARCH_SEX, SEARCH_EQUAL, "M", NULL, "2 3"},
    {SEARCH_SEX, SEARCH_EQUAL, "f", NULL, "1"},
    {SEARCH_STREET, SEARCH_EQUAL, "１－２－３", NULL, "1"},
    {SEARCH_CITY, SEARCH_EQUAL, "浦添市", NULL, "1"},
    {SEARCH_CITY, SEARCH_CONTAINS, "市", NULL, "1"},
    {SEARCH_STATE, SEARCH_EQUAL, "沖縄県", NULL, "1"},
    {SEARCH_COUNTRY, SEARCH_EQUAL, "jpn", NULL, "1"},
    {SEARCH_POSTAL_CODE, SEARCH_EQUAL, "9000001", NULL, "1"},
    {SEARCH_POSTAL_CODE, SEARCH_EQUAL, "〒900−0001", NULL, "1"},
    {SEARCH_POSTAL_CODE, SEARCH_PATTERN, "900-*", NULL, "1"},
    {SEARCH_ADDRESS, SEARCH_BEGINS, "沖縄県那覇", NULL, "1"},
    {SEARCH_ADDRESS, SEARCH_BEGINS, "900", NULL, "1"},
    {SEARCH_TELECOM, SEARCH_EQUAL, "0988660001", NULL, "1"},
    {SEARCH_TELECOM, SEARCH_EQUAL, "+81 98 866 0001", NULL, "1"},
    {SEARCH_TELECOM, SEARCH_EQUAL, "098-866-0002", NULL, "3"},
    {SEARCH_TELECOM, SEARCH_EXACT, "0988660001", NULL, ""},
    {SEARCH_TELECOM, SEARCH_PATTERN, "098*2", NULL, "3"},
    {SEARCH_TELECOM, SEARCH_EQUAL, "Taro@example.jp", NULL, "3"},
    {SEARCH_MOTHERS_MAIDEN_NAME, SEARCH_EQUAL, "鈴木", NULL, "1"},
    {SEARCH_MOTHERS_MAIDEN_NAME, SEARCH_EQUAL, "梅", NULL, "1"},
    {SEARCH_ACCOUNT, SEARCH_EQUAL, "A-17", NULL, "2"},
    {SEARCH_ACCOUNT, SEARCH_EQUAL, "A17", NULL, ""},
    {SEARCH_PERSON, SEARCH_EQUAL, "5", NULL, "5"},
    {SEARCH_PERSON, SEARCH_EQUAL, "99", NULL, ""},
    {SEARCH_PERSON, SEARCH_EQUAL, "x", NULL, ""},
    {SEARCH_IDENTIFIER, SEARCH_EQUAL, "L3", NULL, "3"},
    {SEARCH_IDENTIFIER, SEARCH_EQUAL, "l3", NULL, ""},
    {SEARCH_IDENTIFIER, SEARCH_PATTERN, "L*", NULL, "1 3 4"},
    {SEARCH_IDENTIFIER, SEARCH_EQUAL, "00000042", NULL, "1"}, /* of the PACS, by derivation */
    {SEARCH_IDENTIFIER, SEARCH_EQUAL, "0041", NULL, ""},      /* merged away */
    {SEARCH_IDENTIFIER, SEARCH_EQUAL, "X5", NULL, ""},        /* not announced */
};

static void test_a_term_finds_what_is_the_same_in_normal_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(one_term); i++) {
        const OneTerm *row = &one_term[i];
        const SearchTerm term = {row->field, row->match, str_from(row->text), str_from(row->high),
                                 NULL};
        const SearchGroup group = {&term, 1};
        PatientSearch search = {.groups = &group, .group_count = 1};
        char what[128];
        snprintf(what, sizeof(what), "row %zu, %s", i, row->text);
        expect(&search, append_person, row->persons, what);
    }
}

/* ---- several terms ---- */

#define TERM(field, match, text)                                                                   \
    {                                                                                              \
        SEARCH_##field, SEARCH_##match, STR_INIT(text), STR_INIT(""), NULL                         \
    }
#define BORN(low, high)                                                                            \
    {                                                                                              \
        SEARCH_BIRTH_DATE, SEARCH_EQUAL, STR_INIT(low), STR_INIT(high), NULL                       \
    }

typedef struct Combination {
    SearchTerm terms[4];
    size_t alternatives[4]; /* terms of each group; 0: no more groups */
    const char *found;
} Combination;

/* Groups are combined with AND, alternatives with OR; one record must meet all of them: the newest
 * such is the result (append_city tells which). */
static const Combination combinations[] = {
    {{TERM(FAMILY, EQUAL, "山田"), BORN("19710412", "19710412")}, {1, 1}, "1 那覇市 3"},
    {{TERM(FAMILY, EQUAL, "山田"), BORN("1971", "1971")}, {1, 1}, "1 浦添市 3"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(GIVEN, EQUAL, "花子"), BORN("1971", "1971")},
     {1, 1, 1},
     "1 浦添市"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(GIVEN, EQUAL, "花子")}, {1, 1}, "1 浦添市"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(GIVEN, EQUAL, "はなこ")}, {1, 1}, "1 那覇市"},
    /* of two records, not of one */
    {{TERM(FAMILY, EQUAL, "YAMADA"), BORN("19710412", "19710412")}, {1, 1}, ""},
    {{TERM(FAMILY, EQUAL, "ヤマダ"), TERM(CITY, EQUAL, "浦添市")}, {1, 1}, ""},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(SEX, EQUAL, "M")}, {1, 1}, "3"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(FAMILY, EQUAL, "muller")}, {2}, "1 浦添市 2 3"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(GIVEN, EQUAL, "jurgen")}, {2}, "1 浦添市 2 3"},
    {{TERM(FAMILY, EQUAL, "山田"), TERM(FAMILY, EQUAL, "ー"), BORN("19710412", "19710412")},
     {2, 1},
     "1 那覇市 3"},
    {{BORN("19710412", "19710412"), BORN("2000", "2000"), TERM(FAMILY, CONTAINS, "田")},
     {2, 1},
     "1 那覇市 3"},
    {{TERM(TELECOM, EQUAL, "0988660001"), TERM(SEX, EQUAL, "M")}, {1, 1}, ""},
    /* identifiers belong to the person, whichever record they came with */
    {{TERM(IDENTIFIER, EQUAL, "0042"), TERM(IDENTIFIER, EQUAL, "L1")}, {1, 1}, "1 浦添市"},
    {{TERM(IDENTIFIER, EQUAL, "L1"), TERM(CITY, EQUAL, "那覇市")}, {1, 1}, "1 那覇市"},
    {{TERM(IDENTIFIER, EQUAL, "0042"), TERM(IDENTIFIER, EQUAL, "L3")}, {1, 1}, ""},
    {{TERM(PERSON, EQUAL, "1"), TERM(PERSON, EQUAL, "2"), TERM(SEX, EQUAL, "F")},
     {2, 1},
     "1 浦添市"},
    {{TERM(CITY, EQUAL, "那覇市"), TERM(CITY, EQUAL, "nowhere")}, {1, 1}, ""},
};

static void test_groups_are_combined_on_one_record(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(combinations); i++) {
        const Combination *row = &combinations[i];
        SearchGroup groups[4];
        PatientSearch search = {.groups = groups};
        for (size_t at = 0; search.group_count < 4 && row->alternatives[search.group_count];) {
            size_t count = row->alternatives[search.group_count];
            groups[search.group_count++] = (SearchGroup){&row->terms[at], count};
            at += count;
        }
        char what[32];
        snprintf(what, sizeof(what), "combination %zu", i);
        expect(&search, append_city, row->found, what);
    }
}

/* ---- identifiers ---- */

typedef struct Targets {
    const char *oids[2];
    const char *found;
} Targets;

/* TF-2 3.21.4.2.2.8 cases 1 and 2: of the asked domains alone, and whoever has none there is left
 * out. */
static void test_a_result_has_the_identifiers_of_the_wanted_domains(void **state)
{
    (void)state;
    static const Targets rows[] = {
        {{NULL}, "1 RHIN:X1 CLINIC:0042 LAB:L1 PACS:00000042* 3 RHIN:X3 LAB:L3"},
        {{FIXTURE_OID}, "1 RHIN:X1 3 RHIN:X3"},
        {{CLINIC}, "1 CLINIC:0042"},
        {{PACS}, "1 PACS:00000042*"},
        {{PACS, LAB}, "1 LAB:L1 PACS:00000042* 3 LAB:L3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = fixture_request(30000);
        const AssigningAuthority *targets[2] = {0};
        const SearchTerm term = TERM(FAMILY, EQUAL, "山田");
        const SearchGroup group = {&term, 1};
        PatientSearch search = {.groups = &group, .group_count = 1, .targets = targets};
        for (size_t k = 0; k < 2 && rows[i].oids[k]; k++) {
            targets[search.target_count++] = authority(req, rows[i].oids[k]);
        }
        expect(&search, append_identifiers, rows[i].found, "targets");
        request_free(req);
    }
}

static void test_a_real_number_takes_the_place_of_a_derived_one(void **state)
{
    (void)state;
    Request *req = fixture_request(30000);
    const SearchTerm term = TERM(PERSON, EQUAL, "2");
    const SearchGroup group = {&term, 1};
    PatientSearch search = {.groups = &group, .group_count = 1};
    expect(&search, append_identifiers, "2 RHIN:X2 CLINIC:7 PACS:00000007*", "before");

    DbConn *conn = NULL;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    add_identifier(req, conn, PACS, "P2", 2, true);
    db_release(conn);
    expect(&search, append_identifiers, "2 RHIN:X2 CLINIC:7 PACS:P2", "after");
    fixture_run_script(fixture->pool, "DELETE FROM patient_identifier WHERE value = 'P2'");
    request_free(req);
}

static void test_an_identifier_is_looked_for_in_its_domain(void **state)
{
    (void)state;
    static const struct {
        const char *oid;
        const char *value;
        const char *found;
    } rows[] = {
        {CLINIC, "0042", "1"},  {LAB, "0042", ""},  {PACS, "00000042", "1"}, {PACS, "0042", ""},
        {PACS, "00000041", ""}, {LAB, "", "1 3 4"}, {PACS, "", "1 2 5 6"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = fixture_request(30000);
        const SearchTerm term = {SEARCH_IDENTIFIER, SEARCH_EQUAL, str_from(rows[i].value),
                                 STR_EMPTY, authority(req, rows[i].oid)};
        const SearchGroup group = {&term, 1};
        PatientSearch search = {.groups = &group, .group_count = 1};
        expect(&search, append_person, rows[i].found, rows[i].value);
        request_free(req);
    }
}

static void test_an_account_is_looked_for_in_its_domain(void **state)
{
    (void)state;
    static const char *const oids[] = {LAB, CLINIC};
    static const char *const found[] = {"2", ""};
    for (size_t i = 0; i < ARRAY_LEN(oids); i++) {
        Request *req = fixture_request(30000);
        const SearchTerm term = {SEARCH_ACCOUNT, SEARCH_EQUAL, STR("A-17"), STR_EMPTY,
                                 authority(req, oids[i])};
        const SearchGroup group = {&term, 1};
        PatientSearch search = {.groups = &group, .group_count = 1};
        expect(&search, append_person, found[i], oids[i]);
        request_free(req);
    }
}

/* ---- continuation ---- */

static void test_a_limit_and_a_person_cut_the_result(void **state)
{
    (void)state;
    const SearchTerm terms[] = {TERM(FAMILY, PATTERN, "*"), TERM(FAMILY, EQUAL, "山田")};
    const SearchGroup any_name = {&terms[0], 1};
    const SearchGroup yamada = {&terms[1], 1};
    PatientSearch search = {.groups = &any_name, .group_count = 1, .limit = 2};
    expect(&search, append_person, "1 2", "first page of a walk");
    search.after_person = 2;
    expect(&search, append_person, "3 6", "second page");
    search.after_person = 6;
    expect(&search, append_person, "", "third page");
    search = (PatientSearch){.groups = &yamada, .group_count = 1, .limit = 1};
    expect(&search, append_person, "1", "first page of an index");
    search.after_person = 1;
    expect(&search, append_person, "3", "second page of an index");
}

static void test_a_count_is_of_the_whole_result(void **state)
{
    (void)state;
    Request *req = fixture_request(30000);
    const SearchTerm term = TERM(FAMILY, EQUAL, "山田");
    const SearchGroup group = {&term, 1};
    PatientSearch search = {.groups = &group, .group_count = 1, .limit = 1, .after_person = 1};
    search.authorities = authority_directory_hold(directory, req->arena);
    uint64_t count = 0;
    assert_int_equal(patient_search_count(fixture->pix, req, &search, &count), 0);
    assert_int_equal(count, 2);
    request_free(req);
}

/** Criteria that few of many candidates meet: several statements, every person once. */
static void test_a_rare_one_among_many_is_found_with_a_limit(void **state)
{
    (void)state;
    fixture_run_script(fixture->pool,
                       "INSERT INTO patient_identifier (authority, value, person, is_xad_pid)"
                       " SELECT (SELECT id FROM assigning_authority WHERE oid = '" LAB
                       "'), 'many' || n, 1000 + n, false FROM generate_series(1, 3000) AS n;"
                       "INSERT INTO patient_demographics (identifier, birth_date, sex,"
                       " postal_code, phones, match_profile, record)"
                       " SELECT id, '19990101', '', '', '{}', '', 'Many^'"
                       " || CASE WHEN person % 1500 = 999 THEN 'Rare' ELSE 'Common' END"
                       " || '||19990101' FROM patient_identifier WHERE value LIKE 'many%';"
                       "INSERT INTO patient_name SELECT id, 'many',"
                       " CASE WHEN person % 1500 = 999 THEN 'rare' ELSE 'common' END"
                       " FROM patient_identifier WHERE value LIKE 'many%'");
    const SearchTerm terms[] = {TERM(FAMILY, EQUAL, "many"), TERM(GIVEN, CONTAINS, "ar")};
    const SearchGroup groups[] = {{&terms[0], 1}, {&terms[1], 1}};
    PatientSearch search = {.groups = groups, .group_count = 2, .limit = 5};
    expect(&search, append_person, "2499 3999", "limit 5");
    search.limit = 1;
    expect(&search, append_person, "2499", "limit 1");
    search.after_person = 2499;
    expect(&search, append_person, "3999", "and the next");
    fixture_run_script(fixture->pool, "DELETE FROM patient_identifier WHERE value LIKE 'many%'");
}

/** A callback that fails ends the search with its error. */
static int refuse(void *ctx, Request *req, const FoundPatient *patient)
{
    (void)patient;
    ++*(int *)ctx;
    return error_add(&req->errors, ERR_DATABASE, NULL, "refused");
}

static void test_a_failing_callback_ends_the_search(void **state)
{
    (void)state;
    Request *req = fixture_request(30000);
    const SearchTerm term = TERM(FAMILY, EQUAL, "山田");
    const SearchGroup group = {&term, 1};
    int calls = 0;
    const PatientSearch search = {.groups = &group,
                                  .group_count = 1,
                                  .authorities = authority_directory_hold(directory, req->arena)};
    assert_int_equal(patient_search(fixture->pix, req, &search, refuse, &calls), -ERR_DATABASE);
    assert_int_equal(calls, 1);
    request_free(req);
}

/* ---- rows ---- */

/** An index refuses texts of more than a page; names in two writings are one row. */
static void test_search_rows_fit_their_indexes(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    StrBuf name = {0};
    Demographics demographics;
    SearchRow row;
    for (int i = 0; i < 2000; i++) {
        strbuf_literal(&name, "田");
    }
    strbuf_literal(&name, "^花~髙木^花~高木^花");
    demographics_read(strbuf_str(&name), &demographics);
    search_row_make(arena, &demographics, &row);
    assert_int_equal(row.name_count, 2);
    assert_true(row.families[0].len <= 128 && row.families[0].len % 3 == 0);
    assert_true(str_is_utf8(row.families[0]));
    strbuf_done(&name);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_term_finds_what_is_the_same_in_normal_form),
        cmocka_unit_test(test_groups_are_combined_on_one_record),
        cmocka_unit_test(test_a_result_has_the_identifiers_of_the_wanted_domains),
        cmocka_unit_test(test_a_real_number_takes_the_place_of_a_derived_one),
        cmocka_unit_test(test_an_identifier_is_looked_for_in_its_domain),
        cmocka_unit_test(test_an_account_is_looked_for_in_its_domain),
        cmocka_unit_test(test_a_limit_and_a_person_cut_the_result),
        cmocka_unit_test(test_a_count_is_of_the_whole_result),
        cmocka_unit_test(test_a_rare_one_among_many_is_found_with_a_limit),
        cmocka_unit_test(test_a_failing_callback_ends_the_search),
        cmocka_unit_test(test_search_rows_fit_their_indexes),
    };
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
