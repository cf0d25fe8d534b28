/* Normal forms of names, phones and postal codes (ITI TF-2 3.21.4.2.2: how a demographics query
 * compares is the supplier's choice; HL7 v2 Appendix of Japan: names come in several scripts). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <uchar.h>

#include <cmocka.h>

#include "pix/matching/normal_form.h"

typedef struct TextRow {
    const char *text;
    const char *expected;
} TextRow;

static void check_rows(Str (*fold)(Arena *arena, Str text), const TextRow *rows, size_t count)
{
    Arena *arena = arena_new();
    for (size_t i = 0; i < count; i++) {
        Str folded = fold(arena, str_from(rows[i].text));
        if (!str_equal(folded, str_from(rows[i].expected))) {
            fail_msg("row %zu: %s gave %.*s", i, rows[i].text, STR_ARG(folded));
        }
    }
    arena_free(arena);
}

static void test_writings_of_one_name_have_one_normal_form(void **state)
{
    static const TextRow rows[] = {
        {"", ""},
        {"Yamada Tarō", "yamadataro"},
        {"O'Brien-Müller", "obrienmuller"},
        {"ＹＡＭＡＤＡ　Ｔａｒｏ", "yamadataro"},
        {"髙橋", "高橋"},
        {"𣘺本", "橋本"},
        {"山﨑", "山崎"},
        {"山碕", "山崎"},
        {"山嵜", "山崎"},
        {"齋藤", "斎藤"},
        {"齊藤", "斎藤"},
        {"斉藤", "斎藤"},
        {"渡邊", "渡辺"},
        {"渡邉", "渡辺"},
        {"渡邉󠄂", "渡辺"}, /* with an ideographic variation selector */
        {"葛󠄀城", "葛城"},
        {"𠮷田", "吉田"},
        {"澤嶋廣國", "沢島広国"},
        {"濵田惠眞", "浜田恵真"},
        {"德瀨櫻槇", "徳瀬桜槙"},
        {"\xef\xa8\x99\xef\xa9\x99", "神繁"}, /* compatibility ideographs: NFKC */
        {"やまだ　たろう", "ヤマダタロウ"},
        {"ﾔﾏﾀﾞ ﾀﾛｳ", "ヤマダタロウ"},
        {"ハ゜ク カ゛ンジ", "パクガンジ"}, /* marks of their own */
        {"キョウコ", "キヨウコ"},          /* systems without small kana */
        {"ﾘｮｳ", "リヨウ"},
        {"ヱツコ", "エツコ"},
        {"みすゞ", "ミスズ"},
        {"佐々木", "佐佐木"},
        {"々", "々"},
        {"ジャン＝ポール・サルトル", "ジヤンポルサルトル"},
        {"マリ-", "マリ"},
        {"マリー", "マリ"},
        {"霞ヶ関１－２", "霞ケ関12"},
        {"●田", "●田"}, /* a character that some system lost is not nothing */
        {"山田*?", "山田"},
    };
    (void)state;
    check_rows(normal_text, rows, ARRAY_LEN(rows));
}

static void test_wildcards_stay_in_a_pattern(void **state)
{
    static const TextRow rows[] = {
        {"髙*", "高*"}, {"ﾔﾏ＊", "ヤマ*"},  {"YAM?DA *", "yam?da*"},
        {"*々", "*々"}, {"渡?ー*", "渡?*"},
    };
    (void)state;
    check_rows(normal_pattern, rows, ARRAY_LEN(rows));
}

static void test_a_phone_number_is_digits_that_begin_with_0(void **state)
{
    static const TextRow rows[] = {
        {"03-1234-5678", "0312345678"},
        {"（０３）１２３４－５６７８", "0312345678"},
        {"+81-90-1234-5678", "09012345678"},
        {"+81 (0)90-1234-5678", "09012345678"},
        {"81-3-1234-5678", "0312345678"},
        {"+1 617 555 0100", "16175550100"},
        {"8112345", "8112345"},
        {"なし", ""},
    };
    (void)state;
    check_rows(normal_phone, rows, ARRAY_LEN(rows));
}

static void test_a_postal_code_is_letters_and_digits(void **state)
{
    static const TextRow rows[] = {
        {"〒100-0001", "1000001"},
        {"１００－０００１", "1000001"},
        {"SW1A 1AA", "sw1a1aa"},
    };
    (void)state;
    check_rows(normal_postal_code, rows, ARRAY_LEN(rows));
}

/* A row that leads to the variant of another row would make two forms of one name. */
static void test_every_variant_leads_to_a_form_that_stays(void **state)
{
    static const struct {
        char32_t variant;
        char32_t common;
    } rows[] = {
#define FORM(variant, common) {variant, common},
#include "pix/matching/kanji_forms.def"
#undef FORM
    };
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char32_t chars[] = {rows[i].variant, rows[i].common};
        Str folded[2];
        for (size_t k = 0; k < 2; k++) {
            char utf8[4];
            size_t len = 0;
            char32_t c = chars[k];
            if (c >= 0x10000) {
                utf8[len++] = (char)(0xF0 | c >> 18);
                utf8[len++] = (char)(0x80 | (c >> 12 & 0x3F));
            } else {
                utf8[len++] = (char)(0xE0 | c >> 12);
            }
            utf8[len++] = (char)(0x80 | (c >> 6 & 0x3F));
            utf8[len++] = (char)(0x80 | (c & 0x3F));
            folded[k] = normal_text(arena, (Str){utf8, len});
            if (k == 1 && !str_equal(folded[1], (Str){utf8, len})) {
                fail_msg("row %zu: U+%04X does not stay", i, (unsigned)c);
            }
        }
        if (!str_equal(folded[0], folded[1])) {
            fail_msg("row %zu: U+%04X becomes %.*s", i, (unsigned)chars[0], STR_ARG(folded[0]));
        }
    }
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writings_of_one_name_have_one_normal_form),
        cmocka_unit_test(test_wildcards_stay_in_a_pattern),
        cmocka_unit_test(test_a_phone_number_is_digits_that_begin_with_0),
        cmocka_unit_test(test_a_postal_code_is_letters_and_digits),
        cmocka_unit_test(test_every_variant_leads_to_a_form_that_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
