#include <assert.h>
#include <stdlib.h>

#include "lib/ebrim/check.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* The list of objects as a whole: elements, markers, ids, uniqueIds, patients. */

/* ---- elements that the schema does not allow ---- */

typedef struct ChildRule ChildRule;

/** What an ebRIM element may hold. */
typedef struct Content {
    const ChildRule *rules;
    size_t count;
} Content;

/** A child element; max 0 = any number. */
struct ChildRule {
    const char *name;
    size_t max;
    const Content *content; /* of the child; NULL: not looked at */
};

#define CONTENT(rules)                                                                             \
    {                                                                                              \
        rules, ARRAY_LEN(rules)                                                                    \
    }

static const ChildRule value_rules[] = {{"Value", 0, NULL}};
static const Content values = CONTENT(value_rules);
static const ChildRule slot_rules[] = {{"ValueList", 1, &values}};
static const Content slot_content = CONTENT(slot_rules);
static const ChildRule text_rules[] = {{"LocalizedString", 0, NULL}};
static const Content text_content = CONTENT(text_rules);
static const ChildRule part_rules[] = {
    {"Slot", 0, &slot_content},
    {"Name", 1, &text_content},
    {"Description", 1, &text_content},
    {"VersionInfo", 1, NULL},
};
static const Content part_content = CONTENT(part_rules);
/* In schema order. */
static const ChildRule object_rules[] = {
    {"Slot", 0, &slot_content},           {"Name", 1, &text_content},
    {"Description", 1, &text_content},    {"VersionInfo", 1, NULL},
    {"Classification", 0, &part_content}, {"ExternalIdentifier", 0, &part_content},
    {"ContentVersionInfo", 1, NULL},
};
static const Content object_content = CONTENT(object_rules);
static const ChildRule list_rules[] = {
    {"ExtrinsicObject", 0, NULL},         {"RegistryPackage", 0, NULL}, {"Association", 0, NULL},
    {"Classification", 0, &part_content}, {"ObjectRef", 0, NULL},
};
static const Content list_content = CONTENT(list_rules);

/* The tables' longest way down: list or object, Classification, Slot, ValueList. */
#define CONTENT_LEVELS 4

/** An element on the way down. */
typedef struct Level {
    const Content *content;
    const XmlNode *next; /* child to look at */
    size_t counts[ARRAY_LEN(object_rules)];
} Level;

/** @return what the child may hold; NULL: it is not looked at */
static const Content *check_child(Check *check, const RimObject *object, const XmlNode *child,
                                  Level *level)
{
    const Content *content = level->content;
    size_t i = 0;
    while (i < content->count && !xml_is(child, NS_RIM, content->rules[i].name)) {
        i++;
    }
    if (i == content->count) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, child, "",
                    "element {%.*s}%.*s is not allowed here; leave it out",
                    STR_ARG(shown(child->ns)), STR_ARG(shown(child->name)));
        return NULL;
    }
    const ChildRule *rule = &content->rules[i];
    if (++level->counts[i] > rule->max && rule->max > 0) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, child, "",
                    "element rim:%s occurs more than once; send one", rule->name);
    }
    return rule->content;
}

/** Goes as deep as the tables do, in document order: what they do not name would be lost. */
static void check_content(Check *check, const RimObject *object, const XmlNode *node,
                          const Content *content)
{
    Level levels[CONTENT_LEVELS];
    levels[0] = (Level){.content = content, .next = node ? node->first_child : NULL};
    size_t depth = 1;
    while (depth > 0) {
        Level *level = &levels[depth - 1];
        const XmlNode *child = level->next;
        if (child == NULL) {
            depth--;
            continue;
        }
        level->next = child->next;
        const Content *inner = check_child(check, object, child, level);
        if (inner != NULL) {
            assert(depth < CONTENT_LEVELS);
            levels[depth++] = (Level){.content = inner, .next = child->first_child};
        }
    }
}

/**
 * The schema's order of an object's children. Inside Classifications senders in the field put Name
 * before Slot, which is taken (TF-3 4.2.3.1.2); an object out of order is refused, once.
 */
static void check_order(Check *check, const RimObject *object)
{
    size_t reached = 0;
    for (const XmlNode *child = object->xml ? object->xml->first_child : NULL; child;
         child = child->next) {
        size_t rule = 0;
        while (rule < ARRAY_LEN(object_rules) && !xml_is(child, NS_RIM, object_rules[rule].name)) {
            rule++;
        }
        if (rule < reached) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, child, "",
                        "element rim:%s stands behind rim:%s; send Slot, Name, Description, "
                        "VersionInfo, Classification, "
                        "ExternalIdentifier in this order",
                        object_rules[rule].name, object_rules[reached].name);
            return;
        }
        reached = rule < ARRAY_LEN(object_rules) ? rule : reached;
    }
}

