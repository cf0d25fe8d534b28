#include "lib/fhir/format.h"

#include "lib/xml/write.h"

/* ---- names of the formats ---- */

typedef struct FormatName {
    Str name;
    FhirFormat format;
} FormatName;

static const FormatName format_names[] = {
    {STR_INIT("application/fhir+json"), FHIR_JSON},
    {STR_INIT("application/fhir+xml"), FHIR_XML},
    {STR_INIT("application/json"), FHIR_JSON},
    {STR_INIT("application/xml"), FHIR_XML},
    {STR_INIT("json"), FHIR_JSON},
    {STR_INIT("xml"), FHIR_XML},
    {STR_INIT("text/json"), FHIR_JSON},
    {STR_INIT("text/xml"), FHIR_XML},
    {STR_INIT("application/json+fhir"), FHIR_JSON}, /* DSTU 2 */
    {STR_INIT("application/xml+fhir"), FHIR_XML},
    {STR_INIT("application/fhir json"), FHIR_JSON}, /* a '+' that nobody percent-encoded */
    {STR_INIT("application/fhir xml"), FHIR_XML},
    {STR_INIT("application/json fhir"), FHIR_JSON},
    {STR_INIT("application/xml fhir"), FHIR_XML},
    {STR_INIT("*/*"), FHIR_JSON},
    {STR_INIT("application/*"), FHIR_JSON},
};

const char *fhir_content_type(FhirFormat format)
{
    return format == FHIR_JSON ? "application/fhir+json; charset=utf-8"
                               : "application/fhir+xml; charset=utf-8";
}

bool fhir_format_find(Str media_type, FhirFormat *ret_format)
{
    size_t semicolon = str_find_char(media_type, ';');
    Str name = str_trim(str_slice(media_type, 0, MIN(semicolon, media_type.len)));
    for (size_t i = 0; i < ARRAY_LEN(format_names); i++) {
        if (str_equal_ci(name, format_names[i].name)) {
            *ret_format = format_names[i].format;
            return true;
        }
    }
    return false;
}

/** The q of one range of an Accept header in thousandths (RFC 9110 12.4.2); what cannot be read is
 * 1. */
static unsigned quality(Str range)
{
    enum { FULL = 1000 };
    size_t at = str_find(range, STR("q="));
    if (at == SIZE_MAX) {
        return FULL;
    }
    Str digits = str_from_offset(range, at + 2);
    unsigned value = 0;
    unsigned weight = FULL;
    for (size_t i = 0; i < digits.len && weight > 0; i++) {
        char c = digits.data[i];
        if (c >= '0' && c <= '9') {
            value += (unsigned)(c - '0') * weight;
            weight /= 10;
        } else if (c != '.') {
            break;
        }
    }
    return MIN(value, (unsigned)FULL);
}

bool fhir_format_accept(Str accept, FhirFormat *ret_format)
{
    if (str_is_empty(str_trim(accept))) {
        *ret_format = FHIR_JSON;
        return true;
    }
    unsigned best = 0;
    Str range;
    while (str_split_next(&accept, ',', &range)) {
        FhirFormat format;
        unsigned q = quality(range);
        if (fhir_format_find(range, &format) && q > best) {
            best = q;
            *ret_format = format;
        }
    }
    return best > 0;
}

/* ---- JSON ---- */

static bool is_array(const FhirNode *node)
{
    return node->is_listed || fhir_is_repeating(node);
}

/** Writes what comes before a value: its name and, for the first of an array, the bracket. */
static void begin_member(StrBuf *buf, const FhirNode *node)
{
    strbuf_append_json(buf, node->name);
    strbuf_append_char(buf, ':');
    if (is_array(node)) {
        strbuf_append_char(buf, '[');
    }
}

/** Writes a primitive, or the start of an object. @return whether children follow */
static bool begin_value(StrBuf *buf, const FhirNode *node)
{
    if (node->kind == FHIR_TEXT) {
        strbuf_append_json(buf, node->value);
        return false;
    }
    if (node->kind != FHIR_STRUCTURE) {
        strbuf_append(buf, node->value);
        return false;
    }
    strbuf_append_char(buf, '{');
    if (!str_is_empty(node->type)) {
        strbuf_literal(buf, "\"resourceType\":");
        strbuf_append_json(buf, node->type);
        if (node->first_child) {
            strbuf_append_char(buf, ',');
        }
    }
    if (!node->first_child) {
        strbuf_append_char(buf, '}');
    }
    return node->first_child != NULL;
}

