#include "lib/hl7/v3_person.h"

#include "lib/xml/write.h"

/** More names, addresses or phones of one patient are left out. */
#define ITEMS_MAX 100

/* ---- codes ---- */

typedef enum CodeList {
    NAME_TYPE,
    NAME_REPRESENTATION,
    SEX,
    ADDRESS_USE,
    TELECOM_USE,
    INDICATOR,
} CodeList;

static const struct {
    CodeList list;
    Str v3;
    Str v2;
} codes[] = {
#define CODE(list, v3, v2) {list, STR_INIT(v3), STR_INIT(v2)},
#include "lib/hl7/v3_codes.def"
#undef CODE
};

static Str code_to_v2(CodeList list, Str v3)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i].list == list && str_equal(codes[i].v3, v3)) {
            return codes[i].v2;
        }
    }
    return STR_EMPTY;
}

static Str code_to_v3(CodeList list, Str v2)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i].list == list && str_equal(codes[i].v2, v2)) {
            return codes[i].v3;
        }
    }
    return STR_EMPTY;
}

/** Of a use with several codes, "L IDE", the first that the list has. */
static Str use_to_v2(CodeList list, const XmlNode *node)
{
    Str rest = xml_attribute(node, "use");
    Str code;
    Str found = STR_EMPTY;
    while (str_is_empty(found) && str_split_next(&rest, ' ', &code)) {
        found = code_to_v2(list, code);
    }
    return found;
}

/* ---- data types ---- */

/** Texts of all elements of this name, with spaces between them; in the arena or borrowed. */
static Str join_parts(Arena *arena, const XmlNode *node, const char *part)
{
    Str all = STR_EMPTY;
    for (const XmlNode *child = v3_child(node, part); child; child = v3_next(child, part)) {
        Str text = str_trim(child->text);
        if (str_is_empty(all) || str_is_empty(text)) {
            all = str_is_empty(all) ? text : all;
        } else {
            all = str_printf(arena, "%.*s %.*s", STR_ARG(all), STR_ARG(text));
        }
    }
    return all;
}

/** The text of the first such element that has one, and of all behind it. */
static void first_and_rest(Arena *arena, const XmlNode *node, const char *part, Str *ret_first,
                           Str *ret_rest)
{
    const XmlNode *child = v3_child(node, part);
    while (child && str_is_empty(str_trim(child->text))) {
        child = v3_next(child, part);
    }
    *ret_first = child ? str_trim(child->text) : STR_EMPTY;
    *ret_rest = STR_EMPTY;
    if (child) {
        const XmlNode behind = {.first_child = child->next};
        *ret_rest = join_parts(arena, &behind, part);
    }
}

/** Whether the only family name is one before marriage (qualifier BR). */
static bool is_maiden_name(const XmlNode *node)
{
    const XmlNode *family = v3_child(node, "family");
    return family && str_equal(xml_attribute(family, "qualifier"), STR("BR")) &&
           !v3_next(family, "family");
}

PersonName v3_name(Arena *arena, const XmlNode *node)
{
    PersonName name = {
        .family = join_parts(arena, node, "family"),
        .suffix = join_parts(arena, node, "suffix"),
        .prefix = join_parts(arena, node, "prefix"),
        .type = is_maiden_name(node) ? STR("M") : use_to_v2(NAME_TYPE, node),
        .representation = use_to_v2(NAME_REPRESENTATION, node),
    };
    first_and_rest(arena, node, "given", &name.given, &name.further_given);
    if (!node->first_child) {
        name.family = str_trim(node->text);
    }
    return name;
}

static bool is_name_empty(const PersonName *name)
{
    return str_is_empty(name->family) && str_is_empty(name->given);
}

Address v3_address(Arena *arena, const XmlNode *node)
{
    Address address = {
        .city = join_parts(arena, node, "city"),
        .state = join_parts(arena, node, "state"),
        .postal_code = join_parts(arena, node, "postalCode"),
        .country = join_parts(arena, node, "country"),
        .type = use_to_v2(ADDRESS_USE, node),
    };
    first_and_rest(arena, node, "streetAddressLine", &address.street, &address.other);
    if (str_is_empty(address.street)) {
        Str street = join_parts(arena, node, "streetName");
        Str number = join_parts(arena, node, "houseNumber");
        address.street = str_is_empty(street) || str_is_empty(number)
                             ? (str_is_empty(street) ? number : street)
                             : str_printf(arena, "%.*s %.*s", STR_ARG(street), STR_ARG(number));
    }
    if (!node->first_child) {
        address.street = str_trim(node->text);
    }
    return address;
}

