/* What a received audit message says: RFC 5424 6, DICOM PS3.15 A.5, ITI TF-2 3.20.4.1, 3.20.7. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "atna/keys.h"
#include "atna/syslog_header.h"
#include "lib/xml/read.h"

#define BIT(name) AUDIT_DEFECT_BIT(AUDIT_DEFECT_##name)
#define HEADER "<85>1 2026-04-01T00:30:00.130Z h a 1 IHE+RFC-3881 - "
#define EVENT                                                                                      \
    "<EventIdentification EventActionCode=\"R\" EventDateTime=\"2026-04-01T09:30:00+09:00\" "      \
    "EventOutcomeIndicator=\"4\"><EventID csd-code=\"110106\" codeSystemName=\"DCM\" "             \
    "originalText=\"Export\"/></EventIdentification>"
#define WHO                                                                                        \
    "<ActiveParticipant UserID=\"u\" UserIsRequestor=\"true\"/><AuditSourceIdentification "        \
    "AuditSourceID=\"s\"/>"
#define OBJECT(attributes, children)                                                               \
    "<ParticipantObjectIdentification " attributes ">"                                             \
    "<ParticipantObjectIDTypeCode csd-code=\"2\" codeSystemName=\"RFC-3881\" "                     \
    "originalText=\"n\"/>" children "</ParticipantObjectIdentification>"
#define MESSAGE(inside) "<AuditMessage>" inside "</AuditMessage>"

/* RFC 5424 6: every field within its limits, or a defect. */
static void test_header_fields_are_read_and_their_defects_named(void **state)
{
    static const struct {
        const char *raw;
        bool has_header;
        uint64_t defects;
        const char *text;
        const char *message_id;
    } rows[] = {
        {HEADER "<a/>", true, 0, "<a/>", "IHE+RFC-3881"},
        {"<84>1 - - - - DICOM+RFC3881 - m", true, 0, "m", "DICOM+RFC3881"},
        {"<85>1 - - - - IHE+RFC-3881 [a b=\"]\\\"\\\\\"][c] m", true, 0, "m", "IHE+RFC-3881"},
        {"<85>1 - - - - IHE+RFC-3881 -", true, 0, "", "IHE+RFC-3881"},
        {"<0>1 - - - - x - m", true, BIT(HEADER_PRI) | BIT(HEADER_MSGID), "m", "x"},
        {"<85>1 2026-04-01t00:00:00Z - - - IHE+RFC-3881 - m", true, BIT(HEADER_TIMESTAMP), "m",
         "IHE+RFC-3881"},
        {"<85>1 2026-04-01T00:00:00.1234567Z - - - IHE+RFC-3881 - m", true, BIT(HEADER_TIMESTAMP),
         "m", "IHE+RFC-3881"},
        {"<85>1 2026-04-01T00:00:00 - - - IHE+RFC-3881 - m", true, BIT(HEADER_TIMESTAMP), "m",
         "IHE+RFC-3881"},
        {"<85>1 -  - - IHE+RFC-3881 - m", true, BIT(HEADER_FIELD), "m", "IHE+RFC-3881"},
        {"<85>1 - - - - IHE+RFC-3881 [a b=\"c m", true, BIT(STRUCTURED_DATA), "[a b=\"c m",
         "IHE+RFC-3881"},
        {"<85>1 - - - - IHE+RFC-3881 <a/>", true, BIT(STRUCTURED_DATA), "<a/>", "IHE+RFC-3881"},
        {"<85>1", true, BIT(BSD_HEADER), "1", ""},
        {"<13>Oct 11 22:14:15 h a: m", true, BIT(BSD_HEADER), "Oct 11 22:14:15 h a: m", ""},
        {"<192>1 - - - - x - m", false, BIT(NO_HEADER), "<192>1 - - - - x - m", ""},
        {"<>1", false, BIT(NO_HEADER), "<>1", ""},
        {"", false, BIT(NO_HEADER), "", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        SyslogHeader header;
        Str text;
        uint64_t defects = 0;
        bool has = syslog_header_read(str_from(rows[i].raw), &header, &text, &defects);
        if (has != rows[i].has_header || defects != rows[i].defects ||
            !str_equal(text, str_from(rows[i].text)) ||
            !str_equal(header.message_id, str_from(rows[i].message_id))) {
            fail_msg("%zu: %d %llx \"%.*s\" \"%.*s\"", i, has, (unsigned long long)defects,
                     STR_ARG(text), STR_ARG(header.message_id));
        }
    }
}

/* DICOM PS3.15 A.5.1, A.5.2; RFC 3881: nothing fails, everything is classified. */
static void test_every_message_has_a_kind_and_its_defects(void **state)
{
    static const struct {
        const char *raw;
        AuditKind kind;
        uint64_t defects;
    } rows[] = {
        {HEADER MESSAGE(EVENT WHO), AUDIT_KIND_DICOM, 0},
        {HEADER "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" MESSAGE(EVENT WHO), AUDIT_KIND_DICOM,
         0},
        {HEADER "\xEF\xBB\xBF" MESSAGE(EVENT WHO), AUDIT_KIND_DICOM, BIT(BYTE_ORDER_MARK)},
        {HEADER MESSAGE(WHO EVENT), AUDIT_KIND_DICOM, BIT(ELEMENT_ORDER)},
        {HEADER MESSAGE(EVENT EVENT WHO), AUDIT_KIND_DICOM, BIT(REPEATED_ELEMENT)},
        {HEADER MESSAGE(EVENT WHO "<x/>"), AUDIT_KIND_DICOM, BIT(UNKNOWN_ELEMENT)},
        {HEADER MESSAGE(WHO), AUDIT_KIND_DICOM, BIT(NO_EVENT)},
        {HEADER MESSAGE(EVENT), AUDIT_KIND_DICOM, BIT(NO_PARTICIPANT) | BIT(NO_SOURCE)},
        {HEADER MESSAGE(EVENT WHO OBJECT("ParticipantObjectID=\"1\"", "")), AUDIT_KIND_DICOM, 0},
        {HEADER MESSAGE(EVENT WHO OBJECT("", "")), AUDIT_KIND_DICOM, BIT(NO_OBJECT_ID)},
        {HEADER MESSAGE(
             EVENT WHO OBJECT("ParticipantObjectID=\"1\" ParticipantObjectTypeCode=\"5\"", "")),
         AUDIT_KIND_DICOM, BIT(OBJECT_CODE)},
        {HEADER MESSAGE(EVENT WHO OBJECT("ParticipantObjectID=\"1\"",
                                         "<ParticipantObjectQuery>QQ=</ParticipantObjectQuery>")),
         AUDIT_KIND_DICOM, BIT(NOT_BASE64)},
        {HEADER MESSAGE(EVENT WHO OBJECT("ParticipantObjectID=\"1\"",
                                         "<ParticipantObjectDetail type=\"t\" value=\"QUI=\"/>")),
         AUDIT_KIND_DICOM, 0},
        {HEADER MESSAGE("<EventIdentification EventDateTime=\"yesterday\" "
                        "EventOutcomeIndicator=\"1\"><EventID/></EventIdentification>" WHO),
         AUDIT_KIND_DICOM,
         BIT(NO_CODE_SYSTEM) | BIT(NO_ORIGINAL_TEXT) | BIT(NO_EVENT_ID) | BIT(NO_EVENT_TIME) |
             BIT(ACTION) | BIT(OUTCOME)},
        {HEADER "<AuditMessage xmlns=\"urn:x\">" EVENT WHO "</AuditMessage>", AUDIT_KIND_DICOM,
         BIT(NAMESPACE)},
        {HEADER "<Other/>", AUDIT_KIND_OTHER_XML, BIT(NO_AUDIT_MESSAGE)},
        {HEADER "text", AUDIT_KIND_SYSLOG_ONLY, BIT(NO_AUDIT_MESSAGE)},
        {HEADER "<AuditMessage>", AUDIT_KIND_SYSLOG_ONLY, BIT(XML_REFUSED)},
        {HEADER "<!DOCTYPE a><AuditMessage/>", AUDIT_KIND_SYSLOG_ONLY, BIT(XML_REFUSED)},
        {MESSAGE(EVENT WHO), AUDIT_KIND_DICOM, BIT(NO_HEADER)},
        {"\xff", AUDIT_KIND_UNDECODABLE, BIT(NO_HEADER) | BIT(NOT_UTF8) | BIT(NO_AUDIT_MESSAGE)},
        {"", AUDIT_KIND_UNDECODABLE, BIT(NO_HEADER) | BIT(NO_AUDIT_MESSAGE)},
    };
    (void)state;
    RecordReader reader = {0};
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) { /* forwards, then backwards */
        size_t row = MIN(i, 2 * ARRAY_LEN(rows) - 1 - i);
        Arena *arena = arena_new();
        AuditContent content;
        record_reader_read(&reader, arena, str_from(rows[row].raw), true, INT64_MAX / 2, &content);
        if (content.kind != rows[row].kind || content.defects != rows[row].defects) {
            fail_msg("%zu: %s %llx", row, audit_kind_name((int)content.kind),
                     (unsigned long long)(content.defects ^ rows[row].defects));
        }
        arena_free(arena);
    }
    record_reader_done(&reader);
}

