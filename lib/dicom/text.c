#include "lib/dicom/text.h"

#include "lib/dicom/evidence.h"
#include "lib/text/code_point.h"

/** Texts beyond this sum are decoded like the others, but not asked. */
#define EVIDENCE_BYTES_MAX ((size_t)512 << 10)
/** What a text costs besides its bytes. */
#define EVIDENCE_TEXT_COST 32
/** What an alternative must gain over the declaration: in all, and for each byte of the texts that
 * it reads better. Below it, as for one short word, the declaration stands. */
#define GAIN_MIN 150
#define GAIN_MIN_PER_BYTE 15
/** For each byte of a text in a data set that contradicts: what is found elsewhere is likelier. */
#define LEAN_PER_BYTE 12
/** Points between the best and the second-best reading that halve the doubt. */
#define HALF_DOUBT 150

/** Other readings, the likelier first where they gain the same. */
static const CharacterSet alternatives[] = {CHARSET_UTF_8, CHARSET_SHIFT_JIS, CHARSET_EUC_JP,
                                            CHARSET_LATIN_1};

/** Index of the declaration among the readings; alternatives follow it. */
#define DECLARED 0
#define READINGS (1 + ARRAY_LEN(alternatives))

/* ---- kinds of text ---- */

/** What ends a component or value, besides control characters (PS3.5 6.1.2.5.3). */
#define DELIMITERS_TEXT "\\"
#define DELIMITERS_LONG_TEXT ""
#define DELIMITERS_PERSON "\\^="
#define DELIMITERS_CODED "\\"
#define DELIMITERS_NUMBER "\\"
#define DELIMITERS_BINARY ""
#define DELIMITERS_BYTES ""
#define DELIMITERS_TAG ""
#define DELIMITERS_SEQUENCE ""

#define IS_TEXT_TEXT true
#define IS_TEXT_LONG_TEXT true
#define IS_TEXT_PERSON true
#define IS_TEXT_CODED false
#define IS_TEXT_NUMBER false
#define IS_TEXT_BINARY false
#define IS_TEXT_BYTES false
#define IS_TEXT_TAG false
#define IS_TEXT_SEQUENCE false

static const struct {
    const char *delimiters;
    bool is_text; /* of the character set of (0008,0005) */
} kinds[DICOM_VR_COUNT] = {
#define VR(name, kind, has_long_length, pad)                                                       \
    [DICOM_VR_##name] = {DELIMITERS_##kind, IS_TEXT_##kind},
#include "lib/dicom/vr.def"
#undef VR
};

static Str unpadded(Str value)
{
    while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\0')) {
        value.len--;
    }
    return value;
}

/** Printing ASCII, and none of the two that JIS X 0201 Roman has otherwise. */
static bool is_plain(Str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c < ' ' || c > '}' || c == '\\') {
            return false;
        }
    }
    return true;
}

/** Bytes that mean different characters in different sets. */
static bool is_evidence(Str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((uint8_t)value.data[i] > 0x7f || value.data[i] == '\x1b') {
            return true;
        }
    }
    return false;
}

/* ---- the data set as a whole ---- */

/** All texts, each by the declaration that counts for it or by one alternative where that reads it
 * better. */
typedef struct Tally {
    int64_t points[READINGS];
    int64_t bytes[READINGS]; /* of the texts that the alternative reads better */
    size_t unreadable[READINGS];
    size_t cut[READINGS];
    size_t evidence_bytes;
    uint32_t departed;
} Tally;

static void tally_reading(Tally *tally, size_t reading, const TextEvidence *evidence)
{
    tally->points[reading] += evidence->points;
    tally->unreadable[reading] += evidence->unreadable;
    tally->cut[reading] += evidence->cut;
}

static void tally_text(Tally *tally, const DicomDataset *dataset, DicomVr vr, Str value)
{
    const char *delimiters = kinds[vr].delimiters;
    TextDeclaration declaration = text_declaration(dataset);
    TextEvidence declared = text_evidence(&declaration, delimiters, value);
    bool is_good = text_evidence_is_good(&declared);
    tally->departed |= declared.departed;
    tally->evidence_bytes += declared.bytes;
    tally_reading(tally, DECLARED, &declared);
    for (size_t i = 0; i < ARRAY_LEN(alternatives); i++) {
        TextEvidence best = declared;
        if (!is_good) {
            TextDeclaration other = text_declaration_of(alternatives[i]);
            TextEvidence evidence = text_evidence(&other, delimiters, value);
            if (text_evidence_is_better(&evidence, &declared)) {
                best = evidence;
                tally->bytes[1 + i] += (int64_t)evidence.bytes;
            }
        }
        tally_reading(tally, 1 + i, &best);
    }
}

static Tally tally_texts(const DicomDataset *root)
{
    Tally tally = {0};
    size_t bytes = 0;
    DicomWalk walk;
    dicom_walk_init(&walk, root);
    const DicomElement *element = NULL;
    const DicomDataset *dataset = NULL;
    DicomWalkEvent event;
    while ((event = dicom_walk_next(&walk, &element, &dataset)) != DICOM_WALK_END &&
           bytes < EVIDENCE_BYTES_MAX) {
        if (event == DICOM_WALK_ELEMENT && kinds[element->vr].is_text &&
            is_evidence(element->value)) {
            Str value = unpadded(element->value);
            tally_text(&tally, dataset, element->vr, value);
            bytes += value.len + EVIDENCE_TEXT_COST;
        }
    }
    return tally;
}

