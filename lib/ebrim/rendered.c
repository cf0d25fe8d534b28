#include "lib/ebrim/rendered.h"

#include <endian.h>

#include "lib/ebrim/attributes.h"
#include "lib/ebrim/dictionaries.h"
#include "lib/ebrim/object_writer.h"
#include "lib/ebrim/objects.h"
#include "lib/xml/write.h"

/** Putting one object's values into its template. */
typedef struct Renderer {
    StrBuf *buf;
    const RenderValues *values;
    char entry_urn[UUID_URN_LEN];
    Str texts[RENDER_TOKEN_COUNT]; /* of tokens that are the same all over the object; empty: ask
                                      put_values */
    uint32_t derived_count;
    Str head;                     /* with what the text must begin */
    const char *association_type; /* NULL: without its ends */
    Uuid source;
    Uuid target;
} Renderer;

static void put_uuid(Renderer *renderer, Uuid uuid)
{
    uuid_format_urn(uuid, strbuf_reserve(renderer->buf, UUID_URN_LEN));
    renderer->buf->len += UUID_URN_LEN;
}

static void put_lid(Renderer *renderer)
{
    put_uuid(renderer, renderer->values->lid);
}

static void put_home(Renderer *renderer)
{
    if (!str_is_empty(renderer->values->home)) {
        strbuf_literal(renderer->buf, " home=\"");
        xml_append_escaped(renderer->buf, renderer->values->home);
        strbuf_append_char(renderer->buf, '"');
    }
}

static void put_decimal(Renderer *renderer, int64_t number)
{
    char digits[20];
    size_t first = sizeof(digits);
    uint64_t rest = number > 0 ? (uint64_t)number : 0;
    do {
        digits[--first] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    strbuf_append_bytes(renderer->buf, digits + first, sizeof(digits) - first);
}

static void put_version(Renderer *renderer)
{
    put_decimal(renderer, renderer->values->version);
}

static void put_patient_id(Renderer *renderer)
{
    xml_append_escaped(renderer->buf, renderer->values->patient_id);
}

static void put_unique_id(Renderer *renderer)
{
    xml_append_escaped(renderer->buf, renderer->values->unique_id);
}

static void put_hash(Renderer *renderer)
{
    xml_append_escaped(renderer->buf, renderer->values->hash);
}

static void put_size(Renderer *renderer)
{
    put_decimal(renderer, renderer->values->size_bytes);
}

static void put_repository_unique_id(Renderer *renderer)
{
    xml_append_escaped(renderer->buf, renderer->values->repository_unique_id);
}

static void put_last_update_time(Renderer *renderer)
{
    xml_append_escaped(renderer->buf, renderer->values->last_update_time);
}

static void put_derived_id(Renderer *renderer)
{
    put_uuid(renderer, uuid_derive(renderer->values->entry_uuid, renderer->derived_count++));
}

static void put_association_ends(Renderer *renderer)
{
    if (renderer->association_type) {
        strbuf_printf(renderer->buf, " associationType=\"%s\" sourceObject=\"",
                      renderer->association_type);
        put_uuid(renderer, renderer->source);
        strbuf_literal(renderer->buf, "\" targetObject=\"");
        put_uuid(renderer, renderer->target);
        strbuf_append_char(renderer->buf, '"');
    }
}

static void put_submission_set_status(Renderer *renderer)
{
    static const char *const statuses[] = {NULL, "Original", "Reference"};
    int16_t status = renderer->values->submission_set_status;
    if (status > 0 && (size_t)status < ARRAY_LEN(statuses)) {
        strbuf_append(renderer->buf, render_token_texts[TOKEN_SLOT]);
        strbuf_literal(renderer->buf, SLOT_SUBMISSION_SET_STATUS);
        strbuf_append(renderer->buf, render_token_texts[TOKEN_VALUES]);
        strbuf_append(renderer->buf, str_from(statuses[status]));
        strbuf_append(renderer->buf, render_token_texts[TOKEN_SLOT_END]);
    }
}

/** Tokens whose text is made anew each time. */
static void (*const put_values[RENDER_TOKEN_COUNT])(Renderer *renderer) = {
    [TOKEN_LID] = put_lid,
    [TOKEN_HOME] = put_home,
    [TOKEN_VERSION] = put_version,
    [TOKEN_PATIENT_ID] = put_patient_id,
    [TOKEN_UNIQUE_ID] = put_unique_id,
    [TOKEN_HASH] = put_hash,
    [TOKEN_SIZE] = put_size,
    [TOKEN_REPOSITORY_UNIQUE_ID] = put_repository_unique_id,
    [TOKEN_LAST_UPDATE_TIME] = put_last_update_time,
    [TOKEN_DERIVED_ID] = put_derived_id,
    [TOKEN_ASSOCIATION_ENDS] = put_association_ends,
    [TOKEN_SUBMISSION_SET_STATUS] = put_submission_set_status,
};

/** Whether the byte is a token; text never holds one (render_tokens.def). */
static bool is_token(char c)
{
    return (unsigned char)c < RENDER_TOKEN_COUNT;
}

/** @return false if there is no such token */
static bool put_token(Renderer *renderer, unsigned char token)
{
    if (put_values[token]) {
        put_values[token](renderer);
        return true;
    }
    return !str_is_empty(renderer->texts[token]); /* put_run() wrote it */
}

/**
 * The next token, or end. Eight bytes at a time: a byte below n is one whose difference to n
 * borrows, and the lowest bit that is left belongs to the first of them.
 */
static const char *find_token(const char *at, const char *end)
{
    const uint64_t each = 0x0101010101010101;
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, at, sizeof(eight));
        eight = le64toh(eight);
        uint64_t found = (eight - each * RENDER_TOKEN_COUNT) & ~eight & each * 0x80;
        if (found != 0) {
            return at + __builtin_ctzll(found) / 8;
        }
        at += 8;
    }
    while (at < end && !is_token(*at)) {
        at++;
    }
    return at;
}

