#include "lib/ebrim/attributes.h"
#include "lib/ebrim/dictionaries.h"
#include "lib/ebrim/object_writer.h"
#include "lib/ebrim/rendered.h"
#include "lib/xml/write.h"

/* The authors of a template as write.c made it: texts between the bytes of render_tokens.def, which
 * never occur inside a text. */

typedef struct AuthorSearch {
    Str scheme; /* of the author Classification */
    RenderedTextFn is_wanted;
    void *ctx;
} AuthorSearch;

/** Cuts *rest behind the next such token. @return false if there is none; *rest is as it was */
static bool take_until(Str *rest, RenderToken token, Str *ret_before)
{
    size_t at = str_find_char(*rest, (char)token);
    if (at == SIZE_MAX) {
        return false;
    }
    *ret_before = str_slice(*rest, 0, at);
    *rest = str_from_offset(*rest, at + 1);
    return true;
}

/** Whether the Classification is an author; if so, *classification starts behind its scheme. */
static bool take_author_scheme(const AuthorSearch *search, Str *classification)
{
    Str id;
    Str scheme;
    return take_until(classification, TOKEN_CLASSIFICATION_SCHEME, &id) &&
           take_until(classification, TOKEN_CLASSIFIED_OBJECT, &scheme) &&
           str_equal(scheme, search->scheme);
}

/** First value of the first Slot authorPerson, still escaped; empty if it has none. */
static Str author_person(Str author)
{
    Str slot;
    Str name;
    Str values;
    while (str_split_next(&author, (char)TOKEN_SLOT, &slot)) {
        Str rest = slot;
        if (!take_until(&rest, TOKEN_VALUES, &name) || !str_split_next(&name, '"', &slot) ||
            !str_equal(slot, STR("authorPerson"))) {
            continue;
        }
        Str value = STR_EMPTY;
        if (take_until(&rest, TOKEN_SLOT_END, &values)) {
            str_split_next(&values, (char)TOKEN_NEXT_VALUE, &value);
        }
        return value;
    }
    return STR_EMPTY;
}

static bool is_wanted(RenderedTextFn fn, void *ctx, Str escaped)
{
    StrBuf unescaped = {0};
    xml_append_unescaped(&unescaped, escaped);
    Str text = str_trim(strbuf_str(&unescaped));
    bool wanted = !str_is_empty(text) && fn(ctx, text);
    strbuf_done(&unescaped);
    return wanted;
}

static int search_template(void *ctx, Str text)
{
    const AuthorSearch *search = ctx;
    Str before;
    Str classification;
    while (take_until(&text, TOKEN_CLASSIFICATION, &before) &&
           take_until(&text, TOKEN_CLASSIFICATION_END, &classification)) {
        if (take_author_scheme(search, &classification) &&
            is_wanted(search->is_wanted, search->ctx, author_person(classification))) {
            return 1;
        }
    }
    return 0;
}

int rendered_find_author_person(RenderDictionaries *dictionaries, ObjectKind kind, Str blob,
                                RenderedTextFn is_wanted_person, void *ctx)
{
    AuthorSearch search = {
        .scheme = attribute_named(kind, "author")->id, .is_wanted = is_wanted_person, .ctx = ctx};
    return dictionaries_decompress(dictionaries, blob, search_template, &search);
}

/* ---- Slots of the object ---- */

typedef struct SlotSearch {
    Str name;
    RenderedTextFn is_wanted;
    void *ctx;
} SlotSearch;

/** Whether a value is wanted, of a text that begins behind the name of its Slot. */
static bool has_wanted_value(const SlotSearch *search, Str values)
{
    Str value;
    while (str_split_next(&values, (char)TOKEN_NEXT_VALUE, &value)) {
        if (is_wanted(search->is_wanted, search->ctx, value)) {
            return true;
        }
    }
    return false;
}

/** Slots come before Classifications, which have Slots too (ebRIM: order of children). */
static int search_slots(void *ctx, Str text)
{
    const SlotSearch *search = ctx;
    Str slot;
    Str name;
    Str values;
    Str slots = str_slice(text, 0, str_find_char(text, (char)TOKEN_CLASSIFICATION));
    while (str_split_next(&slots, (char)TOKEN_SLOT, &slot)) {
        Str rest = slot;
        if (take_until(&rest, TOKEN_VALUES, &name) && str_split_next(&name, '"', &slot) &&
            str_equal(slot, search->name) && take_until(&rest, TOKEN_SLOT_END, &values) &&
            has_wanted_value(search, values)) {
            return 1;
        }
    }
    return 0;
}

int rendered_find_slot_value(RenderDictionaries *dictionaries, Str blob, Str slot,
                             RenderedTextFn is_wanted_text, void *ctx)
{
    SlotSearch search = {.name = slot, .is_wanted = is_wanted_text, .ctx = ctx};
    return dictionaries_decompress(dictionaries, blob, search_slots, &search);
}
