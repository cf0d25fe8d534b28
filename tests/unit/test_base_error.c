#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/error.h"

typedef struct Fixture {
    Arena *arena;
    ErrorList errors;
} Fixture;

static int set_up(void **state)
{
    static Fixture fixture;
    fixture.arena = arena_new();
    error_list_init(&fixture.errors, fixture.arena);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    arena_free(((Fixture *)*state)->arena);
    return 0;
}

/* XML 1.0 section 4.3.3: one byte that is not UTF-8 makes the whole reply unreadable. */
static void test_quoted_text_that_was_cut_inside_a_character_stays_utf8(void **state)
{
    ErrorList *errors = &((Fixture *)*state)->errors;
    Str name = STR("\xe9\xab\x99\xe9\xab\x99");
    for (size_t len = 0; len <= name.len; len++) {
        error_add(errors, ERR_SOAP_SENDER, "\xff", "\"%.*s\"", STR_ARG(str_slice(name, 0, len)));
        assert_true(str_is_utf8(errors->last->context));
        assert_string_equal(errors->last->location.data, "?");
    }
}

static void test_long_texts_are_cut_and_stay_utf8(void **state)
{
    enum { CHARACTERS = 5000 };
    ErrorList *errors = &((Fixture *)*state)->errors;
    char text[3 * CHARACTERS + 1];
    for (size_t i = 0; i < CHARACTERS; i++) {
        memcpy(text + 3 * i, "\xe9\xab\x99", 4);
    }
    for (size_t shift = 0; shift < 3; shift++) {
        error_add(errors, ERR_SOAP_SENDER, text, "%.*s%s", (int)shift, "ab", text);
        assert_in_range(errors->last->context.len, 2000, 2048);
        assert_in_range(errors->last->location.len, 2000, 2048);
        assert_true(str_is_utf8(errors->last->context));
        assert_true(str_is_utf8(errors->last->location));
    }
}

static void test_errors_beyond_those_kept_are_counted(void **state)
{
    ErrorList *errors = &((Fixture *)*state)->errors;
    for (unsigned i = 0; i < ERROR_LIST_KEPT_MAX; i++) {
        assert_false(error_list_is_full(errors));
        error_add(errors, ERR_SOAP_SENDER, NULL, "%u", i);
    }
    assert_true(error_list_is_full(errors));
    const Error *last = errors->last;
    error_add(errors, ERR_SOAP_SENDER, NULL, "one more");
    assert_ptr_equal(errors->last, last);
    assert_int_equal(errors->error_count, ERROR_LIST_KEPT_MAX + 1);
}

/* TF-3 4.2.4: a Failure lists at least one Error, however many warnings came before it. */
static void test_warnings_leave_room_for_errors(void **state)
{
    ErrorList *errors = &((Fixture *)*state)->errors;
    for (unsigned i = 0; i <= ERROR_LIST_KEPT_MAX; i++) {
        error_warn(errors, ERR_SOAP_SENDER, NULL, "%u", i);
    }
    assert_true(error_list_is_full_of(errors, SEVERITY_WARNING));
    assert_false(error_list_is_full(errors));
    error_add(errors, ERR_SOAP_SENDER, NULL, "the reason of the refusal");
    assert_int_equal(errors->last->severity, SEVERITY_ERROR);
    assert_int_equal(errors->count, ERROR_LIST_KEPT_MAX + 2);
}

/* TF-3 Table 4.2.4.1-2: general codes carry the name of the actor that answers. */
static void test_general_faults_are_named_after_the_actor(void **state)
{
    (void)state;
    static const struct {
        ErrorCode code;
        const char *of_registry;
        const char *of_repository;
    } cases[] = {
        {ERR_DATABASE, "XDSRegistryError", "XDSRepositoryError"},
        {ERR_DATABASE_BUSY, "XDSRegistryBusy", "XDSRepositoryBusy"},
        {ERR_TOO_LARGE, "XDSRegistryOutOfResources", "XDSRepositoryOutOfResources"},
        {ERR_IO, "XDSRegistryError", "XDSRepositoryError"},
        {ERR_FORBIDDEN, "XDSRegistryError", "XDSRepositoryError"},
        {ERR_XDS_REGISTRY_BUSY, "XDSRegistryBusy", "XDSRegistryBusy"},
        {ERR_XDS_REPOSITORY_BUSY, "XDSRepositoryBusy", "XDSRepositoryBusy"},
        {ERR_XDS_UNKNOWN_PATIENT_ID, "XDSUnknownPatientId", "XDSUnknownPatientId"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(error_ihe_code(cases[i].code, false), cases[i].of_registry);
        assert_string_equal(error_ihe_code(cases[i].code, true), cases[i].of_repository);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_general_faults_are_named_after_the_actor),
        cmocka_unit_test_setup_teardown(test_quoted_text_that_was_cut_inside_a_character_stays_utf8,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_texts_are_cut_and_stay_utf8, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_warnings_leave_room_for_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_beyond_those_kept_are_counted, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
