#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "registry/query_parameters.h"

#include "tests/unit/xml_fixture.h"

/* TF-2 3.18.4.1.2.3.3 to .7 (coding of parameters), 3.18.4.1.3 (errors). */

#define FIND_DOCUMENTS "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
#define FIND_SUBMISSION_SETS "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
#define GET_DOCUMENTS "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
#define GET_ASSOCIATIONS "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
#define FIND_BY_REFERENCE_ID "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
#define MPQ_FIND_FOLDERS "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df"
#define MPQ_FIND_DOCUMENTS "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"

#define APPROVED "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
#define DEPRECATED "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"

#define VALUE(text) "<Value>" text "</Value>"
#define SLOT(name, values) "<Slot name=\"" name "\"><ValueList>" values "</ValueList></Slot>"
#define PATIENT_SLOT SLOT("$XDSDocumentEntryPatientId", VALUE("'p1^^^&amp;1.2.3.4&amp;ISO'"))
#define STATUS_SLOT SLOT("$XDSDocumentEntryStatus", VALUE("('" APPROVED "')"))

static int read_request(Request *req, const char *return_type, const char *query, const char *slots,
                        QueryRequest **ret_request)
{
    XmlNode *root;
    Str text =
        str_printf(req->arena,
                   "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY "\"><query:ResponseOption "
                   "returnComposedObjects=\"true\" returnType=\"%s\"/><AdhocQuery xmlns=\"" NS_RIM
                   "\" id=\"%s\">%s</AdhocQuery></query:AdhocQueryRequest>",
                   return_type, query, slots);
    assert_int_equal(xml_read(req, text, &root), 0);
    const Query *found = query_find(str_from(query));
    bool is_of_many = found != NULL && found->patients == QUERY_MANY_PATIENTS;
    return query_request_read(req, root, is_of_many, ret_request);
}

static const QueryRequest *good_request(Request *req, const char *query, const char *slots)
{
    QueryRequest *request;
    if (read_request(req, "LeafClass", query, slots, &request) < 0) {
        fail_msg("%.*s", STR_ARG(req->errors.first->context));
    }
    return request;
}

typedef struct BadRequest {
    const char *query;
    const char *slots;
    ErrorCode code;
    const char *text; /* in codeContext */
} BadRequest;

