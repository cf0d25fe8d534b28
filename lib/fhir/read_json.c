#include <assert.h>

#include "lib/fhir/read.h"

/**
 * JSON (RFC 8259) straight into the tree: no recursion, numbers stay text. `name: [a, b]` becomes
 * two nodes of that name.
 */

/** A name that an open object has already. */
typedef struct UsedName {
    Str name;
    struct UsedName *next;
} UsedName;

/** An open object, or an open array of values of one name. */
typedef struct Frame {
    FhirNode *node; /* that members are added to; NULL: what is inside is not kept */
    Str name;       /* of an array's items */
    bool is_array;
    UsedName *names;
    size_t name_count;
} Frame;

typedef struct Json {
    Request *req;
    Str text;
    size_t at;
    size_t node_count;
    Frame frames[FHIR_DEPTH_MAX + 1];
    size_t depth;
    FhirNode *root;
} Json;

/** Adds an error that says where. */
static int fault(const Json *json, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < json->at && i < json->text.len; i++) {
        line += json->text.data[i] == '\n';
    }
    return error_add(&json->req->errors, ERR_FHIR_STRUCTURE, NULL,
                     "The body is not good JSON: %s (line %zu, byte %zu).", what, line, json->at);
}

/* ---- characters ---- */

static char peek(const Json *json)
{
    return json->at < json->text.len ? json->text.data[json->at] : (char)0;
}

static void skip_space(Json *json)
{
    while (json->at < json->text.len && strchr(" \t\r\n", peek(json))) {
        json->at++;
    }
}

/** Skips white space, and c if it is next. */
static bool take(Json *json, char c)
{
    skip_space(json);
    if (peek(json) != c || json->at >= json->text.len) {
        return false;
    }
    json->at++;
    return true;
}

/* ---- strings ---- */

static bool read_hex4(Json *json, uint32_t *ret_unit)
{
    uint8_t bytes[2];
    if (!str_unhex(str_slice(json->text, json->at, 4), bytes, sizeof(bytes))) {
        return false;
    }
    *ret_unit = (uint32_t)bytes[0] << 8 | bytes[1];
    json->at += 4;
    return true;
}

/** The character of \uXXXX, or of a pair of them; behind the 'u'. */
static bool read_unicode_escape(Json *json, uint32_t *ret_character)
{
    uint32_t high;
    uint32_t low;
    if (!read_hex4(json, &high)) {
        return false;
    }
    if (high < 0xd800 || high > 0xdfff) {
        *ret_character = high;
        return true;
    }
    if (high > 0xdbff || !str_equal(str_slice(json->text, json->at, 2), STR("\\u"))) {
        return false;
    }
    json->at += 2;
    if (!read_hex4(json, &low) || low < 0xdc00 || low > 0xdfff) {
        return false;
    }
    *ret_character = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    to[0] = (char)(lead[len] | c);
    return len;
}

/** What XML 1.0 can hold (section 2.2): FHIR has one set of characters for both formats. */
static bool is_allowed(uint32_t c)
{
    return c >= 0x20 ? c != 0xfffe && c != 0xffff : c == '\t' || c == '\n' || c == '\r';
}

/** One escape, behind the backslash. @return bytes written, 0: not good */
static size_t read_escape(Json *json, char *to)
{
    static const char names[] = "\"\\/bfnrt";
    static const char characters[] = "\"\\/\b\f\n\r\t";
    char c = peek(json);
    const char *found = c ? strchr(names, c) : NULL;
    uint32_t character = found ? (unsigned char)characters[found - names] : 0;
    json->at++;
    if (!found && (c != 'u' || !read_unicode_escape(json, &character))) {
        return 0;
    }
    return is_allowed(character) ? put_utf8(to, character) : 0;
}

/** Index of the closing quote, or of the end; ret_has_escapes. */
static size_t find_end_of_string(const Json *json, bool *ret_has_escapes)
{
    size_t end = json->at;
    *ret_has_escapes = false;
    while (end < json->text.len && json->text.data[end] != '"') {
        bool is_escape = json->text.data[end] == '\\';
        *ret_has_escapes |= is_escape;
        end += is_escape ? 2 : 1;
    }
    return MIN(end, json->text.len);
}

