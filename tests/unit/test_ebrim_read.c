/* Reading SubmitObjectsRequest (ITI TF-3 4.2). */
#include "lib/ebrim/vocabulary.h"

#include "tests/unit/ebrim_fixture.h"

static void test_attributes_are_read_by_the_specification_s_names(void **state)
{
    Submission *submission = fixture_submission(*state, NULL);
    assert_int_equal(submission->document_count, 1);
    assert_int_equal(submission->folder_count, 1);
    assert_int_equal(submission->association_count, 4);
    assert_int_equal(submission->submission_set_count, 1);

    const DocumentEntry *d = submission->documents;
    assert_false(d->is_on_demand);
    assert_str(d->unique_id, "1.2.392.200270.9.7.100^A");
    assert_str(d->patient_id, "S-1001^^^&1.2.392.200270.9.1&ISO");
    assert_str(d->source_patient_id, "0004711^^^&1.2.392.200270.9.2&ISO");
    assert_str(d->class_code.code, "REPORT");
    assert_str(d->class_code.scheme, "1.2.392.200270.4.1");
    assert_str(d->class_code.display, "報告書");
    assert_str(d->type_code.code, "18842-5");
    assert_str(d->format_code.code, "urn:ihe:pcc:xds-ms:2007");
    assert_str(d->practice_setting_code.code, "IM");
    assert_str(d->healthcare_facility_type_code.code, "HOSP");
    assert_int_equal(d->confidentiality_code.count, 2);
    assert_str(d->confidentiality_code.items[1].code, "R");
    assert_int_equal(d->event_code_list.count, 1);
    assert_int_equal(d->reference_id_list.count, 1);
    assert_str(d->creation_time, "20260401003000");
    assert_str(d->service_start_time, "202603300800");
    assert_str(d->service_stop_time, "20260331");
    assert_str(d->language_code, "ja-JP");
    assert_str(d->mime_type, "text/xml");
    assert_str(d->repository_unique_id, "1.2.392.200270.9.7");
    assert_str(d->hash, "0123456789abcdef0123456789abcdef01234567");
    assert_int_equal(d->size_bytes, 10240);
    assert_str(d->title, "退院時サマリー");

    const SubmissionSet *set = submission->submission_set;
    assert_str(set->unique_id, "1.2.392.200270.9.7.200");
    assert_str(set->source_id, "1.2.392.200270.9");
    assert_str(set->submission_time, "20260401003001");
    assert_str(set->content_type_code.code, "DISCHARGE");
    assert_int_equal(set->intended_recipient.count, 1);

    const Folder *folder = submission->folders;
    assert_str(folder->unique_id, "1.2.392.200270.9.7.300");
    assert_int_equal(folder->code_list.count, 1);
    assert_str(folder->title, "2026");
}

/** TF-3 4.2.1.2.1: the marker may stand beside the package. */
static void test_a_marker_beside_its_package_counts(void **state)
{
    Submission *submission = fixture_submission(*state, NULL);
    assert_null(submission->unattached);
    const RimObject *set = submission->submission_set->object;
    assert_str(set->classifications->classification_node, UUID_SUBMISSION_SET_NODE);
}

/** TF-3 4.2.3.1.5: one new UUID for each symbolic id, wherever it stands; UUIDs stay. */
static void test_a_symbolic_id_gets_one_uuid_everywhere(void **state)
{
    static const Change changes[] = {
        {"id=\"folder\"", "id=\"urn:uuid:11111111-2222-4333-8444-555555555555\""},
        {"=\"folder\"", "=\"urn:uuid:11111111-2222-4333-8444-555555555555\""},
        {NULL, NULL},
    };
    Submission *submission = fixture_submission(*state, changes);
    const Association *set_doc = submission->associations;
    const Association *set_folder = set_doc->next;
    const Association *folder_doc = set_folder->next;
    const Association *set_folder_doc = folder_doc->next;
    Uuid uuid;
    assert_true(uuid_parse_urn(STR("urn:uuid:11111111-2222-4333-8444-555555555555"), &uuid));
    assert_true(uuid_equal(submission->folders->entry_uuid, uuid));
    assert_true(uuid_equal(folder_doc->source.uuid, uuid));
    assert_true(uuid_equal(set_doc->target.uuid, submission->documents->entry_uuid));
    assert_true(uuid_equal(folder_doc->target.uuid, submission->documents->entry_uuid));
    assert_true(uuid_equal(set_folder_doc->target.uuid, folder_doc->entry_uuid));
    assert_false(uuid_equal(set_doc->entry_uuid, set_folder->entry_uuid));
    assert_ptr_equal(set_folder_doc->target.object, folder_doc);
    assert_int_equal(set_folder_doc->target.kind, OBJECT_ASSOCIATION);
    assert_ptr_equal(set_doc->source.object, submission->submission_set);
    assert_true(set_doc->is_original);
    assert_false(set_folder->is_original);
    assert_str(submission->documents->object->id, "doc");
}

