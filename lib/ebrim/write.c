#include "lib/xml/write.h"

#include "lib/ebrim/attributes.h"
#include "lib/ebrim/datatypes.h"
#include "lib/ebrim/object_writer.h"
#include "lib/ebrim/objects.h"

/* ebRIM objects as XML in the order of the schema: Slot*, Name?, Description?, VersionInfo?,
 * Classification*, ExternalIdentifier*. */

const Str render_token_texts[RENDER_TOKEN_COUNT] = {
#define TOKEN_TEXT(byte, name, text) [byte] = STR_INIT(text),
#define TOKEN_VALUE(byte, name)
#include "lib/ebrim/render_tokens.def"
#undef TOKEN_TEXT
#undef TOKEN_VALUE
};

typedef struct ObjectWriter {
    StrBuf *buf;
    const RimObject *object;
    bool is_template;
    /* of a template */
    ObjectKind kind;
    Uuid entry_uuid;
    uint32_t derived_count; /* ids of parts so far that follow from entry_uuid */
} ObjectWriter;

static void put_token(ObjectWriter *writer, RenderToken token)
{
    if (writer->is_template) {
        strbuf_append_char(writer->buf, (char)token);
    } else {
        strbuf_append(writer->buf, render_token_texts[token]);
    }
}

static void put_text(ObjectWriter *writer, Str text)
{
    xml_append_escaped(writer->buf, text);
}

/** ' name="value"', unless it is empty. */
static void put_attribute(ObjectWriter *writer, const char *name, Str value)
{
    if (!str_is_empty(value)) {
        strbuf_printf(writer->buf, " %s=\"", name);
        put_text(writer, value);
        strbuf_append_char(writer->buf, '"');
    }
}

static void put_own_id(ObjectWriter *writer)
{
    if (writer->is_template) {
        put_token(writer, TOKEN_ENTRY_UUID);
    } else {
        put_text(writer, writer->object->id);
    }
}

/** Symbolic, or derived earlier: an object that comes back with the ids it was given here. */
static bool is_derived_id(const ObjectWriter *writer, Str id)
{
    Uuid uuid;
    return !uuid_parse_urn(id, &uuid) ||
           uuid_equal(uuid, uuid_derive(writer->entry_uuid, writer->derived_count));
}

/** Id of a Classification or ExternalIdentifier: the schema requires one. */
static void put_part_id(ObjectWriter *writer, Str id)
{
    if (writer->is_template && is_derived_id(writer, id)) {
        put_token(writer, TOKEN_DERIVED_ID);
        writer->derived_count++;
    } else if (str_is_empty(id)) {
        uuid_format_urn(uuid_new(), strbuf_reserve(writer->buf, UUID_URN_LEN));
        writer->buf->len += UUID_URN_LEN;
    } else {
        put_text(writer, id);
    }
}

/* ---- Slots ---- */

static bool is_canonical_hash(Str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] >= 'A' && value.data[i] <= 'F') {
            return false;
        }
    }
    return is_sha1(value);
}

static bool is_canonical_size(Str value)
{
    return is_integer(value) && (value.len == 1 || value.data[0] != '0');
}

/** The token for a value that the row holds, unless the row's form of it would read differently. */
static bool slot_token(const ObjectWriter *writer, const Slot *slot, RenderToken *ret_token)
{
    static const struct {
        Str name;
        RenderToken token;
        bool (*is_canonical)(Str value);
    } held[] = {
        {STR_INIT("hash"), TOKEN_HASH, is_canonical_hash},
        {STR_INIT("size"), TOKEN_SIZE, is_canonical_size},
        {STR_INIT("repositoryUniqueId"), TOKEN_REPOSITORY_UNIQUE_ID, is_text},
    };
    if (!writer->is_template || writer->kind != OBJECT_DOCUMENT_ENTRY || slot->value_count != 1) {
        return false;
    }
    Str value = slot->values[0];
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        if (str_equal(slot->name, held[i].name)) {
            *ret_token = held[i].token;
            return held[i].is_canonical(value) && value.len == str_trim(value).len;
        }
    }
    return false;
}

static void put_values(ObjectWriter *writer, const Slot *slot)
{
    RenderToken token;
    if (slot_token(writer, slot, &token)) {
        put_token(writer, token);
        return;
    }
    for (size_t i = 0; i < slot->value_count; i++) {
        if (i > 0) {
            put_token(writer, TOKEN_NEXT_VALUE);
        }
        put_text(writer, slot->values[i]);
    }
}

static void put_slot(ObjectWriter *writer, const Slot *slot)
{
    put_token(writer, TOKEN_SLOT);
    put_text(writer, slot->name);
    if (!str_is_empty(slot->slot_type)) {
        strbuf_literal(writer->buf, "\" slotType=\"");
        put_text(writer, slot->slot_type);
    }
    if (slot->value_count == 0) {
        strbuf_literal(writer->buf, "\"><rim:ValueList/></rim:Slot>");
        return;
    }
    put_token(writer, TOKEN_VALUES);
    put_values(writer, slot);
    put_token(writer, TOKEN_SLOT_END);
}

