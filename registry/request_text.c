#include "registry/request_text.h"

#include "lib/xml/write.h"

static void append_attribute(const XmlAttribute *attribute, size_t number, StrBuf *buf)
{
    if (!str_is_empty(attribute->ns)) {
        strbuf_printf(buf, " xmlns:a%zu=\"", number);
        xml_append_escaped(buf, attribute->ns);
        strbuf_printf(buf, "\" a%zu:%.*s=\"", number, STR_ARG(attribute->name));
    } else {
        strbuf_printf(buf, " %.*s=\"", STR_ARG(attribute->name));
    }
    xml_append_escaped(buf, attribute->value);
    strbuf_append_char(buf, '"');
}

static bool has_content(const XmlNode *node)
{
    return node->first_child != NULL || !str_is_empty(node->text);
}

static void open_element(const XmlNode *node, Str outer_ns, StrBuf *buf)
{
    strbuf_append_char(buf, '<');
    strbuf_append(buf, node->name);
    if (!str_equal(node->ns, outer_ns)) {
        strbuf_literal(buf, " xmlns=\"");
        xml_append_escaped(buf, node->ns);
        strbuf_append_char(buf, '"');
    }
    for (size_t i = 0; i < node->attribute_count; i++) {
        append_attribute(&node->attributes[i], i, buf);
    }
    if (!has_content(node)) {
        strbuf_literal(buf, "/>");
        return;
    }
    strbuf_append_char(buf, '>');
    if (node->first_child == NULL || !str_is_empty(str_trim(node->text))) {
        xml_append_escaped(buf, node->text);
    }
}

static void close_element(const XmlNode *node, StrBuf *buf)
{
    if (has_content(node)) {
        strbuf_literal(buf, "</");
        strbuf_append(buf, node->name);
        strbuf_append_char(buf, '>');
    }
}

void request_text_write(const XmlNode *element, StrBuf *buf)
{
    const XmlNode *node = element;
    open_element(node, STR_EMPTY, buf);
    for (;;) {
        if (node->first_child != NULL) {
            open_element(node->first_child, node->ns, buf);
            node = node->first_child;
            continue;
        }
        while (node != element && node->next == NULL) {
            close_element(node, buf);
            node = node->parent;
        }
        close_element(node, buf);
        if (node == element) {
            return;
        }
        open_element(node->next, node->parent->ns, buf);
        node = node->next;
    }
}
