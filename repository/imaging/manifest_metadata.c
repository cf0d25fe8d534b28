/* The DocumentEntry of a manifest (RAD TF-2 4.68.4.1.2.3; ITI TF-3 4.2), as ebRIM. */

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/dicom/text.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/hl7/cx.h"
#include "lib/hl7/er7.h"
#include "lib/xml/write.h"
#include "repository/imaging/manifest.h"

#define TITLE_CHARACTERS 128
#define SCHEME_DCM "1.2.840.10008.2.16.4"
#define SCHEME_SCT "2.16.840.1.113883.6.96"

/* attributes.def */
#define UUID_CLASS_CODE "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
#define UUID_TYPE_CODE "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
#define UUID_FORMAT_CODE "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
#define UUID_CONFIDENTIALITY_CODE "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
#define UUID_EVENT_CODE_LIST "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
#define UUID_FACILITY_TYPE_CODE "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
#define UUID_PRACTICE_SETTING_CODE "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
#define UUID_CONTENT_TYPE_CODE "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
#define UUID_AUTHOR "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
#define UUID_DOCUMENT_UNIQUE_ID "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
#define UUID_DOCUMENT_PATIENT_ID "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
#define UUID_SET_UNIQUE_ID "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
#define UUID_SET_PATIENT_ID "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
#define UUID_SET_SOURCE_ID "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"

typedef struct Metadata {
    Arena *arena;
    const ImagingConfig *config;
    const CodeSets *codes; /* NULL: every code is taken */
    const ManifestStudy *study;
    const ManifestPlan *plan;
    StrBuf *buf;
    Str entry; /* urn:uuid */
    Str set;
    unsigned next_id; /* of Classifications and ExternalIdentifiers */
} Metadata;

/* ---- ebRIM ---- */

static void append_attribute(StrBuf *buf, const char *name, Str value)
{
    strbuf_printf(buf, " %s=\"", name);
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

static void append_id(Metadata *metadata)
{
    strbuf_printf(metadata->buf, " id=\"m%u\"", metadata->next_id++);
}

static void append_slot(StrBuf *buf, const char *name, const Str *values, size_t count)
{
    strbuf_printf(buf, "<rim:Slot name=\"%s\"><rim:ValueList>", name);
    for (size_t i = 0; i < count; i++) {
        strbuf_literal(buf, "<rim:Value>");
        xml_append_escaped(buf, values[i]);
        strbuf_literal(buf, "</rim:Value>");
    }
    strbuf_literal(buf, "</rim:ValueList></rim:Slot>");
}

/** None if the value is empty. */
static void append_value(StrBuf *buf, const char *name, Str value)
{
    if (!str_is_empty(value)) {
        append_slot(buf, name, &value, 1);
    }
}

static void append_name(StrBuf *buf, Str text)
{
    strbuf_literal(buf, "<rim:Name><rim:LocalizedString");
    append_attribute(buf, "value", text);
    strbuf_literal(buf, "/></rim:Name>");
}

static void append_code(Metadata *metadata, Str object, const char *scheme, Code code)
{
    StrBuf *buf = metadata->buf;
    strbuf_literal(buf, "<rim:Classification");
    append_id(metadata);
    append_attribute(buf, "classificationScheme", str_from(scheme));
    append_attribute(buf, "classifiedObject", object);
    append_attribute(buf, "nodeRepresentation", code.code);
    strbuf_literal(buf, ">");
    append_value(buf, SLOT_CODING_SCHEME, code.scheme);
    append_name(buf, code.display);
    strbuf_literal(buf, "</rim:Classification>");
}

static void append_identifier(Metadata *metadata, Str object, const char *scheme, const char *name,
                              Str value)
{
    StrBuf *buf = metadata->buf;
    strbuf_literal(buf, "<rim:ExternalIdentifier");
    append_id(metadata);
    append_attribute(buf, "identificationScheme", str_from(scheme));
    append_attribute(buf, "registryObject", object);
    append_attribute(buf, "value", value);
    strbuf_literal(buf, ">");
    append_name(buf, str_from(name));
    strbuf_literal(buf, "</rim:ExternalIdentifier>");
}

/* ---- codes ---- */

/** "CODE^^SCHEME" of the configuration. */
static Code configured(const char *text, const char *display)
{
    Str value = str_from(text);
    size_t separator = str_find(value, STR("^^"));
    return (Code){.code = str_slice(value, 0, separator),
                  .scheme =
                      separator == SIZE_MAX ? STR_EMPTY : str_from_offset(value, separator + 2),
                  .display = str_from(display)};
}

/** Whether the affinity domain knows the code; its own display name goes before ours. */
static bool is_known(const Metadata *metadata, const char *scheme, Code *code)
{
    Code found;
    if (!metadata->codes) {
        return !str_is_empty(code->code);
    }
    if (!code_sets_find(metadata->codes, str_from(scheme), code->code, code->scheme, &found)) {
        return false;
    }
    code->display = str_is_empty(found.display) ? code->display : found.display;
    return true;
}

/** The wanted one, else the first that the affinity domain has. */
static Code known_or_first(const Metadata *metadata, const char *scheme, Code wanted)
{
    if (!is_known(metadata, scheme, &wanted) && metadata->codes) {
        (void)code_sets_first(metadata->codes, str_from(scheme), &wanted);
    }
    return wanted;
}

/** Of a Coding Scheme Designator; one that is an OID stands for itself; empty: not known. */
static Str scheme_oid(Str designator)
{
    static const struct {
        const char *designator;
        const char *oid;
    } schemes[] = {
#define MODALITY(code, meaning)
#define BODY_PART(name, code, meaning)
#define CODING_SCHEME(name, oid) {name, oid},
#include "repository/imaging/manifest_codes.def"
#undef MODALITY
#undef BODY_PART
#undef CODING_SCHEME
    };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (str_equal(designator, str_from(schemes[i].designator))) {
            return str_from(schemes[i].oid);
        }
    }
    return oid_is_valid(designator) ? designator : STR_EMPTY;
}

