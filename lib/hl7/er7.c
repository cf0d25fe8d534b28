#include "lib/hl7/er7.h"

const Er7Delimiters er7_standard_delimiters = {'|', '^', '~', '\\', '&'};

#define FIELD_CHARSET 18

/* ---- cutting ---- */

/** Item number (from 1) of text; empty if there are fewer. Decoded text has no NUL, so an
 * undeclared separator (0) cuts nothing. */
static Str nth_item(Str text, char separator, size_t number)
{
    Str rest = text;
    while (number > 1) {
        size_t at = str_find_char(rest, separator);
        if (at == SIZE_MAX) {
            return STR_EMPTY;
        }
        rest = str_from_offset(rest, at + 1);
        number--;
    }
    return str_slice(rest, 0, str_find_char(rest, separator));
}

static size_t count_char(Str text, char c)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += text.data[i] == c;
    }
    return count;
}

size_t er7_repetition_count(const Er7Delimiters *delimiters, Str field)
{
    return count_char(field, delimiters->repetition) + 1;
}

Str er7_repetition(const Er7Delimiters *delimiters, Str field, size_t number)
{
    return nth_item(field, delimiters->repetition, number);
}

Str er7_component(const Er7Delimiters *delimiters, Str repetition, size_t number)
{
    return nth_item(repetition, delimiters->component, number);
}

Str er7_subcomponent(const Er7Delimiters *delimiters, Str component, size_t number)
{
    return nth_item(component, delimiters->subcomponent, number);
}

const Er7Segment *er7_segment(const Er7Message *message, Str name, size_t number)
{
    for (size_t i = 0; i < message->segment_count; i++) {
        if (str_equal(message->segments[i].name, name) && --number == 0) {
            return &message->segments[i];
        }
    }
    return NULL;
}

Str er7_field(const Er7Message *message, const Er7Segment *segment, size_t number)
{
    if (!segment) {
        return STR_EMPTY;
    }
    if (segment != message->segments) {
        return nth_item(segment->text, message->delimiters.field, number + 1);
    }
    /* MSH-1 is the separator itself (HL7 v2.5 2.5.4) */
    return number == 1 ? str_slice(segment->text, 3, 1)
                       : nth_item(segment->text, message->delimiters.field, number);
}

Str er7_value(const Er7Message *message, const Er7Segment *segment, size_t field, size_t component)
{
    const Er7Delimiters *delimiters = &message->delimiters;
    Str repetition = er7_repetition(delimiters, er7_field(message, segment, field), 1);
    Str leaf = er7_subcomponent(delimiters, er7_component(delimiters, repetition, component), 1);
    return er7_text(message->arena, delimiters, message->charset, leaf);
}

/* ---- escapes (HL7 v2.5 2.7) ---- */

/** The delimiter that a one-letter escape stands for; 0 if it is none. */
static char escaped_delimiter(const Er7Delimiters *delimiters, Str sequence)
{
    if (sequence.len != 1) {
        return 0;
    }
    switch (sequence.data[0]) {
    case 'F':
        return delimiters->field;
    case 'S':
        return delimiters->component;
    case 'T':
        return delimiters->subcomponent;
    case 'R':
        return delimiters->repetition;
    case 'E':
        return delimiters->escape;
    default:
        return 0;
    }
}

/** Appends the octets of "Xdd..". @return false, with nothing appended, if they are not text */
static bool append_hexadecimal(Arena *arena, Hl7Charset charset, Str sequence, StrBuf *text)
{
    if (sequence.len < 3 || sequence.data[0] != 'X') {
        return false;
    }
    size_t len = (sequence.len - 1) / 2;
    char *octets = arena_alloc(arena, len);
    size_t before = text->len;
    size_t offset;
    if (str_unhex(str_from_offset(sequence, 1), octets, len) &&
        hl7_charset_decode(charset, (Str){octets, len}, text, &offset)) {
        return true;
    }
    text->len = before;
    return false;
}

