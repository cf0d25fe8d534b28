#include "lib/fhir/parameters.h"

/* ---- query strings ---- */

static int refuse(Request *req, Str name, const char *what)
{
    return error_add(&req->errors, ERR_FHIR_INVALID, NULL, "Parameter \"%.*s\" %s.", STR_ARG(name),
                     what);
}

bool fhir_percent_decode(Arena *arena, Str encoded, Str *ret_text)
{
    char *to = arena_alloc(arena, encoded.len);
    size_t len = 0;
    for (size_t i = 0; i < encoded.len; i++) {
        to[len] = encoded.data[i];
        if (encoded.data[i] == '%') {
            if (!str_unhex(str_slice(encoded, i + 1, 2), &to[len], 1)) {
                return false;
            }
            i += 2;
        }
        len++;
    }
    *ret_text = (Str){to, len};
    return true;
}

/** A name or value of a form: '+' is a space. */
static bool form_decode(Arena *arena, Str encoded, Str *ret_text)
{
    char *spaced = arena_alloc(arena, encoded.len);
    for (size_t i = 0; i < encoded.len; i++) {
        spaced[i] = encoded.data[i];
        if (spaced[i] == '+') {
            spaced[i] = ' ';
        }
    }
    return fhir_percent_decode(arena, (Str){spaced, encoded.len}, ret_text);
}

int fhir_parameters_add(Request *req, FhirParameters *parameters, Str name, Str value)
{
    if (!parameters->items) {
        parameters->items = ARENA_ARRAY(req->arena, FhirParameter, FHIR_PARAMETERS_MAX);
    }
    if (parameters->count == FHIR_PARAMETERS_MAX) {
        return error_add(&req->errors, ERR_FHIR_INVALID, NULL,
                         "There are more than %d parameters; send fewer, with alternatives joined "
                         "by commas.",
                         FHIR_PARAMETERS_MAX);
    }
    FhirParameter *parameter = &parameters->items[parameters->count++];
    size_t colon = str_find_char(name, ':');
    parameter->name = str_slice(name, 0, MIN(colon, name.len));
    parameter->modifier = colon < name.len ? str_from_offset(name, colon + 1) : STR_EMPTY;
    parameter->value = value;
    return 0;
}

int fhir_parameters_read(Request *req, FhirParameters *parameters, Str encoded)
{
    Str pair;
    while (str_split_next(&encoded, '&', &pair)) {
        if (str_is_empty(pair)) {
            continue;
        }
        size_t equals = str_find_char(pair, '=');
        Str raw_name = str_slice(pair, 0, MIN(equals, pair.len));
        Str raw_value = equals < pair.len ? str_from_offset(pair, equals + 1) : STR_EMPTY;
        Str name;
        Str value;
        if (!form_decode(req->arena, raw_name, &name) ||
            !form_decode(req->arena, raw_value, &value)) {
            return refuse(req, raw_name, "holds a % without two hexadecimal digits; send %25");
        }
        if (!str_is_utf8(name) || !str_is_utf8(value)) {
            return refuse(req, raw_name, "is not percent-encoded UTF-8");
        }
        int rc = fhir_parameters_add(req, parameters, name, value);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

const FhirParameter *fhir_parameters_next(FhirParameters *parameters, const char *name,
                                          size_t *index)
{
    for (size_t i = *index; i < parameters->count; i++) {
        if (str_equal(parameters->items[i].name, str_from(name))) {
            parameters->items[i].is_used = true;
            *index = i + 1;
            return &parameters->items[i];
        }
    }
    *index = parameters->count;
    return NULL;
}

Str fhir_parameters_value(FhirParameters *parameters, const char *name)
{
    size_t index = 0;
    const FhirParameter *parameter = fhir_parameters_next(parameters, name, &index);
    return parameter ? parameter->value : STR_EMPTY;
}

/** Appends a name or value, percent-encoded. */
static void append_percent(StrBuf *buf, Str text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool is_plain = is_letter || (c >= '0' && c <= '9') || (c && strchr("-._~:,/", c));
        if (is_plain) {
            strbuf_append_char(buf, (char)c);
        } else {
            strbuf_append_char(buf, '%');
            strbuf_append_char(buf, digits[c >> 4]);
            strbuf_append_char(buf, digits[c & 15]);
        }
    }
}

void fhir_parameters_write_used(StrBuf *buf, const FhirParameters *parameters, const char *except)
{
    bool is_first = true;
    for (size_t i = 0; i < parameters->count; i++) {
        const FhirParameter *parameter = &parameters->items[i];
        if (!parameter->is_used || (except && str_equal(parameter->name, str_from(except)))) {
            continue;
        }
        strbuf_append(buf, is_first ? STR_EMPTY : STR("&"));
        is_first = false;
        append_percent(buf, parameter->name);
        if (!str_is_empty(parameter->modifier)) {
            strbuf_append_char(buf, ':');
            append_percent(buf, parameter->modifier);
        }
        strbuf_append_char(buf, '=');
        append_percent(buf, parameter->value);
    }
}

int fhir_parameters_check_used(Request *req, const FhirParameters *parameters)
{
    int rc = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        if (!parameters->items[i].is_used) {
            rc = error_add(&req->errors, ERR_FHIR_NOT_SUPPORTED, NULL,
                           "Parameter \"%.*s\" is not supported here; leave it out, or leave out "
                           "Prefer: handling=strict.",
                           STR_ARG(parameters->items[i].name));
        }
    }
    return rc;
}

