#include "lib/hl7/demographics.h"

#include "lib/base/dtm.h"

#define REPETITIONS_MAX 1000

/** PID-n of each row. */
static const size_t pid_fields[] = {
#define DEMOGRAPHIC(name, pid, repeats) [DEMOGRAPHIC_##name] = (pid),
#include "lib/hl7/demographics.def"
#undef DEMOGRAPHIC
};

/** What a field or a part of one says when its value shall go (ITI TF-2 Appendix C). */
static const Str null_value = STR_INIT("\"\"");

/* ---- whole fields ---- */

/** Whether the field has octets in hexadecimal, which are in the character set of the message. */
static bool has_hexadecimal(const Er7Message *message, Str raw)
{
    const char sequence[] = {message->delimiters.escape, 'X'};
    return message->delimiters.escape && str_contains(raw, (Str){sequence, sizeof(sequence)});
}

static bool is_structure(const Er7Delimiters *delimiters, char c)
{
    return c == delimiters->component || c == delimiters->repetition ||
           c == delimiters->subcomponent;
}

/** A field whose leaves are decoded and written anew: in UTF-8 without octets in hexadecimal. */
static Str rewrite_leaves(const Er7Message *message, Str raw)
{
    const Er7Delimiters *delimiters = &message->delimiters;
    _cleanup_(strbuf_done) StrBuf buf = {0};
    size_t start = 0;
    for (size_t i = 0; i <= raw.len; i++) {
        if (i < raw.len && !is_structure(delimiters, raw.data[i])) {
            continue;
        }
        Str leaf = str_slice(raw, start, i - start);
        er7_append_text(&buf, er7_text(message->arena, delimiters, message->charset, leaf));
        if (i < raw.len) {
            const Str mark = {&raw.data[i], 1};
            strbuf_append(&buf, er7_standardize(message, mark));
        }
        start = i + 1;
    }
    return str_dup(message->arena, strbuf_str(&buf));
}

void demographics_from_pid(const Er7Message *message, const Er7Segment *pid,
                           Demographics *ret_demographics)
{
    Demographics demographics;
    for (size_t i = 0; i < DEMOGRAPHIC_COUNT; i++) {
        Str raw = er7_field(message, pid, pid_fields[i]);
        demographics.fields[i] = has_hexadecimal(message, raw) ? rewrite_leaves(message, raw)
                                                               : er7_standardize(message, raw);
    }
    *ret_demographics = demographics;
}

void demographics_update(Demographics *held, const Demographics *fed)
{
    for (size_t i = 0; i < DEMOGRAPHIC_COUNT; i++) {
        Str field = fed->fields[i];
        if (str_equal(field, null_value)) {
            held->fields[i] = STR_EMPTY;
        } else if (!str_is_empty(field)) {
            held->fields[i] = field;
        }
    }
}

Str demographics_write(Arena *arena, const Demographics *demographics)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    size_t used = 0;
    for (size_t i = 0; i < DEMOGRAPHIC_COUNT; i++) {
        if (i > 0) {
            strbuf_append_char(&buf, '|');
        }
        strbuf_append(&buf, demographics->fields[i]);
        used = str_is_empty(demographics->fields[i]) ? used : buf.len;
    }
    return str_dup(arena, str_slice(strbuf_str(&buf), 0, used));
}

void demographics_read(Str text, Demographics *ret_demographics)
{
    Str rest = text;
    for (size_t i = 0; i < DEMOGRAPHIC_COUNT; i++) {
        Str field;
        bool is_there = str_split_next(&rest, '|', &field);
        ret_demographics->fields[i] = is_there ? field : STR_EMPTY;
    }
}

void demographics_append_pid(StrBuf *buf, const Demographics *demographics, size_t first,
                             size_t last)
{
    size_t row = 0;
    for (size_t number = first; number <= last; number++) {
        while (row < DEMOGRAPHIC_COUNT && pid_fields[row] < number) {
            row++;
        }
        strbuf_append_char(buf, '|');
        if (row < DEMOGRAPHIC_COUNT && pid_fields[row] == number) {
            strbuf_append(buf, demographics->fields[row]);
        }
    }
}

/* ---- parts: reading ---- */

static Str text_of(Arena *arena, Str component)
{
    Str leaf = er7_subcomponent(&er7_standard_delimiters, component, 1);
    Str text = er7_text(arena, &er7_standard_delimiters, HL7_UTF_8, leaf);
    return str_equal(text, null_value) ? STR_EMPTY : text;
}

