#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/replacement.h"

/* TF-3 4.2.2.2.3: the replacement joins every Approved Folder of what it replaces. */

static const Uuid SET = {{1}};
static const Uuid NEW_DOCUMENT = {{2}};
static const Uuid OLD_A = {{3}};
static const Uuid OLD_B = {{4}};
static const Uuid FOLDER_1 = {{5}};
static const Uuid FOLDER_2 = {{6}};

static Association replacement(AssociationType type, Uuid old)
{
    return (Association){
        .type = type,
        .source = {.uuid = NEW_DOCUMENT, .is_in_submission = true, .kind = OBJECT_DOCUMENT_ENTRY},
        .target = {.uuid = old},
    };
}

static Association membership(Uuid folder)
{
    return (Association){
        .type = ASSOCIATION_HAS_MEMBER,
        .source = {.uuid = folder},
        .target = {.uuid = NEW_DOCUMENT, .is_in_submission = true, .kind = OBJECT_DOCUMENT_ENTRY},
    };
}

/** What the registry adds to a submission of these Associations, when it holds these memberships.
 */
static size_t added(Association *associations, size_t association_count,
                    FolderMembership *memberships, size_t membership_count,
                    FolderMembership *ret_first)
{
    Request *req = request_new(600000);
    SubmissionSet set = {.entry_uuid = SET};
    for (size_t i = 0; i + 1 < association_count; i++) {
        associations[i].next = &associations[i + 1];
    }
    const Submission submission = {.submission_set = &set,
                                   .associations = associations,
                                   .association_count = association_count};
    const RegistryState state = {.memberships = memberships, .membership_count = membership_count};
    FolderMembership *found;
    size_t count;
    assert_int_equal(replacement_memberships(req, &submission, &state, &found, &count), 0);
    if (count > 0) {
        *ret_first = found[0];
    }
    request_free(req);
    return count;
}

static void test_replacement_joins_each_folder_of_the_replaced_entry(void **state)
{
    (void)state;
    static const AssociationType REPLACING[] = {ASSOCIATION_RPLC, ASSOCIATION_XFRM_RPLC};
    for (size_t i = 0; i < ARRAY_LEN(REPLACING); i++) {
        Association associations[] = {replacement(REPLACING[i], OLD_A)};
        FolderMembership held[] = {{FOLDER_1, OLD_A}, {FOLDER_2, OLD_A}, {FOLDER_1, OLD_B}};
        FolderMembership first;
        assert_int_equal(added(associations, 1, held, 3, &first), 2);
        assert_true(uuid_equal(first.folder, FOLDER_1));
        assert_true(uuid_equal(first.document, NEW_DOCUMENT));
    }
}

static void test_addendum_joins_no_folder(void **state)
{
    (void)state;
    Association associations[] = {replacement(ASSOCIATION_APND, OLD_A)};
    FolderMembership held[] = {{FOLDER_1, OLD_A}};
    FolderMembership first;
    assert_int_equal(added(associations, 1, held, 1, &first), 0);
}

static void test_membership_that_was_submitted_is_not_added_again(void **state)
{
    (void)state;
    Association associations[] = {replacement(ASSOCIATION_RPLC, OLD_A), membership(FOLDER_1)};
    FolderMembership held[] = {{FOLDER_1, OLD_A}, {FOLDER_2, OLD_A}};
    FolderMembership first;
    assert_int_equal(added(associations, 2, held, 2, &first), 1);
    assert_true(uuid_equal(first.folder, FOLDER_2));
}

/* SubmitAssociation: what replaces may be registered. */
static void test_membership_that_is_there_is_not_added_again(void **state)
{
    (void)state;
    Association associations[] = {replacement(ASSOCIATION_RPLC, OLD_A)};
    FolderMembership held[] = {{FOLDER_1, NEW_DOCUMENT}, {FOLDER_1, OLD_A}, {FOLDER_2, OLD_A}};
    FolderMembership first;
    associations[0].source.is_in_submission = false;
    assert_int_equal(added(associations, 1, held, 3, &first), 1);
    assert_true(uuid_equal(first.folder, FOLDER_2));
}

static void test_two_replaced_entries_in_one_folder_give_one_membership(void **state)
{
    (void)state;
    Association associations[] = {replacement(ASSOCIATION_RPLC, OLD_A),
                                  replacement(ASSOCIATION_RPLC, OLD_B)};
    FolderMembership held[] = {{FOLDER_1, OLD_A}, {FOLDER_1, OLD_B}};
    FolderMembership first;
    assert_int_equal(added(associations, 2, held, 2, &first), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacement_joins_each_folder_of_the_replaced_entry),
        cmocka_unit_test(test_addendum_joins_no_folder),
        cmocka_unit_test(test_membership_that_was_submitted_is_not_added_again),
        cmocka_unit_test(test_membership_that_is_there_is_not_added_again),
        cmocka_unit_test(test_two_replaced_entries_in_one_folder_give_one_membership),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