static void test_what_is_wrong_is_named_with_what_to_send(void **state)
{
    (void)state;
#define CLASS_CODE(value) SLOT("$XDSDocumentEntryClassCode", VALUE(value))
    static const BadRequest cases[] = {
        /* query ids */
        {"urn:uuid:00000000-0000-0000-0000-000000000000", "", ERR_XDS_UNKNOWN_STORED_QUERY,
         "no stored query"},
        /* what is needed */
        {FIND_DOCUMENTS, PATIENT_SLOT, ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "$XDSDocumentEntryStatus"},
        {FIND_DOCUMENTS, STATUS_SLOT, ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "$XDSDocumentEntryPatientId"},
        {FIND_DOCUMENTS, PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE("('urn:x:Unknown')")),
         ERR_XDS_STORED_QUERY_MISSING_PARAM, "$XDSDocumentEntryStatus"},
        {GET_DOCUMENTS, "", ERR_XDS_STORED_QUERY_MISSING_PARAM, "exactly one of"},
        {GET_DOCUMENTS,
         SLOT("$XDSDocumentEntryEntryUUID", VALUE("('urn:uuid:1')"))
             SLOT("$XDSDocumentEntryUniqueId", VALUE("('1.2')")),
         ERR_XDS_STORED_QUERY_PARAM_NUMBER, "has both"},
        {GET_ASSOCIATIONS, "", ERR_XDS_STORED_QUERY_MISSING_PARAM, "$uuid"},
        {FIND_BY_REFERENCE_ID, PATIENT_SLOT STATUS_SLOT, ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "$XDSDocumentEntryReferenceIdList"},
        /* TF-2 3.51.4.1.2.1 */
        {MPQ_FIND_DOCUMENTS, STATUS_SLOT, ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "at least one of $XDSDocumentEntryPatientId, $XDSDocumentEntryClassCode, "
         "$XDSDocumentEntryHealthcareFacilityTypeCode and $XDSDocumentEntryEventCodeList"},
        {MPQ_FIND_DOCUMENTS, CLASS_CODE("('a^^b')"), ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "$XDSDocumentEntryStatus"},
        {MPQ_FIND_FOLDERS, SLOT("$XDSFolderStatus", VALUE("('" APPROVED "')")),
         ERR_XDS_STORED_QUERY_MISSING_PARAM,
         "at least one of $XDSFolderPatientId and $XDSFolderCodeList"},
        /* how many */
        {FIND_DOCUMENTS, PATIENT_SLOT PATIENT_SLOT STATUS_SLOT, ERR_XDS_STORED_QUERY_PARAM_NUMBER,
         "takes one value"},
        {FIND_DOCUMENTS,
         STATUS_SLOT SLOT("$XDSDocumentEntryPatientId",
                          VALUE("('a^^^&amp;1.2&amp;ISO','b^^^&amp;1.2&amp;ISO')")),
         ERR_XDS_STORED_QUERY_PARAM_NUMBER, "takes one value"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT STATUS_SLOT, ERR_XDS_STORED_QUERY_PARAM_NUMBER,
         "sent in several Slots"},
        /* syntax */
        {FIND_DOCUMENTS,
         STATUS_SLOT SLOT("$XDSDocumentEntryPatientId", VALUE("p1^^^&amp;1.2&amp;ISO")),
         ERR_XDS_REGISTRY_ERROR, "single quotes"},
        {FIND_DOCUMENTS, PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE(APPROVED)),
         ERR_XDS_REGISTRY_ERROR, "single quotes"},
        {FIND_DOCUMENTS, PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE("'" APPROVED "'")),
         ERR_XDS_REGISTRY_ERROR, "parentheses"},
        {FIND_DOCUMENTS, PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE("()")),
         ERR_XDS_REGISTRY_ERROR, "empty"},
        {FIND_DOCUMENTS, PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", ""), ERR_XDS_REGISTRY_ERROR,
         "no Value"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b'"), ERR_XDS_REGISTRY_ERROR,
         "closing parenthesis"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b','c^^d)"),
         ERR_XDS_REGISTRY_ERROR, "closing quote"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b',)"), ERR_XDS_REGISTRY_ERROR,
         "a value is missing behind the last comma"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b', ,'c^^d')"),
         ERR_XDS_REGISTRY_ERROR, "a value is missing between two commas"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("(,'a^^b')"), ERR_XDS_REGISTRY_ERROR,
         "a value is missing in front of the first comma"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b',"), ERR_XDS_REGISTRY_ERROR,
         "a value is missing"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b' 'c^^d')"),
         ERR_XDS_REGISTRY_ERROR, "comma"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b') x"), ERR_XDS_REGISTRY_ERROR,
         "behind the value"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("(17)"), ERR_XDS_REGISTRY_ERROR,
         "single quotes"},
        /* codes */
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^^b', 'c^^')"),
         ERR_XDS_REGISTRY_ERROR, "codingScheme"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a')"), ERR_XDS_REGISTRY_ERROR,
         "codingScheme"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('^^b')"), ERR_XDS_REGISTRY_ERROR,
         "codingScheme"},
        {FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT CLASS_CODE("('a^x^b')"), ERR_XDS_REGISTRY_ERROR,
         "codingScheme"},
        /* identifiers and times */
        {FIND_DOCUMENTS, STATUS_SLOT SLOT("$XDSDocumentEntryPatientId", VALUE("'p1'")),
         ERR_XDS_REGISTRY_ERROR, "assigning authority"},
        {FIND_DOCUMENTS,
         STATUS_SLOT SLOT("$XDSDocumentEntryPatientId", VALUE("'p1^^^&amp;x&amp;ISO'")),
         ERR_XDS_REGISTRY_ERROR, "assigning authority"},
        {FIND_DOCUMENTS,
         PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("20041")),
         ERR_XDS_REGISTRY_ERROR, "UTC"},
        {FIND_DOCUMENTS,
         PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("'20041301'")),
         ERR_XDS_REGISTRY_ERROR, "UTC"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        QueryRequest *request;
        int r = read_request(req, "LeafClass", cases[i].query, cases[i].slots, &request);
        if (r >= 0) {
            fail_msg("case %zu was accepted", i);
        }
        if (req->errors.first->code != cases[i].code ||
            !str_contains(req->errors.first->context, str_from(cases[i].text))) {
            fail_msg("case %zu: %s: %.*s", i, error_info(req->errors.first->code)->ihe_code,
                     STR_ARG(req->errors.first->context));
        }
        request_free(req);
    }
}