/** What the row holds and a template writes in its own place. */
static bool is_held_slot(const ObjectWriter *writer, const Slot *slot)
{
    if (!writer->is_template) {
        return false;
    }
    return (writer->kind == OBJECT_FOLDER && str_equal(slot->name, STR(SLOT_LAST_UPDATE_TIME))) ||
           (writer->kind == OBJECT_ASSOCIATION &&
            str_equal(slot->name, STR(SLOT_SUBMISSION_SET_STATUS)));
}

static void put_slots(ObjectWriter *writer, const Slot *slots)
{
    for (const Slot *slot = slots; slot; slot = slot->next) {
        if (!is_held_slot(writer, slot)) {
            put_slot(writer, slot);
        }
    }
}

static void put_held_slots(ObjectWriter *writer)
{
    if (!writer->is_template) {
        return;
    }
    if (writer->kind == OBJECT_FOLDER) {
        put_token(writer, TOKEN_SLOT);
        strbuf_literal(writer->buf, SLOT_LAST_UPDATE_TIME);
        put_token(writer, TOKEN_VALUES);
        put_token(writer, TOKEN_LAST_UPDATE_TIME);
        put_token(writer, TOKEN_SLOT_END);
    } else if (writer->kind == OBJECT_ASSOCIATION) {
        put_token(writer, TOKEN_SUBMISSION_SET_STATUS);
    }
}

/* ---- names ---- */

static void put_localized(ObjectWriter *writer, const char *element, const LocalizedString *texts)
{
    if (!texts) {
        return;
    }
    strbuf_printf(writer->buf, "<rim:%s>", element);
    for (const LocalizedString *text = texts; text; text = text->next) {
        strbuf_literal(writer->buf, "<rim:LocalizedString");
        put_attribute(writer, "xml:lang", text->lang);
        put_attribute(writer, "charset", text->charset);
        strbuf_literal(writer->buf, " value=\"");
        put_text(writer, text->value);
        strbuf_literal(writer->buf, "\"/>");
    }
    strbuf_printf(writer->buf, "</rim:%s>", element);
}

static void put_name(ObjectWriter *writer, const LocalizedString *name)
{
    bool is_plain = name && !name->next && str_is_empty(name->lang) && str_is_empty(name->charset);
    if (is_plain) {
        put_token(writer, TOKEN_NAME);
        put_text(writer, name->value);
        put_token(writer, TOKEN_NAME_END);
    } else {
        put_localized(writer, "Name", name);
    }
}

/* ---- parts ---- */

static void put_classification(ObjectWriter *writer, const Classification *c)
{
    put_token(writer, TOKEN_CLASSIFICATION);
    put_part_id(writer, c->id);
    if (str_is_empty(c->classification_node)) {
        put_token(writer, TOKEN_CLASSIFICATION_SCHEME);
        put_text(writer, c->classification_scheme);
    } else {
        strbuf_literal(writer->buf,
                       "\" objectType=\"" URN_TYPE_CLASSIFICATION "\" classificationNode=\"");
        put_text(writer, c->classification_node);
    }
    put_token(writer, TOKEN_CLASSIFIED_OBJECT);
    put_own_id(writer);
    if (c->has_node_representation) {
        put_token(writer, TOKEN_NODE_REPRESENTATION);
        put_text(writer, c->node_representation);
    }
    strbuf_literal(writer->buf, "\">");
    put_slots(writer, c->slots);
    put_name(writer, c->name);
    put_localized(writer, "Description", c->description);
    put_token(writer, TOKEN_CLASSIFICATION_END);
}

/** The token for an identifier that the row holds. */
static bool identifier_token(const ObjectWriter *writer, Str scheme, RenderToken *ret_token)
{
    const Attribute *attribute = attribute_find(writer->kind, CARRIER_EXTERNAL_IDENTIFIER, scheme);
    if (!writer->is_template || !attribute) {
        return false;
    }
    if (strcmp(attribute->name, "patientId") == 0) {
        *ret_token = TOKEN_PATIENT_ID;
        return true;
    }
    *ret_token = TOKEN_UNIQUE_ID;
    return strcmp(attribute->name, "uniqueId") == 0;
}

static void put_identifier_value(ObjectWriter *writer, const ExternalIdentifier *e)
{
    RenderToken token;
    if (identifier_token(writer, e->identification_scheme, &token)) {
        put_token(writer, token);
    } else {
        put_text(writer, e->value);
    }
}