static void test_a_reference_to_the_registry_keeps_its_uuid(void **state)
{
    static const Change changes[] = {
        {"sourceObject=\"folder\"",
         "sourceObject=\"urn:uuid:11111111-2222-4333-8444-555555555555\""},
        {NULL, NULL},
    };
    Submission *submission = fixture_submission(*state, changes);
    const Association *folder_doc = submission->associations->next->next;
    Uuid uuid;
    assert_true(uuid_parse_urn(STR("urn:uuid:11111111-2222-4333-8444-555555555555"), &uuid));
    assert_false(folder_doc->source.is_in_submission);
    assert_null(folder_doc->source.object);
    assert_true(uuid_equal(folder_doc->source.uuid, uuid));
}

/** Everything a sender wrote is kept: languages, slot types, white space, unknown Slots. */
static void test_what_the_typed_structs_do_not_hold_is_kept(void **state)
{
    static const Change changes[] = {
        {"0004711^^^&amp;1.2.392.200270.9.2&amp;ISO</rim:Value></rim:ValueList></rim:Slot>\n      "
         "<rim:Slot name=\"sourcePatientInfo\"",
         "0004711^^^&amp;1.2.392.200270.9.2&amp;ISO\n </rim:Value></rim:ValueList></rim:Slot>\n"
         "<rim:Slot name=\"sourcePatientInfo\""},
        {NULL, NULL},
    };
    Submission *submission = fixture_submission(*state, changes);
    const DocumentEntry *d = submission->documents;
    assert_str(d->source_patient_id, "0004711^^^&1.2.392.200270.9.2&ISO");
    assert_str(rim_slot(d->object, "sourcePatientId")->values[0],
               "0004711^^^&1.2.392.200270.9.2&ISO\n ");
    const Slot *ward = rim_slot(d->object, "urn:example:ward");
    assert_str(ward->slot_type, "urn:example:string");
    assert_str(ward->values[0], "7 <west>");
    const LocalizedString *title = d->object->name;
    assert_str(title->lang, "ja-JP");
    assert_str(title->charset, "UTF-8");
    assert_str(title->next->lang, "en");
    assert_str(title->next->value, "Discharge \"summary\"");
    assert_null(title->next->next);
    assert_null(rim_slot(d->object, "nothing"));
    assert_null(rim_classification(d->object, "nothing"));
    assert_str(rim_external_identifier(d->object, "nothing"), "");
}

static void test_the_repository_can_set_slots_of_an_entry(void **state)
{
    Request *req = *state;
    static const Change changes[] = {
        {"      <rim:Slot name=\"hash\"><rim:ValueList><rim:Value>"
         "0123456789abcdef0123456789abcdef01234567</rim:Value></rim:ValueList></rim:Slot>\n",
         ""},
        {NULL, NULL},
    };
    Submission *submission = fixture_submission(req, changes);
    DocumentEntry *d = submission->documents;
    assert_str(d->hash, "");
    document_entry_set_slot(req->arena, d, "repositoryUniqueId", STR("1.2.3"));
    document_entry_set_slot(req->arena, d, "hash", STR("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    document_entry_set_slot(req->arena, d, "size", STR("77"));
    assert_str(d->repository_unique_id, "1.2.3");
    assert_str(d->hash, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_int_equal(d->size_bytes, 77);
    assert_int_equal(rim_slot(d->object, "repositoryUniqueId")->value_count, 1);
    assert_str(rim_slot(d->object, "size")->values[0], "77");
    assert_str(d->title, "退院時サマリー");
}

static void test_a_message_without_object_list_is_refused(void **state)
{
    static const char *const messages[] = {
        "<lcm:SubmitObjectsRequest xmlns:lcm='" NS_LCM "'/>",
        "<SubmitObjectsRequest><RegistryObjectList/></SubmitObjectsRequest>",
        "<rs:SubmitObjectsRequest xmlns:rs='urn:oasis:names:tc:ebxml-regrep:registry:xsd:2.1'/>",
    };
    Request *req = *state;
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        XmlNode *root;
        Submission *submission;
        assert_int_equal(xml_read(req, str_from(messages[i]), &root), 0);
        assert_int_equal(submission_read(req, root, &submission),
                         -(int)ERR_XDS_REGISTRY_METADATA_ERROR);
    }
    assert_int_equal(req->errors.error_count, ARRAY_LEN(messages));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EBRIM_TEST(test_attributes_are_read_by_the_specification_s_names),
        EBRIM_TEST(test_a_marker_beside_its_package_counts),
        EBRIM_TEST(test_a_symbolic_id_gets_one_uuid_everywhere),
        EBRIM_TEST(test_a_reference_to_the_registry_keeps_its_uuid),
        EBRIM_TEST(test_what_the_typed_structs_do_not_hold_is_kept),
        EBRIM_TEST(test_the_repository_can_set_slots_of_an_entry),
        EBRIM_TEST(test_a_message_without_object_list_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