/** A code of the images, for metadata. */
static Code translated(Code code)
{
    return (Code){.code = code.code,
                  .scheme = scheme_oid(code.scheme),
                  .display = str_is_empty(code.display) ? code.code : code.display};
}

/** The procedure that was performed; without a code that the affinity domain has, the configured
 * one. */
static Code type_code(const Metadata *metadata)
{
    Code procedure = translated(metadata->study->procedure);
    if (!str_is_empty(procedure.code) && !str_is_empty(procedure.scheme) &&
        is_known(metadata, UUID_TYPE_CODE, &procedure)) {
        return procedure;
    }
    return known_or_first(metadata, UUID_TYPE_CODE,
                          configured(metadata->config->type_code, "Diagnostic imaging study"));
}

static bool find_modality(Str modality, Code *ret_code)
{
    static const struct {
        const char *code;
        const char *meaning;
    } modalities[] = {
#define MODALITY(code, meaning) {code, meaning},
#define BODY_PART(name, code, meaning)
#define CODING_SCHEME(name, oid)
#include "repository/imaging/manifest_codes.def"
#undef MODALITY
#undef BODY_PART
#undef CODING_SCHEME
    };
    for (size_t i = 0; i < ARRAY_LEN(modalities); i++) {
        if (str_equal(modality, str_from(modalities[i].code))) {
            *ret_code = (Code){modality, STR(SCHEME_DCM), str_from(modalities[i].meaning)};
            return true;
        }
    }
    return false;
}

static bool find_body_part(Str name, Code *ret_code)
{
    static const struct {
        const char *name;
        const char *code;
        const char *meaning;
    } parts[] = {
#define MODALITY(code, meaning)
#define BODY_PART(name, code, meaning) {name, code, meaning},
#define CODING_SCHEME(name, oid)
#include "repository/imaging/manifest_codes.def"
#undef MODALITY
#undef BODY_PART
#undef CODING_SCHEME
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (str_equal(name, str_from(parts[i].name))) {
            *ret_code =
                (Code){str_from(parts[i].code), STR(SCHEME_SCT), str_from(parts[i].meaning)};
            return true;
        }
    }
    return false;
}