/* A vendor who reads only the answer has to see which parameter, which value, and what to send. */
static void test_a_syntax_error_quotes_the_value_and_an_example(void **state)
{
    (void)state;
    static const struct {
        const char *slots;
        const char *text;
    } cases[] = {
        {SLOT("$XDSDocumentEntryStatus", VALUE("()")),
         "$XDSDocumentEntryStatus is \"()\": the list is empty, leave the Slot out or name a "
         "value; "
         "send it like ('" APPROVED "')"},
        {SLOT("$XDSDocumentEntryStatus", VALUE("'a\n" APPROVED "'")),
         "$XDSDocumentEntryStatus is \"'a " APPROVED "'\": a list needs parentheses, also around a "
         "single value; send it like ('" APPROVED "')"},
        {SLOT("$XDSDocumentEntryStatus", ""),
         "$XDSDocumentEntryStatus has no Value; leave the Slot out or send a Value like "
         "('" APPROVED "')"},
        {SLOT("$XDSDocumentEntryStatus", VALUE("('a' 'b')")),
         "$XDSDocumentEntryStatus is \"('a' 'b')\": a comma or the closing parenthesis is missing; "
         "send it like ('" APPROVED "')"},
        {SLOT("$XDSDocumentEntryStatus", VALUE("('a',,'b')")),
         "$XDSDocumentEntryStatus is \"('a',,'b')\": a value is missing between two commas; send "
         "it like ('" APPROVED "')"},
        {SLOT("$XDSDocumentEntryStatus", VALUE("('a')")),
         "FindDocuments needs $XDSDocumentEntryStatus, and the message names no status that there "
         "is; send one Slot of this name with a Value like ('" APPROVED "')"},
        {STATUS_SLOT STATUS_SLOT,
         "$XDSDocumentEntryStatus is sent in several Slots, but repeated Slots (AND) are not "
         "defined for it; send one Slot with a Value like ('" APPROVED "')"},
        {STATUS_SLOT SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("(2004,2005)")),
         "$XDSDocumentEntryCreationTimeFrom is \"(2004,2005)\", 2 values, but takes one value; "
         "send one Slot with a Value like 20260401093000"},
        {STATUS_SLOT CLASS_CODE("('a^^b','c')"),
         "$XDSDocumentEntryClassCode is \"c\": code and codingScheme are both needed; send it like "
         "('code^^codingScheme')"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        QueryRequest *request;
        char *slots =
            str_cstr(req->arena, str_printf(req->arena, PATIENT_SLOT "%s", cases[i].slots));
        assert_true(read_request(req, "LeafClass", FIND_DOCUMENTS, slots, &request) < 0);
        assert_int_equal(req->errors.error_count, 1);
        assert_string_equal(req->errors.first->context.data, cases[i].text);
        request_free(req);
    }
}

static void test_a_long_list_is_quoted_where_it_went_wrong(void **state)
{
    Request *req = *state;
    QueryRequest *request;
    StrBuf slots = {0};
    strbuf_literal(&slots, PATIENT_SLOT STATUS_SLOT "<Slot name=\"$XDSDocumentEntryClassCode\">"
                                                    "<ValueList><Value>(");
    for (int i = 0; i < 1000; i++) {
        strbuf_printf(&slots, "'c%d^^1'%s", i, i == 700 ? " " : ",");
    }
    strbuf_literal(&slots, "'last^^1')</Value></ValueList></Slot>");
    assert_true(read_request(req, "LeafClass", FIND_DOCUMENTS, slots.data, &request) < 0);
    Str context = req->errors.first->context;
    assert_true(str_contains(context, STR("'c700^^1' 'c701^^1'")));
    assert_true(str_contains(context, STR("...\"")));
    assert_true(context.len < 400);
    strbuf_done(&slots);
}

static void test_return_type_is_leaf_class_or_object_ref(void **state)
{
    Request *req = *state;
    QueryRequest *request;
    assert_int_equal(
        read_request(req, "ObjectRef", FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT, &request), 0);
    assert_false(request->is_leaf_class);
    assert_true(read_request(req, "RegistryObject", FIND_DOCUMENTS, PATIENT_SLOT STATUS_SLOT,
                             &request) < 0);
    assert_error(req, ERR_XDS_REGISTRY_ERROR, "LeafClass or ObjectRef");
}

static void test_query_id_is_found_regardless_of_case_and_white_space(void **state)
{
    (void)state;
    const Query *query = query_find(STR(" urn:uuid:14D4DEBF-8f97-4251-9a74-a90016b0af0d\n"));
    assert_non_null(query);
    assert_str(query->name, "FindDocuments");
}

