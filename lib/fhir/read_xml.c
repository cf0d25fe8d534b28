#include "lib/fhir/read.h"
#include "lib/xml/read.h"

/** XML (FHIR R4 2.6.1) from the tree of lib/xml: values are attributes, a resource inside an
 * element is an element of its own, whose name is its type. */

static bool is_type_name(Str name)
{
    return name.len > 0 && name.data[0] >= 'A' && name.data[0] <= 'Z';
}

static FhirNode *new_node(Arena *arena, FhirNode *parent, Str name)
{
    FhirNode *node = ARENA_NEW(arena, FhirNode);
    node->name = name;
    if (parent) {
        fhir_append(parent, node);
    }
    return node;
}

static void add_attributes(Arena *arena, FhirNode *node, const XmlNode *xml)
{
    for (size_t i = 0; i < xml->attribute_count; i++) {
        const XmlAttribute *attribute = &xml->attributes[i];
        if (!str_is_empty(attribute->ns)) {
            continue;
        }
        if (str_equal(attribute->name, STR("value"))) {
            node->kind = FHIR_TEXT;
            node->value = attribute->value;
        } else {
            FhirNode *child = new_node(arena, node, attribute->name);
            child->kind = FHIR_TEXT;
            child->value = attribute->value;
        }
    }
}

/** The next element in document order; the children of one that is not kept are passed over. */
static const XmlNode *next_element(const XmlNode *xml, bool is_kept, unsigned *depth)
{
    if (is_kept && xml->first_child) {
        (*depth)++;
        return xml->first_child;
    }
    while (xml && !xml->next) {
        xml = xml->parent;
        (*depth)--;
    }
    return xml ? xml->next : NULL;
}

static bool is_fhir(const XmlNode *xml)
{
    return str_equal(xml->ns, STR(NS_FHIR));
}

/** Whether this is a resource as the value of the element around it. */
static bool is_inner_resource(const XmlNode *xml)
{
    return xml->parent && is_type_name(xml->name);
}

int fhir_read_xml(Request *req, Str bytes, const FhirNode **ret_resource)
{
    XmlNode *root;
    int rc = xml_read(req, bytes, &root);
    if (rc) {
        return rc;
    }
    if (!is_fhir(root) || !is_type_name(root->name)) {
        return error_add(&req->errors, ERR_FHIR_STRUCTURE, NULL,
                         "The body is {%.*s}%.*s; send a resource of the namespace " NS_FHIR ".",
                         STR_ARG(root->ns), STR_ARG(root->name));
    }
    FhirNode *open[FHIR_DEPTH_MAX + 1] = {0};
    unsigned depth = 0;
    size_t count = 0;
    const XmlNode *xml = root;
    while (xml) {
        if (depth >= FHIR_DEPTH_MAX) {
            return error_add(&req->errors, ERR_FHIR_STRUCTURE, NULL,
                             "The body is nested too deeply for a FHIR resource.");
        }
        if (++count > FHIR_NODES_MAX) {
            return error_add(&req->errors, ERR_TOO_LARGE, NULL,
                             "The body has more than %d elements; send less at once.",
                             FHIR_NODES_MAX);
        }
        bool is_kept = is_fhir(xml);
        if (is_kept) {
            FhirNode *parent = depth ? open[depth - 1] : NULL;
            bool is_inner = is_inner_resource(xml);
            open[depth] = is_inner ? parent : new_node(req->arena, parent, xml->name);
            if (is_inner || !parent) {
                open[depth]->type = xml->name;
                open[depth]->name = parent ? parent->name : STR_EMPTY;
            }
            add_attributes(req->arena, open[depth], xml);
        }
        xml = next_element(xml, is_kept, &depth);
    }
    *ret_resource = open[0];
    return 0;
}
