/* Normal forms of names, patterns and numbers: of any bytes they are UTF-8 without what they leave
 * out, as they become columns of the database. */

#include "pix/matching/normal_form.h"

#include "tests/fuzz/fuzz.h"

static void check_ascii(Str text, bool with_letters)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        FUZZ_CHECK((c >= '0' && c <= '9') || (with_letters && c >= 'a' && c <= 'z'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Arena *arena = arena_new();
    Str text = {(const char *)bytes, len};
    Str folded = normal_text(arena, text);
    FUZZ_CHECK(str_is_utf8(folded));
    FUZZ_CHECK(str_find_char(folded, ' ') == SIZE_MAX && str_find_char(folded, '*') == SIZE_MAX);
    Str pattern = normal_pattern(arena, text);
    FUZZ_CHECK(str_is_utf8(pattern) && pattern.len >= folded.len);
    check_ascii(normal_phone(arena, text), false);
    check_ascii(normal_postal_code(arena, text), true);
    arena_free(arena);
    return 0;
}