/** The text of a component's first subcomponent. */
static Str part(Arena *arena, Str repetition, size_t component)
{
    return text_of(arena, er7_component(&er7_standard_delimiters, repetition, component));
}

/** Whether a repetition says anything. */
static bool is_valued(Str repetition)
{
    for (size_t i = 0; i < repetition.len; i++) {
        char c = repetition.data[i];
        if (c != '^' && c != '&' && c != ' ' && c != '"') {
            return true;
        }
    }
    return false;
}

/** Room for one item per repetition. */
static size_t count_repetitions(Str field)
{
    return MIN(er7_repetition_count(&er7_standard_delimiters, field), REPETITIONS_MAX);
}

/** The next repetition that says something. */
static bool next_valued(Str *rest, Str *ret_repetition)
{
    Str repetition;
    while (str_split_next(rest, '~', &repetition)) {
        if (is_valued(repetition)) {
            *ret_repetition = repetition;
            return true;
        }
    }
    return false;
}

static PersonName read_name(Arena *arena, Str repetition)
{
    return (PersonName){
        .family = part(arena, repetition, 1),
        .given = part(arena, repetition, 2),
        .further_given = part(arena, repetition, 3),
        .suffix = part(arena, repetition, 4),
        .prefix = part(arena, repetition, 5),
        .type = part(arena, repetition, 7),
        .representation = part(arena, repetition, 8),
    };
}

size_t demographics_names(Arena *arena, const Demographics *demographics, DemographicField field,
                          PersonName **ret_names)
{
    Str rest = demographics->fields[field];
    size_t room = count_repetitions(rest);
    PersonName *names = ARENA_ARRAY(arena, PersonName, room);
    size_t count = 0;
    Str repetition;
    while (count < room && next_valued(&rest, &repetition)) {
        names[count++] = read_name(arena, repetition);
    }
    *ret_names = names;
    return count;
}

static Address read_address(Arena *arena, Str repetition)
{
    return (Address){
        .street = part(arena, repetition, 1),
        .other = part(arena, repetition, 2),
        .city = part(arena, repetition, 3),
        .state = part(arena, repetition, 4),
        .postal_code = part(arena, repetition, 5),
        .country = part(arena, repetition, 6),
        .type = part(arena, repetition, 7),
    };
}

size_t demographics_addresses(Arena *arena, const Demographics *demographics,
                              Address **ret_addresses)
{
    Str rest = demographics->fields[DEMOGRAPHIC_address];
    size_t room = count_repetitions(rest);
    Address *addresses = ARENA_ARRAY(arena, Address, room);
    size_t count = 0;
    Str repetition;
    while (count < room && next_valued(&rest, &repetition)) {
        addresses[count++] = read_address(arena, repetition);
    }
    *ret_addresses = addresses;
    return count;
}

/** XTN-5 to XTN-8: country code, area, number, extension. */
static Str assemble_number(Arena *arena, Str repetition)
{
    Str country = part(arena, repetition, 5);
    Str area = part(arena, repetition, 6);
    Str local = part(arena, repetition, 7);
    Str extension = part(arena, repetition, 8);
    if (str_is_empty(local)) {
        return STR_EMPTY;
    }
    return str_printf(arena, "%s%.*s%s%.*s%s%.*s%s%.*s", str_is_empty(country) ? "" : "+",
                      STR_ARG(country), str_is_empty(country) ? "" : "-", STR_ARG(area),
                      str_is_empty(area) ? "" : "-", STR_ARG(local),
                      str_is_empty(extension) ? "" : " x", STR_ARG(extension));
}

static Telecom read_telecom(Arena *arena, Str repetition, bool is_business)
{
    Telecom telecom = {
        .number = part(arena, repetition, 12),
        .use = part(arena, repetition, 2),
        .equipment = part(arena, repetition, 3),
        .email = part(arena, repetition, 4),
        .is_business = is_business,
    };
    if (str_is_empty(telecom.number)) {
        telecom.number = part(arena, repetition, 1);
    }
    if (str_is_empty(telecom.number)) {
        telecom.number = assemble_number(arena, repetition);
    }
    return telecom;
}

size_t demographics_telecoms(Arena *arena, const Demographics *demographics, Telecom **ret_telecoms)
{
    const DemographicField fields[] = {DEMOGRAPHIC_phone_home, DEMOGRAPHIC_phone_business};
    size_t room = count_repetitions(demographics->fields[DEMOGRAPHIC_phone_home]) +
                  count_repetitions(demographics->fields[DEMOGRAPHIC_phone_business]);
    Telecom *telecoms = ARENA_ARRAY(arena, Telecom, room);
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        Str rest = demographics->fields[fields[i]];
        Str repetition;
        while (count < room && next_valued(&rest, &repetition)) {
            telecoms[count++] =
                read_telecom(arena, repetition, fields[i] == DEMOGRAPHIC_phone_business);
        }
    }
    *ret_telecoms = telecoms;
    return count;
}

