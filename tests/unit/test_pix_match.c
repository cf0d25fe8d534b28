/* Whether two records are of one patient (pix/matching/match.h): what links by itself, what a
 * person decides, and that blocking brings together whatever matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pix/matching/match.h"

static const MatchConfig weighted = {.rule = MATCH_RULE_WEIGHTED};
static const MatchConfig strict = {.rule = MATCH_RULE_NAME_BIRTHDATE_SEX};

/** Fields of PID, in ER7. */
typedef struct Record {
    const char *name;
    const char *birth;
    const char *sex;
    const char *address;
    const char *phone;
    const char *birth_order;
} Record;

#define HANAKO "山田^花子^^^^^L^I~ヤマダ^ハナコ^^^^^L^P"
#define HOME "1-2-3^^千代田区霞が関^東京都^1000013^JPN^H"
#define PHONE "03-1234-5678"

static const Record hanako = {HANAKO, "19700102", "F", HOME, PHONE, NULL};

static Str text(const char *field)
{
    return str_from(field ? field : "");
}

static const MatchProfile *profile_of(Arena *arena, const Record *record)
{
    Demographics demographics = {0};
    demographics.fields[DEMOGRAPHIC_name] = text(record->name);
    demographics.fields[DEMOGRAPHIC_birth_time] = text(record->birth);
    demographics.fields[DEMOGRAPHIC_sex] = text(record->sex);
    demographics.fields[DEMOGRAPHIC_address] = text(record->address);
    demographics.fields[DEMOGRAPHIC_phone_home] = text(record->phone);
    demographics.fields[DEMOGRAPHIC_birth_order] = text(record->birth_order);
    return match_profile_new(arena, &demographics);
}

static bool share_a_key(const MatchConfig *config, const MatchProfile *one,
                        const MatchProfile *other)
{
    int64_t keys[2][MATCH_KEYS_MAX];
    size_t count = match_profile_keys(config, one, keys[0]);
    size_t other_count = match_profile_keys(config, other, keys[1]);
    for (size_t i = 0; i < count * other_count; i++) {
        if (keys[0][i / other_count] == keys[1][i % other_count]) {
            return true;
        }
    }
    return false;
}

typedef struct Pair {
    const char *what;
    Record other;
    MatchVerdict expected;
} Pair;

static void check_pairs(const MatchConfig *config, const Record *record, const Pair *pairs,
                        size_t count)
{
    Arena *arena = arena_new();
    const MatchProfile *one = profile_of(arena, record);
    for (size_t i = 0; i < count; i++) {
        const MatchProfile *other = profile_of(arena, &pairs[i].other);
        Match match = match_compare(config, arena, one, other);
        Match reverse = match_compare(config, arena, other, one);
        if (match.verdict != pairs[i].expected) {
            fail_msg("%s: %d, score %.1f, %.*s", pairs[i].what, (int)match.verdict, match.score,
                     STR_ARG(match.evidence));
        }
        if (reverse.verdict != match.verdict || reverse.score != match.score) {
            fail_msg("%s: the order of the two matters", pairs[i].what);
        }
        if (match.verdict == MATCH_SAME && !share_a_key(config, one, other)) {
            fail_msg("%s: no key in common", pairs[i].what);
        }
    }
    arena_free(arena);
}

#define KANA "ヤマダ^ハナコ^^^^^L^P"

