/* QIDO-RS (PS3.18 10.6; RAD TF-2 4.129). */

#include "repository/imaging/qido.h"

#include "lib/dicom/dictionary.h"
#include "lib/dicom/json.h"
#include "repository/imaging/wado_rs.h"

#define TYPE_JSON STR("application/dicom+json")
/** Matches of one answer; who wants more asks with offset. */
#define MATCHES_MAX 10000
#define KEYS_MAX 256

#define TAG_CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define TAG_RETRIEVE_URL DICOM_TAG(0x0008, 0x1190)
#define TAG_PATIENT_ID DICOM_TAG(0x0010, 0x0020)
#define TAG_STUDY_UID DICOM_TAG(0x0020, 0x000D)
#define TAG_SERIES_UID DICOM_TAG(0x0020, 0x000E)
#define TAG_SOP_INSTANCE DICOM_TAG(0x0008, 0x0018)

/** What is given without being asked for (PS3.18 Table 10.6.3-3 to -5), and for includefield=all.
 */
static const struct {
    ImagingLevel level;
    bool is_for_all; /* only with includefield=all */
    uint32_t tag;
} given[] = {
#define GIVEN(level, when, tag) {IMAGING_##level, when, tag},
#include "repository/imaging/qido_attributes.def"
#undef GIVEN
};

typedef struct Qido {
    Imaging *imaging;
    DicomwebExchange *exchange;
    ImagingQuery query;
    ImagingKey keys[KEYS_MAX];
    bool is_empty; /* limit=0 */
    bool has_more;
    size_t count;
    StrBuf without_effect; /* names of parameters */
} Qido;

/* ---- the question ---- */

