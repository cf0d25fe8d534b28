#include "lib/ebrim/codes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file_io.h"
#include "lib/base/request.h"
#include "lib/xml/read.h"

#define FILE_SIZE_MAX (16u * 1024 * 1024)
#define READ_TIMEOUT_MS 60000
#define NEAREST_COUNT 3
/* Edit distances look at this much of what differs; the rest counts as different. */
#define EDIT_LEN_MAX 32

typedef struct CodeRow {
    Str set; /* classificationScheme, or CODE_SET_MIME_TYPE */
    Str code;
    Str scheme;
    Str display;
} CodeRow;

struct CodeSets {
    Request *file; /* its arena holds everything */
    CodeRow *rows; /* in the order of the file */
    size_t count;
    size_t *slots;     /* open addressing: row + 1; 0 = free */
    size_t slot_count; /* a power of two, at least twice count */
};

/* ---- hash ---- */

/** FNV-1a, with the length so that ("a", "bc") and ("ab", "c") differ. */
static uint64_t hash_str(uint64_t hash, Str s)
{
    for (size_t i = 0; i < s.len; i++) {
        hash = (hash ^ (unsigned char)s.data[i]) * 0x100000001b3u;
    }
    return (hash ^ s.len) * 0x100000001b3u;
}

/** The slot of this code, or the free one where it would be. */
static size_t find_slot(const CodeSets *sets, Str set, Str code, Str scheme)
{
    uint64_t hash = hash_str(hash_str(hash_str(0xcbf29ce484222325u, code), scheme), set);
    size_t slot = (size_t)hash & (sets->slot_count - 1);
    while (sets->slots[slot] != 0) {
        const CodeRow *row = &sets->rows[sets->slots[slot] - 1];
        if (str_equal(row->code, code) && str_equal(row->scheme, scheme) &&
            str_equal(row->set, set)) {
            break;
        }
        slot = (slot + 1) & (sets->slot_count - 1);
    }
    return slot;
}

static void build_index(CodeSets *sets)
{
    sets->slot_count = 2;
    while (sets->slot_count < 2 * sets->count) {
        sets->slot_count *= 2;
    }
    sets->slots = ARENA_ARRAY(sets->file->arena, size_t, sets->slot_count);
    for (size_t i = 0; i < sets->count; i++) {
        const CodeRow *row = &sets->rows[i];
        size_t slot = find_slot(sets, row->set, row->code, row->scheme);
        if (sets->slots[slot] == 0) {
            sets->slots[slot] = i + 1;
        }
    }
}

/* ---- the file ---- */

static bool read_file(Arena *arena, const char *path, Str *ret_bytes, char *ret_problem,
                      size_t problem_size)
{
    StrBuf buf = {0};
    int rc = io_read_file(path, FILE_SIZE_MAX, &buf);
    if (rc < 0) {
        (void)snprintf(ret_problem, problem_size, "%s: %s", path, strerror(-rc));
    } else {
        *ret_bytes = str_dup(arena, strbuf_str(&buf));
    }
    strbuf_done(&buf);
    return rc == 0;
}

/** The set that a CodeType fills; empty if the server does not use it. */
static Str set_of(const XmlNode *code_type)
{
    if (str_equal(xml_attribute(code_type, "name"), STR(CODE_SET_MIME_TYPE))) {
        return STR(CODE_SET_MIME_TYPE);
    }
    return xml_attribute(code_type, "classScheme");
}

static size_t count_codes(const XmlNode *root)
{
    size_t count = 0;
    for (const XmlNode *type = xml_child(root, "", "CodeType"); type;
         type = xml_next(type, "", "CodeType")) {
        for (const XmlNode *code = xml_child(type, "", "Code"); code;
             code = xml_next(code, "", "Code")) {
            count++;
        }
    }
    return count;
}

static bool read_code(const XmlNode *node, Str set, CodeRow *ret_row)
{
    bool is_mime_type = str_equal(set, STR(CODE_SET_MIME_TYPE));
    *ret_row = (CodeRow){
        .set = set,
        .code = xml_attribute(node, "code"),
        .scheme = is_mime_type ? STR_EMPTY : xml_attribute(node, "codingScheme"),
        .display = xml_attribute(node, "display"),
    };
    return !str_is_empty(ret_row->code) && (is_mime_type || !str_is_empty(ret_row->scheme));
}

static bool read_rows(CodeSets *sets, const XmlNode *root, const char *path, char *ret_problem,
                      size_t problem_size)
{
    sets->rows = ARENA_ARRAY(sets->file->arena, CodeRow, count_codes(root));
    for (const XmlNode *type = xml_child(root, "", "CodeType"); type;
         type = xml_next(type, "", "CodeType")) {
        Str set = set_of(type);
        for (const XmlNode *code = xml_child(type, "", "Code"); code && !str_is_empty(set);
             code = xml_next(code, "", "Code")) {
            if (!read_code(code, set, &sets->rows[sets->count])) {
                (void)snprintf(ret_problem, problem_size,
                               "%s:%u: a Code needs the attributes code and codingScheme", path,
                               code->line);
                return false;
            }
            sets->count++;
        }
    }
    if (sets->count == 0) {
        (void)snprintf(ret_problem, problem_size,
                       "%s: no codes found; the format is Codes/CodeType[@classScheme]/"
                       "Code[@code, @codingScheme, @display]",
                       path);
    }
    return sets->count > 0;
}