static void test_values_of_a_split_slot_are_one_list(void **state)
{
    const QueryRequest *request = good_request(
        *state, FIND_DOCUMENTS,
        PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryClassCode",
                                      VALUE("('a^^1.2')") VALUE(" ( 'b^^1.2' , 'c^^1.3' ) ")));
    const QueryValue *value = &request->values[FIELD_DocumentEntry_class_code];
    assert_int_equal(value->count, 3);
    assert_int_equal(value->group_count, 1);
    assert_str(value->codes[2].code, "c");
    assert_str(value->codes[2].scheme, "1.3");
}

static void test_repeated_slots_are_a_conjunction(void **state)
{
    const QueryRequest *request = good_request(
        *state, FIND_DOCUMENTS,
        PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryEventCodeList", VALUE("('a^^1','b^^1')"))
            SLOT("$XDSDocumentEntryEventCodeList", VALUE("('c^^1')")));
    const QueryValue *value = &request->values[FIELD_DocumentEntry_event_code_list];
    assert_int_equal(value->group_count, 2);
    assert_int_equal(value->group_ends[0], 2);
    assert_int_equal(value->group_ends[1], 3);
    assert_str(value->codes[2].code, "c");
}

static void test_many_repeated_slots_keep_every_value(void **state)
{
    Request *req = *state;
    StrBuf slots = {0};
    strbuf_literal(&slots, PATIENT_SLOT STATUS_SLOT);
    for (int i = 0; i < 5000; i++) {
        strbuf_printf(&slots, SLOT("$XDSDocumentEntryEventCodeList", VALUE("('c%d^^1')")), i);
    }
    const QueryRequest *request = good_request(req, FIND_DOCUMENTS, slots.data);
    const QueryValue *value = &request->values[FIELD_DocumentEntry_event_code_list];
    assert_int_equal(value->group_count, 5000);
    assert_str(value->codes[0].code, "c0");
    assert_str(value->codes[4999].code, "c4999");
    assert_true(arena_size_bytes(req->arena) < 64 * 1024 * 1024);
    strbuf_done(&slots);
}

static void test_doubled_quotes_are_one(void **state)
{
    const QueryRequest *request =
        good_request(*state, FIND_DOCUMENTS,
                     PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryAuthorPerson",
                                                   VALUE("('%O''Hara%','''',\"x\"\"y\",'a\\b')")));
    const QueryValue *value = &request->values[FIELD_DocumentEntry_author_person];
    assert_int_equal(value->count, 4);
    assert_str(value->texts[0], "%O'Hara%");
    assert_str(value->texts[1], "'");
    assert_str(value->texts[2], "x\"y");
    assert_str(value->texts[3], "a\\b");
}

/* Senders in the field quote dates. */
static void test_times_are_read_with_and_without_quotes(void **state)
{
    const QueryRequest *request = good_request(
        *state, FIND_DOCUMENTS,
        PATIENT_SLOT STATUS_SLOT SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("2004"))
            SLOT("$XDSDocumentEntryCreationTimeTo", VALUE("'20050101'")));
    assert_int_equal(request->values[FIELD_DocumentEntry_creation_time_from].time_us,
                     INT64_C(1072915200000000));
    assert_int_equal(request->values[FIELD_DocumentEntry_creation_time_to].time_us,
                     INT64_C(1104537600000000));
}

static void test_unknown_status_is_ignored_beside_a_known_one(void **state)
{
    const QueryRequest *request = good_request(
        *state, FIND_DOCUMENTS,
        PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE("('urn:x:Unknown','" DEPRECATED "')")));
    const QueryValue *value = &request->values[FIELD_DocumentEntry_availability_status];
    assert_int_equal(value->count, 1);
    assert_int_equal(value->numbers[0], STATUS_DEPRECATED);
}

static void test_one_value_may_stand_in_parentheses(void **state)
{
    const QueryRequest *request =
        good_request(*state, FIND_SUBMISSION_SETS,
                     SLOT("$XDSSubmissionSetPatientId", VALUE("('p1^^^Demo&amp;1.2.3.4&amp;ISO')"))
                         SLOT("$XDSSubmissionSetStatus", VALUE("('" APPROVED "')")));
    assert_str(request->values[FIELD_Patient_patient_id].texts[0], "p1^^^&1.2.3.4&ISO");
}