static bool is_address_empty(const Address *address)
{
    return str_is_empty(address->street) && str_is_empty(address->other) &&
           str_is_empty(address->city) && str_is_empty(address->state) &&
           str_is_empty(address->postal_code) && str_is_empty(address->country);
}

/** A URI without its escapes (RFC 3986 2.1). */
static Str decode_uri(Arena *arena, Str uri)
{
    char *text = arena_alloc(arena, uri.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < uri.len; i++, len++) {
        unsigned char octet;
        text[len] = uri.data[i];
        if (uri.data[i] == '%' && str_unhex(str_slice(uri, i + 1, 2), &octet, 1)) {
            memcpy(&text[len], &octet, 1);
            i += 2;
        }
    }
    Str decoded = {text, len};
    return str_is_utf8(decoded) ? decoded : uri;
}

Telecom v3_telecom(Arena *arena, const XmlNode *node)
{
    Telecom telecom = {.use = use_to_v2(TELECOM_USE, node)};
    Str uri = str_trim(xml_attribute(node, "value"));
    Str scheme = str_slice(uri, 0, str_find_char(uri, ':'));
    bool has_scheme = scheme.len < uri.len;
    Str address = decode_uri(arena, has_scheme ? str_from_offset(uri, scheme.len + 1) : uri);
    if (has_scheme && str_equal_ci(scheme, STR("mailto"))) {
        telecom.use = STR("NET");
        telecom.equipment = STR("Internet");
        telecom.email = address;
        return telecom;
    }
    bool is_fax = has_scheme && str_equal_ci(scheme, STR("fax"));
    Str uses = xml_attribute(node, "use");
    bool is_mobile = str_has_word(uses, STR("MC"));
    telecom.equipment = is_fax ? STR("FX") : is_mobile ? STR("CP") : STR("PH");
    telecom.is_business = str_has_word(uses, STR("WP"));
    telecom.number = address;
    return telecom;
}

Str v3_sex(const XmlNode *node)
{
    Str sex = code_to_v2(SEX, str_trim(xml_attribute(node, "code")));
    bool is_unknown = node && str_is_empty(sex) && !str_is_empty(xml_attribute(node, "nullFlavor"));
    return is_unknown ? STR("U") : sex;
}

/* ---- reading ---- */

static void read_names(Arena *arena, const XmlNode *holder, DemographicField field,
                       Demographics *demographics)
{
    PersonName *names = ARENA_ARRAY(arena, PersonName, ITEMS_MAX);
    size_t count = 0;
    for (const XmlNode *node = v3_child(holder, "name"); node && count < ITEMS_MAX;
         node = v3_next(node, "name")) {
        names[count] = v3_name(arena, node);
        count += is_name_empty(&names[count]) ? 0 : 1;
    }
    demographics_set_names(arena, demographics, field, names, count);
}

/** Of the person, then of the patient. */
static void read_addresses(Arena *arena, const XmlNode *const *holders, size_t holder_count,
                           Demographics *demographics)
{
    Address *addresses = ARENA_ARRAY(arena, Address, ITEMS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < holder_count; i++) {
        for (const XmlNode *node = v3_child(holders[i], "addr"); node && count < ITEMS_MAX;
             node = v3_next(node, "addr")) {
            addresses[count] = v3_address(arena, node);
            count += is_address_empty(&addresses[count]) ? 0 : 1;
        }
    }
    demographics_set_addresses(arena, demographics, addresses, count);
}

static void read_telecoms(Arena *arena, const XmlNode *const *holders, size_t holder_count,
                          Demographics *demographics)
{
    Telecom *telecoms = ARENA_ARRAY(arena, Telecom, ITEMS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < holder_count; i++) {
        for (const XmlNode *node = v3_child(holders[i], "telecom"); node && count < ITEMS_MAX;
             node = v3_next(node, "telecom")) {
            telecoms[count] = v3_telecom(arena, node);
            bool is_empty =
                str_is_empty(telecoms[count].number) && str_is_empty(telecoms[count].email);
            count += is_empty ? 0 : 1;
        }
    }
    demographics_set_telecoms(arena, demographics, telecoms, count);
}

/** Codes of elements of one name as repetitions of a field. */
static void read_codes(Arena *arena, const XmlNode *first, const char *element,
                       const char *code_path, DemographicField field, Demographics *demographics)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (const XmlNode *node = first; node; node = v3_next(node, element)) {
        const XmlNode *holder = code_path[0] ? v3_at(node, code_path) : node;
        Str code = str_trim(xml_attribute(holder, "code"));
        if (!str_is_empty(code)) {
            if (buf.len > 0) {
                strbuf_append_char(&buf, '~');
            }
            er7_append_text(&buf, code);
        }
    }
    demographics->fields[field] = str_dup(arena, strbuf_str(&buf));
}