Str demographics_value(Arena *arena, const Demographics *demographics, DemographicField field)
{
    Str repetition = er7_repetition(&er7_standard_delimiters, demographics->fields[field], 1);
    return part(arena, repetition, 1);
}

static size_t count_digits(Str text)
{
    size_t count = 0;
    while (count < text.len && text.data[count] >= '0' && text.data[count] <= '9') {
        count++;
    }
    return count;
}

/** What may follow the digits of a TS: [.S[S[S[S]]]][+/-ZZZZ] (HL7 v2.5 2.A.77). */
static bool is_fraction_and_offset(Str text)
{
    Str rest = text;
    if (str_starts_with(rest, STR("."))) {
        rest = str_from_offset(rest, 1 + count_digits(str_from_offset(rest, 1)));
    }
    bool has_offset = str_starts_with(rest, STR("+")) || str_starts_with(rest, STR("-"));
    return str_is_empty(rest) ||
           (has_offset && rest.len == 5 && count_digits(str_from_offset(rest, 1)) == 4);
}

Str demographics_birth_date(Arena *arena, const Demographics *demographics)
{
    Str time = str_trim(demographics_value(arena, demographics, DEMOGRAPHIC_birth_time));
    size_t digits = count_digits(time);
    Str date = str_slice(time, 0, MIN(digits, 8));
    int64_t utc_us;
    bool is_time = digits % 2 == 0 && digits <= 14 && dtm_parse(date, &utc_us) &&
                   is_fraction_and_offset(str_from_offset(time, digits));
    return is_time ? date : STR_EMPTY;
}

/* ---- parts: writing ---- */

/** Appends one repetition made of components; trailing empty ones are left out. */
static void append_repetition(StrBuf *buf, const Str *components, size_t count)
{
    size_t used = count;
    while (used > 0 && str_is_empty(components[used - 1])) {
        used--;
    }
    if (used > 0 && buf->len > 0) {
        strbuf_append_char(buf, '~');
    }
    for (size_t i = 0; i < used; i++) {
        if (i > 0) {
            strbuf_append_char(buf, '^');
        }
        er7_append_text(buf, components[i]);
    }
}

void demographics_set_names(Arena *arena, Demographics *demographics, DemographicField field,
                            const PersonName *names, size_t count)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < count; i++) {
        const PersonName *name = &names[i];
        const Str components[] = {name->family, name->given,         name->further_given,
                                  name->suffix, name->prefix,        STR_EMPTY,
                                  name->type,   name->representation};
        append_repetition(&buf, components, ARRAY_LEN(components));
    }
    demographics->fields[field] = str_dup(arena, strbuf_str(&buf));
}

void demographics_set_addresses(Arena *arena, Demographics *demographics, const Address *addresses,
                                size_t count)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < count; i++) {
        const Address *address = &addresses[i];
        const Str components[] = {address->street, address->other,       address->city,
                                  address->state,  address->postal_code, address->country,
                                  address->type};
        append_repetition(&buf, components, ARRAY_LEN(components));
    }
    demographics->fields[DEMOGRAPHIC_address] = str_dup(arena, strbuf_str(&buf));
}

void demographics_set_telecoms(Arena *arena, Demographics *demographics, const Telecom *telecoms,
                               size_t count)
{
    _cleanup_(strbuf_done) StrBuf home = {0};
    _cleanup_(strbuf_done) StrBuf business = {0};
    for (size_t i = 0; i < count; i++) {
        const Telecom *telecom = &telecoms[i];
        const Str components[] = {telecom->number, telecom->use, telecom->equipment,
                                  telecom->email};
        append_repetition(telecom->is_business ? &business : &home, components,
                          ARRAY_LEN(components));
    }
    demographics->fields[DEMOGRAPHIC_phone_home] = str_dup(arena, strbuf_str(&home));
    demographics->fields[DEMOGRAPHIC_phone_business] = str_dup(arena, strbuf_str(&business));
}

void demographics_set_value(Arena *arena, Demographics *demographics, DemographicField field,
                            Str text)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    er7_append_text(&buf, text);
    demographics->fields[field] = str_dup(arena, strbuf_str(&buf));
}
