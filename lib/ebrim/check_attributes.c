#include <stdio.h>
#include <stdlib.h>

#include "lib/base/oid.h"
#include "lib/ebrim/check.h"
#include "lib/ebrim/datatypes.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* What one object says about itself, by the rows of attributes.def (TF-3 4.2.3, Table 4.3.1-3). */

typedef struct DataTypeInfo {
    bool (*is_valid)(Str value);
    const char *expected;
} DataTypeInfo;

static const DataTypeInfo data_types[TYPE_COUNT] = {
#define DATA_TYPE(name, is_valid, expected) [TYPE_##name] = {is_valid, expected},
#include "lib/ebrim/data_types.def"
#undef DATA_TYPE
};

/** rim:Value is a LongName. */
#define VALUE_LENGTH_MAX 256

static void check_value(Check *check, const RimObject *object, const XmlNode *at, const char *name,
                        DataType type, Str value)
{
    const DataTypeInfo *info = &data_types[type];
    if (!info->is_valid(value)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, at, name,
                    "%s is \"%.*s\"; send %s", name, STR_ARG(shown(value)), info->expected);
    } else if (text_length(value) > VALUE_LENGTH_MAX && type != TYPE_COMMENTS) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, at, name,
                    "%s has %zu characters; send at most %d (ebRIM LongName)", name,
                    text_length(value), VALUE_LENGTH_MAX);
    }
}

/* ---- presence ---- */

/** Text around the id of an attribute. */
typedef struct Around {
    const char *before;
    const char *after;
} Around;

/** How to send the attribute, for a sender who did not. */
static const char *how_to_send(Arena *arena, const Attribute *attribute)
{
    static const Around arounds[] = {
        [CARRIER_SLOT] = {"a rim:Slot with name=\"", "\""},
        [CARRIER_CLASSIFICATION] = {"a rim:Classification with classificationScheme=\"", "\""},
        [CARRIER_CLASSIFICATION_NODE] = {"a rim:Classification with classificationNode=\"", "\""},
        [CARRIER_EXTERNAL_IDENTIFIER] = {"a rim:ExternalIdentifier with identificationScheme=\"",
                                         "\""},
        [CARRIER_XML_ATTRIBUTE] = {"the XML attribute ", ""},
        [CARRIER_NAME] = {"rim:", " with a LocalizedString"},
        [CARRIER_DESCRIPTION] = {"rim:", " with a LocalizedString"},
    };
    const Around *around = &arounds[attribute->carrier];
    Str text = str_printf(arena, "%s%s%s", around->before, attribute->id.data, around->after);
    return str_cstr(arena, text);
}

/** Of an update, the whole of the metadata is sent again: what its registration required, by the
 * kind of entry. */
static Presence presence_of(const Check *check, const RimObject *object, const Attribute *attribute)
{
    SubmissionKind kind = check->kind;
    if (check_is_update(check)) {
        kind = str_equal(object->object_type, STR(UUID_ON_DEMAND_DOCUMENT)) ? SUBMISSION_ITI61
                                                                            : SUBMISSION_ITI42;
    }
    return attribute->presence[kind];
}

/** @return whether the attribute is there and may be */
static bool check_presence(Check *check, const RimObject *object, const Attribute *attribute,
                           bool is_present)
{
    Presence presence = presence_of(check, object, attribute);
    if (presence == PRESENCE_R && !is_present && !check_is_full(check->req)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, attribute->name,
                    "%s is missing, %s requires it; send %s", attribute->name,
                    check_transaction(check), how_to_send(check->req->arena, attribute));
    }
    if (presence == PRESENCE_X && is_present) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, attribute->name,
                    "%s is not allowed in %s; leave it out", attribute->name,
                    check_transaction(check));
        return false;
    }
    return is_present;
}

static void check_not_repeated(Check *check, const RimObject *object, const Attribute *attribute,
                               size_t count)
{
    if (!attribute->is_many && count > 1) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, attribute->name,
                    "%s occurs %zu times; send it once", attribute->name, count);
    }
}

/* ---- Slots ---- */

static void check_slot_values(Check *check, const RimObject *object, const XmlNode *at,
                              const Slot *slot, const char *name, bool is_many, DataType type)
{
    if (slot->value_count == 0) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, at, name,
                    "%s has no rim:Value; send one, or leave the Slot out", name);
    }
    if (!is_many && slot->value_count > 1) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, at, name,
                    "%s has %zu values; send one", name, slot->value_count);
    }
    for (size_t i = 0; i < slot->value_count; i++) {
        check_value(check, object, at, name, type, str_trim(slot->values[i]));
    }
}