/** @return false: it has no scheme that is known, or the affinity domain has no such code */
static bool append_event_code(Metadata *metadata, Code code)
{
    if (str_is_empty(code.scheme) || !is_known(metadata, UUID_EVENT_CODE_LIST, &code)) {
        return false;
    }
    append_code(metadata, metadata->entry, UUID_EVENT_CODE_LIST, code);
    return true;
}

/** Acquisition modalities and anatomic region, as far as the images tell. */
static void append_event_codes(Metadata *metadata)
{
    const ManifestStudy *study = metadata->study;
    Code code;
    for (size_t i = 0; i < study->modality_count; i++) {
        if (find_modality(study->modalities[i], &code)) {
            (void)append_event_code(metadata, code);
        }
    }
    if (append_event_code(metadata, translated(study->anatomy))) {
        return;
    }
    for (size_t i = 0; i < study->body_part_count; i++) {
        if (find_body_part(study->body_parts[i], &code)) {
            (void)append_event_code(metadata, code);
        }
    }
}

/* ---- values ---- */

/** One group of a PN as XPN: the two have prefix and suffix in different places. */
static void append_xpn(StrBuf *buf, Str group)
{
    static const size_t order[] = {0, 1, 2, 4, 3}; /* family, given, middle, suffix, prefix */
    Str parts[5] = {STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT("")};
    size_t begin = buf->len;
    size_t end = begin;
    for (size_t i = 0; i < ARRAY_LEN(parts) && str_split_next(&group, '^', &parts[i]); i++) {
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (i > 0) {
            strbuf_append_char(buf, '^');
        }
        er7_append_text(buf, parts[order[i]]);
        end = str_is_empty(parts[order[i]]) ? end : buf->len;
    }
    strbuf_truncate(buf, end);
}

/** PID-5: the groups that are there, each a repetition. */
static Str patient_name(const Metadata *metadata)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    PersonName name = dicom_person_name(metadata->study->patient_name);
    for (size_t i = 0; i < ARRAY_LEN(name.groups); i++) {
        if (!str_is_empty(name.groups[i])) {
            strbuf_append(&buf, buf.len > 0 ? STR("~") : STR_EMPTY);
            append_xpn(&buf, name.groups[i]);
        }
    }
    return str_dup(metadata->arena, strbuf_str(&buf));
}

static void append_patient_info(Metadata *metadata)
{
    const ManifestStudy *study = metadata->study;
    Arena *arena = metadata->arena;
    Str name = patient_name(metadata);
    Str values[4];
    size_t count = 0;
    values[count++] = str_printf(arena, "PID-3|%.*s", STR_ARG(study->source_patient_id));
    if (!str_is_empty(name)) {
        values[count++] = str_printf(arena, "PID-5|%.*s", STR_ARG(name));
    }
    if (!str_is_empty(study->patient_birth_date)) {
        values[count++] = str_printf(arena, "PID-7|%.*s", STR_ARG(study->patient_birth_date));
    }
    if (!str_is_empty(study->patient_sex)) {
        values[count++] = str_printf(arena, "PID-8|%.*s", STR_ARG(study->patient_sex));
    }
    append_slot(metadata->buf, "sourcePatientInfo", values, count);
}

/** CXi; the hospital's own authority where the images name none that is an OID. */
static Str reference(const Metadata *metadata, Str id, Str oid, const char *type)
{
    Str cx =
        hl7_cx_format(metadata->arena, id, oid_is_valid(oid) ? oid : metadata->study->authority);
    return str_printf(metadata->arena, "%.*s^%s", STR_ARG(cx), type);
}