/** Text up to the next token, and the token if it is a text too: most are. */
static size_t put_run(Renderer *renderer, const char *at, const char *end)
{
    const char *stop = find_token(at, end);
    size_t len = (size_t)(stop - at);
    Str text = stop < end ? renderer->texts[(unsigned char)*stop] : STR_EMPTY;
    char *place = strbuf_reserve(renderer->buf, len + text.len);
    memcpy(place, at, len);
    if (text.len > 0) {
        memcpy(place + len, text.data, text.len);
    }
    renderer->buf->len += len + text.len;
    return len;
}

/** What a template of this kind begins with. */
static Str head_of(ObjectKind kind)
{
    switch (kind) {
    case OBJECT_DOCUMENT_ENTRY:
        return STR("<rim:ExtrinsicObject ");
    case OBJECT_SUBMISSION_SET:
    case OBJECT_FOLDER:
        return STR("<rim:RegistryPackage ");
    case OBJECT_ASSOCIATION:
        break;
    }
    return STR("<rim:Association ");
}

static void set_texts(Renderer *renderer)
{
    memcpy(renderer->texts, render_token_texts, sizeof(renderer->texts));
    uuid_format_urn(renderer->values->entry_uuid, renderer->entry_urn);
    renderer->texts[TOKEN_ENTRY_UUID] = (Str){renderer->entry_urn, UUID_URN_LEN};
    renderer->texts[TOKEN_STATUS] = renderer->values->status == STATUS_APPROVED
                                        ? STR(URN_STATUS_APPROVED)
                                        : STR(URN_STATUS_DEPRECATED);
}

static int render(void *ctx, Str text)
{
    Renderer *renderer = ctx;
    if (!str_starts_with(text, renderer->head)) {
        return -(int)ERR_CORRUPT;
    }
    set_texts(renderer);
    const char *end = text.data + text.len;
    const char *at = text.data;
    while (at < end) {
        at += put_run(renderer, at, end);
        if (at < end && !put_token(renderer, (unsigned char)*at++)) {
            return -(int)ERR_CORRUPT;
        }
    }
    strbuf_append(renderer->buf, STR_EMPTY); /* ends it in NUL */
    return 0;
}

/** Whether an Association is more than its columns. */
static bool has_extra(const RimObject *association)
{
    for (const Slot *slot = association->slots; slot; slot = slot->next) {
        if (!str_equal(slot->name, STR(SLOT_SUBMISSION_SET_STATUS))) {
            return true;
        }
    }
    return association->name || association->description || association->classifications ||
           !str_is_empty(association->home);
}

