/* Writing a submission for ITI-42 (ITI TF-2 3.42.4.1.2). */
#include "tests/unit/ebrim_fixture.h"

static Str write_submission(Arena *arena, const Submission *submission)
{
    StrBuf buf = {0};
    submission_write(submission, &buf);
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static void test_what_is_written_reads_as_the_same_metadata(void **state)
{
    Request *req = *state;
    CodeSets *codes = fixture_codes();
    Str once = write_submission(req->arena, fixture_submission(req, NULL));
    Submission *again = fixture_read(req, once);
    assert_int_equal(submission_check(req, again, SUBMISSION_ITI42, codes), 0);
    Str twice = write_submission(req->arena, again);
    assert_str(twice, str_cstr(req->arena, once));
    assert_str(again->documents->title, "退院時サマリー");
    assert_str(again->documents->object->name->next->value, "Discharge \"summary\"");
    assert_str(rim_slot(again->documents->object, "urn:example:ward")->slot_type,
               "urn:example:string");
    assert_str(rim_slot(again->documents->object, "urn:example:ward")->values[0], "7 <west>");
    code_sets_free(codes);
}

/** ebRIM 3.0 schema: Slot, Name, Description, VersionInfo, Classification, ExternalIdentifier. */
static void test_children_come_in_the_order_of_the_schema(void **state)
{
    Request *req = *state;
    static const char *const in_order[] = {
        "<rim:ExtrinsicObject id=\"doc\"",
        "<rim:Slot name=\"urn:example:ward\" slotType=\"urn:example:string\">",
        "<rim:Name><rim:LocalizedString xml:lang=\"ja-JP\" charset=\"UTF-8\"",
        "<rim:Description>",
        "<rim:Classification id=\"c01\"",
        "<rim:ExternalIdentifier id=\"c10\"",
        "</rim:ExtrinsicObject>",
    };
    Str rest = write_submission(req->arena, fixture_submission(req, NULL));
    for (size_t i = 0; i < ARRAY_LEN(in_order); i++) {
        size_t at = str_find(rest, str_from(in_order[i]));
        if (at == SIZE_MAX) {
            fail_msg("%s is missing or too early", in_order[i]);
        }
        rest = str_from_offset(rest, at);
    }
}

static void test_symbolic_ids_pass_unchanged(void **state)
{
    Request *req = *state;
    Str text = write_submission(req->arena, fixture_submission(req, NULL));
    assert_true(str_contains(text, STR("sourceObject=\"set\" targetObject=\"folder_doc\"")));
    assert_true(str_contains(text, STR("classifiedObject=\"doc\"")));
    assert_true(str_contains(text, STR("registryObject=\"folder\"")));
}

/** The schema requires ids; some senders leave those of Classifications out. */
static void test_a_missing_id_of_a_part_is_made(void **state)
{
    Request *req = *state;
    static const Change changes[] = {{"id=\"c01\" ", ""}, {NULL, NULL}};
    Str text = write_submission(req->arena, fixture_submission(req, changes));
    assert_false(str_contains(text, STR("<rim:Classification id=\"\"")));
    assert_true(str_contains(text, STR("<rim:Classification id=\"urn:uuid:")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EBRIM_TEST(test_what_is_written_reads_as_the_same_metadata),
        EBRIM_TEST(test_children_come_in_the_order_of_the_schema),
        EBRIM_TEST(test_symbolic_ids_pass_unchanged),
        EBRIM_TEST(test_a_missing_id_of_a_part_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
