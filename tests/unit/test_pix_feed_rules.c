/* Who may feed which domain: ITI TF-2 3.8.4.1.1, 3.8.4.1.3, 3.8.4.1.4; Appendix E. */
#include "pix/feed_rules.h"
#include "pix/pix_state.h"

#include "tests/unit/pix_fixture.h"

#define OWN "1.2.392.1.1"     /* source OWN|HOSPITAL */
#define SISTER "1.2.392.1.2"  /* of the same facility, another source */
#define FOREIGN "1.2.392.1.3" /* of another facility */
#define NATIONAL "1.2.392.1.4"
#define ANYBODY "1.2.392.1.5" /* no source */
#define OLD "1.2.392.1.6"     /* epoch over */
#define FUTURE "1.2.392.1.7"
#define OF_NODE "1.2.392.1.8" /* one node alone */

static int set_up(void **state)
{
    if (fixture_set_up(state) != 0) {
        return -1;
    }
    Fixture *fixture = *state;
    fixture_run_script(
        fixture->pool,
        "INSERT INTO facility (name) VALUES ('One'), ('Two');"
        "INSERT INTO assigning_authority (oid, namespace, is_configured, kind, facility,"
        "  source_application, source_facility, source_node, valid_from, valid_to)"
        " SELECT v.oid, v.namespace, true, v.kind, f.id, v.application,"
        "  CASE WHEN v.application = '' THEN '' ELSE 'HOSPITAL' END, v.node,"
        "  v.valid_from::timestamptz, v.valid_to::timestamptz"
        " FROM (VALUES ('" OWN "', 'OWN', 'emr', 'One', 'OWN', '', NULL, NULL),"
        " ('" SISTER "', '', 'pacs', 'One', 'PACS', '', NULL, NULL),"
        " ('" FOREIGN "', '', 'emr', 'Two', 'OTHER', '', NULL, NULL),"
        " ('" NATIONAL "', '', 'other', 'Two', 'STATE', '', NULL, NULL),"
        " ('" ANYBODY "', '', 'emr', 'Two', '', '', NULL, NULL),"
        " ('" OLD "', '', 'emr', 'One', 'OLD', '', NULL, '2020-01-01'),"
        " ('" FUTURE "', '', 'emr', 'One', 'FUTURE', '', '2999-01-01', NULL),"
        " ('" OF_NODE "', '', 'emr', 'One', '', 'gateway-x', NULL, NULL))"
        " v (oid, namespace, kind, facility, application, node, valid_from, valid_to)"
        " JOIN facility f ON f.name = v.facility;"
        "INSERT INTO patient_identifier (authority, value, person, is_xad_pid)"
        " SELECT id, 'known', 1, false FROM assigning_authority WHERE oid = '" FOREIGN "'");
    Request *req = request_new(600000);
    assert_int_equal(authority_directory_refresh(fixture->pix->authorities, req), 0);
    request_free(req);
    return 0;
}

/** "value@oid value@oid", a value without "@" has no authority. */
static size_t read_named(Arena *arena, const char *text, NamedIdentifier *named)
{
    Str rest = str_from(text);
    Str item;
    size_t count = 0;
    while (str_split_next(&rest, ' ', &item)) {
        size_t at = str_find_char(item, '@');
        Hl7Cx cx = {.id = str_slice(item, 0, at)};
        if (at != SIZE_MAX) {
            cx.universal_id = str_from_offset(item, at + 1);
            cx.universal_id_type = STR("ISO");
        }
        Str location = str_printf(arena, "%zu", count + 1);
        named[count++] =
            (NamedIdentifier){cx, str_cstr(arena, location), str_cstr(arena, location)};
    }
    return count;
}

/** What feed_rules_resolve() gives: "value value~", '~' behind what is quoted; or "! 2 3": where
 * the errors are. */
static Str resolve_as(Fixture *fixture, Request *req, const Principal *principal,
                      const FeedSender *sender, FeedPurpose purpose, const char *text)
{
    NamedIdentifier named[8];
    Identifier found[8];
    size_t count = 0;
    StrBuf buf = {0};
    req->principal = principal;
    const Authorities *authorities =
        authority_directory_hold(fixture->pix->authorities, req->arena);
    int rc = feed_rules_resolve(fixture->pix, req, authorities, sender, purpose, named,
                                read_named(req->arena, text, named), found, &count);
    if (rc < 0) {
        strbuf_literal(&buf, "!");
    }
    for (const Error *error = req->errors.first; error; error = error->next) {
        strbuf_printf(&buf, " %.*s", STR_ARG(error->location));
    }
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(&buf, "%s%.*s%s", i > 0 ? " " : "", STR_ARG(found[i].value),
                      found[i].is_quoted ? "~" : "");
    }
    Str result = str_dup(req->arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return result;
}