/** A study whose UID is no OID is registered without it: the registry would refuse the value. */
static void append_references(Metadata *metadata)
{
    const ManifestStudy *study = metadata->study;
    Str values[3];
    size_t count = 0;
    if (!str_is_empty(study->accession_number)) {
        values[count++] = reference(metadata, study->accession_number, study->accession_oid,
                                    "urn:ihe:iti:xds:2013:accession");
    }
    if (!str_is_empty(study->placer_order)) {
        values[count++] = reference(metadata, study->placer_order, study->placer_order_oid,
                                    "urn:ihe:iti:xds:2013:order");
    }
    if (oid_is_valid(study->study_uid)) {
        values[count++] =
            str_printf(metadata->arena, "%.*s^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
                       STR_ARG(study->study_uid));
    }
    if (count > 0) {
        append_slot(metadata->buf, "urn:ihe:iti:xds:2013:referenceIdList", values, count);
    }
}

/** At most so many characters of UTF-8. */
static Str cut(Str text, size_t characters)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool is_first_byte = ((unsigned char)text.data[i] & 0xC0) != 0x80;
        count += is_first_byte ? 1 : 0;
        if (count > characters) {
            return str_slice(text, 0, i);
        }
    }
    return text;
}

static Str title(const Metadata *metadata)
{
    const ManifestStudy *study = metadata->study;
    Str text = str_trim(study->study_description);
    text = str_is_empty(text) ? str_trim(study->procedure.display) : text;
    return cut(str_is_empty(text) ? STR("Images") : text, TITLE_CHARACTERS);
}

static void append_author(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    Str institution = str_trim(metadata->study->institution_name);
    _cleanup_(strbuf_done) StrBuf name = {0};
    if (str_is_empty(institution)) {
        return;
    }
    er7_append_text(&name, institution);
    strbuf_literal(buf, "<rim:Classification");
    append_id(metadata);
    append_attribute(buf, "classificationScheme", STR(UUID_AUTHOR));
    append_attribute(buf, "classifiedObject", metadata->entry);
    strbuf_literal(buf, " nodeRepresentation=\"\">");
    append_value(buf, "authorInstitution", strbuf_str(&name));
    strbuf_literal(buf, "</rim:Classification>");
}

/* ---- objects ---- */

static void append_slots(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    const ManifestStudy *study = metadata->study;
    append_value(buf, "creationTime", clock_dtm(metadata->arena, study->changed_us));
    append_value(buf, "languageCode", str_from(metadata->config->language_code));
    if (study->started_us != INT64_MIN) {
        append_value(buf, "serviceStartTime", clock_dtm(metadata->arena, study->started_us));
    }
    append_value(buf, "sourcePatientId", study->source_patient_id);
    append_patient_info(metadata);
    append_references(metadata);
}

static void append_codes(Metadata *metadata)
{
    static const Code format = {STR_INIT(MANIFEST_FORMAT_CODE), STR_INIT(MANIFEST_FORMAT_SCHEME),
                                STR_INIT("Key Object Selection Document")};
    const ImagingConfig *config = metadata->config;
    const struct {
        const char *scheme;
        Code code;
    } codes[] = {
        {UUID_CLASS_CODE, configured(config->class_code, "Images")},
        {UUID_CONFIDENTIALITY_CODE, configured(config->confidentiality_code, "Confidentiality")},
        {UUID_FORMAT_CODE, format},
        {UUID_TYPE_CODE, type_code(metadata)},
        {UUID_FACILITY_TYPE_CODE,
         known_or_first(metadata, UUID_FACILITY_TYPE_CODE,
                        configured(config->facility_type_code, "Hospital"))},
        {UUID_PRACTICE_SETTING_CODE,
         known_or_first(metadata, UUID_PRACTICE_SETTING_CODE,
                        configured(config->practice_setting_code, "Radiology"))},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        Code code = codes[i].code;
        (void)is_known(metadata, codes[i].scheme, &code); /* else the registry says so */
        append_code(metadata, metadata->entry, codes[i].scheme, code);
    }
    append_event_codes(metadata);
}