static void test_records_of_one_patient_link_in_spite_of_an_error(void **state)
{
    static const Pair pairs[] = {
        {"same", {HANAKO, "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"half-width kana alone", {"ﾔﾏﾀﾞ^ﾊﾅｺ", "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"kana missing", {"山田^花子", "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"romaji alone", {"YAMADA^HANAKO", "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"swapped", {"花子^山田^^^^^L^I", "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"name in one part", {"山田　花子", "19700102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"typing error in kana",
         {"山田^花子~ヤマタ^ハナコ", "19700102", "F", HOME, PHONE, NULL},
         MATCH_SAME},
        {"other kanji of one reading",
         {"山田^華子~" KANA, "19700102", "F", HOME, PHONE, NULL},
         MATCH_SAME},
        {"birth date exchanged", {HANAKO, "19700201", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"one digit of the birth date", {HANAKO, "19760102", "F", HOME, PHONE, NULL}, MATCH_SAME},
        {"sex wrong", {HANAKO, "19700102", "M", HOME, PHONE, NULL}, MATCH_SAME},
        {"moved, phone kept",
         {HANAKO, "19700102", "F", "9-8^^札幌市北区^北海道^0600000", PHONE, NULL},
         MATCH_SAME},
        {"phone changed", {HANAKO, "19700102", "F", HOME, "090-9999-1111", NULL}, MATCH_SAME},
        {"phone in another form",
         {HANAKO, "19700102", "F", NULL, "+81 3 1234 5678", NULL},
         MATCH_SAME},
        {"phone changed, one number of the address wrong",
         {HANAKO, "19700102", "F", "1-2-8^^千代田区霞が関^東京都^1000013", "090-9999-1111", NULL},
         MATCH_SAME},
        {"address in another form",
         {HANAKO, "19700102", "F", "東京都千代田区霞ヶ関一丁目２番３号　第一ビル^^^^100-0013",
          "090-9999-1111", NULL},
         MATCH_SAME},
    };
    (void)state;
    check_pairs(&weighted, &hanako, pairs, ARRAY_LEN(pairs));
}

/* Twins, same name and birthday, and maiden names must not link by themselves. */
static void test_other_patients_who_resemble_do_not_link(void **state)
{
    static const Pair pairs[] = {
        {"twin", {"山田^洋子~ヤマダ^ヨウコ", "19700102", "F", HOME, PHONE, NULL}, MATCH_DIFFERENT},
        {"twin with a similar name",
         {"山田^花江~ヤマダ^ハナエ", "19700102", "F", HOME, PHONE, NULL},
         MATCH_DIFFERENT},
        {"twin whose name is known in kana alone",
         {"ヤマダ^ハナエ", "19700102", "F", HOME, PHONE, NULL},
         MATCH_REVIEW},
        {"twin whose name is a character longer, with a kana missing",
         {"山田^花~ヤマダ^ハナコ", "19700102", "F", HOME, PHONE, NULL},
         MATCH_REVIEW},
        {"newborn without a name",
         {"山田^ベビー", "19700102", "F", HOME, PHONE, NULL},
         MATCH_REVIEW},
        {"same name and birthday, other address and phone",
         {HANAKO, "19700102", "F", "9-8^^札幌市北区^北海道^0600000", "011-222-3333", NULL},
         MATCH_DIFFERENT},
        {"same name and birthday, same town",
         {HANAKO, "19700102", "F", "7-7-7^^千代田区霞が関^東京都^1000013", NULL, NULL},
         MATCH_REVIEW},
        {"same name and birthday, nothing else known",
         {HANAKO, "19700102", "F", NULL, NULL, NULL},
         MATCH_REVIEW},
        {"placeholder as phone", {HANAKO, "19700102", "F", NULL, "0000000000", NULL}, MATCH_REVIEW},
        {"married, same phone",
         {"佐藤^花子~サトウ^ハナコ", "19700102", "F", "9-8^^札幌市北区^北海道^0600000", PHONE,
          NULL},
         MATCH_REVIEW},
        {"maiden name given as such",
         {"佐藤^花子~山田^花子^^^^^M^I", "19700102", "F", HOME, PHONE, NULL},
         MATCH_REVIEW},
        {"mother",
         {"山田^良子~ヤマダ^ヨシコ", "19420304", "F", HOME, PHONE, NULL},
         MATCH_DIFFERENT},
        {"other birth date", {HANAKO, "19831121", "F", HOME, PHONE, NULL}, MATCH_DIFFERENT},
        {"year of birth alone", {HANAKO, "1970", "F", HOME, PHONE, NULL}, MATCH_REVIEW},
        {"nothing known", {NULL, NULL, NULL, NULL, NULL, NULL}, MATCH_DIFFERENT},
    };
    (void)state;
    check_pairs(&weighted, &hanako, pairs, ARRAY_LEN(pairs));
}

static void test_the_order_of_a_multiple_birth_separates(void **state)
{
    static const Record baby = {"山田^ベビー", "20260102", "F", HOME, PHONE, "1"};
    static const Pair pairs[] = {
        {"second", {"山田^ベビー", "20260102", "F", HOME, PHONE, "2"}, MATCH_DIFFERENT},
        {"not said", {"山田^ベビー", "20260102", "F", HOME, PHONE, NULL}, MATCH_REVIEW},
    };
    (void)state;
    check_pairs(&weighted, &baby, pairs, ARRAY_LEN(pairs));
}

/* What is missing is no agreement: a score never rises by it. */
static void test_missing_attributes_weigh_nothing(void **state)
{
    static const Record empty = {NULL, NULL, NULL, NULL, NULL, NULL};
    (void)state;
    Arena *arena = arena_new();
    const MatchProfile *profile = profile_of(arena, &empty);
    assert_true(match_compare(&weighted, arena, profile, profile).score == 0.0);
    assert_int_equal(match_compare(&weighted, arena, profile, profile).verdict, MATCH_DIFFERENT);
    int64_t keys[MATCH_KEYS_MAX];
    assert_int_equal(match_profile_keys(&weighted, profile, keys), 0);
    arena_free(arena);
}

static void test_the_named_rule_asks_for_name_birth_date_and_sex(void **state)
{
    static const Pair pairs[] = {
        {"nothing else", {"山田^花子", "19700102", "F", NULL, NULL, NULL}, MATCH_SAME},
        {"in kana", {"ﾔﾏﾀﾞ^ﾊﾅｺ", "19700102", "F", NULL, NULL, NULL}, MATCH_SAME},
        {"other sex", {HANAKO, "19700102", "M", HOME, PHONE, NULL}, MATCH_DIFFERENT},
        {"sex missing", {HANAKO, "19700102", NULL, HOME, PHONE, NULL}, MATCH_DIFFERENT},
        {"birth date near", {HANAKO, "19700103", "F", HOME, PHONE, NULL}, MATCH_DIFFERENT},
        {"other name", {"佐藤^花子", "19700102", "F", HOME, PHONE, NULL}, MATCH_DIFFERENT},
    };
    (void)state;
    check_pairs(&strict, &hanako, pairs, ARRAY_LEN(pairs));
}

static void test_kana_and_romaji_have_one_reading(void **state)
{
    static const struct {
        const char *kana;
        const char *romaji;
    } rows[] = {
        {"オオノ^ヨウコ", "Ono^Yoko"},
        {"オオノ^ヨウコ", "Ohno^Yohko"},
        {"ハットリ^シュンイチ", "Hattori^Shun'ichi"},
        {"ホンマ^ジュンペイ", "Homma^Jumpei"},
        {"ﾎｯﾁ^ｷﾖｳｺ", "Hotchi^Kyoko"},
        {"フジツカ^チヅル", "Fujitsuka^Chizuru"},
        {"キヨカワ^キヨコ", "Kiyokawa^Kiyoko"},
        {"イノウエ^ユウイチ", "Inoue^Yuichi"},
    };
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const Record kana = {rows[i].kana, "19700102", "F", NULL, NULL, NULL};
        const Record romaji = {rows[i].romaji, "19700102", "F", NULL, NULL, NULL};
        Match match =
            match_compare(&strict, arena, profile_of(arena, &kana), profile_of(arena, &romaji));
        if (match.verdict != MATCH_SAME) {
            fail_msg("row %zu: %s", i, rows[i].romaji);
        }
    }
    arena_free(arena);
}

static void test_a_profile_is_read_as_it_was_written(void **state)
{
    static const char *const damaged[] = {"", "1", "0||||||||||||||", "山田|花子",
                                          "1|a|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r|s"};
    (void)state;
    Arena *arena = arena_new();
    const MatchProfile *profile = profile_of(arena, &hanako);
    Str written = match_profile_write(arena, profile);
    const MatchProfile *read = match_profile_read(arena, written);
    assert_non_null(read);
    assert_true(str_equal(match_profile_write(arena, read), written));
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
        if (match_profile_read(arena, str_from(damaged[i]))) {
            fail_msg("row %zu was read", i);
        }
    }
    arena_free(arena);
}

static void test_evidence_names_no_values_and_is_explained_in_words(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    static const Record married = {"佐藤^花子~サトウ^ハナコ", "19700102", "F", NULL, PHONE, NULL};
    Match match =
        match_compare(&weighted, arena, profile_of(arena, &hanako), profile_of(arena, &married));
    assert_string_equal(
        str_cstr(arena, match.evidence),
        "family=different given=same birth=same sex=same phone=same residence=missing");
    assert_string_equal(str_cstr(arena, match_explain(arena, match.evidence)),
                        "family names differ; same given name in kanji and reading; same birth "
                        "date; same sex; a phone number in common; no address to compare");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_of_one_patient_link_in_spite_of_an_error),
        cmocka_unit_test(test_other_patients_who_resemble_do_not_link),
        cmocka_unit_test(test_the_order_of_a_multiple_birth_separates),
        cmocka_unit_test(test_missing_attributes_weigh_nothing),
        cmocka_unit_test(test_the_named_rule_asks_for_name_birth_date_and_sex),
        cmocka_unit_test(test_kana_and_romaji_have_one_reading),
        cmocka_unit_test(test_a_profile_is_read_as_it_was_written),
        cmocka_unit_test(test_evidence_names_no_values_and_is_explained_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
