#include "lib/hl7/v3.h"

#include <limits.h>

#define MANY UINT_MAX
/** Deeper than the types of v3_model.def nest. */
#define LEVELS_MAX 16
/** More than the rows of any type. */
#define ROWS_MAX 64

typedef struct Element {
    const char *name;
    V3Type parent;
    V3Type type;
    unsigned min;
    unsigned max;
} Element;

static const Element elements[] = {
#define TYPE(name)
#define ELEMENT(parent, name, min, max, type) {name, V3_##parent, V3_##type, min, max},
#include "lib/hl7/v3_model.def"
#undef ELEMENT
#undef TYPE
};

/* ---- access ---- */

bool v3_is(const XmlNode *node, const char *name)
{
    return xml_is(node, NS_HL7_V3, name);
}

XmlNode *v3_child(const XmlNode *node, const char *name)
{
    return xml_child(node, NS_HL7_V3, name);
}

XmlNode *v3_next(const XmlNode *node, const char *name)
{
    return xml_next(node, NS_HL7_V3, name);
}

const XmlNode *v3_at(const XmlNode *node, const char *path)
{
    Str rest = str_from(path);
    Str step;
    while (node && str_split_next(&rest, '/', &step)) {
        const XmlNode *child = node->first_child;
        while (child && !(str_equal(child->name, step) && str_equal(child->ns, STR(NS_HL7_V3)))) {
            child = child->next;
        }
        node = child;
    }
    return node;
}

Str v3_child_attribute(const XmlNode *node, const char *child, const char *attribute)
{
    return str_trim(xml_attribute(v3_child(node, child), attribute));
}

V3Id v3_id(const XmlNode *node)
{
    return (V3Id){
        .root = str_trim(xml_attribute(node, "root")),
        .extension = xml_attribute(node, "extension"),
        .is_null = !str_is_empty(xml_attribute(node, "nullFlavor")),
    };
}

Str v3_id_text(Arena *arena, V3Id id)
{
    return str_is_empty(id.extension)
               ? id.root
               : str_printf(arena, "%.*s@%.*s", STR_ARG(id.extension), STR_ARG(id.root));
}

const char *v3_path(Arena *arena, const XmlNode *node)
{
    static const Str envelope = STR_INIT("/Envelope/Body");
    Str path = xml_path(arena, node);
    return str_cstr(arena,
                    str_starts_with(path, envelope) ? str_from_offset(path, envelope.len) : path);
}

/* ---- structure ---- */

/** The rows of a type. */
typedef struct Rows {
    const Element *items;
    size_t count;
} Rows;

static Rows rows_of(V3Type type)
{
    Rows rows = {0};
    for (size_t i = 0; i < ARRAY_LEN(elements); i++) {
        if (elements[i].parent == type) {
            rows.items = rows.items ? rows.items : &elements[i];
            rows.count++;
        }
    }
    return rows;
}

/** An element on the way down. */
typedef struct Level {
    const XmlNode *node;
    const XmlNode *next; /* child to look at */
    Rows rows;
    size_t reached; /* row of the last child: the schema's order */
    unsigned counts[ROWS_MAX];
} Level;

static bool begins_every_type(const XmlNode *node)
{
    return v3_is(node, "realmCode") || v3_is(node, "typeId") || v3_is(node, "templateId");
}

static void add_unexpected(Request *req, const Level *level, const XmlNode *child, bool is_known)
{
    Str name = str_slice(child->name, 0, 64);
    const char *what =
        is_known ? "stands behind elements that it has to precede" : "is not expected here";
    error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, v3_path(req->arena, child),
              "element %.*s %s (line %u); send the elements of %.*s that the schema names, in its "
              "order",
              STR_ARG(name), what, child->line, STR_ARG(level->node->name));
}

/** @return the type of the child; V3_ANY: it is not looked at */
static V3Type check_child(Request *req, Level *level, const XmlNode *child)
{
    size_t i = 0;
    while (i < level->rows.count && !v3_is(child, level->rows.items[i].name)) {
        i++;
    }
    if (i == level->rows.count || i < level->reached) {
        add_unexpected(req, level, child, i < level->rows.count);
        return V3_ANY;
    }
    level->reached = i;
    const Element *row = &level->rows.items[i];
    if (++level->counts[i] > row->max) {
        error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, v3_path(req->arena, child),
                  "element %s occurs more than once; send one", row->name);
    }
    return row->type;
}

