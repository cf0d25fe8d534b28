#pragma once

#include "lib/ebrim/metadata.h"

/** What reading, checking and writing share about ebRIM objects; private to this folder. */

/** Name of the element and where its text is kept: the XML attributes of ExtrinsicObject,
 * RegistryPackage, Association. */
typedef struct RimXmlAttribute {
    const char *name;
    size_t offset; /* of a Str in RimObject */
} RimXmlAttribute;

extern const RimXmlAttribute rim_xml_attributes[];
extern const size_t rim_xml_attribute_count;

/** What the object is by its element and its marker Classification (TF-3 Table 4.2-1); false for an
 * unmarked package. */
bool rim_object_kind(const RimObject *object, ObjectKind *ret_kind);

/** Has a Classification with this classificationNode. */
bool rim_has_marker(const RimObject *object, const char *node);

/** First value of the slot, trimmed; empty if the slot is absent or has none. */
Str slot_value(const Slot *slot);
/** First slot of the list with this name, or NULL. */
const Slot *slot_find(const Slot *slots, Str name);

/** Whether an id is a UUID URN rather than symbolic (TF-3 4.2.3.1.5). */
bool id_is_uuid(Str id);
