/* Feeds, links, merges and their undoing, as every surface uses them (ITI TF-2 3.8.4, 3.30.6,
 * 3.104.4; pix/identity.h). */
#include "pix/identity.h"
#include "pix/pix_state.h"

#include "tests/unit/pix_fixture.h"

#define OID_A "1.2.392.99999.41.1"
#define OID_B "1.2.392.99999.41.2"
#define OID_PACS "1.2.392.99999.41.3"

static const char authorities_sql[] =
    "INSERT INTO assigning_authority (oid, namespace, is_configured) VALUES"
    " ('" OID_A "', 'A', true), ('" OID_B "', 'B', true);"
    "INSERT INTO assigning_authority (oid, namespace, is_configured, derive_from, derive_rule)"
    " SELECT '" OID_PACS "', 'PACS', true, id, 'pad=8' FROM assigning_authority WHERE oid = '" OID_A
    "'";

static int set_up(void **state)
{
    int rc = fixture_set_up(state);
    Fixture *fixture = *state;
    fixture_run_script(fixture->pool, authorities_sql);
    Request *req = fixture_request(10000);
    assert_int_equal(pix_refresh(fixture->pix, req), 0);
    request_free(req);
    return rc;
}

/* ---- steps ---- */

/** "A 123": an identifier of hospital A; "X value": of the affinity domain. */
static Identifier identifier(Fixture *fixture, Request *req, const char *text)
{
    const Authorities *all = authority_directory_hold(fixture->pix->authorities, req->arena);
    Identifier found = {.value = str_from(text + 2), .location = "PID^1^3^1^1"};
    found.authority = text[0] == 'X'   ? all->affinity_domain
                      : text[0] == 'P' ? authorities_by_namespace(all, STR("PACS"))
                                       : authorities_by_namespace(all, (Str){text, 1});
    return found;
}

/** Feeds identifiers ("A 1", "B 2", NULL) with a name, a birth date and a phone. */
static int feed(Fixture *fixture, const char *one, const char *other, const char *name,
                const char *birth_date, const char *phone)
{
    Request *req = fixture_request(10000);
    Identifier identifiers[2] = {identifier(fixture, req, one)};
    IdentityFeed message = {.identifiers = identifiers, .identifier_count = 1};
    if (other) {
        identifiers[message.identifier_count++] = identifier(fixture, req, other);
    }
    message.demographics.fields[DEMOGRAPHIC_name] = str_from(name);
    message.demographics.fields[DEMOGRAPHIC_birth_time] = str_from(birth_date);
    message.demographics.fields[DEMOGRAPHIC_sex] = STR("F");
    message.demographics.fields[DEMOGRAPHIC_phone_home] = str_from(phone);
    message.demographics.fields[DEMOGRAPHIC_address] = STR("1-2-3^^那覇市^沖縄県^9000001^JPN");
    message.source.name = STR("TEST|HOSPITAL");
    int rc = identity_feed(fixture->pix, req, &message, NULL);
    request_free(req);
    return rc;
}

static int merge(Fixture *fixture, MergeKind kind, const char *subsumed, const char *survivor)
{
    Request *req = fixture_request(10000);
    IdentityMerge message = {.kind = kind,
                             .subsumed = identifier(fixture, req, subsumed),
                             .survivor = identifier(fixture, req, survivor)};
    message.source.name = STR("TEST|HOSPITAL");
    int rc = identity_merge(fixture->pix, req, &message);
    request_free(req);
    return rc;
}

static int link_two(Fixture *fixture, LinkKind kind, const char *one, const char *other,
                    bool is_lenient)
{
    Request *req = fixture_request(10000);
    IdentityLink message = {.kind = kind,
                            .reason = "manual",
                            .one = identifier(fixture, req, one),
                            .other = identifier(fixture, req, other),
                            .is_lenient = is_lenient};
    message.source.name = STR("operator");
    int rc = identity_link(fixture->pix, req, &message);
    request_free(req);
    return rc;
}