Str rendered_make(Arena *arena, RenderDictionaries *dictionaries, ObjectKind kind,
                  const RimObject *object, Uuid entry_uuid)
{
    if (kind == OBJECT_ASSOCIATION && !has_extra(object)) {
        return STR_EMPTY;
    }
    StrBuf text = {0};
    object_write_template(&text, kind, object, entry_uuid);
    Str blob = dictionaries_compress(dictionaries, arena, strbuf_str(&text));
    strbuf_done(&text);
    return blob;
}

int rendered_append(RenderDictionaries *dictionaries, ObjectKind kind, Str blob,
                    const RenderValues *values, StrBuf *buf)
{
    Renderer renderer = {.buf = buf, .values = values, .head = head_of(kind)};
    return dictionaries_decompress(dictionaries, blob, render, &renderer);
}

int rendered_append_association(RenderDictionaries *dictionaries, AssociationType type, Uuid source,
                                Uuid target, Str extra, const RenderValues *values, StrBuf *buf)
{
    Renderer renderer = {
        .buf = buf,
        .values = values,
        .head = head_of(OBJECT_ASSOCIATION),
        .association_type = association_type_urn(type),
        .source = source,
        .target = target,
    };
    if (str_is_empty(extra)) {
        return render(&renderer, dictionaries_plain_association(dictionaries));
    }
    return dictionaries_decompress(dictionaries, extra, render, &renderer);
}

/** Putting another value into a Slot. */
typedef struct SlotChange {
    const char *slot;
    Str value;
    StrBuf text; /* the template with the new value */
} SlotChange;

/** Where the value of the Slot begins, behind "name" or "name" and slotType; text.len if nowhere.
 */
static size_t find_slot_value(Str text, const char *slot)
{
    _cleanup_(strbuf_done) StrBuf mark = {0};
    strbuf_append_char(&mark, (char)TOKEN_SLOT);
    strbuf_append(&mark, str_from(slot));
    size_t at = str_find(text, strbuf_str(&mark));
    if (at == SIZE_MAX) {
        return text.len;
    }
    at += mark.len;
    size_t values = str_find_char(str_from_offset(text, at), (char)TOKEN_VALUES);
    return values == SIZE_MAX ? text.len : at + values + 1;
}

static int change_slot(void *ctx, Str text)
{
    SlotChange *change = ctx;
    size_t at = find_slot_value(text, change->slot);
    Str rest = str_from_offset(text, at);
    size_t len = str_find_char(rest, (char)TOKEN_SLOT_END);
    if (len == SIZE_MAX) {
        return -(int)ERR_CORRUPT;
    }
    strbuf_append(&change->text, str_slice(text, 0, at));
    xml_append_escaped(&change->text, change->value);
    strbuf_append(&change->text, str_from_offset(rest, len));
    return 0;
}

int rendered_set_slot(Arena *arena, RenderDictionaries *dictionaries, Str blob, const char *slot,
                      Str value, Str *ret_blob)
{
    SlotChange change = {.slot = slot, .value = value};
    int rc = dictionaries_decompress(dictionaries, blob, change_slot, &change);
    if (rc == 0) {
        *ret_blob = dictionaries_compress(dictionaries, arena, strbuf_str(&change.text));
    }
    strbuf_done(&change.text);
    return rc;
}

/** Putting derived ids in place of given ones. */
typedef struct IdChange {
    StrBuf text;
    bool has_changed;
} IdChange;

static int renew_ids(void *ctx, Str text)
{
    IdChange *change = ctx;
    size_t at = 0;
    while (at < text.len) {
        char c = text.data[at++];
        strbuf_append_char(&change->text, c);
        bool is_part = c == TOKEN_CLASSIFICATION || c == TOKEN_EXTERNAL_IDENTIFIER;
        if (!is_part || at == text.len || text.data[at] == TOKEN_DERIVED_ID) {
            continue;
        }
        while (at < text.len && !is_token(text.data[at]) && text.data[at] != '"') {
            at++;
        }
        strbuf_append_char(&change->text, (char)TOKEN_DERIVED_ID);
        change->has_changed = true;
    }
    return 0;
}

int rendered_renew_ids(Arena *arena, RenderDictionaries *dictionaries, Str blob, Str *ret_blob)
{
    IdChange change = {0};
    int rc = dictionaries_decompress(dictionaries, blob, renew_ids, &change);
    if (rc == 0) {
        *ret_blob = change.has_changed
                        ? dictionaries_compress(dictionaries, arena, strbuf_str(&change.text))
                        : blob;
        rc = change.has_changed;
    }
    strbuf_done(&change.text);
    return rc;
}