Str er7_text(Arena *arena, const Er7Delimiters *delimiters, Hl7Charset charset, Str leaf)
{
    if (!delimiters->escape || str_find_char(leaf, delimiters->escape) == SIZE_MAX) {
        return leaf;
    }
    _cleanup_(strbuf_done) StrBuf text = {0};
    Str rest = leaf;
    while (!str_is_empty(rest)) {
        size_t start = str_find_char(rest, delimiters->escape);
        size_t len = start == SIZE_MAX
                         ? SIZE_MAX
                         : str_find_char(str_from_offset(rest, start + 1), delimiters->escape);
        if (len == SIZE_MAX) {
            strbuf_append(&text, rest);
            break;
        }
        strbuf_append(&text, str_slice(rest, 0, start));
        Str sequence = str_slice(rest, start + 1, len);
        char delimiter = escaped_delimiter(delimiters, sequence);
        if (delimiter) {
            strbuf_append_char(&text, delimiter);
        } else if (!append_hexadecimal(arena, charset, sequence, &text)) {
            strbuf_append(&text, str_slice(rest, start, len + 2));
        }
        rest = str_from_offset(rest, start + len + 2);
    }
    return str_dup(arena, strbuf_str(&text));
}

/** The escape sequence of a character that may not stand in a leaf with standard delimiters, NULL
 * if it may. */
static const char *escape_of(char c)
{
    switch (c) {
    case '|':
        return "\\F\\";
    case '^':
        return "\\S\\";
    case '&':
        return "\\T\\";
    case '~':
        return "\\R\\";
    case '\\':
        return "\\E\\";
    case '\r':
        return "\\X0D\\";
    case '\n':
        return "\\X0A\\";
    default:
        return NULL;
    }
}

static void append_char_escaped(StrBuf *buf, char c)
{
    const char *escape = escape_of(c);
    if (escape) {
        strbuf_append(buf, str_from(escape));
    } else {
        strbuf_append_char(buf, c);
    }
}

void er7_append_text(StrBuf *buf, Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        append_char_escaped(buf, text.data[i]);
    }
}

/** The standard delimiter in the role of c; 0 if c is no delimiter. */
static char standard_delimiter(const Er7Delimiters *delimiters, char c)
{
    if (c == delimiters->component) {
        return er7_standard_delimiters.component;
    }
    if (c == delimiters->repetition) {
        return er7_standard_delimiters.repetition;
    }
    if (c == delimiters->escape) {
        return er7_standard_delimiters.escape;
    }
    if (c == delimiters->subcomponent) {
        return er7_standard_delimiters.subcomponent;
    }
    return '\0';
}

Str er7_standardize(const Er7Message *message, Str raw)
{
    const Er7Delimiters *delimiters = &message->delimiters;
    if (memcmp(delimiters, &er7_standard_delimiters, sizeof(*delimiters)) == 0) {
        return raw;
    }
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < raw.len; i++) {
        char delimiter = standard_delimiter(delimiters, raw.data[i]);
        if (delimiter) {
            strbuf_append_char(&buf, delimiter);
        } else {
            append_char_escaped(&buf, raw.data[i]);
        }
    }
    return str_dup(message->arena, strbuf_str(&buf));
}

/* ---- reading ---- */

/** A separator is a printing ASCII character that cannot be part of a name, a number or a time. */
static bool may_delimit(char c)
{
    bool is_alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return c > ' ' && c < 0x7f && !is_alphanumeric;
}

/** Reads MSH-1 and MSH-2 of "MSH|^~\&|...". @return false if they cannot be delimiters */
static bool read_delimiters(Str msh, Er7Delimiters *ret_delimiters)
{
    if (!str_starts_with(msh, STR("MSH")) || msh.len < 5 || !may_delimit(msh.data[3])) {
        return false;
    }
    Er7Delimiters found = {.field = msh.data[3]};
    char *places[] = {&found.component, &found.repetition, &found.escape, &found.subcomponent};
    Str declared = nth_item(msh, found.field, 2);
    for (size_t i = 0; i < declared.len; i++) {
        char c = declared.data[i];
        bool is_repeated = str_find_char(str_slice(declared, 0, i), c) != SIZE_MAX;
        if (!may_delimit(c) || is_repeated) {
            return false;
        }
        if (i < ARRAY_LEN(places)) { /* the fifth, of HL7 v2.7, marks truncation */
            *places[i] = c;
        }
    }
    *ret_delimiters = found;
    return !str_is_empty(declared);
}

/** MSH without what follows an LF: the sender took LF for the segment separator. */
static Str cut_at_line_feed(ErrorList *errors, Str msh)
{
    size_t at = str_find_char(msh, '\n');
    if (at != SIZE_MAX) {
        error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, "MSH^1",
                  "segments are separated by LF; HL7 v2 separates them by CR (0x0D) alone");
    }
    return str_slice(msh, 0, at);
}