static int compare_slot_names(const void *a, const void *b)
{
    const Slot *const *left = a;
    const Slot *const *right = b;
    return str_compare((*left)->name, (*right)->name);
}

void check_slot_names(Check *check, const RimObject *object, const Slot *slots, const XmlNode *at)
{
    size_t count = 0;
    for (const Slot *slot = slots; slot; slot = slot->next) {
        count++;
    }
    if (count < 2) {
        return;
    }
    const Slot **sorted = ARENA_ARRAY(check->req->arena, const Slot *, count);
    count = 0;
    for (const Slot *slot = slots; slot; slot = slot->next) {
        sorted[count++] = slot;
    }
    qsort(sorted, count, sizeof(const Slot *), compare_slot_names);
    for (size_t i = 1; i < count; i++) {
        if (compare_slot_names(&sorted[i - 1], &sorted[i]) == 0) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, at, "Slot",
                        "Slot \"%.*s\" occurs twice; put all values into one Slot",
                        STR_ARG(shown(sorted[i]->name)));
        }
    }
}

void check_extra_slot(Check *check, const RimObject *object, const Slot *slot)
{
    bool is_urn = str_starts_with(slot->name, STR("urn:"));
    if (!is_urn || str_starts_with(slot->name, STR("urn:ihe:"))) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, "Slot",
                    "Slot name \"%.*s\" is not defined here; correct its spelling, or name extra "
                    "metadata by a URN of your own (not urn:ihe:)",
                    STR_ARG(shown(slot->name)));
    }
    for (size_t i = 0; i < slot->value_count; i++) {
        if (text_length(slot->values[i]) > VALUE_LENGTH_MAX) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, "Slot",
                        "a value of Slot \"%.*s\" has more than %d characters (ebRIM LongName); "
                        "shorten it",
                        STR_ARG(shown(slot->name)), VALUE_LENGTH_MAX);
        }
    }
}

/* ---- Classifications ---- */

/** What a Classification of any kind says of itself (ebRIM 4.3: internal or external, not both). */
static void check_classification(Check *check, const RimObject *object, const Classification *c,
                                 const char *name)
{
    if (!str_is_empty(c->classification_scheme) && !str_is_empty(c->classification_node)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, name,
                    "%s has classificationScheme \"%.*s\" and classificationNode \"%.*s\"; send a "
                    "code with the first, a marker with the second, each in a Classification of "
                    "its own",
                    name, STR_ARG(shown(c->classification_scheme)),
                    STR_ARG(shown(c->classification_node)));
    }
    if (!str_equal(c->classified_object, object->id)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, name,
                    "classifiedObject of %s is \"%.*s\"; send \"%.*s\", the id of the object that "
                    "holds it",
                    name, STR_ARG(shown(c->classified_object)), STR_ARG(shown(object->id)));
    }
}

void check_coded(Check *check, const RimObject *object, const Classification *c, const char *name)
{
    check_classification(check, object, c, name);
    check_slot_names(check, object, c->slots, c->xml);
    if (str_is_empty(c->node_representation)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, name,
                    "%s has no code; send it as nodeRepresentation", name);
    } else {
        check_value(check, object, c->xml, name, TYPE_TEXT, c->node_representation);
    }
    const Slot *scheme = slot_find(c->slots, STR(SLOT_CODING_SCHEME));
    if (!scheme) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, name,
                    "%s \"%.*s\" has no coding scheme; send a rim:Slot with name=\"codingScheme\" "
                    "and one value",
                    name, STR_ARG(shown(c->node_representation)));
    } else {
        check_slot_values(check, object, c->xml, scheme, "codingScheme", false, TYPE_TEXT);
    }
    if (!c->name || str_is_empty(str_trim(c->name->value))) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, name,
                    "%s \"%.*s\" has no display name; send rim:Name with a LocalizedString that "
                    "has a value",
                    name, STR_ARG(shown(c->node_representation)));
    } else {
        check_value(check, object, c->xml, name, TYPE_COMMENTS, c->name->value);
    }
}

