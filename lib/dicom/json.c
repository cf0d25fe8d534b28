#include "lib/dicom/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** Longer opaque values are named (BulkDataURI), not written in base64. */
#define INLINE_BINARY_MAX 4096
/** Integers beyond it are no numbers for readers in JavaScript. */
#define SAFE_INTEGER ((int64_t)1 << 53)
#define NUMBER_TEXT_MAX 63
#define TAG_SPECIFIC_CHARACTER_SET DICOM_TAG(0x0008, 0x0005)

typedef enum VrKind { TEXT, LONG_TEXT, PERSON, CODED, NUMBER, BINARY, BYTES, TAG, SEQUENCE } VrKind;

static const VrKind vr_kinds[] = {
#define VR(name, kind, has_long_length, pad) kind,
#include "lib/dicom/vr.def"
#undef VR
};

typedef struct JsonWriter {
    StrBuf *buf;
    const TextReading *reading;
    Arena *arena; /* of one element's texts */
} JsonWriter;

/* ---- values ---- */

static Str without_padding(Str value)
{
    while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\0')) {
        value.len--;
    }
    while (value.len && value.data[0] == ' ') {
        value = str_from_offset(value, 1);
    }
    return value;
}

static Str take_digits(Str *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->data[len] >= '0' && rest->data[len] <= '9') {
        len++;
    }
    Str digits = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len);
    return digits;
}

static bool take_char(Str *rest, char c)
{
    bool is_there = rest->len > 0 && rest->data[0] == c;
    *rest = str_from_offset(*rest, is_there);
    return is_there;
}

static Str without_leading_zeros(Str digits)
{
    while (digits.len > 1 && digits.data[0] == '0') {
        digits = str_from_offset(digits, 1);
    }
    return digits;
}

/** IS and DS (PS3.5 6.2) as JSON writes numbers: no plus sign, no leading zeros, digits on both
 * sides of the point. @return false, and nothing appended: it is none, or one too large */
static bool append_number(StrBuf *buf, Str text)
{
    if (text.len == 0 || text.len > NUMBER_TEXT_MAX) {
        return false;
    }
    char copy[NUMBER_TEXT_MAX + 1] = {0};
    memcpy(copy, text.data, text.len);
    bool is_negative = take_char(&text, '-');
    if (!is_negative) {
        (void)take_char(&text, '+');
    }
    Str whole = take_digits(&text);
    Str fraction = take_char(&text, '.') ? take_digits(&text) : STR_EMPTY;
    if (whole.len + fraction.len == 0) {
        return false;
    }
    Str exponent = STR_EMPTY;
    bool is_small = false;
    if (take_char(&text, 'E') || take_char(&text, 'e')) {
        is_small = take_char(&text, '-');
        if (!is_small) {
            (void)take_char(&text, '+');
        }
        exponent = take_digits(&text);
        if (exponent.len == 0) {
            return false;
        }
    }
    if (text.len > 0 || !isfinite(strtod(copy, NULL))) {
        return false;
    }
    whole = whole.len ? without_leading_zeros(whole) : STR("0");
    strbuf_printf(buf, "%s%.*s%s%.*s", is_negative ? "-" : "", STR_ARG(whole),
                  fraction.len ? "." : "", STR_ARG(fraction));
    if (exponent.len > 0) {
        strbuf_printf(buf, "e%s%.*s", is_small ? "-" : "", STR_ARG(exponent));
    }
    return true;
}

static void append_person(StrBuf *buf, Str value)
{
    static const char *const names[] = {"Alphabetic", "Ideographic", "Phonetic"};
    PersonName name = dicom_person_name(value);
    const char *separator = "{";
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (name.groups[i].len > 0) {
            strbuf_printf(buf, "%s\"%s\":", separator, names[i]);
            strbuf_append_json(buf, name.groups[i]);
            separator = ",";
        }
    }
    if (separator[0] == '{') {
        strbuf_literal(buf, "{");
    }
    strbuf_literal(buf, "}");
}

/** One of several values; an empty one is null (PS3.18 F.2.5). */
static void append_text_value(StrBuf *buf, VrKind kind, Str value)
{
    if (value.len == 0) {
        strbuf_literal(buf, "null");
    } else if (kind == PERSON) {
        append_person(buf, value);
    } else if (kind != NUMBER || !append_number(buf, value)) {
        strbuf_append_json(buf, value);
    }
}

static void write_text(const JsonWriter *json, const DicomDataset *dataset,
                       const DicomElement *element)
{
    VrKind kind = vr_kinds[element->vr];
    Str text = dicom_text(json->arena, json->reading, dataset, element);
    if (element->tag == TAG_SPECIFIC_CHARACTER_SET) {
        text = STR("ISO_IR 192"); /* of this text (PS3.18 F.2.2) */
    }
    if (without_padding(text).len == 0) {
        return;
    }
    strbuf_literal(json->buf, ",\"Value\":[");
    if (kind == LONG_TEXT) {
        strbuf_append_json(json->buf, text);
    } else {
        Str value;
        for (bool is_first = true; dicom_text_next(&text, &value); is_first = false) {
            strbuf_append(json->buf, is_first ? STR_EMPTY : STR(","));
            append_text_value(json->buf, kind, without_padding(value));
        }
    }
    strbuf_literal(json->buf, "]");
}

