#include "pix/matching/normal_form.h"
#include "pix/search_private.h"

/** A record with more names than this is found by these. */
#define NAME_ROWS_MAX 256

static const DemographicField name_fields[] = {DEMOGRAPHIC_name, DEMOGRAPHIC_alias};

Str search_key(Str folded)
{
    size_t len = MIN(folded.len, SEARCH_KEY_MAX_BYTES);
    while (len < folded.len && len > 0 && ((unsigned char)folded.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return str_slice(folded, 0, len);
}

size_t search_patient_names(Arena *arena, const Demographics *demographics, PersonName **ret_names)
{
    PersonName *parts[ARRAY_LEN(name_fields)];
    size_t counts[ARRAY_LEN(name_fields)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(name_fields); i++) {
        counts[i] = demographics_names(arena, demographics, name_fields[i], &parts[i]);
        count += counts[i];
    }
    PersonName *names = ARENA_ARRAY(arena, PersonName, count);
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(name_fields); i++) {
        memcpy(names + at, parts[i], counts[i] * sizeof(*names));
        at += counts[i];
    }
    *ret_names = names;
    return count;
}

size_t search_given_names(Arena *arena, const PersonName *name, Str **ret_givens)
{
    size_t room = 2;
    for (size_t i = 0; i < name->further_given.len; i++) {
        room += name->further_given.data[i] == ' ';
    }
    Str *givens = ARENA_ARRAY(arena, Str, room);
    size_t count = 0;
    Str rest = name->further_given;
    Str given = name->given;
    do {
        if (!str_is_empty(given)) {
            givens[count++] = given;
        }
    } while (str_split_next(&rest, ' ', &given));
    *ret_givens = givens;
    return count;
}

/** Adds a row unless it is there: the same name twice, in old and new characters. */
static void add_row(SearchRow *row, Str family, Str given)
{
    for (size_t i = 0; i < row->name_count; i++) {
        if (str_equal(row->families[i], family) && str_equal(row->givens[i], given)) {
            return;
        }
    }
    bool is_valued = !str_is_empty(family) || !str_is_empty(given);
    if (is_valued && row->name_count < NAME_ROWS_MAX) {
        row->families[row->name_count] = family;
        row->givens[row->name_count++] = given;
    }
}

static void add_name(Arena *arena, SearchRow *row, const PersonName *name)
{
    Str *givens;
    Str family = search_key(normal_text(arena, name->family));
    size_t count = search_given_names(arena, name, &givens);
    for (size_t i = 0; i < count; i++) {
        add_row(row, family, search_key(normal_text(arena, givens[i])));
    }
    if (count == 0) {
        add_row(row, family, STR_EMPTY);
    }
}

static void make_names(Arena *arena, const Demographics *demographics, SearchRow *row)
{
    PersonName *names;
    size_t count = search_patient_names(arena, demographics, &names);
    row->families = ARENA_ARRAY(arena, Str, NAME_ROWS_MAX);
    row->givens = ARENA_ARRAY(arena, Str, NAME_ROWS_MAX);
    for (size_t i = 0; i < count; i++) {
        add_name(arena, row, &names[i]);
    }
}

static void make_phones(Arena *arena, const Demographics *demographics, SearchRow *row)
{
    Telecom *telecoms;
    size_t count = demographics_telecoms(arena, demographics, &telecoms);
    row->phones = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        Str phone = search_key(normal_phone(arena, telecoms[i].number));
        if (!str_is_empty(phone)) {
            row->phones[row->phone_count++] = phone;
        }
    }
}

static Str first_postal_code(Arena *arena, const Demographics *demographics)
{
    Address *addresses;
    size_t count = demographics_addresses(arena, demographics, &addresses);
    for (size_t i = 0; i < count; i++) {
        Str code = normal_postal_code(arena, addresses[i].postal_code);
        if (!str_is_empty(code)) {
            return code;
        }
    }
    return STR_EMPTY;
}

void search_row_make(Arena *arena, const Demographics *demographics, SearchRow *ret_row)
{
    SearchRow row = {
        .birth_date = demographics_birth_date(arena, demographics),
        .sex = demographics_value(arena, demographics, DEMOGRAPHIC_sex),
        .postal_code = first_postal_code(arena, demographics),
    };
    make_names(arena, demographics, &row);
    make_phones(arena, demographics, &row);
    *ret_row = row;
}