/** The same for whoever may do everything. */
static Str resolve(Fixture *fixture, Request *req, const FeedSender *sender, FeedPurpose purpose,
                   const char *text)
{
    const Principal *everybody =
        node_directory_find(fixture->nodes, req->arena, STR_EMPTY, STR_EMPTY);
    return resolve_as(fixture, req, everybody, sender, purpose, text);
}

/** Where rules count: a number of a hospital moves with its documents to the patient it is told of,
 * and an answer tells nobody else whether it is known. */
static void test_a_node_names_numbers_of_hospitals_that_it_submits_for(void **state)
{
    Fixture *fixture = *state;
    const int32_t one = (int32_t)fixture_number(fixture, "feed_rules_one",
                                                "SELECT id FROM facility WHERE name = 'One'");
    const int32_t two = (int32_t)fixture_number(fixture, "feed_rules_two",
                                                "SELECT id FROM facility WHERE name = 'Two'");
    const struct {
        bool is_for_both;
        FeedPurpose purpose;
        const char *named;
        const char *expected;
    } rows[] = {
        {false, FEED_RECORD, "a@" OWN " b@" SISTER, "a b~"},
        {false, FEED_RECORD, "a@" OWN " b@" NATIONAL, "a b~"},
        {false, FEED_RECORD, "a@" OWN " known@" FOREIGN, "! 2"},
        {false, FEED_RECORD, "a@" OWN " unknown@" FOREIGN, "! 2"},
        {false, FEED_LINK, "a@" OWN " known@" FOREIGN, "! 2"},
        {false, FEED_RECORD, "a@" ANYBODY, "! 1"}, /* no source is not everybody */
        {true, FEED_RECORD, "a@" OWN " known@" FOREIGN, "a known~"},
        {true, FEED_LINK, "a@" OWN " known@" FOREIGN, "a known~"},
        {true, FEED_RECORD, "a@" ANYBODY, "a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        const Principal node = {.node_id = 1,
                                .node_name = STR("gateway"),
                                .facility_id = one,
                                .facilities = &two,
                                .facility_count = rows[i].is_for_both};
        const FeedSender sender = {.application = STR("OWN"), .facility = STR("HOSPITAL")};
        Str found = resolve_as(fixture, req, &node, &sender, rows[i].purpose, rows[i].named);
        if (!str_equal(found, str_from(rows[i].expected))) {
            fail_msg("%s: \"%.*s\"", rows[i].named, STR_ARG(found));
        }
        request_free(req);
    }
}

static void test_a_source_feeds_its_own_domain_and_may_quote_some(void **state)
{
    Fixture *fixture = *state;
    static const struct {
        const char *application; /* MSH-3; MSH-4 is HOSPITAL */
        FeedPurpose purpose;
        const char *named;
        const char *expected;
    } rows[] = {
        {"OWN", FEED_RECORD, "a@" OWN, "a"},
        {"OWN", FEED_RECORD, "a", "a"}, /* bound to the sender */
        {"STRANGER", FEED_RECORD, "a", "! 1"},
        {"STRANGER", FEED_RECORD, "a@" OWN, "! 1"},
        {"own", FEED_RECORD, "a@" OWN, "! 1"},
        {"STRANGER", FEED_RECORD, "a@" ANYBODY, "a"},
        {"OWN", FEED_RECORD, "a@" OWN " a@" OWN, "a"}, /* each once */
        {"OWN", FEED_RECORD, "a@" OWN " b@" OWN, "a b"},
        {"OWN", FEED_RECORD, "a@" OWN " b@" SISTER, "a b~"},
        {"OWN", FEED_RECORD, "a@" OWN " b@" NATIONAL, "a b~"},
        {"OWN", FEED_RECORD, "b@" NATIONAL " a@" OWN, "b~ a"},
        {"OWN", FEED_RECORD, "a@" OWN " b@" FOREIGN, "! 2"},
        {"OWN", FEED_RECORD, "a@" OWN " known@" FOREIGN, "a known~"},
        {"OWN", FEED_RECORD, "known@" FOREIGN, "! 1"}, /* nothing of its own */
        {"OWN", FEED_RECORD, "b@" NATIONAL, "! 1"},
        {"OWN", FEED_LINK, "a@" OWN " b@" FOREIGN, "a b~"},
        {"OWN", FEED_LINK, "a@" FOREIGN " b@" FOREIGN, "! 1 2"},
        {"OWN", FEED_RECORD, "a@1.2.3", "! 1"}, /* not configured */
        {"OWN", FEED_RECORD, "a@" OWN " b@1.2.3", "! 2"},
        {"OWN", FEED_RECORD, "x@" FIXTURE_OID " b@1.2.3", "x"}, /* TF-2 3.8.4.1.4 */
        {"OLD", FEED_RECORD, "a@" OLD, "! 1"},
        {"FUTURE", FEED_RECORD, "a@" FUTURE, "! 1"},
        {"OWN", FEED_RECORD, "a@" OF_NODE, "! 1"},
        {"OWN", FEED_RECORD, "@" OWN, "! 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        const FeedSender sender = {.application = str_from(rows[i].application),
                                   .facility = STR("HOSPITAL")};
        Str result = resolve(fixture, req, &sender, rows[i].purpose, rows[i].named);
        if (!str_equal(result, str_from(rows[i].expected))) {
            fail_msg("row %zu: \"%.*s\"", i, STR_ARG(result));
        }
        request_free(req);
    }
}

