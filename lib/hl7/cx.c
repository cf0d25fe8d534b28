#include "lib/hl7/cx.h"

#define COMPONENT_ID 1
#define COMPONENT_AUTHORITY 4

/** Whether a component besides CX-1 and CX-4 has a value. */
static bool has_other_component(const Er7Delimiters *delimiters, Str text)
{
    Str rest = text;
    Str component;
    for (size_t number = 1;
         delimiters->component && str_split_next(&rest, delimiters->component, &component);
         number++) {
        if (number != COMPONENT_ID && number != COMPONENT_AUTHORITY && !str_is_empty(component)) {
            return true;
        }
    }
    return false;
}

Hl7Cx hl7_cx_parse(Arena *arena, const Er7Delimiters *delimiters, Hl7Charset charset, Str text)
{
    Str id = er7_component(delimiters, text, COMPONENT_ID);
    Str authority = er7_component(delimiters, text, COMPONENT_AUTHORITY);
    Str parts[3];
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        Str leaf = er7_subcomponent(delimiters, authority, i + 1);
        parts[i] = er7_text(arena, delimiters, charset, leaf);
    }
    return (Hl7Cx){
        .id = er7_text(arena, delimiters, charset, er7_subcomponent(delimiters, id, 1)),
        .namespace_id = parts[0],
        .universal_id = parts[1],
        .universal_id_type = parts[2],
        .has_more = has_other_component(delimiters, text),
    };
}

bool hl7_cx_is_of_authority(const Hl7Cx *cx, Str oid)
{
    return !str_is_empty(cx->id) && str_equal(cx->universal_id, oid) &&
           str_equal(cx->universal_id_type, STR("ISO"));
}

Str hl7_cx_format(Arena *arena, Str id, Str oid)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    er7_append_text(&buf, id);
    strbuf_printf(&buf, "^^^&%.*s&ISO", STR_ARG(oid));
    return str_dup(arena, strbuf_str(&buf));
}