/** TF-3 4.2.3.1.4 */
static void check_author(Check *check, const RimObject *object, const Classification *c)
{
    bool is_identified = false;
    check_classification(check, object, c, "author");
    check_slot_names(check, object, c->slots, c->xml);
    if (!str_is_empty(c->node_representation)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, "author",
                    "nodeRepresentation of author is \"%.*s\"; send the empty string",
                    STR_ARG(shown(c->node_representation)));
    }
    for (const Slot *slot = c->slots; slot; slot = slot->next) {
        const AuthorSlot *known = author_slot_find(slot->name);
        if (!known) {
            check_extra_slot(check, object, slot);
            continue;
        }
        check_slot_values(check, object, c->xml, slot, known->name.data, known->is_many,
                          known->type);
        is_identified |= slot->value_count > 0 && known->type != TYPE_TEXT;
    }
    if (!is_identified) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, "author",
                    "an author has neither authorPerson, authorInstitution nor "
                    "authorTelecommunication; send at least one of them");
    }
}

static void check_classification_attribute(Check *check, const RimObject *object,
                                           const Attribute *attribute)
{
    size_t count = 0;
    for (const Classification *c = object->classifications; c; c = c->next) {
        if (!str_equal(c->classification_scheme, attribute->id)) {
            continue;
        }
        count++;
        if (attribute->type == TYPE_AUTHOR) {
            check_author(check, object, c);
        } else {
            check_coded(check, object, c, attribute->name);
        }
    }
    check_not_repeated(check, object, attribute, count);
    if (count > 0 || !is_first_edition_folder(check, object)) {
        (void)check_presence(check, object, attribute, count > 0);
    }
}

/* ---- ExternalIdentifiers ---- */

/** TF-3 4.2.3.1.3 */
static void check_external_identifier(Check *check, const RimObject *object,
                                      const ExternalIdentifier *e, const Attribute *attribute)
{
    if (!str_equal(e->registry_object, object->id)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, e->xml, attribute->name,
                    "registryObject of %s is \"%.*s\"; send \"%.*s\", the id of the object that "
                    "holds it",
                    attribute->name, STR_ARG(shown(e->registry_object)),
                    STR_ARG(shown(object->id)));
    }
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "XDS%s.%s", object_kind_name(attribute->object),
                   attribute->name);
    Str name = e->name ? str_trim(e->name->value) : STR_EMPTY;
    if (!str_equal(name, str_from(expected))) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, e->xml, attribute->name,
                    "rim:Name of the ExternalIdentifier for %s is \"%.*s\"; send \"%s\"",
                    attribute->name, STR_ARG(shown(name)), expected);
    }
    check_value(check, object, e->xml, attribute->name, attribute->type, e->value);
}

static void check_identifier_attribute(Check *check, const RimObject *object,
                                       const Attribute *attribute)
{
    size_t count = 0;
    for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
        if (str_equal(e->identification_scheme, attribute->id)) {
            count++;
            check_external_identifier(check, object, e, attribute);
        }
    }
    check_not_repeated(check, object, attribute, count);
    (void)check_presence(check, object, attribute, count > 0);
}

/* ---- names, XML attributes ---- */

static void check_localized(Check *check, const RimObject *object, const Attribute *attribute,
                            const LocalizedString *text)
{
    bool has_text = text && !str_is_empty(text->value);
    if (!check_presence(check, object, attribute, has_text)) {
        return;
    }
    for (; text; text = text->next) {
        check_value(check, object, NULL, attribute->name, attribute->type, text->value);
    }
}

static void check_attribute(Check *check, const RimObject *object, const Attribute *attribute)
{
    switch (attribute->carrier) {
    case CARRIER_SLOT: {
        const Slot *slot = slot_find(object->slots, attribute->id);
        if (check_presence(check, object, attribute, slot != NULL)) {
            check_slot_values(check, object, NULL, slot, attribute->name, attribute->is_many,
                              attribute->type);
        }
        break;
    }
    case CARRIER_CLASSIFICATION:
        check_classification_attribute(check, object, attribute);
        break;
    case CARRIER_CLASSIFICATION_NODE:
        (void)check_presence(check, object, attribute, rim_has_marker(object, attribute->id.data));
        break;
    case CARRIER_EXTERNAL_IDENTIFIER:
        check_identifier_attribute(check, object, attribute);
        break;
    case CARRIER_XML_ATTRIBUTE: {
        Str value = rim_xml_attribute(object, attribute->id.data);
        if (check_presence(check, object, attribute, !str_is_empty(value))) {
            check_value(check, object, object->xml, attribute->name, attribute->type, value);
        }
        break;
    }
    case CARRIER_NAME:
        check_localized(check, object, attribute, object->name);
        break;
    case CARRIER_DESCRIPTION:
        check_localized(check, object, attribute, object->description);
        break;
    }
}