CodeSets *code_sets_load(const char *path, char *ret_problem, size_t problem_size)
{
    Request *file = request_new(READ_TIMEOUT_MS);
    CodeSets *sets = ARENA_NEW(file->arena, CodeSets);
    sets->file = file;
    Str bytes;
    XmlNode *root;
    if (!read_file(file->arena, path, &bytes, ret_problem, problem_size)) {
        request_free(file);
        return NULL;
    }
    if (xml_read(file, bytes, &root) < 0) {
        Str reason = file->errors.first ? file->errors.first->context : STR("not XML");
        (void)snprintf(ret_problem, problem_size, "%s: %.*s", path, STR_ARG(reason));
        request_free(file);
        return NULL;
    }
    if (!read_rows(sets, root, path, ret_problem, problem_size)) {
        request_free(file);
        return NULL;
    }
    build_index(sets);
    return sets;
}

void code_sets_free(CodeSets *sets)
{
    if (sets) {
        request_free(sets->file);
    }
}

bool code_sets_has(const CodeSets *sets, Str classification_scheme, Str code, Str scheme)
{
    return sets->slots[find_slot(sets, classification_scheme, code, scheme)] != 0;
}

static Code code_of(const CodeRow *row)
{
    return (Code){.code = row->code, .scheme = row->scheme, .display = row->display};
}

bool code_sets_find(const CodeSets *sets, Str classification_scheme, Str code, Str scheme,
                    Code *ret_code)
{
    size_t at = sets->slots[find_slot(sets, classification_scheme, code, scheme)];
    if (at != 0) {
        *ret_code = code_of(&sets->rows[at - 1]);
    }
    return at != 0;
}

bool code_sets_first(const CodeSets *sets, Str classification_scheme, Code *ret_code)
{
    for (size_t i = 0; i < sets->count; i++) {
        const CodeRow *row = &sets->rows[i];
        if (str_equal(row->set, classification_scheme)) {
            *ret_code = code_of(row);
            return true;
        }
    }
    return false;
}

bool code_sets_has_mime_type(const CodeSets *sets, Str mime_type)
{
    return code_sets_has(sets, STR(CODE_SET_MIME_TYPE), mime_type, STR_EMPTY);
}

/* ---- did you mean ---- */

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static void drop_common_ends(Str *a, Str *b)
{
    while (a->len > 0 && b->len > 0 && lower(a->data[0]) == lower(b->data[0])) {
        *a = str_from_offset(*a, 1);
        *b = str_from_offset(*b, 1);
    }
    while (a->len > 0 && b->len > 0 && lower(a->data[a->len - 1]) == lower(b->data[b->len - 1])) {
        a->len--;
        b->len--;
    }
}

/** Levenshtein distance of bytes without regard to case, of at most EDIT_LEN_MAX of what differs.
 */
static unsigned edit_distance(Str a, Str b)
{
    drop_common_ends(&a, &b);
    unsigned beyond = (unsigned)(MAX(MAX(a.len, b.len), EDIT_LEN_MAX) - EDIT_LEN_MAX);
    a = str_slice(a, 0, EDIT_LEN_MAX);
    b = str_slice(b, 0, EDIT_LEN_MAX);
    unsigned row[EDIT_LEN_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replaced = diagonal + (lower(a.data[i - 1]) != lower(b.data[j - 1]));
            diagonal = row[j];
            row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len] + beyond;
}

static bool has_common_prefix(Str a, Str b)
{
    size_t len = MIN(a.len, b.len);
    return len > 0 && str_equal_ci(str_slice(a, 0, len), str_slice(b, 0, len));
}

/** How far a valid code is from what was sent; smaller is nearer. */
static unsigned distance_of(const CodeRow *row, Str code, Str scheme)
{
    unsigned other_scheme = str_equal(row->scheme, scheme) ? 0 : 1;
    if (str_equal(row->code, code)) {
        return other_scheme;
    }
    if (str_equal_ci(row->code, code) || str_equal_ci(row->display, code)) {
        return 2 + other_scheme;
    }
    unsigned edits = edit_distance(row->code, code);
    unsigned prefix_bonus = has_common_prefix(row->code, code) ? 2 : 1;
    return 4 + 4 * edits / prefix_bonus + other_scheme;
}

/** The nearest rows so far, nearest first. */
typedef struct Nearest {
    const CodeRow *rows[NEAREST_COUNT];
    unsigned distances[NEAREST_COUNT];
    size_t count;
} Nearest;

static void nearest_add(Nearest *nearest, const CodeRow *row, unsigned distance)
{
    size_t place = nearest->count;
    while (place > 0 && distance < nearest->distances[place - 1]) {
        place--;
    }
    if (place == NEAREST_COUNT) {
        return;
    }
    nearest->count = MIN(nearest->count + 1, NEAREST_COUNT);
    for (size_t i = nearest->count - 1; i > place; i--) {
        nearest->rows[i] = nearest->rows[i - 1];
        nearest->distances[i] = nearest->distances[i - 1];
    }
    nearest->rows[place] = row;
    nearest->distances[place] = distance;
}

static void append_code(StrBuf *buf, const CodeRow *row)
{
    strbuf_append(buf, row->code);
    if (!str_is_empty(row->scheme)) {
        strbuf_literal(buf, "^^");
        strbuf_append(buf, row->scheme);
    }
    if (!str_is_empty(row->display)) {
        strbuf_printf(buf, " (%.*s)", STR_ARG(row->display));
    }
}

Str code_sets_nearest(const CodeSets *sets, Arena *arena, Str classification_scheme, Str code,
                      Str scheme)
{
    Nearest nearest = {.count = 0};
    for (size_t i = 0; i < sets->count; i++) {
        if (str_equal(sets->rows[i].set, classification_scheme)) {
            nearest_add(&nearest, &sets->rows[i], distance_of(&sets->rows[i], code, scheme));
        }
    }
    StrBuf buf = {0};
    for (size_t i = 0; i < nearest.count; i++) {
        strbuf_append(&buf, i ? STR(", ") : STR_EMPTY);
        append_code(&buf, nearest.rows[i]);
    }
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}
