#include "lib/access/access.h"

#include "tests/unit/pix_fixture.h"

/* Decisions by what the tables say. Facilities: 1 is the documents', 2 the reader's, 3 a third one.
 * Patients: 101; 102 was merged into 101; 103 is another one. Codes: 1001 and 1002 are classes. */

enum { SOURCE = 1, READER = 2, THIRD = 3 };
enum { PATIENT = 101, SUBSUMED = 102, OTHER = 103, UNKNOWN = 999, NOBODY = -1 };
enum { LETTER = 1001, IMAGE = 1002, SECRET = 1003 };

#define YEAR_2026_US (INT64_C(1767225600) * 1000000)
#define ENROLLED                                                                                   \
    "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (101, true, 'test');"
#define WITHDRAWN                                                                                  \
    "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (101, false, 'test');"
/* patient, source, reader, classes, permit, level; and further columns */
#define RULE(values)                                                                               \
    "INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit,"   \
    " level, added_by) VALUES (" values ", 'test');"
#define RULE_WITH(columns, values)                                                                 \
    "INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit,"   \
    " level, added_by, " columns ") VALUES (" values ");"
#define PERMITTED ENROLLED RULE("101, 1, 2, NULL, true, 2")

static const char world[] =
    "INSERT INTO facility (name) VALUES ('source'), ('reader'), ('third');"
    "INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid, survivor, merged_at)"
    " OVERRIDING SYSTEM VALUE SELECT v.id, a.id, v.value, 1, true, v.survivor, v.merged"
    " FROM (SELECT min(id) AS id FROM assigning_authority) a, (VALUES"
    " (101, 'P101', NULL::int8, NULL::timestamptz), (102, 'P102', 101, now())) AS v (id, value,"
    " survivor, merged);"
    "INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid)"
    " OVERRIDING SYSTEM VALUE SELECT 103, min(id), 'P103', 2, true FROM assigning_authority;"
    "INSERT INTO code (id, scheme, code) OVERRIDING SYSTEM VALUE VALUES (1001, 'test', 'letter'),"
    " (1002, 'test', 'image'), (1003, 'test', 'secret');"
    "INSERT INTO access_role_code VALUES ('D', 'test', 'physician'), ('C', 'test', 'clerk'),"
    " ('N', 'test', 'nurse');"
    "INSERT INTO access_role_confidentiality VALUES ('physician', 1003);"
    "INSERT INTO access_role VALUES ('reader', 1, true), ('nobody', 0, true);"
    "INSERT INTO access_role_code VALUES ('V', 'test', 'reader'), ('Z', 'test', 'nobody');"
    "INSERT INTO access_role_confidentiality VALUES ('reader', 1003), ('nobody', 1003);";

/** Who asks, and for what; zero values are the reader's plain node listing a letter of 2026. */
typedef struct Question {
    const char *given; /* SQL */
    AccessPurpose purpose;
    int64_t patient; /* 0: PATIENT; negative: none */
    int32_t facility;
    int32_t class_code;   /* 0: LETTER */
    int32_t confidential; /* 0: none */
    int64_t effective_us; /* 0: the first instant of 2026 */
    const char *node_role;
    const char *user_roles; /* letters, codes of system "test"; NULL: no user */
    const char *emergency;  /* PurposeOfUse "code reason"; NULL: none */
    bool is_operator;
    bool may_not_submit;
    bool is_open;
    bool is_unregistered;
    AccessReason expected;
} Question;

/** What a question needs to live as long as its request. */
typedef struct Asked {
    Request *req;
    Principal principal;
    AccessUser user;
    AccessCode roles[4];
    AccessCode purpose;
    Str node_role;
    int32_t confidential;
    AccessObject object;
    const AccessScope *scope;
} Asked;

static void set_user(Asked *asked, const Question *question)
{
    for (const char *role = question->user_roles; role && *role; role++) {
        asked->roles[asked->user.role_count++] =
            (AccessCode){.code = {role, 1}, .system = STR("test")};
    }
    if (question->emergency) {
        Str text = str_from(question->emergency);
        size_t space = str_find_char(text, ' ');
        asked->purpose = (AccessCode){
            .code = str_slice(text, 0, space),
            .system = STR("2.16.840.1.113883.5.8"),
            .text = space == SIZE_MAX ? STR_EMPTY : str_from_offset(text, space + 1),
        };
    }
    asked->user.id = STR("drsato");
    asked->user.issuer = STR("idp");
    asked->user.roles = asked->roles;
    asked->user.purposes = &asked->purpose;
    asked->user.purpose_count = question->emergency != NULL;
    asked->req->user = question->user_roles ? &asked->user : NULL;
}

