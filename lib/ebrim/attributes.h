#pragma once

#include "lib/ebrim/metadata.h"

/** The rows of attributes.def and data_types.def as tables. */

typedef enum Carrier {
    CARRIER_SLOT,
    CARRIER_CLASSIFICATION,      /* Classification/@classificationScheme */
    CARRIER_CLASSIFICATION_NODE, /* Classification/@classificationNode */
    CARRIER_EXTERNAL_IDENTIFIER,
    CARRIER_XML_ATTRIBUTE,
    CARRIER_NAME,
    CARRIER_DESCRIPTION,
} Carrier;

typedef enum DataType {
    TYPE_CODE,   /* Classification: code, coding scheme, display name */
    TYPE_AUTHOR, /* Classification: AUTHOR_SLOT rows */
    TYPE_MARKER, /* present or not */
#define DATA_TYPE(name, is_valid, expected) TYPE_##name,
#include "lib/ebrim/data_types.def"
#undef DATA_TYPE
    TYPE_COUNT
} DataType;

typedef enum Presence { PRESENCE_O, PRESENCE_R, PRESENCE_X } Presence;

/** What the struct of the object holds for an attribute. */
typedef enum FieldKind {
    FIELD_NONE,
    FIELD_STR,
    FIELD_STR_LIST,
    FIELD_CODE,
    FIELD_CODE_LIST,
} FieldKind;

typedef struct Attribute {
    ObjectKind object;
    const char *name; /* as the specification spells it, "classCode" */
    Carrier carrier;
    Str id; /* slot name, scheme or node UUID, XML attribute */
    bool is_many;
    DataType type;
    Presence presence[3]; /* by SubmissionKind of a registration */
    FieldKind field_kind;
    size_t field_offset;
} Attribute;

typedef struct AuthorSlot {
    Str name;
    bool is_many;
    DataType type;
} AuthorSlot;

extern const Attribute attributes[];
extern const size_t attribute_count;

/** The attribute of this object that is carried so under this id, or NULL. */
const Attribute *attribute_find(ObjectKind object, Carrier carrier, Str id);
/** The attribute with this name ("patientId"); it must exist. */
const Attribute *attribute_named(ObjectKind object, const char *name) NONNULL_RETURN;
const AuthorSlot *author_slot_find(Str name);

/** "DocumentEntry", "SubmissionSet", "Folder", "Association". */
const char *object_kind_name(ObjectKind kind);

/** XML attribute of the object element by name ("mimeType"); empty if absent. */
Str rim_xml_attribute(const RimObject *object, const char *name);

/** Fills the fields of a DocumentEntry, SubmissionSet or Folder from its ebRIM object. */
void attributes_fill(Arena *arena, ObjectKind kind, const RimObject *object, void *ret_typed);
