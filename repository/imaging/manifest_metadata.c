/* The DocumentEntry of a manifest (RAD TF-2 4.68.4.1.2.3; ITI TF-3 4.2), as ebRIM. */

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/dicom/text.h"
#include "lib/ebrim/submission_text.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/hl7/cx.h"
#include "lib/hl7/er7.h"
#include "lib/xml/write.h"
#include "repository/imaging/manifest.h"

#define TITLE_CHARACTERS 128
/** Characters of a value of a Slot. */
#define LONG_NAME_MAX 256
/** Characters of LO, and of a group of PN (PS3.5 6.2). What is longer is cut to these, of which
 * each may become an escape of three; an identifier is left out. */
#define DICOM_TEXT_MAX 64
#define SCHEME_DCM "1.2.840.10008.2.16.4"
#define SCHEME_SCT "2.16.840.1.113883.6.96"

typedef struct Metadata {
    SubmissionText text;
    Arena *arena; /* of text, as buf is */
    StrBuf *buf;
    const ImagingConfig *config;
    const ManifestStudy *study;
    const ManifestPlan *plan;
    Str entry; /* urn:uuid */
    Str set;
} Metadata;

/* ---- codes ---- */

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
        submission_text_knows(&metadata->text, UUID_TYPE_CODE, &procedure)) {
        return procedure;
    }
    return submission_text_known_or_first(
        &metadata->text, UUID_TYPE_CODE,
        submission_text_configured(metadata->config->type_code, "Diagnostic imaging study"));
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
    if (str_is_empty(code.scheme) ||
        !submission_text_knows(&metadata->text, UUID_EVENT_CODE_LIST, &code)) {
        return false;
    }
    submission_text_code(&metadata->text, metadata->entry, UUID_EVENT_CODE_LIST, code);
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

/** Whether a Slot takes it (ebRIM LongName). */
static bool fits(Str value)
{
    return cut(value, LONG_NAME_MAX).len == value.len;
}

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

/** PID-5: the groups that are there, each a repetition, as far as there is room. */
static Str patient_name(const Metadata *metadata)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    PersonName name = dicom_person_name(metadata->study->patient_name);
    for (size_t i = 0; i < ARRAY_LEN(name.groups); i++) {
        const size_t before = buf.len;
        if (!str_is_empty(name.groups[i])) {
            strbuf_append(&buf, buf.len > 0 ? STR("~") : STR("PID-5|"));
            append_xpn(&buf, cut(name.groups[i], DICOM_TEXT_MAX));
        }
        if (!fits(strbuf_str(&buf))) {
            strbuf_truncate(&buf, before);
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
        values[count++] = name;
    }
    if (!str_is_empty(study->patient_birth_date)) {
        values[count++] = str_printf(arena, "PID-7|%.*s", STR_ARG(study->patient_birth_date));
    }
    if (!str_is_empty(study->patient_sex)) {
        values[count++] = str_printf(arena, "PID-8|%.*s", STR_ARG(study->patient_sex));
    }
    submission_text_slot(metadata->buf, "sourcePatientInfo", values, count);
}

/** CXi; the hospital's own authority where the images name none that is an OID. */
static void add_reference(const Metadata *metadata, Str id, Str oid, const char *type, Str *values,
                          size_t *count)
{
    if (str_is_empty(id)) {
        return;
    }
    Str cx =
        hl7_cx_format(metadata->arena, id, oid_is_valid(oid) ? oid : metadata->study->authority);
    Str value = str_printf(metadata->arena, "%.*s^%s", STR_ARG(cx), type);
    if (fits(value)) {
        values[(*count)++] = value;
    }
}

/** A study whose UID is no OID is registered without it: the registry would refuse the value. */
static void append_references(Metadata *metadata)
{
    const ManifestStudy *study = metadata->study;
    Str values[3];
    size_t count = 0;
    add_reference(metadata, study->accession_number, study->accession_oid,
                  "urn:ihe:iti:xds:2013:accession", values, &count);
    add_reference(metadata, study->placer_order, study->placer_order_oid,
                  "urn:ihe:iti:xds:2013:order", values, &count);
    if (oid_is_valid(study->study_uid)) {
        values[count++] =
            str_printf(metadata->arena, "%.*s^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
                       STR_ARG(study->study_uid));
    }
    if (count > 0) {
        submission_text_slot(metadata->buf, "urn:ihe:iti:xds:2013:referenceIdList", values, count);
    }
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
    Str institution = cut(str_trim(metadata->study->institution_name), DICOM_TEXT_MAX);
    _cleanup_(strbuf_done) StrBuf name = {0};
    if (str_is_empty(institution)) {
        return;
    }
    er7_append_text(&name, institution);
    strbuf_literal(buf, "<rim:Classification");
    submission_text_id(&metadata->text);
    submission_text_attribute(buf, "classificationScheme", STR(UUID_AUTHOR));
    submission_text_attribute(buf, "classifiedObject", metadata->entry);
    strbuf_literal(buf, " nodeRepresentation=\"\">");
    submission_text_value(buf, "authorInstitution", strbuf_str(&name));
    strbuf_literal(buf, "</rim:Classification>");
}