/** @return index of the reading with most points */
static size_t best_reading(const Tally *tally)
{
    size_t best = DECLARED;
    for (size_t i = 1; i < READINGS; i++) {
        int64_t gain = tally->points[i] - tally->points[DECLARED];
        bool is_enough = gain >= GAIN_MIN && gain >= tally->bytes[i] * GAIN_MIN_PER_BYTE;
        if (is_enough && tally->points[i] > tally->points[best]) {
            best = i;
        }
    }
    return best;
}

/** One half where two readings are as good as each other, towards 1 the further they are apart and
 * the more bytes were asked. */
static double confidence_of(const Tally *tally, size_t best)
{
    int64_t second = INT64_MIN;
    for (size_t i = 0; i < READINGS; i++) {
        second = i == best ? second : MAX(second, tally->points[i]);
    }
    int64_t apart = MIN(tally->points[best] - second, tally->bytes[best] * 100);
    double doubt = 0.5;
    for (; apart >= HALF_DOUBT && doubt > 0.0001; apart -= HALF_DOUBT) {
        doubt *= 0.5;
    }
    doubt *= 1 - 0.5 * (double)MIN(MAX(apart, 0), HALF_DOUBT) / HALF_DOUBT;
    return 1 - doubt;
}

/** The set that undeclared escapes name; that of two-byte kanji if there are several. */
static CharacterSet departed_to(uint32_t departed)
{
    if (departed & (UINT32_C(1) << CHARSET_JIS_0208)) {
        return CHARSET_JIS_0208;
    }
    return (CharacterSet)__builtin_ctz(departed);
}

TextReading dicom_text_reading(Arena *arena, const DicomDataset *root)
{
    (void)arena;
    TextDeclaration declaration = text_declaration(root);
    TextReading reading = {
        .declared = declaration.shown, .used = declaration.shown, .confidence = 1};
    Tally tally = tally_texts(root);
    size_t best = best_reading(&tally);
    if (best != DECLARED) {
        reading.used = alternatives[best - 1];
        reading.confidence = confidence_of(&tally, best);
        reading.contradicts = true;
    } else if (tally.departed) {
        reading.used = departed_to(tally.departed);
        reading.contradicts = true;
    }
    size_t unreadable = tally.unreadable[best];
    if (unreadable) {
        reading.has_unreadable = true;
        reading.contradicts |= unreadable > tally.cut[best];
        size_t bytes = MAX(tally.evidence_bytes, unreadable);
        reading.confidence *= (double)(bytes - unreadable) / (double)bytes;
    }
    return reading;
}

/* ---- one value ---- */

static Str decode(Arena *arena, const TextDeclaration *declaration, const char *delimiters,
                  Str value)
{
    StrBuf utf8 = {0};
    TextDecoder decoder = {0};
    TextChar c;
    text_decoder_start(&decoder, declaration, delimiters, value);
    while (text_decoder_next(&decoder, &c)) {
        if (c.point) {
            code_point_append(&utf8, c.point);
            continue;
        }
        for (size_t i = 0; i < c.bytes.len; i++) {
            strbuf_printf(&utf8, "\\x%02X", (unsigned)(uint8_t)c.bytes.data[i]);
        }
    }
    text_decoder_done(&decoder);
    Str text = str_dup(arena, strbuf_str(&utf8));
    strbuf_done(&utf8);
    return text;
}

Str dicom_text(Arena *arena, const TextReading *reading, const DicomDataset *dataset,
               const DicomElement *element)
{
    Str value = unpadded(element->value);
    if (is_plain(value)) {
        return value;
    }
    const char *delimiters = kinds[element->vr].delimiters;
    TextDeclaration declaration = text_declaration(dataset);
    if (reading->contradicts && is_evidence(value)) {
        TextDeclaration used = text_declaration_of(reading->used);
        TextEvidence as_used = text_evidence(&used, delimiters, value);
        TextEvidence as_declared = text_evidence(&declaration, delimiters, value);
        as_used.points += (int64_t)as_used.bytes * LEAN_PER_BYTE;
        declaration = text_evidence_is_better(&as_used, &as_declared) ? used : declaration;
    }
    return decode(arena, &declaration, delimiters, value);
}

Str dicom_text_of(Arena *arena, const TextReading *reading, const DicomDataset *dataset,
                  uint32_t tag)
{
    const DicomElement *element = dicom_find(dataset, tag);
    return element ? dicom_text(arena, reading, dataset, element) : STR_EMPTY;
}

/** Whether a text begins with a byte as decode() shows it: such a backslash separates nothing. */
static bool is_shown_byte(Str text)
{
    uint8_t byte;
    return text.len >= 4 && text.data[1] == 'x' && str_unhex(str_slice(text, 2, 2), &byte, 1) &&
           (byte < ' ' || byte > '~');
}

bool dicom_text_next(Str *rest, Str *ret_value)
{
    if (!rest->data) {
        return false;
    }
    size_t end = 0;
    while (end < rest->len &&
           (rest->data[end] != '\\' || is_shown_byte(str_from_offset(*rest, end)))) {
        end++;
    }
    *ret_value = str_slice(*rest, 0, end);
    *rest = end < rest->len ? str_from_offset(*rest, end + 1) : (Str){NULL, 0};
    return true;
}

PersonName dicom_person_name(Str text)
{
    PersonName name = {{STR_EMPTY, STR_EMPTY, STR_EMPTY}};
    Str rest;
    Str group;
    if (!dicom_text_next(&text, &rest)) {
        return name;
    }
    for (size_t i = 0; i < ARRAY_LEN(name.groups) && str_split_next(&rest, '=', &group); i++) {
        name.groups[i] = str_trim(group);
    }
    return name;
}