static void read_mothers_maiden_name(Arena *arena, const XmlNode *person,
                                     Demographics *demographics)
{
    for (const XmlNode *node = v3_child(person, "personalRelationship"); node;
         node = v3_next(node, "personalRelationship")) {
        if (str_equal(v3_child_attribute(node, "code", "code"), STR("MTH"))) {
            read_names(arena, v3_child(node, "relationshipHolder1"),
                       DEMOGRAPHIC_mothers_maiden_name, demographics);
            return;
        }
    }
}

/** Simple values: element, its attribute, the list that translates it. */
static void read_values(Arena *arena, const XmlNode *person, Demographics *demographics)
{
    const struct {
        DemographicField field;
        Str value;
    } values[] = {
        {DEMOGRAPHIC_sex, v3_sex(v3_child(person, "administrativeGenderCode"))},
        {DEMOGRAPHIC_birth_time, v3_child_attribute(person, "birthTime", "value")},
        {DEMOGRAPHIC_death_time, v3_child_attribute(person, "deceasedTime", "value")},
        {DEMOGRAPHIC_death_indicator,
         code_to_v2(INDICATOR, v3_child_attribute(person, "deceasedInd", "value"))},
        {DEMOGRAPHIC_multiple_birth,
         code_to_v2(INDICATOR, v3_child_attribute(person, "multipleBirthInd", "value"))},
        {DEMOGRAPHIC_birth_order, v3_child_attribute(person, "multipleBirthOrderNumber", "value")},
        {DEMOGRAPHIC_marital_status, v3_child_attribute(person, "maritalStatusCode", "code")},
        {DEMOGRAPHIC_religion, v3_child_attribute(person, "religiousAffiliationCode", "code")},
        {DEMOGRAPHIC_language,
         v3_child_attribute(v3_child(person, "languageCommunication"), "languageCode", "code")},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        demographics_set_value(arena, demographics, values[i].field, values[i].value);
    }
}

/** Fields that HL7 v3 can carry. */
static const DemographicField carried[] = {
    DEMOGRAPHIC_name,
    DEMOGRAPHIC_mothers_maiden_name,
    DEMOGRAPHIC_birth_time,
    DEMOGRAPHIC_sex,
    DEMOGRAPHIC_race,
    DEMOGRAPHIC_address,
    DEMOGRAPHIC_phone_home,
    DEMOGRAPHIC_phone_business,
    DEMOGRAPHIC_language,
    DEMOGRAPHIC_marital_status,
    DEMOGRAPHIC_religion,
    DEMOGRAPHIC_ethnic_group,
    DEMOGRAPHIC_multiple_birth,
    DEMOGRAPHIC_birth_order,
    DEMOGRAPHIC_citizenship,
    DEMOGRAPHIC_death_time,
    DEMOGRAPHIC_death_indicator,
};

void v3_person_read(Arena *arena, const XmlNode *patient, bool is_snapshot,
                    Demographics *ret_demographics)
{
    const XmlNode *person = v3_child(patient, "patientPerson");
    const XmlNode *holders[] = {person, patient};
    Demographics demographics = {0};
    read_names(arena, person, DEMOGRAPHIC_name, &demographics);
    read_addresses(arena, holders, ARRAY_LEN(holders), &demographics);
    read_telecoms(arena, holders, ARRAY_LEN(holders), &demographics);
    read_values(arena, person, &demographics);
    read_codes(arena, v3_child(person, "raceCode"), "raceCode", "", DEMOGRAPHIC_race,
               &demographics);
    read_codes(arena, v3_child(person, "ethnicGroupCode"), "ethnicGroupCode", "",
               DEMOGRAPHIC_ethnic_group, &demographics);
    read_codes(arena, v3_child(person, "asCitizen"), "asCitizen", "politicalNation/code",
               DEMOGRAPHIC_citizenship, &demographics);
    read_mothers_maiden_name(arena, person, &demographics);
    for (size_t i = 0; is_snapshot && i < ARRAY_LEN(carried); i++) {
        if (str_is_empty(demographics.fields[carried[i]])) {
            demographics.fields[carried[i]] = STR("\"\"");
        }
    }
    *ret_demographics = demographics;
}

/* ---- writing ---- */