static void check_elements(Check *check)
{
    const XmlNode *list = xml_child(check->submission->xml, NS_RIM, "RegistryObjectList");
    check_content(check, NULL, list, &list_content);
    for (const RimObject *object = check->submission->objects; object; object = object->next) {
        check_content(check, object, object->xml, &object_content);
        check_order(check, object);
    }
}

/* ---- packages (TF-3 4.2.1.2.1, 4.2.1.3.1) ---- */

static void check_package(Check *check, const RimObject *object)
{
    ObjectKind kind;
    if (!rim_object_kind(object, &kind)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, object->xml, "RegistryPackage",
                    "the RegistryPackage is neither SubmissionSet nor Folder; send a "
                    "Classification with classifiedObject=\"%.*s\" and classificationNode=\"%s\" "
                    "or \"%s\"",
                    STR_ARG(shown(object->id)), UUID_SUBMISSION_SET_NODE, UUID_FOLDER_NODE);
    } else if (rim_has_marker(object, UUID_SUBMISSION_SET_NODE) &&
               rim_has_marker(object, UUID_FOLDER_NODE)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, object->xml, "RegistryPackage",
                    "the RegistryPackage is marked both as SubmissionSet and as Folder; send one "
                    "of the two markers");
    }
}

static void check_packages(Check *check)
{
    const Submission *submission = check->submission;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        if (object->kind == RIM_REGISTRY_PACKAGE) {
            check_package(check, object);
        }
    }
    for (const Classification *c = submission->unattached; c; c = c->next) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, NULL, c->xml, "Classification",
                    "classifiedObject \"%.*s\" of a Classification is no object of the submission; "
                    "send the id of the object that it classifies",
                    STR_ARG(shown(c->classified_object)));
    }
    if (submission->submission_set_count != 1) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, NULL, NULL, "RegistryPackage",
                    "%zu SubmissionSets found; send exactly one RegistryPackage with the "
                    "Classification classificationNode=\"%s\"",
                    submission->submission_set_count, UUID_SUBMISSION_SET_NODE);
    }
}

/* ---- ids (TF-3 4.2.3.1.5) ---- */

/** An id of an object or of one of its parts. */
typedef struct IdUse {
    Str id;
    bool is_object;
    const RimObject *object;
    const XmlNode *at;
} IdUse;

static int compare_id_uses(const void *a, const void *b)
{
    return str_compare(((const IdUse *)a)->id, ((const IdUse *)b)->id);
}

static size_t count_ids(const Submission *submission)
{
    size_t count = 0;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        count++;
        for (const Classification *c = object->classifications; c; c = c->next) {
            count++;
        }
        for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
            count++;
        }
    }
    return count;
}

static size_t collect_ids(const Submission *submission, IdUse *ret_uses)
{
    size_t count = 0;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        ret_uses[count++] = (IdUse){object->id, true, object, object->xml};
        for (const Classification *c = object->classifications; c; c = c->next) {
            ret_uses[count++] = (IdUse){c->id, false, object, c->xml};
        }
        for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
            ret_uses[count++] = (IdUse){e->id, false, object, e->xml};
        }
    }
    return count;
}

static void check_id(Check *check, const IdUse *use)
{
    Uuid uuid;
    if (use->is_object && str_is_empty(use->id)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, use->object, use->at, "id",
                    "id is missing; send a UUID (urn:uuid:...) or a symbolic id");
    } else if (id_is_uuid(use->id) && !uuid_parse_urn(use->id, &uuid)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, use->object, use->at, "id",
                    "id \"%.*s\" is not a UUID; send urn:uuid: and 8-4-4-4-12 lower-case "
                    "hexadecimal digits, or a symbolic id without urn:uuid:",
                    STR_ARG(shown(use->id)));
    }
}

/** Parts may share a symbolic id, as some senders do: each gets a UUID of its own. */
static bool is_id_clash(const IdUse *a, const IdUse *b)
{
    return !str_is_empty(a->id) && str_equal(a->id, b->id) &&
           (a->is_object || b->is_object || id_is_uuid(a->id));
}