static int undo(Fixture *fixture, char kind, int64_t id)
{
    Request *req = fixture_request(10000);
    const IdentitySource source = {.name = STR("operator")};
    int rc = identity_undo(fixture->pix, req, kind, id, &source);
    request_free(req);
    return rc;
}

/** "B2 PACS00000001": the identifiers of one person with this one, XAD-PIDs as "X"; "?" unknown,
 * ">value" merged away. */
static const char *person_of(Fixture *fixture, const char *text)
{
    static char found[512];
    Request *req = fixture_request(10000);
    const Authorities *all = authority_directory_hold(fixture->pix->authorities, req->arena);
    const Identifier asked = identifier(fixture, req, text);
    CrossReference reference = {0};
    assert_int_equal(identity_cross_reference(fixture->pix, req, all, &asked, NULL, 0, &reference),
                     0);
    snprintf(found, sizeof(found), "%s", reference.is_known ? "" : "?");
    if (!str_is_empty(reference.subsumed_by)) {
        snprintf(found, sizeof(found), ">%.*s", STR_ARG(reference.subsumed_by));
    }
    for (size_t i = 0; i < reference.identifier_count; i++) {
        const FoundIdentifier *one = &reference.identifiers[i];
        Str value = one->authority->is_affinity_domain ? STR_EMPTY : one->value;
        Str name = one->authority->is_affinity_domain ? STR("X") : one->authority->namespace_id;
        snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%.*s%.*s", i ? " " : "",
                 STR_ARG(name), STR_ARG(value));
    }
    request_free(req);
    return found;
}

#define HANAKO "山田^花子^^^^^L^I~ヤマダ^ハナコ^^^^^L^P"
#define JIRO "鈴木^次郎^^^^^L^I~スズキ^ジロウ^^^^^L^P"

#define XAD_PID_OF_B2                                                                              \
    "SELECT x.id FROM patient_identifier i JOIN patient_identifier x USING (person)"               \
    " WHERE i.value = '2' AND i.survivor IS NULL AND x.is_xad_pid"

static int64_t last_id(Fixture *fixture, const char *name, const char *table)
{
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT max(id) FROM %s", table);
    return fixture_number(fixture, name, sql);
}

/* ---- tests ---- */

/* After AA there is an XAD-PID (ITI-9 -> ITI-41 succeeds) */
static void test_fed_identifier_has_an_xad_pid_at_once(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_string_equal(person_of(*state, "A 1"), "X PACS00000001");
    assert_string_equal(person_of(*state, "A 2"), "?");
}

static void test_identifiers_of_one_message_are_one_person(void **state)
{
    assert_int_equal(feed(*state, "A 1", "B 7", HANAKO, "19710412", ""), 0);
    assert_string_equal(person_of(*state, "B 7"), "X A1 PACS00000001");
}

static void test_records_that_match_are_one_person_and_others_are_not(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_int_equal(feed(*state, "B 7", NULL, HANAKO, "19710412", "0981112222"), 0);
    assert_int_equal(feed(*state, "B 8", NULL, JIRO, "19550101", "0981112222"), 0);
    assert_string_equal(person_of(*state, "A 1"), "X B7 PACS00000001");
    assert_string_equal(person_of(*state, "B 8"), "X");
    assert_int_equal(fixture_number(*state, "links",
                                    "SELECT count(*) FROM patient_link WHERE "
                                    "reason = 'match' AND score > 0"),
                     1);
}