/** Opens an element with @use, made of up to two codes. */
static void open_with_use(StrBuf *buf, const char *element, Str use, Str further)
{
    strbuf_printf(buf, "<%s", element);
    if (!str_is_empty(use) || !str_is_empty(further)) {
        bool are_both = !str_is_empty(use) && !str_is_empty(further);
        strbuf_printf(buf, " use=\"%.*s%s%.*s\"", STR_ARG(use), are_both ? " " : "",
                      STR_ARG(further));
    }
}

static void append_name(StrBuf *buf, const PersonName *name)
{
    open_with_use(buf, "name", code_to_v3(NAME_TYPE, name->type),
                  code_to_v3(NAME_REPRESENTATION, name->representation));
    strbuf_append_char(buf, '>');
    v3_append_text(buf, "prefix", name->prefix);
    if (str_equal(name->type, STR("M")) && !str_is_empty(name->family)) {
        strbuf_literal(buf, "<family qualifier=\"BR\">");
        xml_append_escaped(buf, name->family);
        strbuf_literal(buf, "</family>");
    } else {
        v3_append_text(buf, "family", name->family);
    }
    v3_append_text(buf, "given", name->given);
    v3_append_text(buf, "given", name->further_given);
    v3_append_text(buf, "suffix", name->suffix);
    strbuf_literal(buf, "</name>");
}

/** At least one name is required; what is not known has a nullFlavor. */
static void append_names(StrBuf *buf, Arena *arena, const Demographics *demographics,
                         DemographicField field)
{
    PersonName *names;
    size_t count = demographics_names(arena, demographics, field, &names);
    for (size_t i = 0; i < count; i++) {
        append_name(buf, &names[i]);
    }
    if (count == 0) {
        strbuf_literal(buf, "<name nullFlavor=\"NA\"/>");
    }
}

static void append_address(StrBuf *buf, const Address *address)
{
    open_with_use(buf, "addr", code_to_v3(ADDRESS_USE, address->type), STR_EMPTY);
    strbuf_append_char(buf, '>');
    v3_append_text(buf, "streetAddressLine", address->street);
    v3_append_text(buf, "streetAddressLine", address->other);
    v3_append_text(buf, "city", address->city);
    v3_append_text(buf, "state", address->state);
    v3_append_text(buf, "postalCode", address->postal_code);
    v3_append_text(buf, "country", address->country);
    strbuf_literal(buf, "</addr>");
}

/** Characters that a URI cannot have are escaped. */
static void append_uri(StrBuf *buf, const char *scheme, Str address)
{
    strbuf_printf(buf, " value=\"%s:", scheme);
    for (size_t i = 0; i < address.len; i++) {
        unsigned char c = (unsigned char)address.data[i];
        if (c <= ' ' || c >= 0x7f || str_find_char(STR("%\"<>[]{}|\\^`#&"), (char)c) != SIZE_MAX) {
            strbuf_printf(buf, "%%%02X", (unsigned)c);
        } else {
            strbuf_append_char(buf, (char)c);
        }
    }
    strbuf_literal(buf, "\"/>");
}

static void append_telecom(StrBuf *buf, const Telecom *telecom)
{
    bool is_mobile = str_equal(telecom->equipment, STR("CP"));
    bool is_fax = str_equal(telecom->equipment, STR("FX"));
    Str use = telecom->is_business ? STR("WP") : code_to_v3(TELECOM_USE, telecom->use);
    if (!str_is_empty(telecom->number)) {
        open_with_use(buf, "telecom", is_mobile && !telecom->is_business ? STR_EMPTY : use,
                      is_mobile ? STR("MC") : STR_EMPTY);
        append_uri(buf, is_fax ? "fax" : "tel", telecom->number);
    }
    if (!str_is_empty(telecom->email)) {
        open_with_use(buf, "telecom", telecom->is_business ? use : STR_EMPTY, STR_EMPTY);
        append_uri(buf, "mailto", telecom->email);
    }
}

/** <element attribute="value"/> unless the value is empty. */
static void append_value(StrBuf *buf, const char *element, const char *attribute, Str value)
{
    if (!str_is_empty(value)) {
        v3_append_attribute(buf, element, attribute, value);
    }
}

static void append_sex(StrBuf *buf, Str sex)
{
    Str code = code_to_v3(SEX, sex);
    if (!str_is_empty(code)) {
        strbuf_printf(buf,
                      "<administrativeGenderCode code=\"%.*s\" "
                      "codeSystem=\"2.16.840.1.113883.5.1\"/>",
                      STR_ARG(code));
    } else if (str_equal(sex, STR("U"))) {
        strbuf_literal(buf, "<administrativeGenderCode nullFlavor=\"UNK\"/>");
    }
}

