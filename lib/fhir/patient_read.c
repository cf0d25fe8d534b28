#include "lib/fhir/parameters.h"
#include "lib/fhir/patient.h"
#include "lib/fhir/patient_codes.h"
#include "lib/fhir/patient_urls.h"

/** Most names, addresses and telecoms of one patient. */
#define REPETITIONS_MAX 100

/** The values of all elements of this name, joined by a space. */
static Str joined(Arena *arena, const FhirNode *first)
{
    if (!first || !fhir_next(first)) {
        return first ? first->value : STR_EMPTY;
    }
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (const FhirNode *node = first; node; node = fhir_next(node)) {
        strbuf_append(&buf, node == first ? STR_EMPTY : STR(" "));
        strbuf_append(&buf, node->value);
    }
    return str_dup(arena, strbuf_str(&buf));
}

/* ---- names ---- */

static PersonName read_name(Arena *arena, const FhirNode *node)
{
    const FhirNode *given = fhir_child(node, "given");
    const FhirNode *representation = fhir_value_x(fhir_extension(node, URL_EN_REPRESENTATION));
    PersonName name = {
        .family = fhir_text(node, "family"),
        .given = given ? given->value : STR_EMPTY,
        .further_given = joined(arena, given ? fhir_next(given) : NULL),
        .prefix = joined(arena, fhir_child(node, "prefix")),
        .suffix = joined(arena, fhir_child(node, "suffix")),
        .type = fhir_code_to_v2(FHIR_NAME_USE, fhir_text(node, "use")),
    };
    if (representation) {
        name.representation = fhir_code_to_v2(FHIR_REPRESENTATION, representation->value);
    }
    if (str_is_empty(name.family) && str_is_empty(name.given)) {
        name.family = fhir_text(node, "text");
    }
    return name;
}

static void read_names(Arena *arena, const FhirNode *patient, Demographics *demographics)
{
    PersonName *names = ARENA_ARRAY(arena, PersonName, REPETITIONS_MAX);
    size_t count = 0;
    const FhirNode *node = fhir_child(patient, "name");
    for (; node && count < REPETITIONS_MAX; node = fhir_next(node)) {
        names[count++] = read_name(arena, node);
    }
    demographics_set_names(arena, demographics, DEMOGRAPHIC_name, names, count);
    const FhirNode *maiden = fhir_value_x(fhir_extension(patient, URL_MOTHERS_MAIDEN_NAME));
    if (maiden) {
        const PersonName name = {.family = maiden->value};
        demographics_set_names(arena, demographics, DEMOGRAPHIC_mothers_maiden_name, &name, 1);
    }
}

/* ---- addresses, telecoms ---- */

static Address read_address(Arena *arena, const FhirNode *node)
{
    const FhirNode *line = fhir_child(node, "line");
    Address address = {
        .street = line ? line->value : STR_EMPTY,
        .other = joined(arena, line ? fhir_next(line) : NULL),
        .city = fhir_text(node, "city"),
        .state = fhir_text(node, "state"),
        .postal_code = fhir_text(node, "postalCode"),
        .country = fhir_text(node, "country"),
        .type = fhir_code_to_v2(FHIR_ADDRESS_USE, fhir_text(node, "use")),
    };
    if (!line && str_is_empty(address.city) && str_is_empty(address.state)) {
        address.street = fhir_text(node, "text");
    }
    return address;
}

static void read_addresses(Arena *arena, const FhirNode *patient, Demographics *demographics)
{
    Address *addresses = ARENA_ARRAY(arena, Address, REPETITIONS_MAX);
    size_t count = 0;
    const FhirNode *node = fhir_child(patient, "address");
    for (; node && count < REPETITIONS_MAX; node = fhir_next(node)) {
        addresses[count++] = read_address(arena, node);
    }
    demographics_set_addresses(arena, demographics, addresses, count);
}

static Telecom read_telecom(const FhirNode *node)
{
    Str system = fhir_text(node, "system");
    Str use = fhir_text(node, "use");
    bool is_work = str_equal(use, STR("work"));
    if (str_equal(system, STR("email"))) {
        return (Telecom){.use = STR("NET"),
                         .equipment = STR("Internet"),
                         .email = fhir_text(node, "value"),
                         .is_business = is_work};
    }
    return (Telecom){.number = fhir_text(node, "value"),
                     .use = is_work ? STR("WPN") : STR("PRN"),
                     .equipment = str_equal(use, STR("mobile"))
                                      ? STR("CP")
                                      : fhir_code_to_v2(FHIR_TELECOM_SYSTEM, system),
                     .is_business = is_work};
}

static void read_telecoms(Arena *arena, const FhirNode *patient, Demographics *demographics)
{
    Telecom *telecoms = ARENA_ARRAY(arena, Telecom, REPETITIONS_MAX);
    size_t count = 0;
    const FhirNode *node = fhir_child(patient, "telecom");
    for (; node && count < REPETITIONS_MAX; node = fhir_next(node)) {
        if (!str_is_empty(fhir_text(node, "value"))) {
            telecoms[count++] = read_telecom(node);
        }
    }
    demographics_set_telecoms(arena, demographics, telecoms, count);
}

/* ---- single values ---- */

static int refuse(Request *req, const char *location, const char *element, Str value,
                  const char *instead)
{
    Str path = str_printf(req->arena, "%s.%s", location, element);
    return error_add(&req->errors, ERR_FHIR_INVALID, path.data, "%s is \"%.*s\"; send %s.",
                     path.data, STR_ARG(value), instead);
}

