#include <stdlib.h>

#include "lib/base/request.h"
#include "lib/ebrim/attributes.h"
#include "lib/ebrim/metadata.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* lcm:SubmitObjectsRequest -> RimObjects -> typed structs. The order of children does not matter:
 * real senders violate the schema's order (TF-3 4.2.3.1.2 sample). */

/* ---- generic objects ---- */

static Str attribute_ns(const XmlNode *node, const char *ns, const char *name)
{
    for (size_t i = 0; i < node->attribute_count; i++) {
        const XmlAttribute *attribute = &node->attributes[i];
        if (str_equal(attribute->ns, str_from(ns)) && str_equal(attribute->name, str_from(name))) {
            return attribute->value;
        }
    }
    return STR_EMPTY;
}

static size_t count_children(const XmlNode *node, const char *name)
{
    size_t count = 0;
    for (const XmlNode *c = xml_child(node, NS_RIM, name); c; c = xml_next(c, NS_RIM, name)) {
        count++;
    }
    return count;
}

static void read_values(Arena *arena, const XmlNode *node, Slot *slot)
{
    const XmlNode *list = xml_child(node, NS_RIM, "ValueList");
    slot->values = ARENA_ARRAY(arena, Str, count_children(list, "Value"));
    for (const XmlNode *value = xml_child(list, NS_RIM, "Value"); value;
         value = xml_next(value, NS_RIM, "Value")) {
        slot->values[slot->value_count++] = value->text;
    }
}

static Slot *read_slots(Arena *arena, const XmlNode *parent)
{
    Slot *first = NULL;
    Slot **tail = &first;
    for (const XmlNode *node = xml_child(parent, NS_RIM, "Slot"); node;
         node = xml_next(node, NS_RIM, "Slot")) {
        Slot *slot = ARENA_NEW(arena, Slot);
        slot->name = xml_attribute(node, "name");
        slot->slot_type = xml_attribute(node, "slotType");
        read_values(arena, node, slot);
        *tail = slot;
        tail = &slot->next;
    }
    return first;
}

/** rim:Name or rim:Description: one LocalizedString per language. */
static LocalizedString *read_localized(Arena *arena, const XmlNode *parent, const char *name)
{
    LocalizedString *first = NULL;
    LocalizedString **tail = &first;
    for (const XmlNode *node =
             xml_child(xml_child(parent, NS_RIM, name), NS_RIM, "LocalizedString");
         node; node = xml_next(node, NS_RIM, "LocalizedString")) {
        LocalizedString *text = ARENA_NEW(arena, LocalizedString);
        text->lang = attribute_ns(node, NS_XML, "lang");
        text->charset = xml_attribute(node, "charset");
        text->value = xml_attribute(node, "value");
        *tail = text;
        tail = &text->next;
    }
    return first;
}

static Classification *read_classification(Arena *arena, const XmlNode *node)
{
    Classification *c = ARENA_NEW(arena, Classification);
    c->xml = node;
    c->id = xml_attribute(node, "id");
    c->classification_scheme = xml_attribute(node, "classificationScheme");
    c->classification_node = xml_attribute(node, "classificationNode");
    c->classified_object = xml_attribute(node, "classifiedObject");
    c->node_representation = xml_attribute(node, "nodeRepresentation");
    c->has_node_representation = c->node_representation.data != NULL;
    c->name = read_localized(arena, node, "Name");
    c->description = read_localized(arena, node, "Description");
    c->slots = read_slots(arena, node);
    return c;
}

static Classification *read_classifications(Arena *arena, const XmlNode *parent)
{
    Classification *first = NULL;
    Classification **tail = &first;
    for (const XmlNode *node = xml_child(parent, NS_RIM, "Classification"); node;
         node = xml_next(node, NS_RIM, "Classification")) {
        *tail = read_classification(arena, node);
        tail = &(*tail)->next;
    }
    return first;
}