/** Blocks are bounded; each key brings its own candidates. */
static void test_crowded_keys_keep_no_match_out(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(feed(fixture, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    fixture_run_script(
        fixture->pool,
        "INSERT INTO match_key SELECT key, -n FROM match_key, generate_series(1, 3000) n"
        " WHERE key <> (SELECT max(key) FROM match_key)");
    assert_int_equal(feed(fixture, "B 7", NULL, HANAKO, "19710412", "0981112222"), 0);
    assert_string_equal(person_of(fixture, "A 1"), "X B7 PACS00000001");
}

static void test_repeated_feed_changes_nothing(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    int64_t before =
        fixture_number(*state, "xmin1", "SELECT max(xmin::text::bigint) FROM patient_demographics");
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(
        fixture_number(*state, "xmin2", "SELECT max(xmin::text::bigint) FROM patient_demographics"),
        before);
    assert_int_equal(fixture_number(*state, "rows", "SELECT count(*) FROM patient_identifier"), 2);
}

/* a revision re-runs matching with what is new (TF-2 3.10, example) */
static void test_revision_can_link(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_int_equal(feed(*state, "B 7", NULL, "山本^花子", "19710412", ""), 0);
    assert_string_equal(person_of(*state, "B 7"), "X");
    assert_int_equal(feed(*state, "B 7", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_string_equal(person_of(*state, "B 7"), "X A1 PACS00000001");
    /* one person has one XAD-PID of each side; the emptied one stays without identifiers */
    assert_int_equal(
        fixture_number(*state, "keys",
                       "SELECT count(*) FROM match_key k WHERE NOT EXISTS (SELECT FROM "
                       "patient_demographics d WHERE d.identifier = k.identifier)"),
        0);
}

/* PACS numbers that follow from another system's (derived domains) */
static void test_derived_number_resolves_both_ways_and_a_real_one_overrides(void **state)
{
    assert_int_equal(feed(*state, "A 123", NULL, HANAKO, "19710412", ""), 0);
    assert_string_equal(person_of(*state, "P 00000123"), "X A123");
    assert_string_equal(person_of(*state, "P 0000123"), "?");
    assert_int_equal(feed(*state, "P 00000123", NULL, JIRO, "19550101", ""), 0);
    assert_string_equal(person_of(*state, "P 00000123"), "X");
}

/* a patient with a real number has no derived one of that domain, asked for either way */
static void test_overridden_derived_number_is_unknown(void **state)
{
    assert_int_equal(feed(*state, "A 123", "P 999", HANAKO, "19710412", ""), 0);
    assert_string_equal(person_of(*state, "A 123"), "X PACS999");
    assert_string_equal(person_of(*state, "P 00000123"), "?");
}

/* an ambiguous derivation resolves to nobody */
static void test_derived_number_of_two_patients_is_unknown(void **state)
{
    assert_int_equal(feed(*state, "A 5", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 05", NULL, JIRO, "19550101", ""), 0);
    assert_string_equal(person_of(*state, "P 00000005"), "?");
}

/* TF-2 3.30.6.4: strict in ITI-8, lenient in ITI-30 */
static void test_merge_in_a_hospital_takes_one_number_away(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 2", "B 2", JIRO, "19550101", ""), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "A 9", "A 1"), -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
    assert_int_equal(merge(*state, MERGE_LENIENT, "A 9", "A 1"), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "A 2", "A 1"), 0);
    assert_string_equal(person_of(*state, "A 2"), ">1");
    assert_string_equal(person_of(*state, "A 1"), "X B2 PACS00000001");
    assert_int_equal(merge(*state, MERGE_STRICT, "A 2", "A 1"), -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
    assert_int_equal(feed(*state, "A 2", NULL, JIRO, "19550101", ""),
                     -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
}

/* TF-2 3.8.4.2.3: who was cross-referenced with the subsumed number is with the survivor */
static void test_survivor_takes_the_place_of_a_linked_number(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 2", "B 2", JIRO, "19550101", ""), 0);
    int64_t xad_pid = fixture_number(*state, "before", XAD_PID_OF_B2);
    assert_int_equal(merge(*state, MERGE_STRICT, "A 2", "A 1"), 0);
    assert_string_equal(person_of(*state, "B 2"), "X A1 PACS00000001");
    assert_int_equal(fixture_number(*state, "after", XAD_PID_OF_B2), xad_pid);
    assert_int_equal(undo(*state, 'M', last_id(*state, "last_merge", "patient_merge")), 0);
    assert_string_equal(person_of(*state, "B 2"), "X A2 PACS00000002");
    assert_string_equal(person_of(*state, "A 1"), "X PACS00000001");
}

/* The other hospitals of a person do not follow by themselves */
static void test_merge_of_two_linked_numbers_moves_no_other_hospital(void **state)
{
    assert_int_equal(feed(*state, "A 1", "B 1", HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 2", "B 2", JIRO, "19550101", ""), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "A 2", "A 1"), 0);
    assert_string_equal(person_of(*state, "B 1"), "X A1 PACS00000001");
    assert_string_equal(person_of(*state, "B 2"), "X");
}

static void test_merge_is_undone(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 2", "B 2", JIRO, "19550101", ""), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "A 2", "A 1"), 0);
    int64_t id = last_id(*state, "last_merge", "patient_merge");
    assert_int_equal(undo(*state, 'M', id), 0);
    assert_string_equal(person_of(*state, "A 2"), "X B2 PACS00000002");
    assert_string_equal(person_of(*state, "A 1"), "X PACS00000001");
    assert_int_equal(undo(*state, 'M', id), -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
}

/* TF-2 3.30.6.5 */
static void test_change_of_identifier_keeps_the_person(void **state)
{
    assert_int_equal(feed(*state, "A 1", "B 1", HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "A 3", NULL, JIRO, "19550101", ""), 0);
    assert_int_equal(merge(*state, MERGE_CHANGE, "A 1", "A 3"), -ERR_HL7_DUPLICATE_KEY_IDENTIFIER);
    assert_int_equal(merge(*state, MERGE_CHANGE, "A 8", "A 9"), 0);
    assert_string_equal(person_of(*state, "A 9"), "?");
    assert_int_equal(merge(*state, MERGE_CHANGE, "A 1", "A 2"), 0);
    assert_string_equal(person_of(*state, "B 1"), "X A2 PACS00000002");
    assert_string_equal(person_of(*state, "A 1"), ">2");
}

static void test_link_and_unlink_restore_each_other(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "B 2", NULL, JIRO, "19550101", ""), 0);
    int64_t xad_pid =
        fixture_number(*state, "before",
                       "SELECT x.id FROM patient_identifier i JOIN patient_identifier x"
                       " USING (person) WHERE i.value = '2' AND x.is_xad_pid");
    assert_int_equal(link_two(*state, LINK_SAME, "A 1", "B 2", false), 0);
    assert_string_equal(person_of(*state, "A 1"), "X B2 PACS00000001");
    assert_int_equal(link_two(*state, LINK_DIFFERENT, "A 1", "B 2", false), 0);
    assert_string_equal(person_of(*state, "A 1"), "X PACS00000001");
    assert_string_equal(person_of(*state, "B 2"), "X");
    assert_int_equal(fixture_number(*state, "after",
                                    "SELECT x.id FROM patient_identifier i JOIN patient_identifier"
                                    " x USING (person) WHERE i.value = '2' AND x.is_xad_pid"),
                     xad_pid);
}

/* what an operator took apart, matching does not link again */
static void test_unlinked_match_stays_unlinked(void **state)
{
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_int_equal(feed(*state, "B 7", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_string_equal(person_of(*state, "B 7"), "X A1 PACS00000001");
    assert_int_equal(undo(*state, 'L', last_id(*state, "last_link", "patient_link")), 0);
    assert_string_equal(person_of(*state, "B 7"), "X");
    assert_int_equal(feed(*state, "B 7", NULL, HANAKO, "19710412", "098-111-3333"), 0);
    assert_string_equal(person_of(*state, "B 7"), "X");
    assert_string_equal(person_of(*state, "A 1"), "X PACS00000001");
}

/* TF-2 3.30.6.6.4: a link of unknown identifiers is kept and creates no patient */
static void test_link_waits_for_identifiers_that_are_not_known(void **state)
{
    assert_int_equal(link_two(*state, LINK_SAME, "A 1", "B 2", false),
                     -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
    assert_int_equal(link_two(*state, LINK_SAME, "A 1", "B 2", true), 0);
    assert_string_equal(person_of(*state, "A 1"), "?");
    assert_int_equal(feed(*state, "A 1", NULL, HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "B 2", NULL, JIRO, "19550101", ""), 0);
    assert_string_equal(person_of(*state, "A 1"), "X B2 PACS00000001");
}

/* TF-2 3.8.4.2.4: in the affinity domain the whole person follows */
static void test_merge_of_xad_pids_joins_persons_and_is_undone(void **state)
{
    assert_int_equal(feed(*state, "X one", "A 1", HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(*state, "X two", "B 2", JIRO, "19550101", ""), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "X two", "X one"), 0);
    assert_string_equal(person_of(*state, "A 1"), "X B2 PACS00000001");
    assert_string_equal(person_of(*state, "X two"), ">one");
    assert_int_equal(undo(*state, 'M', last_id(*state, "last_merge", "patient_merge")), 0);
    assert_string_equal(person_of(*state, "X two"), "B2");
    assert_string_equal(person_of(*state, "X one"), "A1 PACS00000001");
}

/* undoing a merge in the middle of a chain gives the chains that are left (TF-2 3.8.4.2.4) */
static void test_undone_merge_in_a_chain_leaves_the_others(void **state)
{
    static const char *const names[] = {"X a", "X b", "X c"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(feed(*state, names[i], NULL, "", "", ""), 0);
    }
    assert_int_equal(merge(*state, MERGE_STRICT, "X a", "X b"), 0);
    assert_int_equal(merge(*state, MERGE_STRICT, "X b", "X c"), 0);
    assert_string_equal(person_of(*state, "X a"), ">c");
    assert_int_equal(undo(*state, 'M', last_id(*state, "last_merge", "patient_merge")), 0);
    assert_string_equal(person_of(*state, "X a"), ">b");
    assert_string_equal(person_of(*state, "X b"), "");
    assert_string_equal(person_of(*state, "X c"), "");
}

/* ITI-104 with replaced-by: what is unknown is made (TF-2 3.104.4.1.3) */
static void test_upserting_merge_makes_what_is_unknown(void **state)
{
    assert_int_equal(merge(*state, MERGE_UPSERT, "A 1", "A 2"), 0);
    assert_string_equal(person_of(*state, "A 1"), ">2");
    assert_string_equal(person_of(*state, "A 2"), "X PACS00000002");
    assert_int_equal(merge(*state, MERGE_UPSERT, "A 1", "A 2"), 0);
    assert_int_equal(merge(*state, MERGE_UPSERT, "A 3", "A 2"), 0);
    assert_string_equal(person_of(*state, "A 3"), ">2");
}

static void test_removed_identifier_is_unknown_and_can_be_fed_anew(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(feed(fixture, "A 1", "B 1", HANAKO, "19710412", ""), 0);
    Request *req = fixture_request(10000);
    const Identifier removed = identifier(fixture, req, "A 1");
    const IdentitySource source = {.name = STR("TEST|HOSPITAL")};
    assert_int_equal(identity_remove(fixture->pix, req, &removed, &source), 0);
    assert_string_equal(person_of(fixture, "A 1"), "?");
    assert_string_equal(person_of(fixture, "B 1"), "X");
    assert_int_equal(identity_remove(fixture->pix, req, &removed, &source),
                     -ERR_HL7_UNKNOWN_KEY_IDENTIFIER);
    request_free(req);
    assert_int_equal(feed(fixture, "A 1", NULL, JIRO, "19550101", ""), 0);
    assert_string_equal(person_of(fixture, "A 1"), "X PACS00000001");
}

/* ITI TF-2 3.8.4.1.3: what is fed is matched, whatever number it quotes */
static void test_a_record_is_matched_by_what_it_brings_not_by_what_it_quotes(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(feed(fixture, "A 1", NULL, HANAKO, "19710412", "098-111-2222"), 0);
    assert_int_equal(feed(fixture, "B 9", NULL, JIRO, "19550101", "098-777-8888"), 0);
    Request *req = fixture_request(10000);
    Identifier identifiers[] = {identifier(fixture, req, "B 7"), identifier(fixture, req, "B 9")};
    identifiers[1].is_quoted = true;
    IdentityFeed message = {.identifiers = identifiers, .identifier_count = 2};
    message.demographics.fields[DEMOGRAPHIC_name] = STR(HANAKO);
    message.demographics.fields[DEMOGRAPHIC_birth_time] = STR("19710412");
    message.demographics.fields[DEMOGRAPHIC_sex] = STR("F");
    message.demographics.fields[DEMOGRAPHIC_phone_home] = STR("098-111-2222");
    message.demographics.fields[DEMOGRAPHIC_address] = STR("1-2-3^^那覇市^沖縄県^9000001^JPN");
    message.source.name = STR("TEST|HOSPITAL");
    assert_int_equal(identity_feed(fixture->pix, req, &message, NULL), 0);
    request_free(req);
    assert_string_equal(person_of(fixture, "A 1"), "X B9 B7 PACS00000001");
}

/* a reviewer gets few questions, however many patients have one name and birth date */
static void test_patients_of_one_name_do_not_flood_the_review_queue(void **state)
{
    Fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%c %d", i % 2 ? 'A' : 'B', i);
        Request *req = fixture_request(10000);
        const Identifier one = identifier(fixture, req, number);
        IdentityFeed message = {.identifiers = &one, .identifier_count = 1};
        message.demographics.fields[DEMOGRAPHIC_name] = STR(HANAKO);
        message.demographics.fields[DEMOGRAPHIC_birth_time] = STR("19700101");
        message.demographics.fields[DEMOGRAPHIC_sex] = STR("F");
        message.source.name = STR("TEST|HOSPITAL");
        assert_int_equal(identity_feed(fixture->pix, req, &message, NULL), 0);
        request_free(req);
    }
    int64_t proposals = fixture_number(fixture, "proposals", "SELECT count(*) FROM link_decision");
    assert_in_range(proposals, 1, 100);
}

/* DESIGN, pid_owner = external: the owner of the affinity domain says who is who, whatever the
 * order of identifiers in its message; matching never joins two of its patients */
static void test_owner_of_the_affinity_domain_says_who_is_who(void **state)
{
    static const char *const orders[][2] = {{"X two", "A 1"}, {"A 1", "X two"}};
    Fixture *fixture = *state;
    fixture->pix->config.pid_owner = PID_OWNER_EXTERNAL;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        fixture_run_script(fixture->pool, "TRUNCATE patient_identifier, patient_demographics,"
                                          " patient_name, match_key, patient_link, link_decision");
        assert_int_equal(feed(fixture, "A 1", NULL, HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "A 1"), "PACS00000001");
        assert_int_equal(feed(fixture, "X one", "A 1", HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "A 1"), "X PACS00000001");
        assert_int_equal(feed(fixture, "X two", "B 2", HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "X one"), "A1 PACS00000001");
        assert_int_equal(feed(fixture, orders[i][0], orders[i][1], HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "X two"), "A1 B2 PACS00000001");
        assert_string_equal(person_of(fixture, "X one"), "");
    }
}

/* the same for an identifier of the affinity domain that is new */
static void test_owner_gives_a_number_to_a_new_patient(void **state)
{
    static const char *const orders[][2] = {{"X two", "A 1"}, {"A 1", "X two"}};
    Fixture *fixture = *state;
    fixture->pix->config.pid_owner = PID_OWNER_EXTERNAL;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        fixture_run_script(fixture->pool, "TRUNCATE patient_identifier, patient_demographics,"
                                          " patient_name, match_key, patient_link, link_decision");
        assert_int_equal(feed(fixture, "X one", "A 1", HANAKO, "19710412", ""), 0);
        assert_int_equal(feed(fixture, orders[i][0], orders[i][1], HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "X two"), "A1 PACS00000001");
        assert_string_equal(person_of(fixture, "X one"), "");
    }
}

/* a message that names two who were taken apart is good, and leaves them apart */
static void test_feed_of_two_that_a_verdict_separates_is_accepted(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(feed(fixture, "A 1", "B 2", HANAKO, "19710412", ""), 0);
    assert_int_equal(link_two(fixture, LINK_DIFFERENT, "A 1", "B 2", false), 0);
    assert_int_equal(feed(fixture, "A 1", "B 2", HANAKO, "19710412", "098-111-2222"), 0);
    assert_string_equal(person_of(fixture, "A 1"), "X PACS00000001");
    assert_string_equal(person_of(fixture, "B 2"), "X");
}

/* the same where the owner of the affinity domain names one of them */
static void test_owner_leaves_apart_what_a_verdict_separates(void **state)
{
    static const char *const orders[][2] = {{"X two", "A 1"}, {"A 1", "X two"}};
    Fixture *fixture = *state;
    fixture->pix->config.pid_owner = PID_OWNER_EXTERNAL;
    assert_int_equal(feed(fixture, "X one", "A 1", HANAKO, "19710412", ""), 0);
    assert_int_equal(feed(fixture, "X two", "B 2", JIRO, "19550101", ""), 0);
    assert_int_equal(link_two(fixture, LINK_DIFFERENT, "A 1", "B 2", false), 0);
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        assert_int_equal(feed(fixture, orders[i][0], orders[i][1], HANAKO, "19710412", ""), 0);
        assert_string_equal(person_of(fixture, "A 1"), "X PACS00000001");
        assert_string_equal(person_of(fixture, "X two"), "B2");
    }
}

static void test_bad_value_stores_nothing(void **state)
{
    static const char *const values[] = {"A ", "A \"\"", "A a\nb"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_true(feed(*state, values[i], NULL, HANAKO, "", "") < 0);
    }
    assert_int_equal(fixture_number(*state, "rows", "SELECT count(*) FROM patient_identifier"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fed_identifier_has_an_xad_pid_at_once),
        TEST(test_identifiers_of_one_message_are_one_person),
        TEST(test_records_that_match_are_one_person_and_others_are_not),
        TEST(test_crowded_keys_keep_no_match_out),
        TEST(test_repeated_feed_changes_nothing),
        TEST(test_revision_can_link),
        TEST(test_derived_number_resolves_both_ways_and_a_real_one_overrides),
        TEST(test_overridden_derived_number_is_unknown),
        TEST(test_derived_number_of_two_patients_is_unknown),
        TEST(test_merge_in_a_hospital_takes_one_number_away),
        TEST(test_survivor_takes_the_place_of_a_linked_number),
        TEST(test_merge_of_two_linked_numbers_moves_no_other_hospital),
        TEST(test_merge_is_undone),
        TEST(test_change_of_identifier_keeps_the_person),
        TEST(test_link_and_unlink_restore_each_other),
        TEST(test_unlinked_match_stays_unlinked),
        TEST(test_link_waits_for_identifiers_that_are_not_known),
        TEST(test_merge_of_xad_pids_joins_persons_and_is_undone),
        TEST(test_undone_merge_in_a_chain_leaves_the_others),
        TEST(test_upserting_merge_makes_what_is_unknown),
        TEST(test_removed_identifier_is_unknown_and_can_be_fed_anew),
        TEST(test_a_record_is_matched_by_what_it_brings_not_by_what_it_quotes),
        TEST(test_patients_of_one_name_do_not_flood_the_review_queue),
        TEST(test_owner_of_the_affinity_domain_says_who_is_who),
        TEST(test_owner_gives_a_number_to_a_new_patient),
        TEST(test_feed_of_two_that_a_verdict_separates_is_accepted),
        TEST(test_owner_leaves_apart_what_a_verdict_separates),
        TEST(test_bad_value_stores_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