/** The shortest text that reads back as the same number. */
static void append_float(StrBuf *buf, double value, bool is_single)
{
    if (!isfinite(value)) {
        strbuf_printf(buf, "\"%s\"", isnan(value) ? "NaN" : value < 0 ? "-inf" : "inf");
        return;
    }
    char text[40];
    int digits = is_single ? 6 : 15;
    bool is_exact = false;
    while (!is_exact) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        is_exact = is_single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value;
        is_exact |= ++digits > 17;
    }
    strbuf_append(buf, str_from(text));
}

static void append_integer(StrBuf *buf, DicomVr vr, uint64_t bits)
{
    int64_t value = vr == DICOM_VR_SS   ? (int16_t)(uint16_t)bits
                    : vr == DICOM_VR_SL ? (int32_t)(uint32_t)bits
                                        : (int64_t)bits;
    bool is_beyond = vr == DICOM_VR_UV ? bits > (uint64_t)SAFE_INTEGER
                                       : value > SAFE_INTEGER || value < -SAFE_INTEGER;
    const char *quote = is_beyond ? "\"" : "";
    if (vr == DICOM_VR_UV) {
        strbuf_printf(buf, "%s%llu%s", quote, (unsigned long long)bits, quote);
    } else {
        strbuf_printf(buf, "%s%lld%s", quote, (long long)value, quote);
    }
}

static void append_binary(StrBuf *buf, DicomVr vr, uint64_t bits)
{
    if (vr == DICOM_VR_FL) {
        uint32_t half = (uint32_t)bits;
        float value;
        memcpy(&value, &half, sizeof(value));
        append_float(buf, (double)value, true);
    } else if (vr == DICOM_VR_FD) {
        double value;
        memcpy(&value, &bits, sizeof(value));
        append_float(buf, value, false);
    } else if (vr == DICOM_VR_AT) {
        strbuf_printf(buf, "\"%04X%04X\"", (unsigned)(bits & 0xFFFF), (unsigned)(bits >> 16));
    } else {
        append_integer(buf, vr, bits);
    }
}

/** Numbers of fixed size, and tags. */
static void write_binary(const JsonWriter *json, const DicomElement *element)
{
    size_t width = element->vr == DICOM_VR_AT ? 4 : dicom_vr_width(element->vr);
    size_t count = element->value.len / width;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (size_t k = width; k-- > 0;) {
            bits = bits << 8 | (uint8_t)element->value.data[i * width + k];
        }
        strbuf_append(json->buf, i == 0 ? STR(",\"Value\":[") : STR(","));
        append_binary(json->buf, element->vr, bits);
    }
    strbuf_append(json->buf, count > 0 ? STR("]") : STR_EMPTY);
}

static void write_bulk(const JsonWriter *json, const DicomElement *element)
{
    strbuf_printf(json->buf, ",\"BulkDataURI\":\"bulk/%llu-%llu\"",
                  (unsigned long long)element->offset, (unsigned long long)element->length);
}

static void write_bytes(const JsonWriter *json, const DicomElement *element)
{
    if (element->value.len > INLINE_BINARY_MAX) {
        write_bulk(json, element);
    } else if (element->value.len > 0) {
        strbuf_literal(json->buf, ",\"InlineBinary\":\"");
        strbuf_append_base64(json->buf, element->value.data, element->value.len);
        strbuf_literal(json->buf, "\"");
    }
}

/** All but sequences. */
static void write_value(const JsonWriter *json, const DicomDataset *dataset,
                        const DicomElement *element)
{
    VrKind kind = vr_kinds[element->vr];
    if (element->is_bulk) {
        write_bulk(json, element);
    } else if (kind == BYTES) {
        write_bytes(json, element);
    } else if (kind == BINARY || kind == TAG) {
        write_binary(json, element);
    } else {
        write_text(json, dataset, element);
    }
}

/* ---- structure ---- */

/** Group lengths and file meta information (PS3.18 F.2.2). */
static bool is_left_out(const DicomElement *element)
{
    bool is_meta = element->tag >> 16 == 2 || (element->tag & 0xFFFF) == 0;
    return is_meta && element->vr != DICOM_VR_SQ;
}

void dicom_json_write(const DicomDataset *dataset, const TextReading *reading, StrBuf *buf)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    JsonWriter json = {.buf = buf, .reading = reading, .arena = arena};
    DicomWalk walk;
    dicom_walk_init(&walk, dataset);
    const DicomElement *element = NULL;
    const DicomDataset *holder = NULL;
    DicomWalkEvent event;
    bool needs_comma = false;
    strbuf_literal(buf, "{");
    while ((event = dicom_walk_next(&walk, &element, &holder)) != DICOM_WALK_END) {
        if (event == DICOM_WALK_ELEMENT && !is_left_out(element)) {
            strbuf_printf(buf, "%s\"%08X\":{\"vr\":\"%s\"", needs_comma ? "," : "", element->tag,
                          dicom_vr_name(element->vr));
            needs_comma = true;
            if (element->vr != DICOM_VR_SQ) {
                write_value(&json, holder, element);
                strbuf_literal(buf, "}");
                arena_clear(arena);
            } else if (element->item_count > 0) {
                strbuf_literal(buf, ",\"Value\":[");
                needs_comma = false;
            }
        } else if (event == DICOM_WALK_ITEM) {
            strbuf_append(buf, needs_comma ? STR(",{") : STR("{"));
            needs_comma = false;
        } else if (event == DICOM_WALK_ITEM_END) {
            strbuf_literal(buf, "}");
            needs_comma = true;
        } else if (event == DICOM_WALK_SEQUENCE_END) {
            strbuf_append(buf, element->item_count > 0 ? STR("]}") : STR("}"));
            needs_comma = true;
        }
    }
    strbuf_literal(buf, "}");
}