static void ask(const Fixture *f, const Question *question, Asked *asked)
{
    *asked = (Asked){
        .req = request_new(600000),
        .principal = {.node_id = question->is_unregistered ? 0 : 1,
                      .node_name = STR("node-1"),
                      .facility_id = READER,
                      .is_operator = question->is_operator,
                      .may_submit = !question->may_not_submit,
                      .may_do_everything = question->is_open,
                      .rules = f->pool},
        .node_role = str_from(question->node_role),
        .confidential = question->confidential,
        .object = {.source_facility = question->facility ? question->facility : SOURCE,
                   .class_code = question->class_code ? question->class_code : LETTER,
                   .confidentiality_count = question->confidential != 0,
                   .effective_us = question->effective_us ? question->effective_us : YEAR_2026_US},
    };
    asked->principal.roles = (RoleNames){&asked->node_role, question->node_role != NULL};
    asked->object.confidentiality_codes = &asked->confidential;
    asked->req->principal = &asked->principal;
    set_user(asked, question);
    int64_t patient = question->patient ? question->patient : PATIENT;
    assert_int_equal(
        access_open(asked->req, patient < 0 ? 0 : patient, question->purpose, &asked->scope), 0);
}

static void begin(const Fixture *f, const char *given)
{
    fixture_run_script(f->pool, "TRUNCATE enrolment, disclosure, break_glass");
    fixture_run_script(f->pool, given ? given : "SELECT");
}

static void expect_all(void **state, const Question *questions, size_t count)
{
    const Fixture *f = *state;
    for (size_t i = 0; i < count; i++) {
        Asked asked;
        begin(f, questions[i].given);
        ask(f, &questions[i], &asked);
        AccessDecision decision = access_explain(asked.scope, &asked.object);
        bool is_permitted = access_decide(asked.scope, &asked.object);
        request_free(asked.req);
        if (decision.reason != questions[i].expected ||
            is_permitted != access_permits(questions[i].expected)) {
            fail_msg("question %zu: %s instead of %s", i, access_reason_name(decision.reason),
                     access_reason_name(questions[i].expected));
        }
        bool has_rule = decision.reason == ACCESS_DENIED || decision.reason == ACCESS_DISCLOSED;
        assert_int_equal(decision.disclosure != 0, has_rule);
    }
}

/* Every row of reasons.def. */
static void test_every_reason_has_its_case(void **state)
{
    static const Question questions[] = {
        {.is_open = true, .expected = ACCESS_OPEN_MODE},
        {.given = PERMITTED, .is_unregistered = true, .expected = ACCESS_NO_PRINCIPAL},
        {.purpose = ACCESS_SUBMIT,
         .facility = READER,
         .may_not_submit = true,
         .expected = ACCESS_MAY_NOT_SUBMIT},
        {.purpose = ACCESS_CHANGE, .expected = ACCESS_OTHER_FACILITY},
        {.purpose = ACCESS_CHANGE, .facility = READER, .expected = ACCESS_OWN_CHANGE},
        {.given = PERMITTED, .is_operator = true, .expected = ACCESS_OPERATOR},
        {.patient = -1, .expected = ACCESS_NO_PATIENT},
        {.patient = UNKNOWN, .expected = ACCESS_NO_PATIENT},
        {.given = RULE("101, 1, 2, NULL, true, 2"), .expected = ACCESS_NOT_ENROLLED},
        {.given = PERMITTED,
         .purpose = ACCESS_DOWNLOAD,
         .node_role = "clerk",
         .expected = ACCESS_ROLE_LEVEL},
        {.given = PERMITTED, .confidential = SECRET, .expected = ACCESS_CONFIDENTIALITY},
        {.given = ENROLLED, .facility = READER, .expected = ACCESS_OWN_DOCUMENT},
        {.given = ENROLLED RULE("101, 1, 2, NULL, false, 1"), .expected = ACCESS_DENIED},
        {.given = PERMITTED, .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED,
         .user_roles = "D",
         .emergency = "BTG unconscious",
         .expected = ACCESS_BREAK_GLASS},
        {.given = ENROLLED, .expected = ACCESS_NOT_DISCLOSED},
    };
    bool is_seen[ACCESS_REASON_COUNT] = {false};
    expect_all(state, questions, ARRAY_LEN(questions));
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        is_seen[questions[i].expected] = true;
    }
    for (int reason = 0; reason < ACCESS_REASON_COUNT; reason++) {
        assert_true(is_seen[reason]);
    }
}