/* TF-2 3.20.7, PS3.15 A.5.2: time with its zone, outcome, codes, CX with its ampersands. */
static void test_a_whole_message_is_read_in_full(void **state)
{
    static const char raw[] = HEADER MESSAGE(
        EVENT WHO OBJECT("ParticipantObjectID=\"P1^^^&amp;2.999&amp;ISO\" "
                         "ParticipantObjectTypeCode=\"1\" ParticipantObjectTypeCodeRole=\"1\"",
                         "<ParticipantObjectName>n</ParticipantObjectName>"
                         "<ParticipantObjectDescription><SOPClass UID=\"1.2\" "
                         "NumberOfInstances=\"3\"/></ParticipantObjectDescription>"));
    (void)state;
    Arena *arena = arena_new();
    AuditContent content;
    record_read(arena, str_from(raw), true, INT64_MAX / 2, &content);
    const AuditMessage *message = &content.message;
    assert_int_equal(content.defects, 0);
    assert_true(content.has_time);
    assert_int_equal(content.event_us, INT64_C(1775003400000000)); /* 00:30 UTC */
    assert_int_equal(content.outcome, 4);
    assert_true(str_equal(message->event_id.code, STR("110106")));
    assert_int_equal(message->object_count, 1);
    assert_true(str_equal(message->objects[0].id, STR("P1^^^&2.999&ISO")));
    assert_true(audit_object_is_patient(&message->objects[0]));
    assert_true(str_equal(message->objects[0].name, STR("n")));
    assert_int_equal(message->objects[0].description_count, 1);
    assert_true(str_equal(message->objects[0].descriptions[0].value, STR("1.2")));
    arena_free(arena);
}