/* Where we are the Patient Identity Source of the affinity domain nobody else is (3.8.4.1.1). */
static void test_nobody_feeds_the_domain_that_we_mint_for(void **state)
{
    Fixture *fixture = *state;
    const FeedSender sender = {.application = STR("OWN"), .facility = STR("HOSPITAL")};
    static const char *const named[] = {"x@" FIXTURE_OID, "x@" FIXTURE_OID " a@" OWN};
    for (int external = 0; external <= 1; external++) {
        fixture->pix->config.takes_any_source = false;
        fixture->pix->config.pid_owner = external ? PID_OWNER_EXTERNAL : PID_OWNER_SELF;
        for (size_t i = 0; i < ARRAY_LEN(named); i++) {
            Request *req = request_new(600000);
            Str result = resolve(fixture, req, &sender, FEED_RECORD, named[i]);
            assert_int_equal(str_starts_with(result, STR("! 1")), !external);
            request_free(req);
        }
    }
}

/* HL7 v3 and FHIR: the node stands for MSH-3|MSH-4; in mode open every node does. */
static void test_a_node_stands_for_the_source_that_it_may_send_as(void **state)
{
    Fixture *fixture = *state;
    const FeedSender sender = {.is_node = true};
    Request *req = request_new(600000);
    Str result = resolve(fixture, req, &sender, FEED_RECORD, "a@" OWN);
    assert_true(str_equal(result, STR("a")));
    request_free(req);
}

static void test_demographics_are_checked_where_they_stand(void **state)
{
    (void)state;
    static const struct {
        const char *birth;
        const char *sex;
        bool checks_sex;
        const char *location; /* of the error; NULL: none */
    } rows[] = {
        {"19710412", "F", true, NULL},
        {"1971", "", true, NULL},
        {"", "U", true, NULL},
        {"\"\"", "\"\"", true, NULL},
        {"12.4.1971", "F", true, "PID-7"},
        {"19710431", "F", true, "PID-7"},
        {"1971", "X", true, "PID-8"},
        {"1971", "X", false, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        Demographics demographics = {0};
        demographics.fields[DEMOGRAPHIC_birth_time] = str_from(rows[i].birth);
        demographics.fields[DEMOGRAPHIC_sex] = str_from(rows[i].sex);
        int rc = feed_rules_check_demographics(req, &demographics, "PID-7",
                                               rows[i].checks_sex ? "PID-8" : NULL);
        bool is_expected = rows[i].location ? rc < 0 && str_equal(req->errors.first->location,
                                                                  str_from(rows[i].location))
                                            : rc == 0;
        if (!is_expected) {
            fail_msg("row %zu", i);
        }
        request_free(req);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_node_names_numbers_of_hospitals_that_it_submits_for),
        TEST(test_a_source_feeds_its_own_domain_and_may_quote_some),
        TEST(test_nobody_feeds_the_domain_that_we_mint_for),
        TEST(test_a_node_stands_for_the_source_that_it_may_send_as),
        cmocka_unit_test(test_demographics_are_checked_where_they_stand),
    };
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
