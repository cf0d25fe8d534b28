/* ITI-8 of the affinity domain, as a Document Registry receives it: ITI TF-2 3.8.4.1.4, 3.8.4.2.4;
 * TF-2 Appendix C, E. */
#include "lib/hl7/reply.h"

#include "tests/unit/pix_fixture.h"

#define AUTHORITY "&" FIXTURE_OID "&ISO"
#define OTHER "&1.2.392.99999.1&ISO"
#define HEADER(event) "MSH|^~\\&|REPLAY|TESTS|REG|NET|20260401||ADT^" event "|C1|P|2.3.1\r"

/** Sends one message. @param ret_text  MSA-1, and of the first error ERR-3.1 and ERR-2 */
static void send_message(Fixture *fixture, const char *payload, char *ret_text, size_t size)
{
    Request *req = request_new(600000);
    StrBuf reply = {0};
    req->peer_address = STR("127.0.0.1");
    req->principal = node_directory_find(fixture->nodes, req->arena, STR_EMPTY, STR_EMPTY);
    assert_int_equal(pix_hl7_message(fixture->pix, req, str_from(payload), &reply), 0);
    const char *code = hl7_reply_code(&req->errors);
    const Error *error = req->errors.first;
    char expected[64];
    snprintf(expected, sizeof(expected), "\rMSA|%s|", code);
    assert_true(str_contains(strbuf_str(&reply), str_from(expected)));
    if (error) {
        snprintf(ret_text, size, "%s %d %.*s", code, error_info(error->code)->hl7_code,
                 STR_ARG(error->location));
    } else {
        snprintf(ret_text, size, "%s", code);
    }
    strbuf_done(&reply);
    request_free(req);
}

static void expect_reply(Fixture *fixture, const char *payload, const char *expected)
{
    char text[256];
    send_message(fixture, payload, text, sizeof(text));
    if (strcmp(text, expected) != 0) {
        fail_msg("%s\ngave \"%s\" instead of \"%s\"", payload, text, expected);
    }
}

static void feed(Fixture *fixture, const char *id)
{
    char payload[512];
    snprintf(payload, sizeof(payload), HEADER("A04") "PID|||%s^^^" AUTHORITY "\r", id);
    expect_reply(fixture, payload, "AA");
}

static void merge(Fixture *fixture, const char *subsumed, const char *survivor,
                  const char *expected)
{
    char payload[512];
    snprintf(payload, sizeof(payload),
             HEADER("A40") "PID|||%s^^^" AUTHORITY "\rMRG|%s^^^" AUTHORITY "\r", survivor,
             subsumed);
    expect_reply(fixture, payload, expected);
}

static int64_t count_identifiers(Fixture *fixture)
{
    return fixture_number(fixture, "count_identifiers", "SELECT count(*) FROM patient_identifier");
}

static int64_t count_outbox(Fixture *fixture)
{
    return fixture_number(fixture, "count_outbox", "SELECT count(*) FROM audit_outbox");
}