/* A patient is found by number and authority, however it was written, and by the number alone. */
static void test_patients_have_the_keys_of_their_identifier(void **state)
{
    static const struct {
        const char *id;
        const char *keys[AUDIT_PATIENT_KEY_MAX];
    } rows[] = {
        {"P1^^^NS&2.999&ISO", {"P1^2.999", "P1"}},
        {"P1^^^&2.999&ISO^PI", {"P1^2.999", "P1"}},
        {"P1^^^NS", {"P1^NS", "P1"}},
        {" P1 ", {"P1", NULL}},
        {"P1^^^", {"P1", NULL}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t keys[AUDIT_PATIENT_KEY_MAX];
        size_t count = audit_patient_keys(str_from(rows[i].id), keys);
        for (size_t k = 0; k < AUDIT_PATIENT_KEY_MAX; k++) {
            const char *expected = rows[i].keys[k];
            assert_int_equal(k < count, expected != NULL);
            if (expected && keys[k] != audit_key(AUDIT_KEY_PATIENT, str_from(expected))) {
                fail_msg("%zu: key %zu is not of %s", i, k, expected);
            }
        }
    }
    assert_true(audit_key(AUDIT_KEY_USER, STR(" Sato ")) == audit_key(AUDIT_KEY_USER, STR("sato")));
    assert_true(audit_key(AUDIT_KEY_PATIENT, STR("a")) != audit_key(AUDIT_KEY_PATIENT, STR("A")));
    assert_true(audit_key(AUDIT_KEY_USER, STR("a")) != audit_key(AUDIT_KEY_NODE, STR("a")));
}

/* A login has a key by which no other record of the user is found (DICOM PS3.15 A.5.3.12). */
static void test_only_logins_have_the_key_of_logins(void **state)
{
    static const struct {
        const char *event_type;
        bool is_login;
    } rows[] = {{"110122", true}, {"110123", false}, {"", false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const AuditSender sender = {.transport = AUDIT_OWN};
        AuditCode type = {.code = str_from(rows[i].event_type)};
        AuditParticipant person = {.user_id = STR("Sato"), .user_name = STR("佐藤")};
        AuditContent content = {.message = {.event_types = &type,
                                            .event_type_count = 1,
                                            .participants = &person,
                                            .participant_count = 1}};
        KeyList keys = {0};
        size_t found = 0;
        keys_of_record(&keys, &content, &sender);
        for (size_t k = 0; k < keys.count; k++) {
            found += keys.values[k] == audit_key(AUDIT_KEY_LOGIN, STR("sato")) ||
                     keys.values[k] == audit_key(AUDIT_KEY_LOGIN, STR("佐藤"));
        }
        assert_int_equal(found, rows[i].is_login ? 2 : 0);
        keys_of_login(&keys, &content);
        assert_int_equal(keys.count, rows[i].is_login ? 2 : 0);
        key_list_done(&keys);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_fields_are_read_and_their_defects_named),
        cmocka_unit_test(test_every_message_has_a_kind_and_its_defects),
        cmocka_unit_test(test_a_whole_message_is_read_in_full),
        cmocka_unit_test(test_patients_have_the_keys_of_their_identifier),
        cmocka_unit_test(test_only_logins_have_the_key_of_logins),
    };
    xml_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
