#include "pix/matching/match_profile.h"

#include <unicode/uchar.h>

#include "pix/matching/match_text.h"
#include "pix/matching/normal_form.h"

/** First part of the text form; another number means that profiles have to be made anew. */
static const Str format_version = STR_INIT("1");

#define PHONE_MIN_DIGITS 8

/* ---- making ---- */

/** Given names that stand for none: of newborns before registration, and of unknown persons. */
static const Str no_given_names[] = {
    STR_INIT("ベビ"),    STR_INIT("ベビイ"), STR_INIT("新生児"), STR_INIT("児"),
    STR_INIT("フメイ"),  STR_INIT("不明"),   STR_INIT("不詳"),   STR_INIT("未定"),
    STR_INIT("unknown"), STR_INIT("baby"),
};

static Str given_or_nothing(Str given)
{
    for (size_t i = 0; i < ARRAY_LEN(no_given_names); i++) {
        if (str_starts_with(given, no_given_names[i])) {
            return STR_EMPTY;
        }
    }
    return given;
}

/** Which of the names of a profile this one is, by its characters: what XPN-8 says is often wrong.
 * PROFILE_FIELD_COUNT: none of them. */
static ProfileField script_of(Str family, Str given)
{
    bool has_kanji = false;
    bool has_kana = false;
    bool has_latin = false;
    const Str parts[] = {family, given};
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        Str rest = parts[p];
        while (rest.len > 0) {
            int32_t c = text_next_char(&rest);
            has_kanji = has_kanji || u_hasBinaryProperty(c, UCHAR_IDEOGRAPHIC);
            has_kana = has_kana || (c >= 0x30A1 && c <= 0x30FA);
            has_latin = has_latin || (c >= 'a' && c <= 'z');
        }
    }
    if (has_kanji) {
        return PROFILE_KANJI;
    }
    if (has_kana) {
        return PROFILE_KANA;
    }
    return has_latin ? PROFILE_LATIN : PROFILE_FIELD_COUNT;
}

/** Where the first space is, of ASCII or ideographic; SIZE_MAX if there is none. */
static size_t find_space(Str text, size_t *ret_len)
{
    size_t narrow = str_find_char(text, ' ');
    size_t wide = str_find(text, STR("\u3000"));
    *ret_len = wide < narrow ? 3 : 1;
    return MIN(narrow, wide);
}

/** A whole name in the family part alone is taken apart at its space. */
static void add_name(MatchProfile *profile, Arena *arena, const PersonName *name)
{
    Str family = str_trim(name->family);
    Str given = name->given;
    size_t space_len = 0;
    size_t space = find_space(family, &space_len);
    if (str_is_empty(given) && space != SIZE_MAX) {
        given = str_from_offset(family, space + space_len);
        family = str_slice(family, 0, space);
    }
    family = normal_text(arena, family);
    given = given_or_nothing(normal_text(arena, given));
    ProfileField script = script_of(family, given);
    if (script == PROFILE_FIELD_COUNT || !str_is_empty(profile->fields[script])) {
        return;
    }
    profile->fields[script] = family;
    profile->fields[script + 1] = given;
}

/** The name that the patient has now: no maiden name and no alias. */
static bool is_current(const PersonName *name)
{
    return str_is_empty(name->type) || str_equal(name->type, STR("L")) ||
           str_equal(name->type, STR("D")) || str_equal(name->type, STR("U"));
}

static void add_names(MatchProfile *profile, Arena *arena, const Demographics *demographics)
{
    PersonName *names = NULL;
    size_t count = demographics_names(arena, demographics, DEMOGRAPHIC_name, &names);
    for (size_t i = 0; i < count; i++) {
        if (is_current(&names[i])) {
            add_name(profile, arena, &names[i]);
        }
    }
    bool has_kana = !str_is_empty(profile->fields[PROFILE_KANA]);
    Str (*reading_of)(Arena * arena, Str text) = has_kana ? reading_of_kana : reading_of_romaji;
    ProfileField source = has_kana ? PROFILE_KANA : PROFILE_LATIN;
    for (size_t i = 0; i < 2; i++) {
        profile->fields[PROFILE_LATIN + i] = reading_of(arena, profile->fields[source + i]);
    }
}