static void append_entry(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    strbuf_literal(buf, "<rim:ExtrinsicObject");
    append_attribute(buf, "id", metadata->entry);
    append_attribute(buf, "mimeType", STR("application/dicom"));
    append_attribute(buf, "objectType", STR(UUID_STABLE_DOCUMENT));
    strbuf_literal(buf, ">");
    append_slots(metadata);
    append_name(buf, title(metadata));
    append_author(metadata);
    append_codes(metadata);
    append_identifier(metadata, metadata->entry, UUID_DOCUMENT_PATIENT_ID,
                      "XDSDocumentEntry.patientId", metadata->study->patient_id);
    append_identifier(metadata, metadata->entry, UUID_DOCUMENT_UNIQUE_ID,
                      "XDSDocumentEntry.uniqueId", metadata->plan->sop_instance);
    strbuf_literal(buf, "</rim:ExtrinsicObject>");
}

static void append_set(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    Code content_type = known_or_first(metadata, UUID_CONTENT_TYPE_CODE, type_code(metadata));
    strbuf_literal(buf, "<rim:RegistryPackage");
    append_attribute(buf, "id", metadata->set);
    strbuf_literal(buf, ">");
    append_value(buf, "submissionTime", clock_dtm(metadata->arena, metadata->study->changed_us));
    append_code(metadata, metadata->set, UUID_CONTENT_TYPE_CODE, content_type);
    append_identifier(metadata, metadata->set, UUID_SET_PATIENT_ID, "XDSSubmissionSet.patientId",
                      metadata->study->patient_id);
    append_identifier(metadata, metadata->set, UUID_SET_SOURCE_ID, "XDSSubmissionSet.sourceId",
                      str_from(metadata->config->unique_id));
    append_identifier(metadata, metadata->set, UUID_SET_UNIQUE_ID, "XDSSubmissionSet.uniqueId",
                      oid_of_uuid(metadata->arena, metadata->plan->submission_set));
    strbuf_literal(buf, "</rim:RegistryPackage><rim:Classification");
    append_id(metadata);
    append_attribute(buf, "classifiedObject", metadata->set);
    append_attribute(buf, "classificationNode", STR(UUID_SUBMISSION_SET_NODE));
    strbuf_literal(buf, "/>");
}

static void append_association(Metadata *metadata, AssociationType type, Str source, Str target,
                               bool is_original)
{
    StrBuf *buf = metadata->buf;
    strbuf_literal(buf, "<rim:Association");
    append_id(metadata);
    append_attribute(buf, "associationType", str_from(association_type_urn(type)));
    append_attribute(buf, "sourceObject", source);
    append_attribute(buf, "targetObject", target);
    strbuf_literal(buf, ">");
    append_value(buf, SLOT_SUBMISSION_SET_STATUS, is_original ? STR("Original") : STR_EMPTY);
    strbuf_literal(buf, "</rim:Association>");
}

void manifest_metadata_write(Arena *arena, const ImagingConfig *config, const CodeSets *codes,
                             const ManifestStudy *study, const ManifestPlan *plan, StrBuf *buf)
{
    Metadata metadata = {
        .arena = arena,
        .config = config,
        .codes = codes,
        .study = study,
        .plan = plan,
        .buf = buf,
        .entry = uuid_urn(arena, plan->entry),
        .set = uuid_urn(arena, plan->submission_set),
    };
    strbuf_literal(buf, "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM
                        "\"><rim:RegistryObjectList>");
    append_entry(&metadata);
    append_set(&metadata);
    append_association(&metadata, ASSOCIATION_HAS_MEMBER, metadata.set, metadata.entry, true);
    if (plan->is_replacement) {
        append_association(&metadata, ASSOCIATION_RPLC, metadata.entry,
                           uuid_urn(arena, plan->replaced), false);
    }
    strbuf_literal(buf, "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
}
