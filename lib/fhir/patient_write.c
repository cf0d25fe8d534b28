#include "lib/base/clock.h"
#include "lib/fhir/patient.h"
#include "lib/fhir/patient_codes.h"
#include "lib/fhir/patient_urls.h"

void fhir_identifier_write(Arena *arena, FhirNode *parent, const char *name,
                           const FhirIdentifier *identifier)
{
    FhirNode *node = fhir_add(arena, parent, name);
    fhir_add_text(arena, node, "system", identifier->system);
    fhir_add_text(arena, node, "value", identifier->value);
    if (!str_is_empty(identifier->assigner)) {
        fhir_add_text(arena, fhir_add(arena, node, "assigner"), "display", identifier->assigner);
    }
}

/* ---- names ---- */

/** Further given names are separated by spaces (HL7 v2.5 2.A.88.3). */
static void write_words(Arena *arena, FhirNode *node, const char *name, Str text)
{
    Str word;
    while (str_split_next(&text, ' ', &word)) {
        fhir_add_text(arena, node, name, word);
    }
}

static void write_name(Arena *arena, FhirNode *patient, const PersonName *name, Str default_use)
{
    Str use = fhir_code_from_v2(FHIR_NAME_USE, name->type);
    Str representation = fhir_code_from_v2(FHIR_REPRESENTATION, name->representation);
    FhirNode *node = fhir_node_new(arena, "name");
    if (!str_is_empty(representation)) {
        fhir_add_text(arena, fhir_add_extension(arena, node, URL_EN_REPRESENTATION), "valueCode",
                      representation);
    }
    fhir_add_text(arena, node, "use", str_is_empty(use) ? default_use : use);
    fhir_add_text(arena, node, "family", name->family);
    fhir_add_text(arena, node, "given", name->given);
    write_words(arena, node, "given", name->further_given);
    fhir_add_text(arena, node, "prefix", name->prefix);
    fhir_add_text(arena, node, "suffix", name->suffix);
    fhir_append_unless_empty(patient, node);
}

static void write_names(Arena *arena, FhirNode *patient, const Demographics *demographics,
                        DemographicField field, Str default_use)
{
    PersonName *names;
    size_t count = demographics_names(arena, demographics, field, &names);
    for (size_t i = 0; i < count; i++) {
        write_name(arena, patient, &names[i], default_use);
    }
}

/** The extension holds one text: family and given name with a space. */
static void write_mothers_maiden_name(Arena *arena, FhirNode *patient,
                                      const Demographics *demographics)
{
    PersonName *names;
    if (demographics_names(arena, demographics, DEMOGRAPHIC_mothers_maiden_name, &names) == 0) {
        return;
    }
    bool has_both = !str_is_empty(names[0].family) && !str_is_empty(names[0].given);
    Str text = str_printf(arena, "%.*s%s%.*s", STR_ARG(names[0].family), has_both ? " " : "",
                          STR_ARG(names[0].given));
    if (!str_is_empty(text)) {
        fhir_add_text(arena, fhir_add_extension(arena, patient, URL_MOTHERS_MAIDEN_NAME),
                      "valueString", text);
    }
}

/* ---- addresses, telecoms ---- */

static void write_telecoms(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Telecom *telecoms;
    size_t count = demographics_telecoms(arena, demographics, &telecoms);
    for (size_t i = 0; i < count; i++) {
        const Telecom *telecom = &telecoms[i];
        bool is_mobile = str_equal(telecom->equipment, STR("CP"));
        bool is_work = telecom->is_business || str_equal(telecom->use, STR("WPN"));
        Str use = is_work ? STR("work") : is_mobile ? STR("mobile") : STR("home");
        Str system = fhir_code_from_v2(FHIR_TELECOM_SYSTEM, telecom->equipment);
        if (!str_is_empty(telecom->number)) {
            FhirNode *node = fhir_add(arena, patient, "telecom");
            fhir_add_text(arena, node, "system", str_is_empty(system) ? STR("phone") : system);
            fhir_add_text(arena, node, "value", telecom->number);
            fhir_add_text(arena, node, "use", use);
        }
        if (!str_is_empty(telecom->email)) {
            FhirNode *node = fhir_add(arena, patient, "telecom");
            fhir_add_text(arena, node, "system", STR("email"));
            fhir_add_text(arena, node, "value", telecom->email);
            fhir_add_text(arena, node, "use", is_work ? STR("work") : STR("home"));
        }
    }
}

static void write_addresses(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Address *addresses;
    size_t count = demographics_addresses(arena, demographics, &addresses);
    for (size_t i = 0; i < count; i++) {
        const Address *address = &addresses[i];
        FhirNode *node = fhir_node_new(arena, "address");
        fhir_add_text(arena, node, "use", fhir_code_from_v2(FHIR_ADDRESS_USE, address->type));
        fhir_add_text(arena, node, "line", address->street);
        fhir_add_text(arena, node, "line", address->other);
        fhir_add_text(arena, node, "city", address->city);
        fhir_add_text(arena, node, "state", address->state);
        fhir_add_text(arena, node, "postalCode", address->postal_code);
        fhir_add_text(arena, node, "country", address->country);
        fhir_append_unless_empty(patient, node);
    }
}