/* ITI-18 is silent on parameters that a query does not have; later options add some. */
static void test_unknown_parameters_are_ignored(void **state)
{
    const QueryRequest *request =
        good_request(*state, FIND_DOCUMENTS,
                     PATIENT_SLOT STATUS_SLOT SLOT("$MetadataLevel", VALUE("1"))
                         SLOT("$XDSFolderStatus", VALUE("nonsense (")));
    assert_null(request->values[FIELD_Folder_availability_status].parameter);
}

/* Unknown ids are no error: the answer has fewer objects (3.18.4.1.2.3.7.5). */
static void test_uuids_that_cannot_exist_match_nothing(void **state)
{
    const QueryRequest *request = good_request(
        *state, GET_ASSOCIATIONS,
        SLOT("$uuid", VALUE("('Document01','urn:uuid:6AE3A0A5-2d2f-4b7c-9d42-3f6f2f1b7c01')")));
    const QueryValue *value = &request->values[FIELD_RegistryObject_entry_uuid];
    assert_int_equal(value->count, 1);
    assert_int_equal(value->uuids[0].bytes[0], 0x6a);
}

static void test_all_faults_of_a_message_are_reported(void **state)
{
    Request *req = *state;
    QueryRequest *request;
    assert_true(read_request(req, "LeafClass", FIND_DOCUMENTS,
                             CLASS_CODE("('a','b')")
                                 SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("x")),
                             &request) < 0);
    assert_int_equal(req->errors.error_count, 5);
}

static void test_unreadable_parameter_is_not_called_missing_too(void **state)
{
    Request *req = *state;
    QueryRequest *request;
    assert_true(read_request(req, "LeafClass", FIND_DOCUMENTS,
                             PATIENT_SLOT SLOT("$XDSDocumentEntryStatus", VALUE(APPROVED)),
                             &request) < 0);
    assert_int_equal(req->errors.error_count, 1);
}

/** TF-2 3.51.4.1.2.1: queries of several patients are of ITI-51, all others of ITI-18. */
static void test_a_query_of_the_other_transaction_is_unknown(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        bool is_multi_patient;
        const char *action;
    } cases[] = {
        {MPQ_FIND_DOCUMENTS, false, "urn:ihe:iti:2009:MultiPatientStoredQuery"},
        {MPQ_FIND_FOLDERS, false, "urn:ihe:iti:2009:MultiPatientStoredQuery"},
        {FIND_DOCUMENTS, true, "urn:ihe:iti:2007:RegistryStoredQuery"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        XmlNode *root;
        QueryRequest *request;
        Str text = str_printf(req->arena,
                              "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY
                              "\"><query:ResponseOption returnType=\"LeafClass\"/>"
                              "<AdhocQuery xmlns=\"" NS_RIM "\" id=\"%s\"/>"
                              "</query:AdhocQueryRequest>",
                              cases[i].query);
        assert_int_equal(xml_read(req, text, &root), 0);
        assert_int_equal(query_request_read(req, root, cases[i].is_multi_patient, &request),
                         -ERR_XDS_UNKNOWN_STORED_QUERY);
        if (!str_contains(req->errors.first->context, str_from(cases[i].action))) {
            fail_msg("case %zu: %.*s", i, STR_ARG(req->errors.first->context));
        }
        request_free(req);
    }
}

int main(void)
{
    xml_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_query_of_the_other_transaction_is_unknown),
        cmocka_unit_test(test_what_is_wrong_is_named_with_what_to_send),
        cmocka_unit_test(test_a_syntax_error_quotes_the_value_and_an_example),
        REQUEST_TEST(test_a_long_list_is_quoted_where_it_went_wrong),
        REQUEST_TEST(test_return_type_is_leaf_class_or_object_ref),
        cmocka_unit_test(test_query_id_is_found_regardless_of_case_and_white_space),
        REQUEST_TEST(test_values_of_a_split_slot_are_one_list),
        REQUEST_TEST(test_repeated_slots_are_a_conjunction),
        REQUEST_TEST(test_many_repeated_slots_keep_every_value),
        REQUEST_TEST(test_doubled_quotes_are_one),
        REQUEST_TEST(test_times_are_read_with_and_without_quotes),
        REQUEST_TEST(test_unknown_status_is_ignored_beside_a_known_one),
        REQUEST_TEST(test_one_value_may_stand_in_parentheses),
        REQUEST_TEST(test_unknown_parameters_are_ignored),
        REQUEST_TEST(test_uuids_that_cannot_exist_match_nothing),
        REQUEST_TEST(test_all_faults_of_a_message_are_reported),
        REQUEST_TEST(test_unreadable_parameter_is_not_called_missing_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