bool qido_attribute(Str name, uint32_t *ret_tag)
{
    uint8_t bytes[4];
    const DictionaryEntry *entry = dictionary_find_keyword(name);
    if (entry) {
        *ret_tag = entry->tag;
        return true;
    }
    if (!str_unhex(name, bytes, sizeof(bytes))) {
        return false;
    }
    *ret_tag =
        (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    return true;
}

static int refuse(const Qido *qido, Str name, const char *why)
{
    Request *req = qido->exchange->req;
    return error_add(&req->errors, ERR_DICOM_REQUEST, NULL, "Parameter \"%.*s\" %s.",
                     STR_ARG(str_shown(req->arena, name)), why);
}

static ImagingKey *find_key(Qido *qido, uint32_t tag)
{
    for (size_t i = 0; i < qido->query.key_count; i++) {
        if (qido->keys[i].tag == tag) {
            return &qido->keys[i];
        }
    }
    return NULL;
}

static int add_key(Qido *qido, Str name, uint32_t tag, Str value)
{
    if (qido->query.key_count == KEYS_MAX) {
        return refuse(qido, name, "is one attribute too many; ask for fewer");
    }
    qido->keys[qido->query.key_count++] = (ImagingKey){.tag = tag, .value = value};
    return 0;
}

/** An attribute that is wanted, unless it is there already. */
static int want(Qido *qido, Str name, uint32_t tag)
{
    return find_key(qido, tag) ? 0 : add_key(qido, name, tag, STR_EMPTY);
}

/** Of lists of UIDs: commas are as good as backslashes (PS3.18 8.3.4.1). */
static Str uid_list(Arena *arena, Str value)
{
    Str list = str_dup(arena, value);
    char *at = WITHOUT_CONST(list.data);
    for (size_t i = 0; i < list.len; i++) {
        at[i] = at[i] == ',' ? '\\' : at[i];
    }
    return list;
}

/** YYYYMMDD, or nothing where one end of a range is left out. */
static bool is_date(Str text)
{
    uint64_t number;
    return text.len == 0 || (text.len == 8 && str_to_u64(text, &number));
}

static bool is_date_range(Str value)
{
    size_t dash = str_find_char(value, '-');
    return value.len > 1 && is_date(str_slice(value, 0, MIN(dash, value.len))) &&
           is_date(dash == SIZE_MAX ? STR_EMPTY : str_from_offset(value, dash + 1));
}

/** Digits, with a fraction, of one time or two. */
static bool is_time_range(Str value)
{
    size_t digits = 0;
    size_t dashes = 0;
    for (size_t i = 0; i < value.len; i++) {
        const char c = value.data[i];
        digits += c >= '0' && c <= '9';
        dashes += c == '-';
        if ((c < '0' || c > '9') && c != '-' && c != '.' && c != ':') {
            return false;
        }
    }
    return digits > 0 && dashes <= 1;
}

static int check_value(const Qido *qido, Str name, DicomVr vr, Str value)
{
    Str uid;
    if (vr == DICOM_VR_TM && !is_time_range(value)) {
        return refuse(qido, name,
                      "is no time; send HHMMSS or less, or a range HHMMSS-HHMMSS of which one end "
                      "may be left out");
    }
    if (vr == DICOM_VR_DA && !is_date_range(value)) {
        return refuse(qido, name,
                      "is no date; send YYYYMMDD, or a range YYYYMMDD-YYYYMMDD of "
                      "which one end may be left out");
    }
    while (vr == DICOM_VR_UI && str_split_next(&value, '\\', &uid)) {
        if (!dicom_uid_is_valid(uid)) {
            return refuse(qido, name,
                          "is no UID; send 1 to 64 digits and dots, and commas "
                          "between several");
        }
    }
    return 0;
}

static int read_match(Qido *qido, const FhirParameter *parameter)
{
    uint32_t tag;
    Str value = parameter->value;
    if (str_find_char(parameter->name, '.') != SIZE_MAX) {
        strbuf_printf(&qido->without_effect, " %.*s", STR_ARG(parameter->name));
        return 0; /* an attribute within a sequence */
    }
    if (!qido_attribute(parameter->name, &tag)) {
        return refuse(qido, parameter->name,
                      "is no attribute; send a keyword of PS3.6, 8 hexadecimal digits, "
                      "includefield, fuzzymatching, limit or offset");
    }
    const DictionaryEntry *entry = dictionary_find(tag);
    DicomVr vr = entry ? entry->vr : DICOM_VR_UN;
    ImagingKey *key = find_key(qido, tag);
    if (key && !str_is_empty(key->value)) {
        return refuse(qido, parameter->name, "is there twice, or is in the path; send it once");
    }
    value = vr == DICOM_VR_UI ? uid_list(qido->exchange->req->arena, value) : value;
    int rc = str_is_empty(value) ? 0 : check_value(qido, parameter->name, vr, value);
    if (rc == 0 && key) {
        key->value = value;
        return 0;
    }
    return rc < 0 ? rc : add_key(qido, parameter->name, tag, value);
}

static int want_given(Qido *qido, bool is_for_all)
{
    const bool has_study = !str_is_empty(qido->exchange->path[0]);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(given) && rc == 0; i++) {
        const bool is_of_path = has_study && given[i].level < qido->query.level &&
                                given[i].tag != TAG_STUDY_UID && given[i].tag != TAG_SERIES_UID;
        if (given[i].level <= qido->query.level && (is_for_all || !given[i].is_for_all) &&
            (is_for_all || !is_of_path)) {
            rc = want(qido, STR("includefield"), given[i].tag);
        }
    }
    return rc;
}

static int read_include(Qido *qido, Str names)
{
    Str name;
    int rc = 0;
    while (rc == 0 && str_split_next(&names, ',', &name)) {
        uint32_t tag;
        name = str_trim(name);
        if (str_equal_ci(name, STR("all"))) {
            rc = want_given(qido, true);
        } else if (qido_attribute(name, &tag)) {
            rc = want(qido, name, tag);
        } else if (str_find_char(name, '.') == SIZE_MAX) {
            rc = refuse(qido, name,
                        "of includefield is no attribute; send keywords of PS3.6, 8 hexadecimal "
                        "digits, or all");
        }
    }
    return rc;
}

static int read_number(const Qido *qido, const FhirParameter *parameter, uint64_t *ret_number)
{
    return str_to_u64(parameter->value, ret_number)
               ? 0
               : refuse(qido, parameter->name, "is no number from 0 on");
}

static int read_flag(const Qido *qido, const FhirParameter *parameter, bool *ret_flag)
{
    *ret_flag = str_equal_ci(parameter->value, STR("true"));
    return *ret_flag || str_equal_ci(parameter->value, STR("false"))
               ? 0
               : refuse(qido, parameter->name, "is neither true nor false");
}