static void check_missing(Request *req, const Level *level)
{
    for (size_t i = 0; i < level->rows.count; i++) {
        if (level->counts[i] < level->rows.items[i].min) {
            error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                      v3_path(req->arena, level->node), "element %s is missing in %.*s; send it",
                      level->rows.items[i].name, STR_ARG(level->node->name));
        }
    }
}

static Level level_of(const XmlNode *node, V3Type type)
{
    return (Level){.node = node, .next = node->first_child, .rows = rows_of(type)};
}

int v3_check(Request *req, const XmlNode *node, V3Type type)
{
    Level levels[LEVELS_MAX];
    unsigned before = req->errors.error_count;
    size_t depth = 1;
    levels[0] = level_of(node, type);
    while (depth > 0 && !error_list_is_full(&req->errors)) {
        Level *level = &levels[depth - 1];
        const XmlNode *child = level->next;
        if (!child) {
            check_missing(req, level);
            depth--;
            continue;
        }
        level->next = child->next;
        bool is_looked_at = str_equal(child->ns, STR(NS_HL7_V3)) && !begins_every_type(child);
        V3Type inner = is_looked_at ? check_child(req, level, child) : V3_ANY;
        if (inner != V3_ANY) {
            levels[depth++] = level_of(child, inner);
        }
    }
    return req->errors.error_count > before ? -(int)req->errors.last->code : 0;
}

/* ---- transmission wrapper ---- */

static void check_version(Request *req, const XmlNode *root)
{
    if (!str_equal(xml_attribute(root, "ITSVersion"), STR("XML_1.0"))) {
        error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, v3_path(req->arena, root),
                  "attribute ITSVersion of %.*s is \"%.*s\"; send \"XML_1.0\"", STR_ARG(root->name),
                  STR_ARG(xml_attribute(root, "ITSVersion")));
    }
}

/** @param child  element with a code that has to be one of the characters of allowed */
static void check_code(Request *req, const XmlNode *root, const char *child, Str allowed)
{
    const XmlNode *node = v3_child(root, child);
    Str code = str_trim(xml_attribute(node, "code"));
    bool is_allowed = code.len == 1 && str_find_char(allowed, code.data[0]) != SIZE_MAX;
    if (node && !is_allowed) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_PROCESSING_ID, v3_path(req->arena, node),
                  "%s \"%.*s\" is not supported here; send one of %.*s", child, STR_ARG(code),
                  STR_ARG(allowed));
    }
}

static void check_interaction(Request *req, const XmlNode *root, const char *interaction)
{
    const XmlNode *node = v3_child(root, "interactionId");
    Str said = str_trim(xml_attribute(node, "extension"));
    bool is_said = str_equal(said, str_from(interaction)) || str_equal(said, root->name);
    if (node && !is_said) {
        error_add(&req->errors, ERR_HL7_UNSUPPORTED_MESSAGE_TYPE, v3_path(req->arena, node),
                  "interactionId says \"%.*s\" in a message %s; send the same in both",
                  STR_ARG(said), interaction);
    }
}

static void check_id(Request *req, const XmlNode *root, const V3Message *message)
{
    const XmlNode *node = v3_child(root, "id");
    if (node && str_is_empty(message->id.root)) {
        error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, v3_path(req->arena, node),
                  "the message's id has no root; send an OID or UUID, and an extension that makes "
                  "the id unique");
    }
}

int v3_message_read(Request *req, const XmlNode *root, const char *interaction,
                    V3Message *ret_message)
{
    unsigned before = req->errors.error_count;
    *ret_message = (V3Message){
        .root = root,
        .id = v3_id(v3_child(root, "id")),
        .processing_code = v3_child_attribute(root, "processingCode", "code"),
        .sender_device = v3_child(v3_child(root, "sender"), "device"),
        .receiver_device = v3_child(v3_child(root, "receiver"), "device"),
        .act = v3_child(root, "controlActProcess"),
    };
    check_version(req, root);
    (void)!v3_check(req, root, V3_MESSAGE);
    check_id(req, root, ret_message);
    check_interaction(req, root, interaction);
    check_code(req, root, "processingCode", STR("DPT"));
    check_code(req, root, "processingModeCode", STR("T"));
    return req->errors.error_count > before ? -(int)req->errors.first->code : 0;
}