/* ---- single values ---- */

/** The date of a TS as a FHIR date of the same precision; empty if it is none. */
static Str date_of(Arena *arena, Str time)
{
    size_t digits = 0;
    while (digits < time.len && time.data[digits] >= '0' && time.data[digits] <= '9') {
        digits++;
    }
    const char *t = time.data;
    return digits >= 8   ? str_printf(arena, "%.4s-%.2s-%.2s", t, t + 4, t + 6)
           : digits >= 6 ? str_printf(arena, "%.4s-%.2s", t, t + 4)
           : digits >= 4 ? str_printf(arena, "%.4s", t)
                         : STR_EMPTY;
}

static void write_deceased(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Str time = date_of(arena, demographics_value(arena, demographics, DEMOGRAPHIC_death_time));
    Str flag = demographics_value(arena, demographics, DEMOGRAPHIC_death_indicator);
    if (!str_is_empty(time)) {
        fhir_add_text(arena, patient, "deceasedDateTime", time);
    } else if (!str_is_empty(flag)) {
        fhir_add_boolean(arena, patient, "deceasedBoolean", str_equal(flag, STR("Y")));
    }
}

static void write_marital_status(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Str status = demographics_value(arena, demographics, DEMOGRAPHIC_marital_status);
    Str code = fhir_code_from_v2(FHIR_MARITAL_STATUS, status);
    if (str_is_empty(status)) {
        return;
    }
    FhirNode *coding = fhir_add(arena, fhir_add(arena, patient, "maritalStatus"), "coding");
    fhir_add_text(arena, coding, "system",
                  str_is_empty(code) ? STR(URL_V2_MARITAL_STATUS) : STR(URL_V3_MARITAL_STATUS));
    fhir_add_text(arena, coding, "code", str_is_empty(code) ? status : code);
}

static void write_multiple_birth(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Str order = demographics_value(arena, demographics, DEMOGRAPHIC_birth_order);
    Str flag = demographics_value(arena, demographics, DEMOGRAPHIC_multiple_birth);
    uint64_t number;
    if (str_to_u64(order, &number)) {
        fhir_add_number(arena, patient, "multipleBirthInteger",
                        str_printf(arena, "%llu", (unsigned long long)number));
    } else if (!str_is_empty(flag)) {
        fhir_add_boolean(arena, patient, "multipleBirthBoolean", str_equal(flag, STR("Y")));
    }
}

static void write_language(Arena *arena, FhirNode *patient, const Demographics *demographics)
{
    Str code = demographics_value(arena, demographics, DEMOGRAPHIC_language);
    if (str_is_empty(code)) {
        return;
    }
    FhirNode *language = fhir_add(arena, fhir_add(arena, patient, "communication"), "language");
    FhirNode *coding = fhir_add(arena, language, "coding");
    fhir_add_text(arena, coding, "system", STR(URL_LANGUAGES));
    fhir_add_text(arena, coding, "code", code);
}

/** In the order of the elements of Patient, which XML keeps. */
void fhir_patient_write(Arena *arena, FhirNode *resource, const FhirPatient *patient)
{
    const Demographics *demographics = patient->demographics;
    fhir_add_text(arena, resource, "id", patient->id);
    FhirNode *meta = fhir_add(arena, resource, "meta");
    if (patient->updated_us) {
        fhir_add_text(arena, meta, "lastUpdated", clock_iso8601(arena, patient->updated_us));
    }
    fhir_add_text(arena, meta, "profile", STR(URL_PDQM_PATIENT));
    write_mothers_maiden_name(arena, resource, demographics);
    for (size_t i = 0; i < patient->identifier_count; i++) {
        fhir_identifier_write(arena, resource, "identifier", &patient->identifiers[i]);
    }
    fhir_add_boolean(arena, resource, "active", true);
    write_names(arena, resource, demographics, DEMOGRAPHIC_name, STR_EMPTY);
    write_names(arena, resource, demographics, DEMOGRAPHIC_alias, STR("nickname"));
    write_telecoms(arena, resource, demographics);
    Str sex = demographics_value(arena, demographics, DEMOGRAPHIC_sex);
    fhir_add_text(arena, resource, "gender", fhir_code_from_v2(FHIR_GENDER, sex));
    fhir_add_text(arena, resource, "birthDate",
                  date_of(arena, demographics_birth_date(arena, demographics)));
    write_deceased(arena, resource, demographics);
    write_addresses(arena, resource, demographics);
    write_marital_status(arena, resource, demographics);
    write_multiple_birth(arena, resource, demographics);
    write_language(arena, resource, demographics);
}