/** 2020-01-02T03:04:05+09:00 as TS: 20200102030405+0900. */
static Str time_digits(Arena *arena, Str time)
{
    static const Str utc = STR_INIT("+0000");
    char *to = arena_alloc(arena, time.len * utc.len + 1);
    size_t len = 0;
    bool is_date = true;
    for (size_t i = 0; i < time.len; i++) {
        char c = time.data[i];
        is_date = is_date && c != 'T';
        if ((c >= '0' && c <= '9') || (!is_date && (c == '.' || c == '+' || c == '-'))) {
            to[len++] = c;
        } else if (c == 'Z') {
            memcpy(to + len, utc.data, utc.len);
            len += utc.len;
        }
    }
    return (Str){to, len};
}

static bool is_date(Str text)
{
    FhirDate date;
    return text.len > 0 && text.data[0] >= '0' && text.data[0] <= '9' &&
           fhir_date_parse(text, &date);
}

static int read_birth(Request *req, const FhirNode *patient, const char *location,
                      Demographics *demographics)
{
    Str date = fhir_text(patient, "birthDate");
    if (str_is_empty(date)) {
        return 0;
    }
    if (!is_date(date) || date.len > strlen("YYYY-MM-DD")) {
        return refuse(req, location, "birthDate", date, "YYYY, YYYY-MM or YYYY-MM-DD");
    }
    demographics_set_value(req->arena, demographics, DEMOGRAPHIC_birth_time,
                           time_digits(req->arena, date));
    return 0;
}

static int read_gender(Request *req, const FhirNode *patient, const char *location,
                       Demographics *demographics)
{
    Str gender = fhir_text(patient, "gender");
    Str sex = fhir_code_to_v2(FHIR_GENDER, gender);
    if (!str_is_empty(gender) && str_is_empty(sex)) {
        return refuse(req, location, "gender", gender, "male, female, other or unknown");
    }
    demographics_set_value(req->arena, demographics, DEMOGRAPHIC_sex, sex);
    return 0;
}

static int read_deceased(Request *req, const FhirNode *patient, const char *location,
                         Demographics *demographics)
{
    Str flag = fhir_text(patient, "deceasedBoolean");
    Str time = fhir_text(patient, "deceasedDateTime");
    if (!str_is_empty(time)) {
        if (!is_date(time)) {
            return refuse(req, location, "deceasedDateTime", time, "a date or a time with offset");
        }
        demographics_set_value(req->arena, demographics, DEMOGRAPHIC_death_time,
                               time_digits(req->arena, time));
        flag = STR("true");
    }
    if (!str_is_empty(flag)) {
        demographics_set_value(req->arena, demographics, DEMOGRAPHIC_death_indicator,
                               str_equal(flag, STR("true")) ? STR("Y") : STR("N"));
    }
    return 0;
}

static void read_multiple_birth(Arena *arena, const FhirNode *patient, Demographics *demographics)
{
    Str flag = fhir_text(patient, "multipleBirthBoolean");
    Str order = fhir_text(patient, "multipleBirthInteger");
    if (!str_is_empty(order)) {
        demographics_set_value(arena, demographics, DEMOGRAPHIC_birth_order, order);
        flag = STR("true");
    }
    if (!str_is_empty(flag)) {
        demographics_set_value(arena, demographics, DEMOGRAPHIC_multiple_birth,
                               str_equal(flag, STR("true")) ? STR("Y") : STR("N"));
    }
}

static void read_codes(Arena *arena, const FhirNode *patient, Demographics *demographics)
{
    const FhirNode *status = fhir_child(fhir_child(patient, "maritalStatus"), "coding");
    const FhirNode *language =
        fhir_child(fhir_child(fhir_child(patient, "communication"), "language"), "coding");
    Str code = fhir_text(status, "code");
    Str mapped = str_equal(fhir_text(status, "system"), STR(URL_V2_MARITAL_STATUS))
                     ? code
                     : fhir_code_to_v2(FHIR_MARITAL_STATUS, code);
    demographics_set_value(arena, demographics, DEMOGRAPHIC_marital_status, mapped);
    demographics_set_value(arena, demographics, DEMOGRAPHIC_language, fhir_text(language, "code"));
}

int fhir_patient_read(Request *req, const FhirNode *patient, const char *location,
                      Demographics *ret_demographics)
{
    Demographics demographics = {0};
    read_names(req->arena, patient, &demographics);
    read_addresses(req->arena, patient, &demographics);
    read_telecoms(req->arena, patient, &demographics);
    read_multiple_birth(req->arena, patient, &demographics);
    read_codes(req->arena, patient, &demographics);
    int birth_rc = read_birth(req, patient, location, &demographics);
    int gender_rc = read_gender(req, patient, location, &demographics);
    int deceased_rc = read_deceased(req, patient, location, &demographics);
    *ret_demographics = demographics;
    return birth_rc ? birth_rc : gender_rc ? gender_rc : deceased_rc;
}

void fhir_patient_mark_absent(Demographics *demographics)
{
    static const DemographicField fields[] = {
        DEMOGRAPHIC_name,           DEMOGRAPHIC_mothers_maiden_name,
        DEMOGRAPHIC_birth_time,     DEMOGRAPHIC_sex,
        DEMOGRAPHIC_address,        DEMOGRAPHIC_phone_home,
        DEMOGRAPHIC_phone_business, DEMOGRAPHIC_language,
        DEMOGRAPHIC_marital_status, DEMOGRAPHIC_multiple_birth,
        DEMOGRAPHIC_birth_order,    DEMOGRAPHIC_death_time,
        DEMOGRAPHIC_death_indicator};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (str_is_empty(demographics->fields[fields[i]])) {
            demographics->fields[fields[i]] = STR("\"\"");
        }
    }
}