static ExternalIdentifier *read_external_identifiers(Arena *arena, const XmlNode *parent)
{
    ExternalIdentifier *first = NULL;
    ExternalIdentifier **tail = &first;
    for (const XmlNode *node = xml_child(parent, NS_RIM, "ExternalIdentifier"); node;
         node = xml_next(node, NS_RIM, "ExternalIdentifier")) {
        ExternalIdentifier *e = ARENA_NEW(arena, ExternalIdentifier);
        e->xml = node;
        e->id = xml_attribute(node, "id");
        e->identification_scheme = xml_attribute(node, "identificationScheme");
        e->registry_object = xml_attribute(node, "registryObject");
        e->value = xml_attribute(node, "value");
        e->name = read_localized(arena, node, "Name");
        e->description = read_localized(arena, node, "Description");
        e->slots = read_slots(arena, node);
        *tail = e;
        tail = &e->next;
    }
    return first;
}

static RimObject *read_object(Arena *arena, RimKind kind, const XmlNode *node)
{
    RimObject *object = ARENA_NEW(arena, RimObject);
    object->kind = kind;
    object->xml = node;
    for (size_t i = 0; i < rim_xml_attribute_count; i++) {
        Str value = xml_attribute(node, rim_xml_attributes[i].name);
        memcpy((char *)object + rim_xml_attributes[i].offset, &value, sizeof(value));
    }
    const XmlNode *version = xml_child(node, NS_RIM, "VersionInfo");
    object->version_name = version ? xml_attribute(version, "versionName") : STR_EMPTY;
    object->name = read_localized(arena, node, "Name");
    object->description = read_localized(arena, node, "Description");
    object->slots = read_slots(arena, node);
    object->classifications = read_classifications(arena, node);
    object->external_identifiers = read_external_identifiers(arena, node);
    return object;
}

static bool object_element_kind(const XmlNode *node, RimKind *ret_kind)
{
    static const struct {
        const char *name;
        RimKind kind;
    } elements[] = {
        {"ExtrinsicObject", RIM_EXTRINSIC_OBJECT},
        {"RegistryPackage", RIM_REGISTRY_PACKAGE},
        {"Association", RIM_ASSOCIATION},
    };
    for (size_t i = 0; i < ARRAY_LEN(elements); i++) {
        if (xml_is(node, NS_RIM, elements[i].name)) {
            *ret_kind = elements[i].kind;
            return true;
        }
    }
    return false;
}

static size_t read_objects(Arena *arena, const XmlNode *list, Submission *submission)
{
    size_t count = 0;
    RimObject **tail = &submission->objects;
    for (const XmlNode *node = list->first_child; node; node = node->next) {
        RimKind kind;
        if (object_element_kind(node, &kind)) {
            *tail = read_object(arena, kind, node);
            tail = &(*tail)->next;
            count++;
        }
    }
    return count;
}

/* ---- ids ---- */

/** An object of the message under its id. */
typedef struct Identified {
    RimObject *object;
    size_t order; /* in the message */
    Uuid uuid;
    bool is_typed; /* kind and typed are set */
    ObjectKind kind;
    void *typed;
} Identified;

/** All objects, sorted by id as submitted. */
typedef struct IdTable {
    Identified *items;
    size_t count;
} IdTable;

static int compare_ids(const void *a, const void *b)
{
    const Identified *left = a;
    const Identified *right = b;
    int order = str_compare(left->object->id, right->object->id);
    if (order != 0) {
        return order;
    }
    return (left->order > right->order) - (left->order < right->order);
}

static IdTable id_table(Arena *arena, RimObject *objects, size_t count)
{
    IdTable table = {ARENA_ARRAY(arena, Identified, count), 0};
    for (RimObject *object = objects; object; object = object->next) {
        table.items[table.count] = (Identified){.object = object, .order = table.count};
        table.count++;
    }
    if (count > 0) {
        qsort(table.items, count, sizeof(*table.items), compare_ids);
    }
    return table;
}