/** A string, behind its opening quote; borrowed from the text where it has no escapes. */
static int read_string(Json *json, Str *ret_text)
{
    bool has_escapes;
    size_t end = find_end_of_string(json, &has_escapes);
    size_t start = json->at;
    char *to = has_escapes ? arena_alloc(json->req->arena, end - start) : NULL;
    size_t len = 0;
    while (json->at < end) {
        char c = json->text.data[json->at++];
        size_t added = 1;
        if (c == '\\') {
            added = read_escape(json, to + len);
        } else if (!is_allowed((unsigned char)c)) {
            added = 0;
        } else if (to) {
            to[len] = c;
        }
        if (added == 0) {
            return fault(json, "a string holds an escape or a control character that is not "
                               "allowed");
        }
        len += added;
    }
    if (!take(json, '"')) {
        return fault(json, "a string has no end");
    }
    *ret_text = has_escapes ? (Str){to, len} : str_slice(json->text, start, end - start);
    return 0;
}

/* ---- numbers and words ---- */

static size_t count_digits(const Json *json, size_t at)
{
    size_t count = 0;
    while (at + count < json->text.len && json->text.data[at + count] >= '0' &&
           json->text.data[at + count] <= '9') {
        count++;
    }
    return count;
}

static char at_or_nul(const Json *json, size_t at)
{
    return at < json->text.len ? json->text.data[at] : (char)0;
}

/** number = [ "-" ] int [ "." 1*DIGIT ] [ ("e" / "E") [ "-" / "+" ] 1*DIGIT ] (RFC 8259 6) */
static bool read_number(Json *json, Str *ret_number)
{
    size_t at = json->at + (peek(json) == '-');
    size_t digits = count_digits(json, at);
    if (digits == 0 || (digits > 1 && json->text.data[at] == '0')) {
        return false;
    }
    at += digits;
    if (at_or_nul(json, at) == '.') {
        digits = count_digits(json, at + 1);
        if (digits == 0) {
            return false;
        }
        at += 1 + digits;
    }
    if (at_or_nul(json, at) == 'e' || at_or_nul(json, at) == 'E') {
        char sign = at_or_nul(json, at + 1);
        at += sign == '+' || sign == '-' ? 2 : 1;
        digits = count_digits(json, at);
        if (digits == 0) {
            return false;
        }
        at += digits;
    }
    *ret_number = str_slice(json->text, json->at, at - json->at);
    json->at = at;
    return true;
}

static bool take_word(Json *json, Str word)
{
    if (!str_equal(str_slice(json->text, json->at, word.len), word)) {
        return false;
    }
    json->at += word.len;
    return true;
}

/* ---- nodes ---- */

static Frame *top(Json *json)
{
    return &json->frames[json->depth - 1];
}

/** A node for the next value of this name; NULL where it is not kept. */
static int add_node(Json *json, Str name, FhirNode **ret_node)
{
    FhirNode *parent = json->depth ? top(json)->node : NULL;
    if (++json->node_count > FHIR_NODES_MAX) {
        return error_add(&json->req->errors, ERR_TOO_LARGE, NULL,
                         "The body has more than %d elements; send less at once.", FHIR_NODES_MAX);
    }
    *ret_node = NULL;
    if (json->depth && (!parent || str_starts_with(name, STR("_")))) {
        return 0;
    }
    FhirNode *node = ARENA_NEW(json->req->arena, FhirNode);
    node->name = name;
    if (parent) {
        fhir_append(parent, node);
    } else {
        json->root = node;
    }
    *ret_node = node;
    return 0;
}

static int add_primitive(Json *json, Str name, FhirValueKind kind, Str value)
{
    FhirNode *parent = json->depth ? top(json)->node : NULL;
    if (parent && str_equal(name, STR("resourceType")) && kind == FHIR_TEXT) {
        parent->type = value;
        return 0;
    }
    FhirNode *node;
    int rc = add_node(json, name, &node);
    if (rc == 0 && node) {
        node->kind = kind;
        node->value = value;
    }
    return rc;
}

static int push(Json *json, FhirNode *node, Str name, bool is_array)
{
    if (json->depth == FHIR_DEPTH_MAX) {
        return fault(json, "it is nested too deeply for a FHIR resource");
    }
    json->frames[json->depth++] = (Frame){.node = node, .name = name, .is_array = is_array};
    return 0;
}

