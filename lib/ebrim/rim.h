#pragma once

#include "lib/base/str.h"
#include "lib/base/uuid.h"
#include "lib/xml/tree.h"

/**
 * ebRIM 3.0 objects as they came, generic: everything a sender wrote is kept, so that it can be
 * returned. All in one arena. What the attributes mean is in attributes.def and metadata.h.
 */

typedef struct Slot {
    Str name;
    Str slot_type; /* empty if absent */
    Str *values;
    size_t value_count;
    struct Slot *next;
} Slot;

typedef struct LocalizedString {
    Str lang;    /* empty if absent */
    Str charset; /* empty if absent */
    Str value;
    struct LocalizedString *next;
} LocalizedString;

typedef struct Classification {
    Str id; /* as submitted; UUID URN, symbolic, or empty */
    Str classification_scheme;
    Str classification_node; /* SubmissionSet / Folder / limitedMetadata marker */
    Str classified_object;
    Str node_representation;
    bool has_node_representation;
    LocalizedString *name;
    LocalizedString *description;
    Slot *slots;
    const XmlNode *xml;
    struct Classification *next;
} Classification;

typedef struct ExternalIdentifier {
    Str id;
    Str identification_scheme;
    Str registry_object;
    Str value;
    LocalizedString *name;
    LocalizedString *description;
    Slot *slots;
    const XmlNode *xml;
    struct ExternalIdentifier *next;
} ExternalIdentifier;

typedef enum RimKind { RIM_EXTRINSIC_OBJECT, RIM_REGISTRY_PACKAGE, RIM_ASSOCIATION } RimKind;

typedef struct RimObject {
    RimKind kind;
    Str id; /* as submitted */
    Str lid;
    Str home;
    Str status;
    Str object_type;
    Str mime_type; /* ExtrinsicObject */
    Str is_opaque; /* ExtrinsicObject, empty if absent */
    Str version_name;
    Str source_object; /* Association */
    Str target_object;
    Str association_type;
    LocalizedString *name;
    LocalizedString *description;
    Slot *slots;
    Classification *classifications; /* markers included, wherever they stood */
    ExternalIdentifier *external_identifiers;
    const XmlNode *xml;
    struct RimObject *next;
} RimObject;

/** First slot with this name, or NULL. */
const Slot *rim_slot(const RimObject *object, const char *name);
/** First classification with this scheme, or NULL. */
const Classification *rim_classification(const RimObject *object, const char *scheme);
/** Value of the external identifier with this scheme; empty if absent. */
Str rim_external_identifier(const RimObject *object, const char *scheme);