static void test_what_is_stored_depends_on_event_and_authority(void **state)
{
    Fixture *fixture = *state;
    static const struct {
        const char *payload;
        const char *reply;
        int64_t stored; /* more identifiers than before */
    } rows[] = {
        {HEADER("A01") "EVN|A01\rPID|||P1^^^" AUTHORITY "||A^B\rPV1||I\r", "AA", 1},
        {HEADER("A01") "PID|||P1^^^" AUTHORITY "\r", "AA", 0}, /* the same again */
        {HEADER("A04") "PID|||P2^^^RHIN" AUTHORITY "^PI\r", "AA", 1},
        {HEADER("A05^ADT_A01") "PID|||P3^^^RHIN\r", "AA", 1}, /* filled from configuration */
        {HEADER("A05") "PID|||P4\r", "AA", 1},
        {HEADER("A04") "PID|||L1^^^" OTHER "\r", "AE 204 PID^1^3^1^4", 0}, /* not configured */
        {HEADER("A04") "PID|||L2^^^HOSPITAL~P5^^^" AUTHORITY "~L3^^^" OTHER "\r", "AA", 1},
        {HEADER("A08") "PID|||P9^^^" AUTHORITY "\r", "AA", 0}, /* shall be ignored */
        {HEADER("A04") "PID|||P9^^^HOSPITAL\r", "AE 204 PID^1^3^1^4", 0},
        {HEADER("A04") "PID|||L1^^^" OTHER "~P9^^^HOSPITAL\r", "AE 204 PID^1^3^1^4", 0},
        {HEADER("A04") "PID|||P9^^^HOSPITAL" AUTHORITY "\r", "AE 204 PID^1^3^1^4", 0},
        {HEADER("A04") "PID|||P9^^^RHIN" OTHER "\r", "AE 204 PID^1^3^1^4", 0},
        {HEADER("A04") "PID|||P9^^^&" FIXTURE_OID "\r", "AE 204 PID^1^3^1^4", 0},
        {HEADER("A04") "PID|||^^^" AUTHORITY "\r", "AE 101 PID^1^3^1^1", 0},
        {HEADER("A04") "PID|||\"\"^^^" AUTHORITY "\r", "AE 101 PID^1^3^1^1", 0},
        {HEADER("A04") "PID|||P\\X0A\\9^^^" AUTHORITY "\r", "AE 102 PID^1^3^1^1", 0},
        {HEADER("A04") "PID|||P8^^^" AUTHORITY "\rPID|||P9^^^" AUTHORITY "\r", "AE 100 PID^2", 0},
        {HEADER("A04") "PID|1\r", "AE 101 PID^1^3", 0},
        {HEADER("A04") "PV1||I\r", "AE 100 PID^1", 0},
        {HEADER("A04") "PID|||P9^^^" AUTHORITY "||\xe5\r", "AE 102 PID^1^5^1", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t before = count_identifiers(fixture);
        expect_reply(fixture, rows[i].payload, rows[i].reply);
        if (count_identifiers(fixture) - before != rows[i].stored) {
            fail_msg("row %zu stored another number", i);
        }
    }
}

static void test_what_the_header_asks_and_we_do_not_speak_is_rejected(void **state)
{
    Fixture *fixture = *state;
    static const struct {
        const char *payload;
        const char *reply;
    } rows[] = {
        {"MSH|^~\\&|A|B|C|D|2026||ORU^R01|C1|P|2.5\r", "AR 200 MSH^1^9^1^1"},
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A02|C1|P|2.5\r", "AR 201 MSH^1^9^1^2"},
        {"MSH|^~\\&|A|B|C|D|2026||ORU^R01|C1|P|2.5||||||X\r", "AR 103 MSH^1^18"},
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A31|C1|P|2.3.1\r", "AR 203 MSH^1^12^1^1"},
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A01|C1|P|2.9\rPID|||P1\r", "AR 203 MSH^1^12^1^1"},
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A01|C1|X|2.5\rPID|||P1\r", "AR 202 MSH^1^11^1^1"},
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A01||P|2.5\rPID|||P1\r", "AE 101 MSH^1^10"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_reply(fixture, rows[i].payload, rows[i].reply);
    }
    assert_int_equal(count_identifiers(fixture), 0);
}

/* TF-2 3.8.4.2.4: none of these may change anything. */
static void test_merges_that_may_not_happen_change_nothing(void **state)
{
    Fixture *fixture = *state;
    feed(fixture, "A");
    feed(fixture, "B");
    feed(fixture, "C");
    merge(fixture, "A", "B", "AA");
    merge(fixture, "A", "B", "AE 204 MRG^1^1^1^1"); /* done already */
    merge(fixture, "A", "C", "AE 204 MRG^1^1^1^1"); /* subsumed before */
    merge(fixture, "C", "A", "AE 204 PID^1^3^1^1"); /* into a subsumed one */
    merge(fixture, "C", "C", "AE 204 MRG^1^1^1^1");
    merge(fixture, "X", "C", "AE 204 MRG^1^1^1^1");
    merge(fixture, "C", "X", "AE 204 PID^1^3^1^1");
    expect_reply(fixture, HEADER("A40") "PID|||C^^^" AUTHORITY "\rMRG|B^^^" OTHER "\r",
                 "AE 204 MRG^1^1^1^4");
    expect_reply(fixture, HEADER("A40") "PID|||C^^^" OTHER "\rMRG|B^^^" AUTHORITY "\r",
                 "AE 204 PID^1^3^1^4");
    expect_reply(fixture, HEADER("A40") "PID|||C^^^" AUTHORITY "\r", "AE 100 MRG^1");
    expect_reply(fixture, HEADER("A40") "PID|||C^^^" AUTHORITY "\rMRG||\r", "AE 101 MRG^1^1");
    expect_reply(fixture,
                 HEADER("A40") "PID|||C^^^" AUTHORITY "~A^^^" AUTHORITY "\rMRG|B^^^" AUTHORITY "\r",
                 "AE 102 PID^1^3^2^1");
    /* a subsumed identifier is never usable again */
    expect_reply(fixture, HEADER("A01") "PID|||A^^^" AUTHORITY "\r", "AE 204 PID^1^3^1^1");
    assert_int_equal(
        fixture_number(fixture, "count_subsumed",
                       "SELECT count(*) FROM patient_identifier WHERE survivor IS NOT NULL"),
        1);
    assert_int_equal(count_identifiers(fixture), 3);
    assert_int_equal(fixture_number(fixture, "count_merges", "SELECT count(*) FROM patient_merge"),
                     1);
}

/* A into B, then B into C: C stands for all three (TF-2 3.8.4.2.4). */
static void test_a_chain_of_merges_shows_up_under_its_last_survivor(void **state)
{
    Fixture *fixture = *state;
    feed(fixture, "A");
    feed(fixture, "B");
    feed(fixture, "C");
    merge(fixture, "A", "B", "AA");
    merge(fixture, "B", "C", "AA");

    PatientDirectory directory = pix_patient_directory(fixture->pix);
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    const Str identifiers[] = {STR("A^^^" AUTHORITY), STR("C^^^" AUTHORITY), STR("X^^^" AUTHORITY),
                               STR("C^^^" OTHER), STR("C^^^" AUTHORITY "^PI")};
    Patient patients[ARRAY_LEN(identifiers)];
    const PatientQuestion question = {.patient_ids = identifiers, .count = ARRAY_LEN(identifiers)};
    DbResult *locked = NULL;
    size_t statements = 0;
    assert_int_equal(db_queue_begin(conn, req), 0);
    assert_int_equal(directory.queue_lock(directory.ctx, req, conn, &question, &statements), 0);
    assert_int_equal(statements, 1);
    assert_int_equal(db_sync(conn, req, &locked), 0);
    directory.locked(directory.ctx, req, locked, &question, patients, NULL);
    assert_true(patients[0].is_known && !patients[0].is_active);
    assert_true(patients[1].is_known && patients[1].is_active);
    assert_int_equal(patients[0].survivor, patients[1].id);
    assert_false(patients[2].is_known || patients[3].is_known || patients[4].is_known);
    assert_int_equal(db_commit(conn, req, NULL), 0);

    int64_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(directory.ids(directory.ctx, req, conn, &identifiers[1], 1, &ids, &count), 0);
    assert_int_equal(count, 3);
    Str names[3];
    int64_t survivors[3];
    assert_int_equal(directory.identifiers(directory.ctx, req, conn, ids, 3, names, survivors), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(str_equal(names[i], identifiers[1]));
        assert_int_equal(survivors[i], patients[1].id);
    }
    assert_int_equal(directory.ids(directory.ctx, req, conn, &identifiers[0], 1, &ids, &count), 0);
    assert_int_equal(count, 0);
    db_release(conn);
    request_free(req);
}

/* C4 and TF-2 3.8.5.1: one event for a feed, two for a merge, in the transaction of the change. */
static void test_changes_are_in_the_outbox(void **state)
{
    Fixture *fixture = *state;
    feed(fixture, "A");
    feed(fixture, "B");
    assert_int_equal(count_outbox(fixture), 2);
    merge(fixture, "A", "B", "AA");
    assert_int_equal(count_outbox(fixture), 4);
    assert_int_equal(
        fixture_number(fixture, "count_deletes",
                       "SELECT count(*) FROM audit_outbox WHERE message LIKE"
                       " '%EventActionCode=\"D\"%' AND message LIKE '%A^^^&amp;" FIXTURE_OID
                       "&amp;ISO%' AND message LIKE '%\"TESTS|REPLAY\"%'"),
        1);
    merge(fixture, "A", "B", "AE 204 MRG^1^1^1^1");
    assert_int_equal(count_outbox(fixture), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_stored_depends_on_event_and_authority),
        TEST(test_what_the_header_asks_and_we_do_not_speak_is_rejected),
        TEST(test_merges_that_may_not_happen_change_nothing),
        TEST(test_a_chain_of_merges_shows_up_under_its_last_survivor),
        TEST(test_changes_are_in_the_outbox),
    };
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
