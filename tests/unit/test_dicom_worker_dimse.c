#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/dicom/worker_dimse.h"

/* PS3.7 6.3.1: group 0000, Implicit VR Little Endian, in the order of tags */
static void test_only_flat_and_ordered_elements_of_group_0000_are_a_command(void **state)
{
    static const struct {
        const char *name;
        Str bytes;
        bool is_command;
    } rows[] = {
        {"a command field", STR_INIT("\0\0\0\1\2\0\0\0\x30\0"), true},
        {"two elements", STR_INIT("\0\0\0\1\2\0\0\0\x30\0\0\0\x10\1\2\0\0\0\1\0"), true},
        {"nothing", STR_INIT(""), false},
        {"no command field", STR_INIT("\0\0\2\0\2\0\0\0\x31\0"), false},
        {"another group", STR_INIT("\x08\0\0\1\2\0\0\0\x30\0"), false},
        {"cut off", STR_INIT("\0\0\0\1\2\0\0\0\x30"), false},
        {"a header alone", STR_INIT("\0\0\0\1\2\0"), false},
        {"a sequence of unknown length", STR_INIT("\0\0\0\1\xff\xff\xff\xff"), false},
        {"twice", STR_INIT("\0\0\0\1\2\0\0\0\x30\0\0\0\0\1\2\0\0\0\x30\0"), false},
        {"out of order", STR_INIT("\0\0\x10\1\2\0\0\0\1\0\0\0\0\1\2\0\0\0\x30\0"), false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (dimse_is_command(rows[i].bytes) != rows[i].is_command) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void test_elements_find_their_place_and_are_padded(void **state)
{
    StrBuf command = {0};
    (void)state;
    dimse_put_text(&command, DIMSE_COMMENT, STR("odd"));
    dimse_put_number(&command, DIMSE_STATUS, 0xA900);
    dimse_put_text(&command, DIMSE_AFFECTED_INSTANCE, STR("1.2.3"));
    dimse_put_number(&command, DIMSE_COMMAND_FIELD, 0x8001);
    dimse_put_text(&command, DIMSE_AFFECTED_CLASS, STR_EMPTY);
    Str bytes = strbuf_str(&command);
    assert_true(dimse_is_command(bytes));
    assert_int_equal(dimse_number(bytes, DIMSE_STATUS, 0), 0xA900);
    assert_int_equal(dimse_number(bytes, DIMSE_COMMAND_FIELD, 0), 0x8001);
    assert_int_equal(dimse_number(bytes, DIMSE_MESSAGE_ID, 7), 7);
    assert_true(str_equal(dimse_text(bytes, DIMSE_COMMENT), STR("odd")));
    assert_true(str_equal(dimse_text(bytes, DIMSE_AFFECTED_INSTANCE), STR("1.2.3")));
    assert_true(str_contains(bytes, STR("odd ")));
    assert_int_equal(bytes.data[bytes.len - 1], '\0');
    assert_false(dimse_has_data_set(bytes));
    strbuf_done(&command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_flat_and_ordered_elements_of_group_0000_are_a_command),
        cmocka_unit_test(test_elements_find_their_place_and_are_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