/** The codes of a field, each with what stands before and behind it. */
static void append_codes(StrBuf *buf, Arena *arena, const Demographics *demographics,
                         DemographicField field, const char *before, const char *element,
                         const char *behind)
{
    Str rest = demographics->fields[field];
    Str repetition;
    while (str_split_next(&rest, '~', &repetition)) {
        const Demographics one = {.fields = {[0] = repetition}};
        Str code = demographics_value(arena, &one, 0);
        if (!str_is_empty(code)) {
            strbuf_append(buf, str_from(before));
            v3_append_attribute(buf, element, "code", code);
            strbuf_append(buf, str_from(behind));
        }
    }
}

static void append_births(StrBuf *buf, Arena *arena, const Demographics *d)
{
    append_value(buf, "birthTime", "value", demographics_birth_date(arena, d));
    append_value(buf, "deceasedInd", "value",
                 code_to_v3(INDICATOR, demographics_value(arena, d, DEMOGRAPHIC_death_indicator)));
    append_value(buf, "multipleBirthInd", "value",
                 code_to_v3(INDICATOR, demographics_value(arena, d, DEMOGRAPHIC_multiple_birth)));
    uint64_t order;
    Str birth_order = demographics_value(arena, d, DEMOGRAPHIC_birth_order);
    if (str_to_u64(birth_order, &order)) {
        append_value(buf, "multipleBirthOrderNumber", "value", birth_order);
    }
}

static void append_telecoms(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    Telecom *telecoms;
    size_t count = demographics_telecoms(arena, demographics, &telecoms);
    for (size_t i = 0; i < count; i++) {
        append_telecom(buf, &telecoms[i]);
    }
}

static void append_addresses(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    Address *addresses;
    size_t count = demographics_addresses(arena, demographics, &addresses);
    for (size_t i = 0; i < count; i++) {
        append_address(buf, &addresses[i]);
    }
}

void v3_person_append_role(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    append_addresses(buf, arena, demographics);
    append_telecoms(buf, arena, demographics);
}

void v3_person_append_patient(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    append_names(buf, arena, demographics, DEMOGRAPHIC_name);
    append_sex(buf, demographics_value(arena, demographics, DEMOGRAPHIC_sex));
    append_value(buf, "birthTime", "value", demographics_birth_date(arena, demographics));
}

void v3_person_append(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    const Demographics *d = demographics;
    append_names(buf, arena, d, DEMOGRAPHIC_name);
    append_telecoms(buf, arena, d);
    append_sex(buf, demographics_value(arena, d, DEMOGRAPHIC_sex));
    append_births(buf, arena, d);
    append_addresses(buf, arena, d);
    append_value(buf, "maritalStatusCode", "code",
                 demographics_value(arena, d, DEMOGRAPHIC_marital_status));
    append_value(buf, "religiousAffiliationCode", "code",
                 demographics_value(arena, d, DEMOGRAPHIC_religion));
    append_codes(buf, arena, d, DEMOGRAPHIC_race, "", "raceCode", "");
    append_codes(buf, arena, d, DEMOGRAPHIC_ethnic_group, "", "ethnicGroupCode", "");
    append_codes(buf, arena, d, DEMOGRAPHIC_citizenship,
                 "<asCitizen classCode=\"CIT\"><politicalNation classCode=\"NAT\" "
                 "determinerCode=\"INSTANCE\">",
                 "code", "</politicalNation></asCitizen>");
}

void v3_person_append_relations(StrBuf *buf, Arena *arena, const Demographics *demographics)
{
    if (!str_is_empty(demographics->fields[DEMOGRAPHIC_mothers_maiden_name])) {
        strbuf_literal(buf, "<personalRelationship classCode=\"PRS\"><code code=\"MTH\" "
                            "codeSystem=\"2.16.840.1.113883.5.111\"/><relationshipHolder1 "
                            "classCode=\"PSN\" determinerCode=\"INSTANCE\">");
        append_names(buf, arena, demographics, DEMOGRAPHIC_mothers_maiden_name);
        strbuf_literal(buf, "</relationshipHolder1></personalRelationship>");
    }
    Str language = demographics_value(arena, demographics, DEMOGRAPHIC_language);
    if (!str_is_empty(language)) {
        strbuf_literal(buf, "<languageCommunication>");
        v3_append_attribute(buf, "languageCode", "code", language);
        strbuf_literal(buf, "</languageCommunication>");
    }
}