/* ---- objects ---- */

static void append_slots(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    const ManifestStudy *study = metadata->study;
    submission_text_value(buf, "creationTime", clock_dtm(metadata->arena, study->changed_us));
    submission_text_value(buf, "languageCode", str_from(metadata->config->language_code));
    if (study->started_us != INT64_MIN) {
        submission_text_value(buf, "serviceStartTime",
                              clock_dtm(metadata->arena, study->started_us));
    }
    submission_text_value(buf, "sourcePatientId", study->source_patient_id);
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
        {UUID_CLASS_CODE, submission_text_configured(config->class_code, "Images")},
        {UUID_CONFIDENTIALITY_CODE,
         submission_text_configured(config->confidentiality_code, "Confidentiality")},
        {UUID_FORMAT_CODE, format},
        {UUID_TYPE_CODE, type_code(metadata)},
        {UUID_FACILITY_TYPE_CODE,
         submission_text_known_or_first(
             &metadata->text, UUID_FACILITY_TYPE_CODE,
             submission_text_configured(config->facility_type_code, "Hospital"))},
        {UUID_PRACTICE_SETTING_CODE,
         submission_text_known_or_first(
             &metadata->text, UUID_PRACTICE_SETTING_CODE,
             submission_text_configured(config->practice_setting_code, "Radiology"))},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        Code code = codes[i].code;
        (void)submission_text_knows(&metadata->text, codes[i].scheme,
                                    &code); /* else the registry says so */
        submission_text_code(&metadata->text, metadata->entry, codes[i].scheme, code);
    }
    append_event_codes(metadata);
}

static void append_entry(Metadata *metadata)
{
    StrBuf *buf = metadata->buf;
    strbuf_literal(buf, "<rim:ExtrinsicObject");
    submission_text_attribute(buf, "id", metadata->entry);
    submission_text_attribute(buf, "mimeType", STR("application/dicom"));
    submission_text_attribute(buf, "objectType", STR(UUID_STABLE_DOCUMENT));
    strbuf_literal(buf, ">");
    append_slots(metadata);
    submission_text_name(buf, title(metadata));
    append_author(metadata);
    append_codes(metadata);
    submission_text_identifier(&metadata->text, metadata->entry, UUID_DOCUMENT_PATIENT_ID,
                               "XDSDocumentEntry.patientId", metadata->study->patient_id);
    submission_text_identifier(&metadata->text, metadata->entry, UUID_DOCUMENT_UNIQUE_ID,
                               "XDSDocumentEntry.uniqueId", metadata->plan->sop_instance);
    strbuf_literal(buf, "</rim:ExtrinsicObject>");
}

static void append_set(Metadata *metadata)
{
    const SubmissionSetText set = {
        .id = metadata->set,
        .unique_id = oid_of_uuid(metadata->arena, metadata->plan->submission_set),
        .patient_id = metadata->study->patient_id,
        .source_id = str_from(metadata->config->unique_id),
        .submission_time = clock_dtm(metadata->arena, metadata->study->changed_us),
        .content_type = submission_text_known_or_first(&metadata->text, UUID_CONTENT_TYPE_CODE,
                                                       type_code(metadata)),
    };
    submission_text_set(&metadata->text, &set);
}

void manifest_metadata_write(Arena *arena, const ImagingConfig *config, const CodeSets *codes,
                             const ManifestStudy *study, const ManifestPlan *plan, StrBuf *buf)
{
    Metadata metadata = {
        .text = {.arena = arena, .buf = buf, .codes = codes},
        .arena = arena,
        .buf = buf,
        .config = config,
        .study = study,
        .plan = plan,
        .entry = uuid_urn(arena, plan->entry),
        .set = uuid_urn(arena, plan->submission_set),
    };
    submission_text_begin(&metadata.text);
    append_entry(&metadata);
    append_set(&metadata);
    submission_text_association(&metadata.text, ASSOCIATION_HAS_MEMBER, metadata.set,
                                metadata.entry, true);
    if (plan->is_replacement) {
        submission_text_association(&metadata.text, ASSOCIATION_RPLC, metadata.entry,
                                    uuid_urn(arena, plan->replaced), false);
    }
    submission_text_end(&metadata.text);
}