static void check_ids(Check *check)
{
    IdUse *uses = ARENA_ARRAY(check->req->arena, IdUse, count_ids(check->submission));
    size_t count = collect_ids(check->submission, uses);
    for (size_t i = 0; i < count; i++) {
        check_id(check, &uses[i]);
    }
    qsort(uses, count, sizeof(*uses), compare_id_uses);
    for (size_t i = 1; i < count; i++) {
        if (is_id_clash(&uses[i - 1], &uses[i])) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, uses[i].object, uses[i].at, "id",
                        "id \"%.*s\" is used twice in the submission; give each object its own",
                        STR_ARG(shown(uses[i].id)));
        }
    }
}

/** lid belongs to metadata update only (TF-2 3.57.4.1.3.3.1), and there to what has versions. */
static void check_logical_ids(Check *check)
{
    for (const RimObject *object = check->submission->objects; object; object = object->next) {
        ObjectKind kind;
        if (check_is_update(check) && rim_object_kind(object, &kind) &&
            (kind == OBJECT_DOCUMENT_ENTRY || kind == OBJECT_FOLDER)) {
            check_updated_lid(check, kind, object);
        } else if (!str_is_empty(object->lid) && !str_equal(object->lid, object->id)) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, object, object->xml, "lid",
                        "lid \"%.*s\" differs from the id, which is a metadata update of a "
                        "DocumentEntry or Folder; leave lid out to register a new object, or send "
                        "the update as ITI-57",
                        STR_ARG(shown(object->lid)));
        }
    }
}

/* ---- uniqueIds and patients ---- */

/** An object with its uniqueId. */
typedef struct UniqueIdUse {
    Str unique_id;
    const RimObject *object;
} UniqueIdUse;

static int compare_unique_ids(const void *a, const void *b)
{
    return str_compare(((const UniqueIdUse *)a)->unique_id, ((const UniqueIdUse *)b)->unique_id);
}

/** Value of the ExternalIdentifier of a DocumentEntry, SubmissionSet or Folder; empty for others.
 */
static Str identifier_of(const RimObject *object, const char *name)
{
    ObjectKind kind;
    if (!rim_object_kind(object, &kind) || kind == OBJECT_ASSOCIATION) {
        return STR_EMPTY;
    }
    return rim_external_identifier(object, attribute_named(kind, name)->id.data);
}

/** TF-3 Table 4.2.4.1-2: XDSRegistryDuplicateUniqueIdInMessage, whatever the objects. */
static void check_unique_ids(Check *check)
{
    const Submission *submission = check->submission;
    size_t count = 0;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        count++;
    }
    UniqueIdUse *uses = ARENA_ARRAY(check->req->arena, UniqueIdUse, count);
    count = 0;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        Str unique_id = identifier_of(object, "uniqueId");
        if (!str_is_empty(unique_id)) {
            uses[count++] = (UniqueIdUse){unique_id, object};
        }
    }
    qsort(uses, count, sizeof(*uses), compare_unique_ids);
    for (size_t i = 1; i < count; i++) {
        if (compare_unique_ids(&uses[i - 1], &uses[i]) == 0) {
            check_fault(check, ERR_XDS_REGISTRY_DUPLICATE_UNIQUE_ID_IN_MESSAGE, uses[i].object,
                        uses[i].object->xml, "uniqueId",
                        "uniqueId \"%.*s\" is also that of %s; give each object its own",
                        STR_ARG(shown(uses[i].unique_id)),
                        object_label(check->req->arena, uses[i - 1].object));
        }
    }
}

/** All objects of one submission belong to one patient (TF-3 4.2.1.2, 4.2.1.3). */
static void check_patients(Check *check)
{
    const Submission *submission = check->submission;
    Str expected = submission->submission_set ? submission->submission_set->patient_id : STR_EMPTY;
    for (const RimObject *object = submission->objects; object; object = object->next) {
        Str patient_id = identifier_of(object, "patientId");
        if (str_is_empty(patient_id)) {
            continue;
        }
        if (str_is_empty(expected)) {
            expected = patient_id;
        }
        if (!str_equal(patient_id, expected)) {
            check_fault(check, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH, object, object->xml, "patientId",
                        "patientId \"%.*s\" differs from \"%.*s\" of the submission; send the "
                        "objects of one patient only",
                        STR_ARG(shown(patient_id)), STR_ARG(shown(expected)));
        }
    }
}

void check_structure(Check *check)
{
    check_elements(check);
    check_packages(check);
    check_ids(check);
    check_logical_ids(check);
    check_unique_ids(check);
    check_patients(check);
}