/* ---- what no row knows ---- */

static bool is_own_marker(ObjectKind kind, Str node)
{
    return (kind == OBJECT_SUBMISSION_SET && str_equal(node, STR(UUID_SUBMISSION_SET_NODE))) ||
           (kind == OBJECT_FOLDER && str_equal(node, STR(UUID_FOLDER_NODE)));
}

static void check_known_classification(Check *check, ObjectKind kind, const RimObject *object,
                                       const Classification *c)
{
    if (!str_is_empty(c->classification_scheme)) {
        if (!attribute_find(kind, CARRIER_CLASSIFICATION, c->classification_scheme)) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, "Classification",
                        "classificationScheme \"%.*s\" is not an attribute of a %s; correct it or "
                        "leave the Classification out",
                        STR_ARG(shown(c->classification_scheme)), object_kind_name(kind));
        }
        return;
    }
    if (is_own_marker(kind, c->classification_node)) {
        check_classification(check, object, c, "the marker Classification");
    } else if (!attribute_find(kind, CARRIER_CLASSIFICATION_NODE, c->classification_node)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, c->xml, "Classification",
                    "a Classification has classificationScheme \"\" and classificationNode "
                    "\"%.*s\", which do not belong to a %s; correct it or leave it out",
                    STR_ARG(shown(c->classification_node)), object_kind_name(kind));
    }
}

static void check_known(Check *check, ObjectKind kind, const RimObject *object)
{
    for (const Slot *slot = object->slots; slot; slot = slot->next) {
        if (!attribute_find(kind, CARRIER_SLOT, slot->name)) {
            check_extra_slot(check, object, slot);
        }
    }
    for (const Classification *c = object->classifications; c; c = c->next) {
        check_known_classification(check, kind, object, c);
    }
    for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
        if (!attribute_find(kind, CARRIER_EXTERNAL_IDENTIFIER, e->identification_scheme)) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, e->xml,
                        "ExternalIdentifier",
                        "identificationScheme \"%.*s\" is not an attribute of a %s; correct it or "
                        "leave the ExternalIdentifier out",
                        STR_ARG(shown(e->identification_scheme)), object_kind_name(kind));
        }
    }
}

/* ---- rules over several attributes of one object ---- */

/** TF-2 3.42.4.1.3.3.6; compared as far as both are precise. */
static void check_service_times(Check *check, const RimObject *object)
{
    Str start = slot_value(rim_slot(object, "serviceStartTime"));
    Str stop = slot_value(rim_slot(object, "serviceStopTime"));
    size_t len = MIN(start.len, stop.len);
    if (is_dtm(start) && is_dtm(stop) && memcmp(start.data, stop.data, len) > 0) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, NULL, "serviceStartTime",
                    "serviceStartTime %.*s is later than serviceStopTime %.*s; send a start that "
                    "is not after the stop",
                    STR_ARG(start), STR_ARG(stop));
    }
}

/** ITI-42 and ITI-41 take Stable entries, ITI-61 On-Demand ones (TF-2 3.42.4.1.2, 3.61.4.1.2). */
static void check_document_type(Check *check, const RimObject *object)
{
    bool is_on_demand = str_equal(object->object_type, STR(UUID_ON_DEMAND_DOCUMENT));
    bool takes_on_demand = check->kind == SUBMISSION_ITI61;
    if (!check_is_update(check) && is_document_type(object->object_type) &&
        is_on_demand != takes_on_demand) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, object->xml, "objectType",
                    "objectType is \"%.*s\" (%s), but %s registers %s entries; send \"%s\", or use "
                    "%s",
                    STR_ARG(object->object_type), is_on_demand ? "On-Demand" : "Stable",
                    check_transaction(check), takes_on_demand ? "On-Demand" : "Stable",
                    takes_on_demand ? UUID_ON_DEMAND_DOCUMENT : UUID_STABLE_DOCUMENT,
                    takes_on_demand ? "ITI-42" : "ITI-61");
    }
}

void check_attributes(Check *check, ObjectKind kind, const RimObject *object)
{
    for (size_t i = 0; i < attribute_count; i++) {
        if (attributes[i].object == kind) {
            check_attribute(check, object, &attributes[i]);
        }
    }
    check_slot_names(check, object, object->slots, object->xml);
    check_known(check, kind, object);
    if (kind == OBJECT_DOCUMENT_ENTRY) {
        check_service_times(check, object);
        check_document_type(check, object);
    }
}