static void put_external_identifier(ObjectWriter *writer, const ExternalIdentifier *e)
{
    put_token(writer, TOKEN_EXTERNAL_IDENTIFIER);
    put_part_id(writer, e->id);
    put_token(writer, TOKEN_IDENTIFICATION_SCHEME);
    put_text(writer, e->identification_scheme);
    strbuf_literal(writer->buf, "\" registryObject=\"");
    put_own_id(writer);
    strbuf_literal(writer->buf, "\" value=\"");
    put_identifier_value(writer, e);
    strbuf_literal(writer->buf, "\">");
    put_slots(writer, e->slots);
    put_name(writer, e->name);
    put_localized(writer, "Description", e->description);
    put_token(writer, TOKEN_EXTERNAL_IDENTIFIER_END);
}

static void put_version(ObjectWriter *writer)
{
    if (writer->is_template) {
        strbuf_literal(writer->buf, "<rim:VersionInfo versionName=\"");
        put_token(writer, TOKEN_VERSION);
        strbuf_literal(writer->buf, "\"/>");
    } else if (!str_is_empty(writer->object->version_name)) {
        strbuf_literal(writer->buf, "<rim:VersionInfo versionName=\"");
        put_text(writer, writer->object->version_name);
        strbuf_literal(writer->buf, "\"/>");
    }
}

/* ---- the object ---- */

static void put_identity(ObjectWriter *writer)
{
    const RimObject *object = writer->object;
    strbuf_literal(writer->buf, " id=\"");
    put_own_id(writer);
    strbuf_append_char(writer->buf, '"');
    if (!writer->is_template) {
        put_attribute(writer, "lid", object->lid);
        put_attribute(writer, "home", object->home);
        put_attribute(writer, "status", object->status);
        return;
    }
    strbuf_literal(writer->buf, " lid=\"");
    put_token(writer, TOKEN_LID);
    strbuf_append_char(writer->buf, '"');
    if (str_is_empty(object->home)) {
        put_token(writer, TOKEN_HOME);
    } else {
        put_attribute(writer, "home", object->home);
    }
    strbuf_literal(writer->buf, " status=\"");
    put_token(writer, TOKEN_STATUS);
    strbuf_append_char(writer->buf, '"');
}

static void put_own_attributes(ObjectWriter *writer)
{
    const RimObject *object = writer->object;
    switch (object->kind) {
    case RIM_EXTRINSIC_OBJECT:
        put_attribute(writer, "objectType", object->object_type);
        put_attribute(writer, "mimeType", object->mime_type);
        put_attribute(writer, "isOpaque", object->is_opaque);
        break;
    case RIM_REGISTRY_PACKAGE:
        put_attribute(writer, "objectType", STR(URN_TYPE_REGISTRY_PACKAGE));
        break;
    case RIM_ASSOCIATION:
        put_attribute(writer, "objectType", STR(URN_TYPE_ASSOCIATION));
        if (writer->is_template) {
            put_token(writer, TOKEN_ASSOCIATION_ENDS);
        } else {
            put_attribute(writer, "associationType", object->association_type);
            put_attribute(writer, "sourceObject", object->source_object);
            put_attribute(writer, "targetObject", object->target_object);
        }
        break;
    }
}

static void put_object(ObjectWriter *writer)
{
    static const char *const elements[] = {
        [RIM_EXTRINSIC_OBJECT] = "ExtrinsicObject",
        [RIM_REGISTRY_PACKAGE] = "RegistryPackage",
        [RIM_ASSOCIATION] = "Association",
    };
    const RimObject *object = writer->object;
    strbuf_printf(writer->buf, "<rim:%s", elements[object->kind]);
    put_identity(writer);
    put_own_attributes(writer);
    strbuf_append_char(writer->buf, '>');
    put_slots(writer, object->slots);
    put_held_slots(writer);
    put_name(writer, object->name);
    put_localized(writer, "Description", object->description);
    put_version(writer);
    for (const Classification *c = object->classifications; c; c = c->next) {
        put_classification(writer, c);
    }
    for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
        put_external_identifier(writer, e);
    }
    strbuf_printf(writer->buf, "</rim:%s>", elements[object->kind]);
}

/** Writes the object in schema order as it was submitted: its own ids and references. */
static void write_submitted(StrBuf *buf, const RimObject *object)
{
    put_object(&(ObjectWriter){.buf = buf, .object = object});
}

void object_write_template(StrBuf *buf, ObjectKind kind, const RimObject *object, Uuid entry_uuid)
{
    put_object(&(ObjectWriter){
        .buf = buf,
        .object = object,
        .is_template = true,
        .kind = kind,
        .entry_uuid = entry_uuid,
    });
}

void submission_write(const Submission *submission, StrBuf *buf)
{
    strbuf_literal(buf, "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM
                        "\"><rim:RegistryObjectList>");
    for (const RimObject *object = submission->objects; object; object = object->next) {
        write_submitted(buf, object);
    }
    strbuf_literal(buf, "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
}
