#include "lib/ebrim/attributes.h"

#include <assert.h>

#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

#define KIND_DocumentEntry OBJECT_DOCUMENT_ENTRY
#define KIND_SubmissionSet OBJECT_SUBMISSION_SET
#define KIND_Folder OBJECT_FOLDER
#define ONE false
#define MANY true
#define PRESENCES(iti41, iti42, iti61)                                                             \
    {                                                                                              \
        PRESENCE_##iti41, PRESENCE_##iti42, PRESENCE_##iti61                                       \
    }
#define FIELD_KIND(object, field)                                                                  \
    _Generic(((const object *)NULL)->field, Str                                                    \
             : FIELD_STR, StrList                                                                  \
             : FIELD_STR_LIST, Code                                                                \
             : FIELD_CODE, CodeList                                                                \
             : FIELD_CODE_LIST)

const Attribute attributes[] = {
#define ATTRIBUTE(object, field, name, carrier, id, many, type, iti41, iti42, iti61)               \
    {KIND_##object,                                                                                \
     name,                                                                                         \
     CARRIER_##carrier,                                                                            \
     STR_INIT(id),                                                                                 \
     many,                                                                                         \
     TYPE_##type,                                                                                  \
     PRESENCES(iti41, iti42, iti61),                                                               \
     FIELD_KIND(object, field),                                                                    \
     offsetof(object, field)},
#define CARRIED(object, name, carrier, id, many, type, iti41, iti42, iti61)                        \
    {KIND_##object,                                                                                \
     name,                                                                                         \
     CARRIER_##carrier,                                                                            \
     STR_INIT(id),                                                                                 \
     many,                                                                                         \
     TYPE_##type,                                                                                  \
     PRESENCES(iti41, iti42, iti61),                                                               \
     FIELD_NONE,                                                                                   \
     0},
#define AUTHOR_SLOT(name, many, type)
#include "lib/ebrim/attributes.def"
#undef ATTRIBUTE
#undef CARRIED
#undef AUTHOR_SLOT
};
const size_t attribute_count = ARRAY_LEN(attributes);

static const AuthorSlot author_slots[] = {
#define ATTRIBUTE(object, field, name, carrier, id, many, type, iti41, iti42, iti61)
#define CARRIED(object, name, carrier, id, many, type, iti41, iti42, iti61)
#define AUTHOR_SLOT(name, many, type) {STR_INIT(name), many, TYPE_##type},
#include "lib/ebrim/attributes.def"
#undef ATTRIBUTE
#undef CARRIED
#undef AUTHOR_SLOT
};

const RimXmlAttribute rim_xml_attributes[] = {
    {"id", offsetof(RimObject, id)},
    {"lid", offsetof(RimObject, lid)},
    {"home", offsetof(RimObject, home)},
    {"status", offsetof(RimObject, status)},
    {"objectType", offsetof(RimObject, object_type)},
    {"mimeType", offsetof(RimObject, mime_type)},
    {"isOpaque", offsetof(RimObject, is_opaque)},
    {"sourceObject", offsetof(RimObject, source_object)},
    {"targetObject", offsetof(RimObject, target_object)},
    {"associationType", offsetof(RimObject, association_type)},
};
const size_t rim_xml_attribute_count = ARRAY_LEN(rim_xml_attributes);

static const char *const association_types[] = {
#define ASSOCIATION_TYPE(name, urn) urn,
#include "lib/ebrim/association_types.def"
#undef ASSOCIATION_TYPE
};

const char *association_type_urn(AssociationType type)
{
    assert(type < ASSOCIATION_TYPE_COUNT);
    return association_types[type];
}

AssociationType association_type_from_urn(Str urn)
{
    unsigned type = 0;
    while (type < ASSOCIATION_TYPE_COUNT && !str_equal(urn, str_from(association_types[type]))) {
        type++;
    }
    return (AssociationType)type;
}

const Attribute *attribute_find(ObjectKind object, Carrier carrier, Str id)
{
    for (size_t i = 0; i < attribute_count; i++) {
        const Attribute *attribute = &attributes[i];
        if (attribute->object == object && attribute->carrier == carrier &&
            str_equal(attribute->id, id)) {
            return attribute;
        }
    }
    return NULL;
}

const Attribute *attribute_named(ObjectKind object, const char *name)
{
    size_t i = 0;
    while (attributes[i].object != object || strcmp(attributes[i].name, name) != 0) {
        i++;
        assert(i < attribute_count);
    }
    return &attributes[i];
}

const AuthorSlot *author_slot_find(Str name)
{
    for (size_t i = 0; i < ARRAY_LEN(author_slots); i++) {
        if (str_equal(author_slots[i].name, name)) {
            return &author_slots[i];
        }
    }
    return NULL;
}

const char *object_kind_name(ObjectKind kind)
{
    static const char *const names[] = {"DocumentEntry", "SubmissionSet", "Folder", "Association"};
    assert(kind < ARRAY_LEN(names));
    return names[kind];
}

Str rim_xml_attribute(const RimObject *object, const char *name)
{
    for (size_t i = 0; i < rim_xml_attribute_count; i++) {
        if (strcmp(rim_xml_attributes[i].name, name) == 0) {
            Str value;
            memcpy(&value, (const char *)object + rim_xml_attributes[i].offset, sizeof(value));
            return value;
        }
    }
    return STR_EMPTY;
}