/** The node behind one that is written, with what stands between; root at the end. */
static const FhirNode *end_value(StrBuf *buf, const FhirNode *node, const FhirNode *root)
{
    while (node != root) {
        const FhirNode *next = node->next;
        if (next && str_equal(next->name, node->name)) {
            strbuf_append_char(buf, ',');
            return next;
        }
        if (is_array(node)) {
            strbuf_append_char(buf, ']');
        }
        if (next) {
            strbuf_append_char(buf, ',');
            begin_member(buf, next);
            return next;
        }
        strbuf_append_char(buf, '}');
        node = node->parent;
    }
    return root;
}

static void write_json(StrBuf *buf, const FhirNode *root)
{
    const FhirNode *node = root;
    do {
        if (begin_value(buf, node)) {
            node = node->first_child;
            begin_member(buf, node);
        } else {
            node = end_value(buf, node, root);
        }
    } while (node != root);
}

/* ---- XML ---- */

/** An extension's URL and an element's id are attributes in XML (FHIR R4 2.6.1). */
static bool is_xml_attribute(const FhirNode *node)
{
    const FhirNode *parent = node->parent;
    return parent && str_is_empty(parent->type) &&
           (str_equal(node->name, STR("id")) ||
            (str_equal(node->name, STR("url")) && str_ends_with(parent->name, STR("xtension"))));
}

static const FhirNode *first_element(const FhirNode *node)
{
    while (node && is_xml_attribute(node)) {
        node = node->next;
    }
    return node;
}

static void append_xml_attribute(StrBuf *buf, Str name, Str value)
{
    strbuf_append_char(buf, ' ');
    strbuf_append(buf, name);
    strbuf_literal(buf, "=\"");
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

/** Writes start tags. @return whether child elements follow */
static bool begin_element(StrBuf *buf, const FhirNode *node)
{
    bool has_children = first_element(node->first_child) != NULL;
    if (!str_is_empty(node->name)) {
        strbuf_append_char(buf, '<');
        strbuf_append(buf, node->name);
        for (const FhirNode *child = node->first_child; child; child = child->next) {
            if (is_xml_attribute(child)) {
                append_xml_attribute(buf, child->name, child->value);
            }
        }
        if (node->kind != FHIR_STRUCTURE) {
            append_xml_attribute(buf, STR("value"), node->value);
        }
        strbuf_append(buf, has_children || !str_is_empty(node->type) ? STR(">") : STR("/>"));
    }
    if (!str_is_empty(node->type)) {
        strbuf_append_char(buf, '<');
        strbuf_append(buf, node->type);
        if (!node->parent) {
            append_xml_attribute(buf, STR("xmlns"), STR(NS_FHIR));
        }
        strbuf_append_char(buf, '>');
    }
    return has_children;
}

static void append_end_tag(StrBuf *buf, Str name)
{
    if (!str_is_empty(name)) {
        strbuf_literal(buf, "</");
        strbuf_append(buf, name);
        strbuf_append_char(buf, '>');
    }
}

/** @param has_children  false: an element without a resource closed itself */
static void end_element(StrBuf *buf, const FhirNode *node, bool has_children)
{
    append_end_tag(buf, node->type);
    if (has_children || !str_is_empty(node->type)) {
        append_end_tag(buf, node->name);
    }
}

static void write_xml(StrBuf *buf, const FhirNode *root)
{
    const FhirNode *node = root;
    strbuf_literal(buf, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    while (node) {
        if (begin_element(buf, node)) {
            node = first_element(node->first_child);
            continue;
        }
        end_element(buf, node, false);
        while (node != root && !first_element(node->next)) {
            node = node->parent;
            end_element(buf, node, true);
        }
        node = node == root ? NULL : first_element(node->next);
    }
}

void fhir_write(StrBuf *buf, FhirFormat format, const FhirNode *resource)
{
    if (format == FHIR_JSON) {
        write_json(buf, resource);
    } else {
        write_xml(buf, resource);
    }
}
