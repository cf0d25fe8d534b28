#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/hl7/er7.h"
#include "lib/hl7/msh.h"
#include "lib/xml/read.h"
#include "pix/subscribers/subscribers_private.h"

#define V3 "urn:hl7-org:v3"

static const AssigningAuthority affinity = {.id = 1,
                                            .oid = STR_INIT("1.2.3"),
                                            .namespace_id = STR_INIT("RHIN"),
                                            .is_affinity_domain = true};
static const AssigningAuthority hospital = {
    .id = 2, .oid = STR_INIT("1.2.4"), .namespace_id = STR_INIT("HOSPA")};

static const SubscribersConfig config = {
    .sending_application = "MU|SUBI", .sending_facility = "CENTER", .manager_oid = "1.2.9"};
static const Subscriber subscriber = {
    .id = 7, .receiving_application = STR_INIT("1.2.8"), .receiving_facility = STR_INIT("H&A")};

static int set_up(void **state)
{
    Request *req = request_new(600000);
    xml_init();
    *state = req;
    return 0;
}

static int tear_down(void **state)
{
    request_free(*state);
    return 0;
}

static NotificationRoute route_of(Request *req)
{
    return (NotificationRoute){req->arena, &config, &subscriber};
}

/** What stands behind MSH and EVN, which differ each time. */
static Str after_header(Str content)
{
    size_t pid = str_find(content, STR("\rPID|"));
    assert_int_not_equal(pid, SIZE_MAX);
    return str_from_offset(content, pid + 1);
}

static void assert_text(Str text, const char *expected)
{
    if (!str_equal(text, str_from(expected))) {
        fail_msg("%.*s\nis not\n%s", STR_ARG(text), expected);
    }
}