bool rim_has_marker(const RimObject *object, const char *node)
{
    for (const Classification *c = object->classifications; c; c = c->next) {
        if (str_equal(c->classification_node, str_from(node))) {
            return true;
        }
    }
    return false;
}

bool rim_object_kind(const RimObject *object, ObjectKind *ret_kind)
{
    switch (object->kind) {
    case RIM_EXTRINSIC_OBJECT:
        *ret_kind = OBJECT_DOCUMENT_ENTRY;
        return true;
    case RIM_ASSOCIATION:
        *ret_kind = OBJECT_ASSOCIATION;
        return true;
    case RIM_REGISTRY_PACKAGE:
        break;
    }
    if (rim_has_marker(object, UUID_SUBMISSION_SET_NODE)) {
        *ret_kind = OBJECT_SUBMISSION_SET;
        return true;
    }
    if (rim_has_marker(object, UUID_FOLDER_NODE)) {
        *ret_kind = OBJECT_FOLDER;
        return true;
    }
    return false;
}

Str slot_value(const Slot *slot)
{
    return slot && slot->value_count > 0 ? str_trim(slot->values[0]) : STR_EMPTY;
}

const Slot *slot_find(const Slot *slots, Str name)
{
    while (slots && !str_equal(slots->name, name)) {
        slots = slots->next;
    }
    return slots;
}

bool id_is_uuid(Str id)
{
    return str_starts_with(id, STR("urn:uuid:"));
}

static StrList values_of(Arena *arena, const Slot *slot)
{
    StrList list = {NULL, 0};
    if (slot) {
        list.items = ARENA_ARRAY(arena, Str, slot->value_count);
        for (; list.count < slot->value_count; list.count++) {
            list.items[list.count] = str_trim(slot->values[list.count]);
        }
    }
    return list;
}

static Code code_of(const Classification *c)
{
    return (Code){
        .code = c->node_representation,
        .scheme = slot_value(slot_find(c->slots, STR(SLOT_CODING_SCHEME))),
        .display = c->name ? c->name->value : STR_EMPTY,
    };
}

static CodeList codes_of(Arena *arena, const RimObject *object, Str scheme)
{
    CodeList list = {NULL, 0};
    size_t count = 0;
    for (const Classification *c = object->classifications; c; c = c->next) {
        count += str_equal(c->classification_scheme, scheme);
    }
    list.items = ARENA_ARRAY(arena, Code, count);
    for (const Classification *c = object->classifications; c; c = c->next) {
        if (str_equal(c->classification_scheme, scheme)) {
            list.items[list.count++] = code_of(c);
        }
    }
    return list;
}

/** The attribute as one text: of its only slot value, external identifier, XML attribute or name.
 */
static Str text_of(const RimObject *object, const Attribute *attribute)
{
    switch (attribute->carrier) {
    case CARRIER_SLOT:
        return slot_value(slot_find(object->slots, attribute->id));
    case CARRIER_EXTERNAL_IDENTIFIER:
        return rim_external_identifier(object, attribute->id.data);
    case CARRIER_XML_ATTRIBUTE:
        return rim_xml_attribute(object, attribute->id.data);
    case CARRIER_NAME:
        return object->name ? object->name->value : STR_EMPTY;
    case CARRIER_DESCRIPTION:
        return object->description ? object->description->value : STR_EMPTY;
    case CARRIER_CLASSIFICATION:
    case CARRIER_CLASSIFICATION_NODE:
        break;
    }
    return STR_EMPTY;
}

static void fill_field(Arena *arena, const RimObject *object, const Attribute *attribute,
                       char *typed)
{
    void *field = typed + attribute->field_offset;
    switch (attribute->field_kind) {
    case FIELD_NONE:
        break;
    case FIELD_STR: {
        Str text = text_of(object, attribute);
        memcpy(field, &text, sizeof(text));
        break;
    }
    case FIELD_STR_LIST: {
        StrList list = values_of(arena, slot_find(object->slots, attribute->id));
        memcpy(field, &list, sizeof(list));
        break;
    }
    case FIELD_CODE: {
        const Classification *c = rim_classification(object, attribute->id.data);
        Code code = c ? code_of(c) : (Code){0};
        memcpy(field, &code, sizeof(code));
        break;
    }
    case FIELD_CODE_LIST: {
        CodeList list = codes_of(arena, object, attribute->id);
        memcpy(field, &list, sizeof(list));
        break;
    }
    }
}

static void fill_document_entry(const RimObject *object, DocumentEntry *entry)
{
    entry->is_on_demand = str_equal(object->object_type, STR(UUID_ON_DEMAND_DOCUMENT));
    uint64_t size_bytes;
    entry->size_bytes = str_to_u64(entry->size, &size_bytes) ? size_bytes : 0;
}

void attributes_fill(Arena *arena, ObjectKind kind, const RimObject *object, void *ret_typed)
{
    for (size_t i = 0; i < attribute_count; i++) {
        if (attributes[i].object == kind) {
            fill_field(arena, object, &attributes[i], ret_typed);
        }
    }
    if (kind == OBJECT_DOCUMENT_ENTRY) {
        fill_document_entry(object, ret_typed);
    }
}
