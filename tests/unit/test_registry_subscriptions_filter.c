#include "lib/ebrim/vocabulary.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"
#include "registry/subscriptions/filter.h"

#include "tests/unit/xml_fixture.h"

/* ITI TF-2 3.52.4.1.2, 3.52.5.2, 3.52.5.3. */

#define DOCUMENTS "urn:uuid:aa2332d0-f8fe-11e0-be50-0800200c9a66"
#define DOCUMENTS_OF_ANY "urn:uuid:742790e0-aba6-43d6-9f1f-e43ed9790b79"
#define SETS "urn:uuid:fbede94e-dbdc-4f6b-bc1f-d730e677cece"

#define TOPIC_OF(dialect, text)                                                                    \
    "<TopicExpression Dialect=\"" dialect "\">" text "</TopicExpression>"
#define FULL TOPIC_OF(TOPIC_DIALECT_SIMPLE, " ihe:FullDocumentEntry ")
#define QUERY_OF(id, slots) "<r:AdhocQuery id=\"" id "\">" slots "</r:AdhocQuery>"
#define SLOT(name, value)                                                                          \
    "<r:Slot name=\"" name "\"><r:ValueList><r:Value>" value "</r:Value></r:ValueList></r:Slot>"
#define PATIENT SLOT("$XDSDocumentEntryPatientId", "'p1^^^&amp;1.2.3&amp;ISO'")

static int read_filter(Request *req, const char *content, SubscriptionFilter *ret_filter)
{
    XmlNode *root;
    Str text = str_printf(
        req->arena, "<Filter xmlns=\"" NS_WSNT "\" xmlns:r=\"" NS_RIM "\">%s</Filter>", content);
    assert_int_equal(xml_read(req, text, &root), 0);
    return subscription_filter_read(req, root, ret_filter);
}

static void test_a_filter_has_its_topic_patient_and_values(void **state)
{
    Request *req = *state;
    SubscriptionFilter filter;
    int rc = read_filter(req,
                         FULL QUERY_OF(DOCUMENTS,
                                       PATIENT SLOT("$XDSDocumentEntryReferenceIdList", "('a%')")
                                           SLOT("$XDSDocumentEntryReferenceIdList", "('b')")),
                         &filter);
    assert_int_equal(rc, 0);
    assert_int_equal(filter.topic, TOPIC_FULL_DOCUMENT_ENTRY);
    assert_str(filter.patient, "p1^^^&1.2.3&ISO");
    assert_int_equal(filter.request->values[FIELD_DocumentEntry_reference_id_list].group_count, 2);
}

static void test_a_filter_of_any_patient_has_none(void **state)
{
    Request *req = *state;
    SubscriptionFilter filter;
    assert_int_equal(read_filter(req, FULL QUERY_OF(DOCUMENTS_OF_ANY, ""), &filter), 0);
    assert_true(str_is_empty(filter.patient));
}

static void test_each_fault_has_its_code_and_says_what_to_send(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        ErrorCode code;
        const char *text;
    } cases[] = {
        {QUERY_OF(DOCUMENTS, PATIENT), ERR_WSN_INVALID_FILTER, "exactly one wsnt:TopicExpression"},
        {FULL FULL QUERY_OF(DOCUMENTS, PATIENT), ERR_WSN_INVALID_FILTER, "exactly one"},
        {FULL, ERR_WSN_INVALID_FILTER, "one rim:AdhocQuery"},
        {FULL QUERY_OF(DOCUMENTS, PATIENT) "<MessageContent/>", ERR_WSN_INVALID_FILTER,
         "nothing else"},
        {TOPIC_OF("urn:x", "ihe:FullDocumentEntry") QUERY_OF(DOCUMENTS, PATIENT),
         ERR_WSN_TOPIC_DIALECT_UNKNOWN, TOPIC_DIALECT_SIMPLE},
        {TOPIC_OF(TOPIC_DIALECT_SIMPLE, "ihe:a/b") QUERY_OF(DOCUMENTS, PATIENT),
         ERR_WSN_INVALID_TOPIC, "no name"},
        {TOPIC_OF(TOPIC_DIALECT_SIMPLE, "") QUERY_OF(DOCUMENTS, PATIENT), ERR_WSN_INVALID_TOPIC,
         "no name"},
        {TOPIC_OF(TOPIC_DIALECT_SIMPLE, "ihe:FolderMetadata") QUERY_OF(DOCUMENTS, PATIENT),
         ERR_WSN_TOPIC_NOT_SUPPORTED, "ihe:SubmissionSetMetadata"},
        {TOPIC_OF(TOPIC_DIALECT_SIMPLE, "FullDocumentEntry") QUERY_OF(DOCUMENTS, PATIENT),
         ERR_WSN_TOPIC_NOT_SUPPORTED, "ihe:FullDocumentEntry"},
        {FULL QUERY_OF(SETS, ""), ERR_WSN_INVALID_FILTER, "does not go with"},
        {FULL QUERY_OF("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", PATIENT),
         ERR_WSN_INVALID_FILTER, DOCUMENTS},
        {FULL QUERY_OF(DOCUMENTS, ""), ERR_WSN_INVALID_FILTER, "$XDSDocumentEntryPatientId"},
        {FULL QUERY_OF(DOCUMENTS_OF_ANY, PATIENT), ERR_WSN_INVALID_FILTER, "no parameter"},
        {FULL QUERY_OF(DOCUMENTS, PATIENT SLOT("$XDSDocumentEntryClassCode", "('a')")),
         ERR_WSN_INVALID_FILTER, "codingScheme"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        SubscriptionFilter filter;
        assert_int_equal(read_filter(req, cases[i].content, &filter), -(int)cases[i].code);
        assert_error(req, cases[i].code, cases[i].text);
        request_free(req);
    }
}

int main(void)
{
    xml_init();
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_a_filter_has_its_topic_patient_and_values),
        REQUEST_TEST(test_a_filter_of_any_patient_has_none),
        cmocka_unit_test(test_each_fault_has_its_code_and_says_what_to_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