/** PS3.18 8.3.4.5, 8.3.4.6. */
static int read_unserved(Qido *qido, const FhirParameter *parameter)
{
    bool is_wanted;
    int rc = read_flag(qido, parameter, &is_wanted);
    if (rc == 0 && is_wanted) {
        strbuf_printf(&qido->without_effect, " %.*s", STR_ARG(parameter->name));
    }
    return rc;
}

static int read_parameter(Qido *qido, const FhirParameter *parameter)
{
    Str name = parameter->name;
    if (str_equal_ci(name, STR("limit"))) {
        int rc = read_number(qido, parameter, &qido->query.limit);
        qido->is_empty = rc == 0 && qido->query.limit == 0;
        return rc;
    }
    if (str_equal_ci(name, STR("offset"))) {
        return read_number(qido, parameter, &qido->query.offset);
    }
    if (str_equal_ci(name, STR("fuzzymatching"))) {
        return read_flag(qido, parameter, &qido->query.is_fuzzy);
    }
    if (str_equal_ci(name, STR("emptyvaluematching")) ||
        str_equal_ci(name, STR("multiplevaluematching"))) {
        return read_unserved(qido, parameter);
    }
    if (str_equal_ci(name, STR("includefield"))) {
        return read_include(qido, parameter->value);
    }
    return str_equal_ci(name, STR("accept")) || str_equal_ci(name, STR("charset"))
               ? 0
               : read_match(qido, parameter);
}

/** UIDs of the path, what the parameters say, and what is given in any case. */
static int read_question(Qido *qido)
{
    const DicomwebExchange *exchange = qido->exchange;
    static const uint32_t of_path[] = {TAG_STUDY_UID, TAG_SERIES_UID};
    ImagingTarget target;
    int rc = wado_target(exchange, &target);
    for (size_t i = 0; i < ARRAY_LEN(of_path) && rc == 0; i++) {
        if (!str_is_empty(exchange->path[i])) {
            rc = add_key(qido, STR_EMPTY, of_path[i], exchange->path[i]);
        }
    }
    for (size_t i = 0; i < exchange->parameters.count && rc == 0; i++) {
        rc = read_parameter(qido, &exchange->parameters.items[i]);
    }
    return rc < 0 ? rc : want_given(qido, false);
}

/** Keys that would have to match something and do not, for Warning 299. */
static void find_without_effect(Qido *qido)
{
    for (size_t i = 0; i < qido->query.key_count; i++) {
        const ImagingQuery alone = {
            .level = qido->query.level, .keys = &qido->keys[i], .key_count = 1};
        if (!str_is_empty(qido->keys[i].value) && index_unsupported_keys(&alone) > 0) {
            strbuf_printf(&qido->without_effect, " %08X", qido->keys[i].tag);
        }
    }
}

/* ---- audit ---- */

/** Durable before any match leaves (PS3.15 A.5.3.10). */
static int record(Qido *qido, int rc)
{
    Request *req = qido->exchange->req;
    const ImagingKey *patient = find_key(qido, TAG_PATIENT_ID);
    Str number = patient ? patient->value : STR_EMPTY;
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_QUERY,
         .id = str_is_empty(req->message_id) ? str_from(req->ref) : req->message_id,
         .query = str_printf(req->arena, "GET %.*s?%.*s", STR_ARG(req->endpoint),
                             STR_ARG(str_shown(req->arena, qido->exchange->query)))},
        {.kind = AUDIT_OBJECT_PATIENT, .id = str_shown(req->arena, number)},
    };
    AuditEvent event = {.type = AUDIT_RAD129_QUERY,
                        .objects = objects,
                        .object_count = str_is_empty(number) ? 1 : 2};
    if (rc < 0) {
        audit_event_refuse(req, &event);
    }
    int recorded = audit_append_event(qido->imaging->config.audit, req, &event);
    return rc < 0 ? rc : recorded;
}

/* ---- the answer ---- */

static Str value_of(const DicomDataset *match, uint32_t tag)
{
    const DicomElement *element = dicom_find(match, tag);
    return element ? element->value : STR_EMPTY;
}