static void split_segments(Er7Message *message, ErrorList *errors, Str text)
{
    size_t count = MIN(count_char(text, '\r') + 1, ER7_SEGMENTS_MAX);
    Er7Segment *segments = ARENA_ARRAY(message->arena, Er7Segment, count);
    message->segments = segments;
    Str rest = text;
    Str line;
    while (str_split_next(&rest, '\r', &line)) {
        if (str_starts_with(line, STR("\n"))) { /* CR LF, where the standard has CR alone */
            line = str_from_offset(line, 1);
        }
        if (str_is_empty(line)) {
            continue;
        }
        if (message->segment_count == 0) {
            line = cut_at_line_feed(errors, line);
        }
        if (message->segment_count == count) {
            error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, NULL,
                      "the message has more than %d segments; send less in one message",
                      ER7_SEGMENTS_MAX);
            return;
        }
        segments[message->segment_count++] =
            (Er7Segment){.name = nth_item(line, message->delimiters.field, 1), .text = line};
    }
}

static bool is_segment_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (may_delimit(name.data[i]) || name.data[i] == ' ') {
            return false;
        }
    }
    return name.len == 3;
}

/** "PID-5", and its ERR-2 path, of the place where a text that was cut off ends. */
static void add_undecodable(const Er7Message *message, ErrorList *errors, Str octets, size_t offset)
{
    const Er7Delimiters *delimiters = &message->delimiters;
    const Er7Segment *last = &message->segments[message->segment_count - 1];
    size_t sequence = 0;
    for (size_t i = 0; i < message->segment_count; i++) {
        sequence += str_equal(message->segments[i].name, last->name);
    }
    size_t separators = count_char(last->text, delimiters->field);
    size_t number = separators + (last == message->segments);
    Str field = er7_field(message, last, number);
    size_t repetition = er7_repetition_count(delimiters, field);
    Str name = is_segment_name(last->name) ? last->name : STR("???");
    Str charset = er7_field(message, message->segments, FIELD_CHARSET);
    Str location =
        str_printf(message->arena, "%.*s^%zu^%zu^%zu", STR_ARG(name), sequence, number, repetition);
    error_add(
        errors, ERR_HL7_DATA_TYPE, str_cstr(message->arena, location),
        "%.*s-%zu: octet 0x%02X (the %zu. of the message) is not text in the character set of "
        "MSH-18 \"%.*s\"; send MSH-18 that names the set the message is in, one of: %s",
        STR_ARG(name), number, (unsigned)(uint8_t)octets.data[offset], offset + 1, STR_ARG(charset),
        hl7_charset_names);
}

/** MSH-18 from the octets of MSH. An unknown set is an error; reading goes on as far as the text is
 * ASCII. */
static Hl7Charset read_charset(ErrorList *errors, const Er7Delimiters *delimiters, Str msh)
{
    Hl7Charset charset = HL7_ASCII;
    Str field = nth_item(msh, delimiters->field, FIELD_CHARSET);
    if (!hl7_charset_parse(field, delimiters->repetition, &charset)) {
        _cleanup_(strbuf_done) StrBuf text = {0};
        size_t offset = 0;
        bool is_text = hl7_charset_decode(HL7_ASCII, field, &text, &offset);
        Str shown = is_text ? strbuf_str(&text) : STR("(not text)");
        error_add(errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, "MSH^1^18",
                  "MSH-18 \"%.*s\" is not a character set (or combination) that this server reads; "
                  "leave it empty for ASCII or send one of: %s",
                  STR_ARG(shown), hl7_charset_names);
    }
    return charset;
}

Er7Message *er7_read(Arena *arena, ErrorList *errors, Str payload)
{
    Str msh = nth_item(payload, '\r', 1);
    Er7Delimiters delimiters;
    if (!read_delimiters(msh, &delimiters)) {
        error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, "MSH^1",
                  "the message does not begin with segment MSH and its delimiters (MSH-1, MSH-2)");
        return NULL;
    }
    Er7Message *message = ARENA_NEW(arena, Er7Message);
    message->arena = arena;
    message->delimiters = delimiters;
    unsigned before = errors->error_count;
    message->charset = read_charset(errors, &delimiters, msh);

    _cleanup_(strbuf_done) StrBuf utf8 = {0};
    size_t offset = 0;
    bool is_text = hl7_charset_decode(message->charset, payload, &utf8, &offset);
    split_segments(message, errors, str_dup(arena, strbuf_str(&utf8)));
    if (er7_segment(message, STR("MSH"), 2)) {
        error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, "MSH^2",
                  "the frame holds more than one message: segment MSH occurs again; send each "
                  "message in a frame of its own");
    }
    if (!is_text && errors->error_count == before) {
        add_undecodable(message, errors, payload, offset);
    }
    return message;
}