/** MSH of each kind: TF-2 Table C.2.2-1, and what each transaction asks for. */
static void test_header_says_who_what_and_in_which_characters(void **state)
{
    Request *req = *state;
    const NotificationRoute route = route_of(req);
    const FoundIdentifier one = {&affinity, STR("X1"), false};
    const FoundIdentifier other = {&affinity, STR("X2"), false};
    const Demographics nothing = {0};
    const struct {
        Notification message;
        const char *sender, *type, *version, *profile;
    } rows[] = {
        {iti10_notify_v2_make(&route, &one, 1), "MU\\F\\SUBI", "ADT^A31^ADT_A05", "2.5",
         "ITI-10^IHE"},
        {iti08_send_announcement_make(&route, &one, &nothing), "MU\\F\\SUBI", "ADT^A04^ADT_A01",
         "2.3.1", ""},
        {iti08_send_merge_make(&route, &one, &other, &nothing), "MU\\F\\SUBI", "ADT^A40^ADT_A39",
         "2.3.1", ""},
        {iti64_send_make(&route, &one, &other, STR("5^^^&1.2.4&ISO"), STR_EMPTY), "^1.2.9^ISO",
         "ADT^A43^ADT_A43", "2.5", "ITI-64^IHE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const Er7Message *read = er7_read(req->arena, &req->errors, rows[i].message.content);
        assert_non_null(read);
        assert_int_equal(req->errors.count, 0);
        assert_text(er7_field(read, read->segments, 3), rows[i].sender);
        assert_text(er7_field(read, read->segments, 4), "CENTER");
        assert_text(er7_field(read, read->segments, 5), "1.2.8");
        assert_text(er7_field(read, read->segments, 6), "H\\T\\A");
        assert_text(er7_field(read, read->segments, MSH_TYPE), rows[i].type);
        assert_text(er7_field(read, read->segments, MSH_VERSION), rows[i].version);
        assert_text(er7_field(read, read->segments, MSH_PROCESSING_ID), "P");
        assert_text(er7_field(read, read->segments, MSH_CHARSET), "UNICODE UTF-8");
        assert_text(er7_field(read, read->segments, 21), rows[i].profile);
        Str control_id = er7_field(read, read->segments, MSH_CONTROL_ID);
        assert_true(str_equal(control_id, rows[i].message.message_id));
        assert_true(control_id.len > 0 && control_id.len <= 20);
        const Er7Segment *evn = er7_segment(read, STR("EVN"), 1);
        assert_text(er7_field(read, evn, 1), "");
        assert_int_equal(er7_field(read, evn, 2).len, sizeof("20260401090000+0000") - 1);
    }
}

/** TF-2 3.10.4.1.2.3: full HD, PID-5 one blank, PV1-2 N */
static void test_update_lists_identifiers_alone(void **state)
{
    const NotificationRoute route = route_of(*state);
    const FoundIdentifier identifiers[] = {{&affinity, STR("X^1"), false},
                                           {&hospital, STR("10"), false},
                                           {&hospital, STR("11"), true}};
    Notification message = iti10_notify_v2_make(&route, identifiers, ARRAY_LEN(identifiers));
    assert_text(after_header(message.content),
                "PID|||X\\S\\1^^^RHIN&1.2.3&ISO~10^^^HOSPA&1.2.4&ISO~11^^^HOSPA&1.2.4&ISO|| \r"
                "PV1||N\r");
    assert_int_equal(message.patient_count, 3);
    assert_text(message.patients[1], "10^^^&1.2.4&ISO");
}

/** TF-2 Table 3.8-2: PID-5 is required; 6, 7, 8, 11 and 13 where known */
static void test_announcement_carries_what_is_known_of_the_patient(void **state)
{
    const NotificationRoute route = route_of(*state);
    const FoundIdentifier xad_pid = {&affinity, STR("X1"), false};
    Demographics demographics = {0};
    demographics.fields[DEMOGRAPHIC_name] = STR("山田^花子^^^^^L^I");
    demographics.fields[DEMOGRAPHIC_birth_time] = STR("19560401");
    demographics.fields[DEMOGRAPHIC_sex] = STR("F");
    Notification message = iti08_send_announcement_make(&route, &xad_pid, &demographics);
    assert_text(after_header(message.content),
                "PID|||X1^^^RHIN&1.2.3&ISO||山田^花子^^^^^L^I||19560401|F||||||\rPV1||O\r");
}

/** TF-2 Table 3.8-4; two audit records: survivor, subsumed (3.8.5.1) */
static void test_merge_names_survivor_and_subsumed(void **state)
{
    const NotificationRoute route = route_of(*state);
    const FoundIdentifier survivor = {&affinity, STR("X1"), false};
    const FoundIdentifier subsumed = {&affinity, STR("X2"), false};
    const Demographics nothing = {0};
    Notification message = iti08_send_merge_make(&route, &survivor, &subsumed, &nothing);
    assert_text(after_header(message.content),
                "PID|||X1^^^RHIN&1.2.3&ISO|| \rMRG|X2^^^RHIN&1.2.3&ISO\r");
    assert_text(message.patients[0], "X1^^^&1.2.3&ISO");
    assert_text(message.patients[1], "X2^^^&1.2.3&ISO");
    assert_int_equal(notification_rows[message.kind].audit, AUDIT_ITI8_SEND_UPDATE);
    assert_int_equal(notification_rows[message.kind].audit_of_second, AUDIT_ITI8_SEND_DELETE);
}

/** TF-2 3.64.4.1.2: PID-3 new XAD-PID and local id, MRG-1 previous XAD-PID and subsumed local id */
static void test_move_names_both_patients_and_the_local_identifier(void **state)
{
    const NotificationRoute route = route_of(*state);
    const FoundIdentifier from = {&affinity, STR("X1"), false};
    const FoundIdentifier to = {&affinity, STR("X2"), false};
    static const struct {
        const char *subsumed, *expected;
        size_t patient_count;
    } rows[] = {
        {"", "PID|||X2^^^RHIN&1.2.3&ISO~5^^^&1.2.4&ISO|| \rMRG|X1^^^RHIN&1.2.3&ISO\r", 3},
        {"4^^^&1.2.4&ISO",
         "PID|||X2^^^RHIN&1.2.3&ISO~5^^^&1.2.4&ISO|| \r"
         "MRG|X1^^^RHIN&1.2.3&ISO~4^^^&1.2.4&ISO\r",
         4},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Notification message =
            iti64_send_make(&route, &from, &to, STR("5^^^&1.2.4&ISO"), str_from(rows[i].subsumed));
        assert_text(after_header(message.content), rows[i].expected);
        assert_int_equal(message.patient_count, rows[i].patient_count);
    }
}

/** TF-2 3.46.4.1.2: Patient.id of the domains of interest; name may be null */
static void test_update_of_hl7_v3_lists_identifiers_alone(void **state)
{
    Request *req = *state;
    const NotificationRoute route = route_of(req);
    const FoundIdentifier identifiers[] = {{&affinity, STR("X<1"), false},
                                           {&hospital, STR("10"), false}};
    Notification message = iti46_notify_v3_make(&route, identifiers, ARRAY_LEN(identifiers));
    XmlNode *root = NULL;
    assert_int_equal(xml_read(req, message.content, &root), 0);
    assert_true(xml_is(root, V3, "PRPA_IN201302UV02"));
    assert_text(xml_attribute(xml_child(root, V3, "id"), "root"), "1.2.9");
    assert_true(
        str_equal(xml_attribute(xml_child(root, V3, "id"), "extension"), message.message_id));
    const XmlNode *node = xml_child(xml_child(root, V3, "receiver"), V3, "device");
    assert_text(xml_attribute(xml_child(node, V3, "id"), "root"), "1.2.8");
    static const char *const path[] = {"controlActProcess", "subject", "registrationEvent",
                                       "subject1", "patient"};
    node = root;
    for (size_t i = 0; i < ARRAY_LEN(path); i++) {
        node = xml_child(node, V3, path[i]);
    }
    const XmlNode *id = xml_child(node, V3, "id");
    assert_text(xml_attribute(id, "extension"), "X<1");
    id = xml_next(id, V3, "id");
    assert_text(xml_attribute(id, "root"), "1.2.4");
    assert_text(xml_attribute(id, "extension"), "10");
    assert_null(xml_next(id, V3, "id"));
}

/** Where a subscriber may be reached: nothing leaves this host without TLS. */
static void test_urls_of_subscribers(void **state)
{
    (void)state;
    static const struct {
        SubscriberKind kind;
        const char *url;
        bool is_good;
    } rows[] = {
        {SUBSCRIBER_CONSUMER_V2, "mllps://h:2576", true},
        {SUBSCRIBER_CONSUMER_V2, "mllp://127.0.0.1:2575", true},
        {SUBSCRIBER_CONSUMER_V2, "mllp://[::1]:2575", true},
        {SUBSCRIBER_CONSUMER_V2, "mllp://192.0.2.1:2575", false},
        {SUBSCRIBER_CONSUMER_V2, "mllps://h", false},
        {SUBSCRIBER_CONSUMER_V2, "mllps://h:2576/path", false},
        {SUBSCRIBER_REGISTRY, "mllps://h:2576", true},
        {SUBSCRIBER_REGISTRY, "https://h:443/pix", false},
        {SUBSCRIBER_CONSUMER_V3, "https://h:443/pix", true},
        {SUBSCRIBER_CONSUMER_V3, "http://127.0.0.1:80/pix", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (subscriber_url_is_good(rows[i].kind, str_from(rows[i].url)) != rows[i].is_good) {
            fail_msg("row %zu: %s", i, rows[i].url);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_header_says_who_what_and_in_which_characters, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_update_lists_identifiers_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_announcement_carries_what_is_known_of_the_patient,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merge_names_survivor_and_subsumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_move_names_both_patients_and_the_local_identifier,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_update_of_hl7_v3_lists_identifiers_alone, set_up,
                                        tear_down),
        cmocka_unit_test(test_urls_of_subscribers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