/* DESIGN: default deny; a denial wins over every permission, whoever it is of. */
static void test_what_is_checked_first_wins(void **state)
{
    static const Question questions[] = {
        {.given = PERMITTED RULE("NULL, NULL, NULL, NULL, false, 1"), .expected = ACCESS_DENIED},
        {.given =
             ENROLLED RULE("NULL, NULL, NULL, NULL, true, 2") RULE("101, 1, 2, NULL, false, 1"),
         .expected = ACCESS_DENIED},
        {.given = PERMITTED RULE("NULL, 3, 2, NULL, false, 1"), .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("101, 1, 3, NULL, false, 1"), .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("103, 1, 2, NULL, false, 1"), .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED RULE("103, 1, 2, NULL, true, 2"), .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED RULE("101, 3, 2, NULL, true, 2"), .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED RULE("101, 1, 3, NULL, true, 2"), .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED RULE("101, NULL, 2, NULL, true, 2"), .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED RULE("101, 1, NULL, NULL, true, 2"), .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED RULE("NULL, 1, 2, NULL, true, 2"), .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED RULE("101, NULL, NULL, NULL, false, 1"),
         .facility = READER,
         .expected = ACCESS_OWN_DOCUMENT},
        {.facility = READER, .expected = ACCESS_NOT_ENROLLED},
        {.given = ENROLLED,
         .facility = READER,
         .confidential = SECRET,
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = PERMITTED WITHDRAWN, .expected = ACCESS_NOT_ENROLLED},
        {.given = WITHDRAWN PERMITTED, .expected = ACCESS_DISCLOSED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

/* What was said of an XAD-PID that was merged is said of its survivor; the last word counts. */
static void test_decisions_of_merged_patients_are_the_survivors(void **state)
{
    static const Question questions[] = {
        {.given = "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (102, true, "
                  "'t');" RULE("102, 1, 2, NULL, true, 2"),
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED, .patient = SUBSUMED, .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED
         "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (102, false, 't');",
         .expected = ACCESS_NOT_ENROLLED},
        {.given = PERMITTED RULE("102, 1, 2, NULL, false, 1"), .expected = ACCESS_DENIED},
        {.given = PERMITTED, .patient = OTHER, .expected = ACCESS_NOT_ENROLLED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

static void test_rules_and_enrolments_count_while_they_are_valid(void **state)
{
#define VALID(from, to)                                                                            \
    ENROLLED RULE_WITH("valid_from, valid_to", "101, 1, 2, NULL, true, 2, 'test', " from ", " to)
#define ENROLLED_WHILE(is_enrolled, from, to)                                                      \
    RULE("101, 1, 2, NULL, true, 2")                                                               \
    "INSERT INTO enrolment (patient, is_enrolled, decided_by, valid_from, valid_to) VALUES "       \
    "(101, " is_enrolled ", 'test', " from ", " to ");"
    static const Question questions[] = {
        {.given = VALID("now() - interval '1 h'", "NULL"), .expected = ACCESS_DISCLOSED},
        {.given = VALID("now() + interval '1 h'", "NULL"), .expected = ACCESS_NOT_DISCLOSED},
        {.given = VALID("NULL", "now() - interval '1 h'"), .expected = ACCESS_NOT_DISCLOSED},
        {.given = VALID("NULL", "now() + interval '1 h'"), .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED "UPDATE disclosure SET revoked_at = now();",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED_WHILE("true", "now() - interval '1 h'", "NULL"),
         .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED_WHILE("true", "now() + interval '1 h'", "NULL"),
         .expected = ACCESS_NOT_ENROLLED},
        {.given = ENROLLED_WHILE("true", "NULL", "now() - interval '1 h'"),
         .expected = ACCESS_NOT_ENROLLED},
        {.given = ENROLLED ENROLLED_WHILE("false", "now() + interval '1 h'", "NULL"),
         .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED ENROLLED_WHILE("false", "NULL", "now() - interval '1 h'"),
         .expected = ACCESS_NOT_ENROLLED},
        {.given = ENROLLED ENROLLED_WHILE("true", "NULL", "now() - interval '1 h'"),
         .expected = ACCESS_NOT_ENROLLED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

/* serviceStartTime, else creationTime; the end is exclusive; one without either is in no period
 * that permits, and in every one that denies. */
static void test_a_period_has_its_first_instant_but_not_its_last(void **state)
{
#define PERIOD(is_permit, from, to)                                                                \
    RULE_WITH("period_from, period_to", "101, 1, 2, NULL, " is_permit ", 1, 'test', " from ","     \
                                        " " to)
#define IN_2026 PERIOD("true", "'2026-01-01Z'", "'2027-01-01Z'")
#define BEFORE_2026 PERIOD("true", "NULL", "'2026-01-01Z'")
    static const Question questions[] = {
        {.given = ENROLLED IN_2026, .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED IN_2026,
         .effective_us = YEAR_2026_US - 1,
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED BEFORE_2026, .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED BEFORE_2026,
         .effective_us = YEAR_2026_US - 1,
         .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED IN_2026, .effective_us = INT64_MIN, .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED BEFORE_2026,
         .effective_us = INT64_MIN,
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = PERMITTED PERIOD("false", "'2026-01-01Z'", "NULL"), .expected = ACCESS_DENIED},
        {.given = PERMITTED PERIOD("false", "NULL", "'2026-01-01Z'"), .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED PERIOD("false", "'2026-01-01Z'", "NULL"),
         .effective_us = INT64_MIN,
         .expected = ACCESS_DENIED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

static void test_classes_and_levels_bound_a_rule(void **state)
{
#define LETTERS ENROLLED RULE("101, 1, 2, '{1001}', true, 2")
    static const Question questions[] = {
        {.given = LETTERS, .expected = ACCESS_DISCLOSED},
        {.given = LETTERS, .class_code = IMAGE, .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED RULE("101, 1, 2, '{1001,1002}', true, 2"),
         .class_code = IMAGE,
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("101, 1, 2, '{1002}', false, 1"), .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("101, 1, 2, '{1002}', false, 1"),
         .class_code = IMAGE,
         .expected = ACCESS_DENIED},
        {.given = ENROLLED RULE("101, 1, 2, NULL, true, 1"),
         .purpose = ACCESS_VIEW,
         .expected = ACCESS_DISCLOSED},
        {.given = ENROLLED RULE("101, 1, 2, NULL, true, 1"),
         .purpose = ACCESS_DOWNLOAD,
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = PERMITTED, .purpose = ACCESS_DOWNLOAD, .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("101, 1, 2, NULL, false, 2"),
         .purpose = ACCESS_DOWNLOAD,
         .expected = ACCESS_DENIED},
        {.given = PERMITTED RULE("101, 1, 2, NULL, false, 2"),
         .purpose = ACCESS_VIEW,
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED RULE("101, 1, 2, NULL, false, 1"),
         .purpose = ACCESS_DOWNLOAD,
         .expected = ACCESS_DENIED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

/* The roles of the assertion count where it names any, else those of the node; several add up. */
static void test_roles_are_the_users_or_else_the_nodes(void **state)
{
    static const Question questions[] = {
        {.given = PERMITTED,
         .confidential = SECRET,
         .user_roles = "D",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED,
         .confidential = SECRET,
         .user_roles = "N",
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = PERMITTED,
         .confidential = SECRET,
         .user_roles = "ND",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED,
         .confidential = SECRET,
         .node_role = "physician",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED,
         .confidential = SECRET,
         .node_role = "physician",
         .user_roles = "N",
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = PERMITTED,
         .confidential = SECRET,
         .node_role = "physician",
         .user_roles = "",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED,
         .purpose = ACCESS_DOWNLOAD,
         .user_roles = "C",
         .expected = ACCESS_ROLE_LEVEL},
        {.given = PERMITTED,
         .purpose = ACCESS_DOWNLOAD,
         .user_roles = "CN",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED, .user_roles = "C", .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED, .user_roles = "X", .expected = ACCESS_ROLE_LEVEL},
        {.given = PERMITTED, .node_role = "auditor", .expected = ACCESS_ROLE_LEVEL},
        {.given = PERMITTED, .node_role = "no-such-role", .expected = ACCESS_ROLE_LEVEL},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

/* A role that only lets view adds nothing to a download, whoever has it beside another one. */
static void test_a_role_adds_codes_and_emergencies_up_to_its_own_level(void **state)
{
    static const Question questions[] = {
        {.given = PERMITTED,
         .confidential = SECRET,
         .user_roles = "VN",
         .expected = ACCESS_DISCLOSED},
        {.given = PERMITTED,
         .purpose = ACCESS_DOWNLOAD,
         .confidential = SECRET,
         .user_roles = "VN",
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = PERMITTED,
         .confidential = SECRET,
         .user_roles = "ZN",
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = ENROLLED,
         .user_roles = "VN",
         .emergency = "BTG coma",
         .expected = ACCESS_BREAK_GLASS},
        {.given = ENROLLED,
         .purpose = ACCESS_DOWNLOAD,
         .user_roles = "VN",
         .emergency = "BTG coma",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED,
         .user_roles = "ZN",
         .emergency = "BTG coma",
         .expected = ACCESS_NOT_DISCLOSED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

/* Break-glass needs a reason and a role that may; it replaces a missing permission, nothing else.
 */
static void test_an_emergency_replaces_only_a_missing_permission(void **state)
{
    static const Question questions[] = {
        {.given = ENROLLED,
         .user_roles = "D",
         .emergency = "BTG",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED,
         .user_roles = "D",
         .emergency = "BTG  ",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED,
         .user_roles = "D",
         .emergency = "ETREAT coma",
         .expected = ACCESS_BREAK_GLASS},
        {.given = ENROLLED,
         .user_roles = "D",
         .emergency = "TREAT coma",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED,
         .user_roles = "N",
         .emergency = "BTG coma",
         .expected = ACCESS_NOT_DISCLOSED},
        {.given = ENROLLED RULE("101, NULL, NULL, NULL, false, 1"),
         .user_roles = "D",
         .emergency = "BTG coma",
         .expected = ACCESS_DENIED},
        {.user_roles = "D", .emergency = "BTG coma", .expected = ACCESS_NOT_ENROLLED},
        {.given = ENROLLED,
         .confidential = IMAGE,
         .user_roles = "D",
         .emergency = "BTG coma",
         .expected = ACCESS_CONFIDENTIALITY},
        {.given = PERMITTED,
         .user_roles = "D",
         .emergency = "BTG coma",
         .expected = ACCESS_DISCLOSED},
    };
    expect_all(state, questions, ARRAY_LEN(questions));
}

static int count_notice(void *ctx, Request *req, DbConn *conn, int64_t patient)
{
    int *count = ctx;
    (void)req;
    (void)conn;
    assert_int_equal(patient, PATIENT);
    ++*count;
    return 0;
}

static int64_t notices(Fixture *f)
{
    return fixture_number(
        f, "access_notices",
        "SELECT coalesce(sum(object_count), 0) + 1000 * count(*) FROM break_glass"
        " WHERE patient = 101 AND user_id = 'drsato' AND issuer = 'idp' AND node ="
        " 1 AND reason = 'coma'");
}

/* One notice for each request and patient, with the number of objects; what is only explained is
 * not seen. */
static void test_an_emergency_leaves_one_notice(void **state)
{
    Fixture *f = *state;
    const Question emergency = {.user_roles = "D", .emergency = "BTG coma", .patient = SUBSUMED};
    Asked asked;
    int count = 0;
    begin(f, ENROLLED);
    ask(f, &emergency, &asked);
    assert_int_equal(access_explain(asked.scope, &asked.object).reason, ACCESS_BREAK_GLASS);
    assert_int_equal(access_settle(asked.req, count_notice, &count), 0);
    assert_int_equal(notices(f), 0);
    assert_true(access_decide(asked.scope, &asked.object));
    assert_true(access_decide(asked.scope, &asked.object));
    assert_int_equal(access_settle(asked.req, count_notice, &count), 0);
    assert_int_equal(access_settle(asked.req, count_notice, &count), 0);
    assert_int_equal(notices(f), 1002);
    assert_int_equal(count, 1);
    request_free(asked.req);
}

static int refuse_notice(void *ctx, Request *req, DbConn *conn, int64_t patient)
{
    (void)ctx;
    (void)conn;
    (void)patient;
    return error_add(&req->errors, ERR_DATABASE, NULL, "no");
}

static void test_a_notice_whose_event_fails_is_not_stored_and_nothing_may_leave(void **state)
{
    Fixture *f = *state;
    const Question emergency = {.user_roles = "D", .emergency = "BTG coma"};
    Asked asked;
    begin(f, ENROLLED);
    ask(f, &emergency, &asked);
    assert_true(access_decide(asked.scope, &asked.object));
    assert_true(access_settle(asked.req, refuse_notice, NULL) < 0);
    assert_int_equal(notices(f), 0);
    request_free(asked.req);
}

/* Its own number always; else as the facility's documents may be seen, whatever class and period.
 */
static void test_a_facilitys_number_shows_as_its_documents_do(void **state)
{
    static const struct {
        Question question;
        int32_t facility;
        bool expected;
    } cases[] = {
        {{.given = NULL}, READER, true},
        {{.given = NULL}, SOURCE, false},
        {{.given = ENROLLED}, SOURCE, false},
        {{.given = ENROLLED}, 0, false},
        {{.given = PERMITTED}, SOURCE, true},
        {{.given = PERMITTED}, THIRD, false},
        {{.given = RULE("101, 1, 2, NULL, true, 2")}, SOURCE, false},
        {{.given = PERMITTED RULE("101, 1, 2, NULL, false, 1")}, SOURCE, false},
        {{.given = PERMITTED RULE("101, 1, 2, NULL, false, 2")}, SOURCE, true},
        {{.given = PERMITTED RULE("101, 1, 2, '{1001}', false, 1")}, SOURCE, true},
        {{.given = LETTERS}, SOURCE, true},
        {{.given = PERMITTED, .node_role = "auditor"}, SOURCE, false},
        {{.given = ENROLLED, .user_roles = "D", .emergency = "BTG coma"}, SOURCE, true},
        {{.given = PERMITTED, .is_operator = true}, READER, false},
        {{.given = NULL, .is_open = true}, SOURCE, true},
        {{.given = PERMITTED, .patient = UNKNOWN}, SOURCE, false},
        {{.given = PERMITTED, .patient = NOBODY}, SOURCE, false},
        {{.given = PERMITTED, .patient = NOBODY}, READER, true},
        {{.given = PERMITTED, .patient = NOBODY, .is_operator = true}, READER, false},
    };
    Fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Asked asked;
        begin(f, cases[i].question.given);
        ask(f, &cases[i].question, &asked);
        if (access_decide_facility(asked.scope, cases[i].facility) != cases[i].expected) {
            fail_msg("case %zu", i);
        }
        request_free(asked.req);
    }
}

/* access_prepare() reads many patients at once; each keeps its own rules. */
static void test_patients_that_were_prepared_keep_their_own_rules(void **state)
{
    Fixture *f = *state;
    const int64_t patients[] = {PATIENT, OTHER, UNKNOWN, SUBSUMED};
    static const AccessReason expected[] = {ACCESS_DISCLOSED, ACCESS_NOT_ENROLLED,
                                            ACCESS_NO_PATIENT, ACCESS_DISCLOSED};
    const Question question = {.patient = PATIENT};
    Asked asked;
    begin(f, PERMITTED);
    ask(f, &question, &asked);
    asked.req->rules = NULL;
    assert_int_equal(access_prepare(asked.req, patients, ARRAY_LEN(patients)), 0);
    begin(f, NULL); /* what is in force when it was read counts for the whole request */
    for (size_t i = 0; i < ARRAY_LEN(patients); i++) {
        const AccessScope *scope;
        assert_int_equal(access_open(asked.req, patients[i], ACCESS_LIST, &scope), 0);
        assert_int_equal(access_explain(scope, &asked.object).reason, expected[i]);
        assert_int_equal(access_may_see_any(scope), expected[i] == ACCESS_DISCLOSED);
    }
    request_free(asked.req);
}

/* Who is passed by is forgotten but for the notice of an emergency; the request then reads its own
 * rules. */
static void test_a_passing_request_gives_back_who_was_seen_in_an_emergency(void **state)
{
    Fixture *f = *state;
    const Question emergency = {.user_roles = "D", .emergency = "BTG coma", .facility = THIRD};
    const int64_t patients[] = {PATIENT, OTHER};
    Asked asked;
    int count = 0;
    begin(f, ENROLLED);
    ask(f, &emergency, &asked);
    asked.req->rules = NULL;
    for (size_t round = 0; round < 2; round++) {
        Arena *arena = arena_new();
        Request passing = access_passing(asked.req, arena);
        const AccessScope *scope;
        assert_int_equal(access_prepare(&passing, patients, ARRAY_LEN(patients)), 0);
        assert_int_equal(access_open(&passing, PATIENT, ACCESS_LIST, &scope), 0);
        assert_true(access_decide_facility(scope, SOURCE));
        access_passed(asked.req, &passing);
        arena_free(arena);
    }
    assert_int_equal(access_open(asked.req, PATIENT, ACCESS_LIST, &asked.scope), 0);
    assert_int_equal(access_explain(asked.scope, &asked.object).reason, ACCESS_BREAK_GLASS);
    assert_int_equal(access_settle(asked.req, count_notice, &count), 0);
    assert_int_equal(notices(f), 1002);
    request_free(asked.req);
}

static void test_objects_are_looked_for_at_facilities_that_could_show(void **state)
{
    static const struct {
        Question question;
        const char *expected; /* "*": any */
    } cases[] = {
        {{.given = NULL}, ""},
        {{.given = ENROLLED}, "2 "},
        {{.given = PERMITTED}, "2 1 "},
        {{.given = PERMITTED, .node_role = "auditor"}, ""},
        {{.given = ENROLLED RULE("NULL, 3, NULL, NULL, true, 1")}, "2 3 "},
        {{.given = ENROLLED RULE("101, 1, 2, NULL, false, 1")}, "2 "},
        {{.given = ENROLLED RULE("101, NULL, 2, NULL, true, 1")}, "*"},
        {{.given = ENROLLED, .user_roles = "D", .emergency = "BTG coma"}, "*"},
        {{.given = PERMITTED, .is_operator = true}, ""},
        {{.given = NULL, .is_open = true}, "*"},
        {{.given = PERMITTED, .patient = NOBODY}, ""},
    };
    const Fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Asked asked;
        StrBuf found = {0};
        int32_t *facilities;
        size_t count;
        begin(f, cases[i].question.given);
        ask(f, &cases[i].question, &asked);
        bool is_limited =
            access_limits_facilities(asked.scope, asked.req->arena, &facilities, &count);
        strbuf_append(&found, is_limited ? STR_EMPTY : STR("*"));
        for (size_t k = 0; is_limited && k < count; k++) {
            strbuf_printf(&found, "%d ", facilities[k]);
        }
        if (!str_equal(strbuf_str(&found), str_from(cases[i].expected))) {
            fail_msg("case %zu: \"%.*s\"", i, STR_ARG(strbuf_str(&found)));
        }
        strbuf_done(&found);
        request_free(asked.req);
    }
}

static int set_up(void **state)
{
    int rc = fixture_set_up(state);
    const Fixture *f = *state;
    fixture_run_script(f->pool, world);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reason_has_its_case),
        cmocka_unit_test(test_what_is_checked_first_wins),
        cmocka_unit_test(test_decisions_of_merged_patients_are_the_survivors),
        cmocka_unit_test(test_rules_and_enrolments_count_while_they_are_valid),
        cmocka_unit_test(test_a_period_has_its_first_instant_but_not_its_last),
        cmocka_unit_test(test_classes_and_levels_bound_a_rule),
        cmocka_unit_test(test_roles_are_the_users_or_else_the_nodes),
        cmocka_unit_test(test_a_role_adds_codes_and_emergencies_up_to_its_own_level),
        cmocka_unit_test(test_an_emergency_replaces_only_a_missing_permission),
        cmocka_unit_test(test_an_emergency_leaves_one_notice),
        cmocka_unit_test(test_a_notice_whose_event_fails_is_not_stored_and_nothing_may_leave),
        cmocka_unit_test(test_a_facilitys_number_shows_as_its_documents_do),
        cmocka_unit_test(test_patients_that_were_prepared_keep_their_own_rules),
        cmocka_unit_test(test_a_passing_request_gives_back_who_was_seen_in_an_emergency),
        cmocka_unit_test(test_objects_are_looked_for_at_facilities_that_could_show),
    };
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        (void)fputs("MUSUBI_TEST_CONNINFO is not set: skipped\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, set_up, fixture_tear_down);
}