static int check_new_name(Json *json, Str name)
{
    Frame *frame = top(json);
    for (const UsedName *used = frame->names; used; used = used->next) {
        if (str_equal(used->name, name)) {
            return fault(json, "an object has the same name twice");
        }
    }
    if (++frame->name_count > FHIR_NAMES_MAX) {
        return fault(json, "an object has too many names for a FHIR resource");
    }
    UsedName *used = ARENA_NEW(json->req->arena, UsedName);
    *used = (UsedName){name, frame->names};
    frame->names = used;
    return 0;
}

/** "name": in an object. */
static int read_name(Json *json, Str *ret_name)
{
    if (!take(json, '"')) {
        return fault(json, "the name of an element is missing");
    }
    int rc = read_string(json, ret_name);
    if (rc == 0 && str_is_empty(*ret_name)) {
        rc = fault(json, "the name of an element is empty");
    }
    if (rc == 0 && !take(json, ':')) {
        rc = fault(json, "the colon behind a name is missing");
    }
    return rc ? rc : check_new_name(json, *ret_name);
}

static int read_scalar(Json *json, Str name)
{
    Str value;
    if (take(json, '"')) {
        int rc = read_string(json, &value);
        return rc ? rc : add_primitive(json, name, FHIR_TEXT, value);
    }
    if (take_word(json, STR("null"))) {
        return 0;
    }
    if (take_word(json, STR("true"))) {
        return add_primitive(json, name, FHIR_BOOLEAN, STR("true"));
    }
    if (take_word(json, STR("false"))) {
        return add_primitive(json, name, FHIR_BOOLEAN, STR("false"));
    }
    if (read_number(json, &value)) {
        return add_primitive(json, name, FHIR_NUMBER, value);
    }
    return fault(json, "a value is missing, or none of string, number, true, false, null");
}

/** One value, or the start of one: objects and arrays are opened. */
static int begin_value(Json *json, Str name)
{
    if (take(json, '[')) {
        bool is_nested = json->depth == 0 || top(json)->is_array;
        return is_nested ? fault(json, "an array stands where FHIR has none")
                         : push(json, top(json)->node, name, true);
    }
    if (take(json, '{')) {
        FhirNode *node = NULL;
        int rc = add_node(json, name, &node);
        return rc ? rc : push(json, node, STR_EMPTY, false);
    }
    return json->depth == 0 ? fault(json, "it does not begin with {") : read_scalar(json, name);
}

/** The next step in the open object or array: a value, or its end. */
static int step(Json *json, bool *is_first)
{
    Frame *frame = top(json);
    char end = frame->is_array ? ']' : '}';
    if (take(json, end)) {
        json->depth--;
        *is_first = false;
        return 0;
    }
    if (!*is_first && !take(json, ',')) {
        return fault(json, "a comma or a closing bracket is missing");
    }
    Str name = frame->name;
    size_t depth = json->depth;
    int rc = frame->is_array ? 0 : read_name(json, &name);
    rc = rc ? rc : begin_value(json, name);
    *is_first = json->depth > depth;
    return rc;
}

int fhir_read_json(Request *req, Str bytes, const FhirNode **ret_resource)
{
    Json *json = ARENA_NEW(req->arena, Json);
    bool is_first = true;
    *json = (Json){.req = req, .text = bytes};
    if (!str_is_utf8(bytes)) {
        return fault(json, "it is not UTF-8");
    }
    (void)take_word(json, STR("\xef\xbb\xbf")); /* a byte order mark that some systems write */
    int rc = begin_value(json, STR_EMPTY);
    while (rc == 0 && json->depth > 0) {
        rc = step(json, &is_first);
    }
    skip_space(json);
    if (rc == 0 && json->at < bytes.len) {
        rc = fault(json, "something follows the resource");
    }
    assert(rc < 0 || json->root);
    if (rc == 0 && str_is_empty(json->root->type)) {
        rc = error_add(&req->errors, ERR_FHIR_STRUCTURE, "resourceType",
                       "The body has no resourceType; send a FHIR resource.");
    }
    if (rc == 0) {
        *ret_resource = json->root;
    }
    return rc;
}

int fhir_read(Request *req, FhirFormat format, Str bytes, const FhirNode **ret_resource)
{
    return format == FHIR_JSON ? fhir_read_json(req, bytes, ret_resource)
                               : fhir_read_xml(req, bytes, ret_resource);
}