/** First object of the message with this id, or NULL. */
static Identified *id_find(const IdTable *table, Str id)
{
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_compare(table->items[middle].object->id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < table->count && str_equal(table->items[low].object->id, id);
    return is_found && !str_is_empty(id) ? &table->items[low] : NULL;
}

/** A UUID id stays; every distinct symbolic id gets one new UUID (TF-3 4.2.3.1.5). */
static void assign_uuids(IdTable *table)
{
    for (size_t i = 0; i < table->count; i++) {
        Identified *item = &table->items[i];
        Str id = item->object->id;
        bool repeats = i > 0 && !str_is_empty(id) && str_equal(item[-1].object->id, id);
        if (repeats) {
            item->uuid = item[-1].uuid;
        } else if (!uuid_parse_urn(id, &item->uuid)) {
            item->uuid = uuid_new();
        }
    }
}

/* ---- markers beside their packages (TF-3 4.2.1.2.1, 4.2.1.3.1) ---- */

static void attach_classifications(Arena *arena, const XmlNode *list, const IdTable *table,
                                   Submission *submission)
{
    Classification **unattached = &submission->unattached;
    for (const XmlNode *node = xml_child(list, NS_RIM, "Classification"); node;
         node = xml_next(node, NS_RIM, "Classification")) {
        Classification *c = read_classification(arena, node);
        Identified *owner = id_find(table, c->classified_object);
        if (owner) {
            c->next = owner->object->classifications;
            owner->object->classifications = c;
        } else {
            *unattached = c;
            unattached = &c->next;
        }
    }
}

/* ---- typed objects ---- */

/** Where the next object of each kind is linked in. */
typedef struct Tails {
    DocumentEntry **document;
    Folder **folder;
    Association **association;
} Tails;

/** A version carries the lid of the object that it is a version of (XDS Metadata Update
 * 3.57.4.1.3.3.1). */
static bool read_lid(const Identified *item, Uuid *ret_lid)
{
    Uuid lid;
    if (!uuid_parse_urn(item->object->lid, &lid) || uuid_equal(lid, item->uuid)) {
        return false;
    }
    *ret_lid = lid;
    return true;
}

static void *make_document(Arena *arena, const Identified *item, Submission *submission,
                           Tails *tails)
{
    DocumentEntry *entry = ARENA_NEW(arena, DocumentEntry);
    entry->object = item->object;
    entry->entry_uuid = item->uuid;
    entry->is_version = read_lid(item, &entry->lid);
    attributes_fill(arena, OBJECT_DOCUMENT_ENTRY, item->object, entry);
    *tails->document = entry;
    tails->document = &entry->next;
    submission->document_count++;
    return entry;
}

static void *make_submission_set(Arena *arena, const Identified *item, Submission *submission)
{
    SubmissionSet *set = ARENA_NEW(arena, SubmissionSet);
    set->object = item->object;
    set->entry_uuid = item->uuid;
    attributes_fill(arena, OBJECT_SUBMISSION_SET, item->object, set);
    if (submission->submission_set_count++ == 0) {
        submission->submission_set = set;
    }
    return set;
}

static void *make_folder(Arena *arena, const Identified *item, Submission *submission, Tails *tails)
{
    Folder *folder = ARENA_NEW(arena, Folder);
    folder->object = item->object;
    folder->entry_uuid = item->uuid;
    folder->is_version = read_lid(item, &folder->lid);
    attributes_fill(arena, OBJECT_FOLDER, item->object, folder);
    *tails->folder = folder;
    tails->folder = &folder->next;
    submission->folder_count++;
    return folder;
}

static int status_of(Str urn)
{
    if (str_equal(urn, STR(URN_STATUS_APPROVED))) {
        return STATUS_APPROVED;
    }
    return str_equal(urn, STR(URN_STATUS_DEPRECATED)) ? STATUS_DEPRECATED : -1;
}

/** What the Slots of a metadata update say (XDS Metadata Update 3.57.4.1.3.1.3, .3.3.2). */
static void read_annotations(const RimObject *object, Association *association)
{
    uint64_t version;
    Str previous = slot_value(rim_slot(object, SLOT_PREVIOUS_VERSION));
    if (str_to_u64(previous, &version) && version <= INT32_MAX) {
        association->previous_version = (int32_t)version;
    }
    association->propagates =
        !str_equal(slot_value(rim_slot(object, SLOT_ASSOCIATION_PROPAGATION)), STR("no"));
    association->original_status = status_of(slot_value(rim_slot(object, SLOT_ORIGINAL_STATUS)));
    association->new_status = status_of(slot_value(rim_slot(object, SLOT_NEW_STATUS)));
}

static void *make_association(Arena *arena, const Identified *item, Submission *submission,
                              Tails *tails)
{
    Association *association = ARENA_NEW(arena, Association);
    association->object = item->object;
    association->entry_uuid = item->uuid;
    association->type = association_type_from_urn(item->object->association_type);
    Str status = slot_value(rim_slot(item->object, SLOT_SUBMISSION_SET_STATUS));
    association->is_original = str_equal(status, STR("Original"));
    association->is_reference = str_equal(status, STR("Reference"));
    read_annotations(item->object, association);
    *tails->association = association;
    tails->association = &association->next;
    submission->association_count++;
    return association;
}

static void make_typed(Arena *arena, Identified *item, Submission *submission, Tails *tails)
{
    item->is_typed = rim_object_kind(item->object, &item->kind);
    if (!item->is_typed) {
        return;
    }
    switch (item->kind) {
    case OBJECT_DOCUMENT_ENTRY:
        item->typed = make_document(arena, item, submission, tails);
        break;
    case OBJECT_SUBMISSION_SET:
        item->typed = make_submission_set(arena, item, submission);
        break;
    case OBJECT_FOLDER:
        item->typed = make_folder(arena, item, submission, tails);
        break;
    case OBJECT_ASSOCIATION:
        item->typed = make_association(arena, item, submission, tails);
        break;
    }
}

/** In the order of the message, so that results and errors come in it too. */
static void make_all_typed(Arena *arena, const IdTable *table, Submission *submission)
{
    Identified **in_order = ARENA_ARRAY(arena, Identified *, table->count);
    for (size_t i = 0; i < table->count; i++) {
        in_order[table->items[i].order] = &table->items[i];
    }
    Tails tails = {&submission->documents, &submission->folders, &submission->associations};
    for (size_t i = 0; i < table->count; i++) {
        make_typed(arena, in_order[i], submission, &tails);
    }
}

static ObjectReference resolve(const IdTable *table, Str text)
{
    ObjectReference reference = {.text = text};
    const Identified *target = id_find(table, text);
    if (target && target->is_typed) {
        reference.uuid = target->uuid;
        reference.is_in_submission = true;
        reference.kind = target->kind;
        reference.object = target->typed;
    } else if (!uuid_parse_urn(text, &reference.uuid)) {
        reference.uuid = (Uuid){0};
    }
    return reference;
}

static void resolve_associations(const IdTable *table, Submission *submission)
{
    for (Association *a = submission->associations; a; a = a->next) {
        a->source = resolve(table, a->object->source_object);
        a->target = resolve(table, a->object->target_object);
    }
}

int submission_read(Request *req, const XmlNode *submit_objects_request,
                    Submission **ret_submission)
{
    const XmlNode *list = NULL;
    if (xml_is(submit_objects_request, NS_LCM, "SubmitObjectsRequest")) {
        list = xml_child(submit_objects_request, NS_RIM, "RegistryObjectList");
    }
    if (!list) {
        return error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, "SubmitObjectsRequest",
                         "no metadata found: send lcm:SubmitObjectsRequest (namespace " NS_LCM
                         ") with one rim:RegistryObjectList (namespace " NS_RIM ")");
    }
    Submission *submission = ARENA_NEW(req->arena, Submission);
    submission->xml = submit_objects_request;
    size_t count = read_objects(req->arena, list, submission);
    IdTable table = id_table(req->arena, submission->objects, count);
    attach_classifications(req->arena, list, &table, submission);
    assign_uuids(&table);
    make_all_typed(req->arena, &table, submission);
    resolve_associations(&table, submission);
    *ret_submission = submission;
    return 0;
}

void document_entry_set_slot(Arena *arena, DocumentEntry *entry, const char *slot, Str value)
{
    Slot **place = &entry->object->slots;
    while (*place && !str_equal((*place)->name, str_from(slot))) {
        place = &(*place)->next;
    }
    Slot *set = ARENA_NEW(arena, Slot);
    set->name = str_from(slot);
    set->slot_type = *place ? (*place)->slot_type : STR_EMPTY;
    set->next = *place ? (*place)->next : NULL;
    set->values = ARENA_NEW(arena, Str);
    set->values[0] = value;
    set->value_count = 1;
    *place = set;
    attributes_fill(arena, OBJECT_DOCUMENT_ENTRY, entry->object, entry);
}