/* ---- values ---- */

/** Index of the first c that is not escaped, or the length. */
static size_t find_unescaped(Str text, char c)
{
    size_t i = 0;
    while (i < text.len && text.data[i] != c) {
        i += text.data[i] == '\\' ? 2 : 1;
    }
    return MIN(i, text.len);
}

bool fhir_value_next(Str *rest, Str *ret_item)
{
    if (!rest->data) {
        return false;
    }
    size_t comma = find_unescaped(*rest, ',');
    *ret_item = str_slice(*rest, 0, comma);
    *rest = comma < rest->len ? str_from_offset(*rest, comma + 1) : (Str){0};
    return true;
}

Str fhir_value_text(Arena *arena, Str item)
{
    if (str_find_char(item, '\\') == SIZE_MAX) {
        return item;
    }
    char *to = arena_alloc(arena, item.len);
    size_t len = 0;
    for (size_t i = 0; i < item.len; i++) {
        bool is_escape =
            item.data[i] == '\\' && i + 1 < item.len && strchr("\\,|$", item.data[i + 1]);
        i += is_escape ? 1 : 0;
        to[len++] = item.data[i];
    }
    return (Str){to, len};
}

FhirToken fhir_token_parse(Arena *arena, Str item)
{
    size_t bar = find_unescaped(item, '|');
    if (bar == item.len) {
        return (FhirToken){.code = fhir_value_text(arena, item)};
    }
    return (FhirToken){.has_separator = true,
                       .system = fhir_value_text(arena, str_slice(item, 0, bar)),
                       .code = fhir_value_text(arena, str_from_offset(item, bar + 1))};
}

/* ---- dates ---- */

typedef struct PrefixName {
    Str name;
    FhirPrefix prefix;
} PrefixName;

static const PrefixName prefix_names[] = {
    {STR_INIT("eq"), FHIR_PREFIX_EQ}, {STR_INIT("ne"), FHIR_PREFIX_NE},
    {STR_INIT("gt"), FHIR_PREFIX_GT}, {STR_INIT("sa"), FHIR_PREFIX_GT},
    {STR_INIT("lt"), FHIR_PREFIX_LT}, {STR_INIT("eb"), FHIR_PREFIX_LT},
    {STR_INIT("ge"), FHIR_PREFIX_GE}, {STR_INIT("le"), FHIR_PREFIX_LE},
    {STR_INIT("ap"), FHIR_PREFIX_AP},
};

static FhirPrefix take_prefix(Str *text)
{
    for (size_t i = 0; i < ARRAY_LEN(prefix_names); i++) {
        if (str_starts_with(*text, prefix_names[i].name)) {
            *text = str_from_offset(*text, prefix_names[i].name.len);
            return prefix_names[i].prefix;
        }
    }
    return FHIR_PREFIX_EQ;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[(month + 11) % 12];
}

static bool read_part(Str text, size_t offset, size_t len, unsigned *ret_value)
{
    uint64_t value;
    Str digits = str_slice(text, offset, len);
    if (digits.len != len || !str_to_u64(digits, &value)) {
        return false;
    }
    *ret_value = (unsigned)value;
    return true;
}

static bool is_dash(Str text, size_t offset)
{
    return offset < text.len && text.data[offset] == '-';
}

bool fhir_date_parse(Str text, FhirDate *ret_date)
{
    FhirDate date = {.prefix = take_prefix(&text)};
    size_t time = str_find_char(text, 'T');
    bool has_time = time < text.len;
    text = str_slice(text, 0, MIN(time, text.len));
    if (!(text.len == 4 || text.len == 7 || text.len == 10) || (has_time && text.len != 10) ||
        !read_part(text, 0, 4, &date.year) || date.year == 0) {
        return false;
    }
    if (text.len > 4 && (!is_dash(text, 4) || !read_part(text, 5, 2, &date.month) ||
                         date.month == 0 || date.month > 12)) {
        return false;
    }
    if (text.len > 7 && (!is_dash(text, 7) || !read_part(text, 8, 2, &date.day) || date.day == 0 ||
                         date.day > days_in_month(date.year, date.month))) {
        return false;
    }
    *ret_date = date;
    return true;
}

Str fhir_date_digits(Arena *arena, FhirDate date)
{
    if (date.month == 0) {
        return str_printf(arena, "%04u", date.year);
    }
    return date.day == 0 ? str_printf(arena, "%04u%02u", date.year, date.month)
                         : str_printf(arena, "%04u%02u%02u", date.year, date.month, date.day);
}

FhirDate fhir_date_step(FhirDate date, int direction)
{
    bool has_month = date.month != 0;
    bool has_day = date.day != 0;
    bool is_up = direction > 0;
    if (has_day) {
        bool is_edge = is_up ? date.day == days_in_month(date.year, date.month) : date.day == 1;
        date.day = is_up ? date.day + 1 : date.day - 1;
        if (!is_edge) {
            return date;
        }
    }
    bool is_year_edge = !has_month || (is_up ? date.month == 12 : date.month == 1);
    if (has_month) {
        date.month = is_year_edge ? (is_up ? 1 : 12) : is_up ? date.month + 1 : date.month - 1;
    }
    if (is_year_edge) {
        date.year = is_up ? date.year + 1 : date.year - 1;
    }
    if (has_day) {
        date.day = is_up ? 1 : days_in_month(date.year, date.month);
    }
    return date;
}
