#include "lib/fhir/node.h"

/** Elements with a maximum cardinality of * (repeating.def). */
typedef struct RepeatingElement {
    Str parent; /* name of the parent element, or type of the resource; empty: any */
    Str name;
} RepeatingElement;

static const RepeatingElement repeating_elements[] = {
#define REPEATING(parent, name) {STR_INIT(parent), STR_INIT(name)},
#include "lib/fhir/repeating.def"
#undef REPEATING
};

/* ---- looking ---- */

const FhirNode *fhir_child(const FhirNode *node, const char *name)
{
    Str wanted = str_from(name);
    const FhirNode *child = node ? node->first_child : NULL;
    while (child && !str_equal(child->name, wanted)) {
        child = child->next;
    }
    return child;
}

const FhirNode *fhir_next(const FhirNode *node)
{
    const FhirNode *next = node->next;
    while (next && !str_equal(next->name, node->name)) {
        next = next->next;
    }
    return next;
}

Str fhir_text(const FhirNode *node, const char *name)
{
    const FhirNode *child = fhir_child(node, name);
    return child ? child->value : STR_EMPTY;
}

size_t fhir_count(const FhirNode *node, const char *name)
{
    size_t count = 0;
    for (const FhirNode *child = fhir_child(node, name); child; child = fhir_next(child)) {
        count++;
    }
    return count;
}

const FhirNode *fhir_extension(const FhirNode *node, const char *url)
{
    const FhirNode *extension = fhir_child(node, "extension");
    while (extension && !str_equal(fhir_text(extension, "url"), str_from(url))) {
        extension = fhir_next(extension);
    }
    return extension;
}

const FhirNode *fhir_value_x(const FhirNode *node)
{
    const FhirNode *child = node ? node->first_child : NULL;
    while (child && !(str_starts_with(child->name, STR("value")) && child->name.len > 5)) {
        child = child->next;
    }
    return child;
}

bool fhir_is_resource(const FhirNode *node, const char *type)
{
    return node && str_equal(node->type, str_from(type));
}

/* ---- building ---- */

void fhir_append(FhirNode *parent, FhirNode *child)
{
    FhirNode *last = parent->last_child;
    child->parent = parent;
    if (!last) {
        parent->first_child = child;
    } else {
        last->next = child;
        if (str_equal(last->name, child->name)) {
            last->is_listed = child->is_listed = true;
        }
    }
    parent->last_child = child;
}

FhirNode *fhir_resource_new(Arena *arena, const char *type)
{
    FhirNode *node = ARENA_NEW(arena, FhirNode);
    node->type = str_from(type);
    return node;
}

FhirNode *fhir_node_new(Arena *arena, const char *name)
{
    FhirNode *node = ARENA_NEW(arena, FhirNode);
    node->name = str_from(name);
    return node;
}

void fhir_append_unless_empty(FhirNode *parent, FhirNode *child)
{
    if (child->first_child) {
        fhir_append(parent, child);
    }
}

FhirNode *fhir_add(Arena *arena, FhirNode *parent, const char *name)
{
    FhirNode *node = fhir_node_new(arena, name);
    fhir_append(parent, node);
    return node;
}

FhirNode *fhir_add_resource(Arena *arena, FhirNode *parent, const char *name, const char *type)
{
    FhirNode *node = fhir_add(arena, parent, name);
    node->type = str_from(type);
    return node;
}

static void add_value(Arena *arena, FhirNode *parent, const char *name, FhirValueKind kind,
                      Str value)
{
    if (!str_is_empty(value)) {
        FhirNode *node = fhir_add(arena, parent, name);
        node->kind = kind;
        node->value = value;
    }
}

void fhir_add_text(Arena *arena, FhirNode *parent, const char *name, Str value)
{
    add_value(arena, parent, name, FHIR_TEXT, value);
}

void fhir_add_boolean(Arena *arena, FhirNode *parent, const char *name, bool value)
{
    add_value(arena, parent, name, FHIR_BOOLEAN, value ? STR("true") : STR("false"));
}

void fhir_add_number(Arena *arena, FhirNode *parent, const char *name, Str number)
{
    add_value(arena, parent, name, FHIR_NUMBER, number);
}

FhirNode *fhir_add_extension(Arena *arena, FhirNode *parent, const char *url)
{
    FhirNode *extension = fhir_add(arena, parent, "extension");
    fhir_add_text(arena, extension, "url", str_from(url));
    return extension;
}

/* ---- cardinality ---- */

bool fhir_is_repeating(const FhirNode *node)
{
    if (!node->parent) {
        return false;
    }
    const FhirNode *parent = node->parent;
    Str owner = str_is_empty(parent->type) ? parent->name : parent->type;
    for (size_t i = 0; i < ARRAY_LEN(repeating_elements); i++) {
        const RepeatingElement *row = &repeating_elements[i];
        if (str_equal(row->name, node->name) &&
            (str_is_empty(row->parent) || str_equal(row->parent, owner))) {
            return true;
        }
    }
    return false;
}