static Str retrieve_url(const Qido *qido, Arena *arena, const DicomDataset *match)
{
    Str url = str_printf(arena, "%.*s/studies/%.*s", STR_ARG(qido->exchange->base),
                         STR_ARG(value_of(match, TAG_STUDY_UID)));
    if (qido->query.level >= IMAGING_SERIES) {
        url = str_printf(arena, "%.*s/series/%.*s", STR_ARG(url),
                         STR_ARG(value_of(match, TAG_SERIES_UID)));
    }
    if (qido->query.level >= IMAGING_INSTANCE) {
        url = str_printf(arena, "%.*s/instances/%.*s", STR_ARG(url),
                         STR_ARG(value_of(match, TAG_SOP_INSTANCE)));
    }
    return url;
}

static int write_match(void *ctx, Arena *arena, const DicomDataset *match)
{
    static const TextReading reading = {
        .declared = CHARSET_UTF_8, .used = CHARSET_UTF_8, .confidence = 1};
    Qido *qido = ctx;
    StrBuf *buf = &qido->exchange->reply;
    if (qido->count == MATCHES_MAX) {
        qido->has_more = true;
        return 1;
    }
    DicomDataset *full = dicom_dataset_new(arena);
    for (size_t i = 0; i < match->count; i++) {
        dicom_put(arena, full, match->elements[i].tag, match->elements[i].vr,
                  match->elements[i].value);
    }
    dicom_put(arena, full, TAG_CHARACTER_SET, DICOM_VR_CS, STR("ISO_IR 192"));
    dicom_put(arena, full, TAG_RETRIEVE_URL, DICOM_VR_UR, retrieve_url(qido, arena, match));
    strbuf_append(buf, qido->count++ == 0 ? STR("[") : STR(","));
    dicom_json_write(full, &reading, buf);
    return 0;
}

static Str warning(const Qido *qido, Arena *arena)
{
    Str ignored = strbuf_str(&qido->without_effect);
    if (qido->has_more) {
        return str_printf(arena,
                          "299 MUSUBI \"There are more than %d results; ask for the others with "
                          "offset=%llu\"",
                          MATCHES_MAX, (unsigned long long)qido->query.offset + MATCHES_MAX);
    }
    return ignored.len == 0
               ? STR_EMPTY
               : str_printf(arena, "299 MUSUBI \"These parameters had no effect:%.*s\"",
                            STR_ARG(ignored));
}

static void answer(Qido *qido)
{
    DicomwebExchange *exchange = qido->exchange;
    strbuf_append(&exchange->reply, qido->count == 0 ? STR("[]") : STR("]"));
    exchange->status = 200;
    exchange->reply_type = TYPE_JSON;
    exchange->warning = warning(qido, exchange->req->arena);
}

static int run(Qido *qido)
{
    Request *req = qido->exchange->req;
    MediaRanges ranges;
    int rc = read_question(qido);
    rc = rc < 0 ? rc : media_ranges_read(req, qido->exchange->accept, &ranges);
    if (rc == 0 && !media_ranges_find(&ranges, TYPE_JSON, false) &&
        !media_ranges_find(&ranges, STR("application/json"), false)) {
        rc = wado_refuse_accept(qido->exchange, "Results are given as JSON only.");
    }
    find_without_effect(qido);
    rc = record(qido, rc);
    if (rc == 0 && !qido->is_empty) {
        rc = index_query(qido->imaging, req, &qido->query, write_match, qido);
    }
    if (rc == 0) {
        answer(qido);
    }
    return rc;
}

static int query(Imaging *imaging, DicomwebExchange *exchange, ImagingLevel level)
{
    Qido *qido = ARENA_NEW(exchange->req->arena, Qido);
    *qido = (Qido){.imaging = imaging, .exchange = exchange};
    qido->query.level = level;
    qido->query.keys = qido->keys;
    int rc = run(qido);
    strbuf_done(&qido->without_effect);
    return rc;
}

int dicomweb_studies(Imaging *imaging, DicomwebExchange *exchange)
{
    return query(imaging, exchange, IMAGING_STUDY);
}

int dicomweb_series(Imaging *imaging, DicomwebExchange *exchange)
{
    return query(imaging, exchange, IMAGING_SERIES);
}

int dicomweb_instances(Imaging *imaging, DicomwebExchange *exchange)
{
    return query(imaging, exchange, IMAGING_INSTANCE);
}