/** Where the patient lives: not the place of work, of birth, or one that is known to be wrong. */
static bool is_home(const Address *address)
{
    return str_is_empty(address->type) || str_equal(address->type, STR("H")) ||
           str_equal(address->type, STR("C")) || str_equal(address->type, STR("P")) ||
           str_equal(address->type, STR("L")) || str_equal(address->type, STR("M"));
}

static void add_address(MatchProfile *profile, Arena *arena, const Demographics *demographics)
{
    Address *addresses = NULL;
    size_t count = demographics_addresses(arena, demographics, &addresses);
    for (size_t i = 0; i < count; i++) {
        const Address *address = &addresses[i];
        if (!is_home(address)) {
            continue;
        }
        Str line =
            str_printf(arena, "%.*s %.*s %.*s %.*s", STR_ARG(address->state),
                       STR_ARG(address->city), STR_ARG(address->street), STR_ARG(address->other));
        Residence residence = match_residence(arena, line);
        profile->fields[PROFILE_POSTAL_CODE] = normal_postal_code(arena, address->postal_code);
        profile->fields[PROFILE_PLACE] = residence.place;
        profile->fields[PROFILE_NUMBERS] = residence.numbers;
        return;
    }
}

/** A number that can be one: 0000000000 and the like are filled in where there is none. */
static bool is_phone(Str digits)
{
    size_t same = 1;
    for (size_t i = digits.len; i > 1 && digits.data[i - 1] == digits.data[i - 2]; i--) {
        same++;
    }
    return digits.len >= PHONE_MIN_DIGITS && same < PHONE_MIN_DIGITS - 1;
}

static void add_phones(MatchProfile *profile, Arena *arena, const Demographics *demographics)
{
    Telecom *telecoms = NULL;
    size_t count = demographics_telecoms(arena, demographics, &telecoms);
    size_t used = 0;
    for (size_t i = 0; i < count && used < MATCH_PHONES_MAX; i++) {
        Str digits = normal_phone(arena, telecoms[i].number);
        if (is_phone(digits) && !telecoms[i].is_business) {
            profile->fields[PROFILE_PHONE + used++] = digits;
        }
    }
}

const MatchProfile *match_profile_new(Arena *arena, const Demographics *demographics)
{
    MatchProfile *profile = ARENA_NEW(arena, MatchProfile);
    add_names(profile, arena, demographics);
    add_address(profile, arena, demographics);
    add_phones(profile, arena, demographics);
    profile->fields[PROFILE_BIRTH_DATE] = demographics_birth_date(arena, demographics);
    profile->fields[PROFILE_BIRTH_ORDER] =
        normal_text(arena, demographics_value(arena, demographics, DEMOGRAPHIC_birth_order));
    Str sex = demographics_value(arena, demographics, DEMOGRAPHIC_sex);
    bool is_told = str_equal(sex, STR("M")) || str_equal(sex, STR("F"));
    profile->fields[PROFILE_SEX] = is_told ? sex : STR_EMPTY;
    return profile;
}

/* ---- text form: version and fields, joined by '|', which no normal form has ---- */

Str match_profile_write(Arena *arena, const MatchProfile *profile)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    strbuf_append(&buf, format_version);
    for (size_t i = 0; i < PROFILE_FIELD_COUNT; i++) {
        strbuf_append_char(&buf, '|');
        strbuf_append(&buf, profile->fields[i]);
    }
    return str_dup(arena, strbuf_str(&buf));
}

const MatchProfile *match_profile_read(Arena *arena, Str text)
{
    Str rest = text;
    Str version = STR_EMPTY;
    if (!str_split_next(&rest, '|', &version) || !str_equal(version, format_version)) {
        return NULL;
    }
    MatchProfile *profile = ARENA_NEW(arena, MatchProfile);
    for (size_t i = 0; i < PROFILE_FIELD_COUNT; i++) {
        if (!str_split_next(&rest, '|', &profile->fields[i])) {
            return NULL;
        }
    }
    return rest.data == NULL ? profile : NULL;
}
