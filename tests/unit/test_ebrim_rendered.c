/* Stored objects as answers give them back (ITI TF-2 3.18.4.1.2.3.1, TF-3 4.2.3). */
#include "lib/ebrim/rendered.h"
#include "lib/ebrim/vocabulary.h"

#include "tests/unit/ebrim_fixture.h"

#define LIST_BEGIN                                                                                 \
    "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM                       \
    "\"><rim:RegistryObjectList>"
#define LIST_END "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"

/** Values as the rows of the fixture's objects would hold them. */
static RenderValues values_of(Uuid entry_uuid)
{
    return (RenderValues){
        .entry_uuid = entry_uuid,
        .lid = entry_uuid,
        .version = 1,
        .status = STATUS_APPROVED,
        .patient_id = STR("S-1001^^^&1.2.392.200270.9.1&ISO"),
        .unique_id = STR("1.2.392.200270.9.7.100^A"),
        .hash = STR("0123456789abcdef0123456789abcdef01234567"),
        .size_bytes = 10240,
        .repository_unique_id = STR("1.2.392.200270.9.7"),
        .last_update_time = STR("20260401003002"),
    };
}

static Str append(Arena *arena, RenderDictionaries *dictionaries, ObjectKind kind, Str blob,
                  const RenderValues *values)
{
    StrBuf buf = {0};
    assert_int_equal(rendered_append(dictionaries, kind, blob, values, &buf), 0);
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

/** The rendered object read again, in a submission of its own. */
static Submission *read_rendered(Request *req, Str object)
{
    return fixture_read(req, str_printf(req->arena, LIST_BEGIN "%.*s" LIST_END, STR_ARG(object)));
}

static void assert_same_slots(const Slot *a, const Slot *b)
{
    for (; a && b; a = a->next, b = b->next) {
        assert_true(str_equal(a->name, b->name));
        assert_true(str_equal(a->slot_type, b->slot_type));
        assert_int_equal(a->value_count, b->value_count);
        for (size_t i = 0; i < a->value_count; i++) {
            assert_true(str_equal(a->values[i], b->values[i]));
        }
    }
    assert_null(a);
    assert_null(b);
}

static void assert_same_texts(const LocalizedString *a, const LocalizedString *b)
{
    for (; a && b; a = a->next, b = b->next) {
        assert_true(str_equal(a->lang, b->lang));
        assert_true(str_equal(a->charset, b->charset));
        assert_true(str_equal(a->value, b->value));
    }
    assert_null(a);
    assert_null(b);
}

/** Everything but ids, which the registry assigns. */
static void assert_same_object(const RimObject *a, const RimObject *b)
{
    assert_same_slots(a->slots, b->slots);
    assert_same_texts(a->name, b->name);
    assert_same_texts(a->description, b->description);
    assert_true(str_equal(a->mime_type, b->mime_type));
    const Classification *ca = a->classifications;
    const Classification *cb = b->classifications;
    for (; ca && cb; ca = ca->next, cb = cb->next) {
        assert_true(str_equal(ca->classification_scheme, cb->classification_scheme));
        assert_true(str_equal(ca->classification_node, cb->classification_node));
        assert_true(str_equal(ca->node_representation, cb->node_representation));
        assert_int_equal(ca->has_node_representation, cb->has_node_representation);
        assert_same_slots(ca->slots, cb->slots);
        assert_same_texts(ca->name, cb->name);
    }
    assert_null(ca);
    assert_null(cb);
    const ExternalIdentifier *ea = a->external_identifiers;
    const ExternalIdentifier *eb = b->external_identifiers;
    for (; ea && eb; ea = ea->next, eb = eb->next) {
        assert_true(str_equal(ea->identification_scheme, eb->identification_scheme));
        assert_true(str_equal(ea->value, eb->value));
        assert_same_texts(ea->name, eb->name);
    }
    assert_null(ea);
    assert_null(eb);
}

static void test_a_document_entry_comes_back_as_it_was_sent(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    const DocumentEntry *sent = fixture_submission(req, NULL)->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    RenderValues values = values_of(sent->entry_uuid);
    Str text = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    const DocumentEntry *got = read_rendered(req, text)->documents;
    assert_same_object(sent->object, got->object);
    assert_true(uuid_equal(got->entry_uuid, sent->entry_uuid));
    assert_str(got->object->object_type, UUID_STABLE_DOCUMENT);
    assert_str(got->object->status, URN_STATUS_APPROVED);
    assert_str(got->object->version_name, "1");
    assert_true(str_equal(got->object->lid, got->object->id));
    render_dictionaries_free(dictionaries);
}

/** xds-stored-queries: ids, objectType and back references are required on every part. */
static void test_parts_have_uuids_that_follow_from_the_entry(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    static const Change changes[] = {
        {"id=\"c03\"", "id=\"urn:uuid:99999999-2222-4333-8444-555555555555\""},
        {"id=\"c04\" ", ""},
        {NULL, NULL},
    };
    const DocumentEntry *sent = fixture_submission(req, changes)->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    RenderValues values = values_of(sent->entry_uuid);
    Str once = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    Str twice = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    assert_true(str_equal(once, twice));
    const RimObject *got = read_rendered(req, once)->objects;
    Str own_id = uuid_urn(req->arena, sent->entry_uuid);
    unsigned kept = 0;
    for (const Classification *c = got->classifications; c; c = c->next) {
        Uuid uuid;
        assert_true(uuid_parse_urn(c->id, &uuid));
        assert_true(str_equal(c->classified_object, own_id));
        assert_str(xml_attribute(c->xml, "objectType"), URN_TYPE_CLASSIFICATION);
        kept += str_equal(c->id, STR("urn:uuid:99999999-2222-4333-8444-555555555555"));
        for (const Classification *other = c->next; other; other = other->next) {
            assert_false(str_equal(c->id, other->id));
        }
    }
    assert_int_equal(kept, 1);
    for (const ExternalIdentifier *e = got->external_identifiers; e; e = e->next) {
        assert_true(str_equal(e->registry_object, own_id));
        assert_str(xml_attribute(e->xml, "objectType"), URN_TYPE_EXTERNAL_IDENTIFIER);
    }
    /* sent back with the ids it has here, it takes no more room */
    Str again =
        rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, got, sent->entry_uuid);
    assert_true(str_equal(again, blob));
    render_dictionaries_free(dictionaries);
}

/** What changes after registration comes from the row (TF-2 3.42.4.1.3.5, 3.42.4.1.3.6). */
static void test_values_of_the_row_replace_what_was_sent(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    Submission *submission = fixture_submission(req, NULL);
    const DocumentEntry *sent = submission->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    RenderValues values = values_of(sent->entry_uuid);
    values.status = STATUS_DEPRECATED;
    values.version = 12;
    values.patient_id = STR("survivor<1>^^^&1.2.3&ISO");
    values.home = STR("urn:oid:1.2.3");
    values.lid = uuid_new();
    Str text = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    const DocumentEntry *got = read_rendered(req, text)->documents;
    assert_str(got->object->status, URN_STATUS_DEPRECATED);
    assert_str(got->object->version_name, "12");
    assert_str(got->patient_id, "survivor<1>^^^&1.2.3&ISO");
    assert_str(got->object->home, "urn:oid:1.2.3");
    assert_true(str_equal(got->object->lid, uuid_urn(req->arena, values.lid)));
    render_dictionaries_free(dictionaries);
}

/** TF-3 4.2.1.2.1: the marker inside its package; 4.2.3.4.6: lastUpdateTime always. */
static void test_packages_hold_their_marker_and_folders_their_update_time(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    static const Change changes[] = {
        {"<rim:Name><rim:LocalizedString value=\"2026\"/></rim:Name>",
         "<rim:Slot name=\"lastUpdateTime\"><rim:ValueList><rim:Value>20010101000000</rim:Value>"
         "</rim:ValueList></rim:Slot>"
         "<rim:Name><rim:LocalizedString value=\"2026\"/></rim:Name>"},
        {NULL, NULL},
    };
    Submission *submission = fixture_submission(req, changes);
    const Folder *folder = submission->folders;
    RenderValues values = values_of(folder->entry_uuid);
    values.unique_id = folder->unique_id;
    Str blob =
        rendered_make(req->arena, dictionaries, OBJECT_FOLDER, folder->object, folder->entry_uuid);
    Submission *read =
        read_rendered(req, append(req->arena, dictionaries, OBJECT_FOLDER, blob, &values));
    assert_int_equal(read->folder_count, 1);
    assert_str(rim_slot(read->folders->object, "lastUpdateTime")->values[0], "20260401003002");
    assert_null(read->folders->object->slots->next);
    assert_true(str_equal(read->folders->unique_id, folder->unique_id));

    const SubmissionSet *set = submission->submission_set;
    values = values_of(set->entry_uuid);
    values.unique_id = set->unique_id;
    blob = rendered_make(req->arena, dictionaries, OBJECT_SUBMISSION_SET, set->object,
                         set->entry_uuid);
    read =
        read_rendered(req, append(req->arena, dictionaries, OBJECT_SUBMISSION_SET, blob, &values));
    assert_int_equal(read->submission_set_count, 1);
    assert_same_object(set->object, read->submission_set->object);
    render_dictionaries_free(dictionaries);
}

/** Values that the row's type would change are kept as they were sent. */
static void test_unusual_spellings_of_hash_and_size_are_kept(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    static const Change changes[] = {
        {"0123456789abcdef0123456789abcdef01234567", "0123456789ABCDEF0123456789abcdef01234567"},
        {"<rim:Value>10240<", "<rim:Value>010240<"},
        {NULL, NULL},
    };
    const DocumentEntry *sent = fixture_submission(req, changes)->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    RenderValues values = values_of(sent->entry_uuid);
    Str text = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    const DocumentEntry *got = read_rendered(req, text)->documents;
    assert_str(got->hash, "0123456789ABCDEF0123456789abcdef01234567");
    assert_str(got->size, "010240");
    render_dictionaries_free(dictionaries);
}

static Str append_association(Arena *arena, RenderDictionaries *dictionaries,
                              const Association *association, Str extra, int16_t status)
{
    StrBuf buf = {0};
    RenderValues values = {
        .entry_uuid = association->entry_uuid,
        .lid = association->entry_uuid,
        .version = 1,
        .submission_set_status = status,
    };
    assert_int_equal(rendered_append_association(dictionaries, association->type,
                                                 association->source.uuid, association->target.uuid,
                                                 extra, &values, &buf),
                     0);
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static void test_an_association_is_written_from_its_columns(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    static const char *const statuses[] = {"", "Original", "Reference"};
    const Association *sent = fixture_submission(req, NULL)->associations;
    Str extra =
        rendered_make(req->arena, dictionaries, OBJECT_ASSOCIATION, sent->object, sent->entry_uuid);
    assert_true(str_is_empty(extra));
    for (int16_t status = 0; status < 3; status++) {
        Str text = append_association(req->arena, dictionaries, sent, extra, status);
        const Association *got = read_rendered(req, text)->associations;
        const Slot *slot = rim_slot(got->object, SLOT_SUBMISSION_SET_STATUS);
        assert_str(slot ? slot->values[0] : STR_EMPTY, statuses[status]);
        assert_int_equal(got->type, ASSOCIATION_HAS_MEMBER);
        assert_true(uuid_equal(got->entry_uuid, sent->entry_uuid));
        assert_true(uuid_equal(got->source.uuid, sent->source.uuid));
        assert_true(uuid_equal(got->target.uuid, sent->target.uuid));
        assert_str(got->object->object_type, URN_TYPE_ASSOCIATION);
        assert_str(got->object->status, URN_STATUS_APPROVED);
        assert_str(got->object->version_name, "1");
    }
    render_dictionaries_free(dictionaries);
}

static void test_an_association_s_own_slots_are_kept_beside_its_status(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    static const Change changes[] = {
        {"<rim:Value>Original</rim:Value></rim:ValueList></rim:Slot>",
         "<rim:Value>Original</rim:Value></rim:ValueList></rim:Slot>"
         "<rim:Slot name=\"urn:example:why\"><rim:ValueList><rim:Value>because</rim:Value>"
         "</rim:ValueList></rim:Slot>"},
        {NULL, NULL},
    };
    const Association *sent = fixture_submission(req, changes)->associations;
    Str extra =
        rendered_make(req->arena, dictionaries, OBJECT_ASSOCIATION, sent->object, sent->entry_uuid);
    assert_false(str_is_empty(extra));
    Str text = append_association(req->arena, dictionaries, sent, extra, 1);
    const RimObject *got = read_rendered(req, text)->objects;
    assert_str(rim_slot(got, "urn:example:why")->values[0], "because");
    assert_str(rim_slot(got, SLOT_SUBMISSION_SET_STATUS)->values[0], "Original");
    assert_null(got->slots->next->next);
    render_dictionaries_free(dictionaries);
}

/** A corrupt byte is never served. */
static void test_every_changed_byte_of_a_blob_is_noticed(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    const DocumentEntry *sent = fixture_submission(req, NULL)->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    RenderValues values = values_of(sent->entry_uuid);
    Str good = append(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values);
    char *bytes = str_cstr(req->arena, blob);
    for (size_t i = 0; i < blob.len; i++) {
        StrBuf buf = {0};
        bytes[i] = (char)(bytes[i] ^ 0x10);
        int r = rendered_append(dictionaries, OBJECT_DOCUMENT_ENTRY, (Str){bytes, blob.len},
                                &values, &buf);
        bytes[i] = (char)(bytes[i] ^ 0x10);
        /* one bit of the frame header means nothing (RFC 8878 section 3.1.1.1.1.3) */
        if (r != -(int)ERR_CORRUPT && !str_equal(strbuf_str(&buf), good)) {
            fail_msg("byte %zu", i);
        }
        strbuf_done(&buf);
    }
    StrBuf buf = {0};
    for (size_t len = 0; len < blob.len; len++) {
        assert_int_equal(
            rendered_append(dictionaries, OBJECT_DOCUMENT_ENTRY, (Str){bytes, len}, &values, &buf),
            -(int)ERR_CORRUPT);
    }
    /* another kind of object than the row says */
    assert_int_equal(rendered_append(dictionaries, OBJECT_FOLDER, blob, &values, &buf),
                     -(int)ERR_CORRUPT);
    strbuf_done(&buf);
    render_dictionaries_free(dictionaries);
}

static void test_a_blob_stays_small(void **state)
{
    Request *req = *state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    const DocumentEntry *sent = fixture_submission(req, NULL)->documents;
    Str blob = rendered_make(req->arena, dictionaries, OBJECT_DOCUMENT_ENTRY, sent->object,
                             sent->entry_uuid);
    if (blob.len > 700) { /* this entry has every attribute and codes of its own */
        fail_msg("%zu bytes", blob.len);
    }
    render_dictionaries_free(dictionaries);
}

typedef struct Persons {
    char text[256]; /* those handed out, each followed by a line feed */
    unsigned stop_after;
} Persons;

static bool note_person(void *ctx, Str person)
{
    Persons *persons = ctx;
    size_t len = strlen(persons->text);
    snprintf(persons->text + len, sizeof(persons->text) - len, "%.*s\n", STR_ARG(person));
    return --persons->stop_after == 0;
}

static int find_persons(Request *req, const Change *changes, ObjectKind kind, Persons *persons)
{
    RenderDictionaries *dictionaries = render_dictionaries_new();
    const Submission *submission = fixture_submission(req, changes);
    bool is_set = kind == OBJECT_SUBMISSION_SET;
    const RimObject *object =
        is_set ? submission->submission_set->object : submission->documents->object;
    Str blob = rendered_make(req->arena, dictionaries, kind, object, (Uuid){.bytes = {1}});
    int r = rendered_find_author_person(dictionaries, kind, blob, note_person, persons);
    render_dictionaries_free(dictionaries);
    return r;
}

/** TF-3 4.2.3.1.4; what $XDSDocumentEntryAuthorPerson compares with. */
static void test_author_persons_are_found_as_they_were_sent(void **state)
{
#define DOCUMENT_AUTHOR "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
#define SET_AUTHOR "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
#define PERSON "D12^山田^一^^^^^^&1.2.392.200270.9.3&ISO\n"
#define PERSON_SLOT(attributes, values)                                                            \
    "<rim:Slot name=\"authorPerson\"" attributes "><rim:ValueList>" values                         \
    "</rim:ValueList></rim:Slot>"
#define VALUE(text) "<rim:Value>" text "</rim:Value>"
#define AUTHOR(object, scheme, slots)                                                              \
    "<rim:Classification id=\"a1\" classificationScheme=\"" scheme "\" classifiedObject=\"" object \
    "\" nodeRepresentation=\"\">" slots "</rim:Classification>"
#define BEFORE_C02(text)                                                                           \
    {                                                                                              \
        "<rim:Classification id=\"c02\"", text "<rim:Classification id=\"c02\""                    \
    }
    static const struct {
        Change changes[2];
        ObjectKind kind;
        const char *expected;
    } cases[] = {
        {{{NULL, NULL}}, OBJECT_DOCUMENT_ENTRY, PERSON},
        {{{NULL, NULL}}, OBJECT_SUBMISSION_SET, ""},
        {{BEFORE_C02(
             AUTHOR("doc", DOCUMENT_AUTHOR, PERSON_SLOT("", VALUE("^O'Hara^&lt;&quot;\\"))))},
         OBJECT_DOCUMENT_ENTRY,
         PERSON "^O'Hara^<\"\\\n"},
        {{BEFORE_C02(AUTHOR("doc", DOCUMENT_AUTHOR,
                            PERSON_SLOT(" slotType=\"t\"", VALUE(" ^a&#10;b ") VALUE("^c"))))},
         OBJECT_DOCUMENT_ENTRY,
         PERSON "^a\nb\n"},
        /* a Slot without value, a Slot of another name, another Classification */
        {{BEFORE_C02(AUTHOR("doc", DOCUMENT_AUTHOR,
                            "<rim:Slot name=\"authorRole\"><rim:ValueList/></rim:Slot>" PERSON_SLOT(
                                "", VALUE("^d"))))},
         OBJECT_DOCUMENT_ENTRY,
         PERSON "^d\n"},
        {{BEFORE_C02(AUTHOR("doc", DOCUMENT_AUTHOR, PERSON_SLOT("", "")))},
         OBJECT_DOCUMENT_ENTRY,
         PERSON},
        {{{"\"authorPerson\"", "\"authorPersons\""}}, OBJECT_DOCUMENT_ENTRY, ""},
        {{{DOCUMENT_AUTHOR, SET_AUTHOR}}, OBJECT_DOCUMENT_ENTRY, ""},
        {{{"classifiedObject=\"doc\" nodeRepresentation=\"\"",
           "classifiedObject=\"set\" nodeRepresentation=\"\""},
          {DOCUMENT_AUTHOR, SET_AUTHOR}},
         OBJECT_DOCUMENT_ENTRY,
         ""},
    };
    Request *req = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const Change changes[CHANGES_MAX] = {cases[i].changes[0], cases[i].changes[1]};
        Persons persons = {.stop_after = 10};
        assert_int_equal(find_persons(req, changes, cases[i].kind, &persons), 0);
        if (strcmp(persons.text, cases[i].expected) != 0) {
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, persons.text, cases[i].expected);
        }
    }
}

static void test_the_first_wanted_author_ends_the_search(void **state)
{
    static const Change changes[CHANGES_MAX] = {
        BEFORE_C02(AUTHOR("doc", DOCUMENT_AUTHOR, PERSON_SLOT("", VALUE("^e")))),
    };
    Persons persons = {.stop_after = 1};
    assert_int_equal(find_persons(*state, changes, OBJECT_DOCUMENT_ENTRY, &persons), 1);
    assert_string_equal(persons.text, PERSON);
}

static void test_authors_of_a_damaged_blob_are_an_error(void **state)
{
    (void)state;
    RenderDictionaries *dictionaries = render_dictionaries_new();
    Persons persons = {.stop_after = 1};
    assert_int_equal(rendered_find_author_person(dictionaries, OBJECT_DOCUMENT_ENTRY,
                                                 STR("not zstd"), note_person, &persons),
                     -(int)ERR_CORRUPT);
    render_dictionaries_free(dictionaries);
}

static void test_dictionaries_are_known_by_their_id(void **state)
{
    (void)state;
    uint32_t id;
    Str bytes = render_dictionary_builtin(&id);
    assert_int_not_equal(id, 0);
    RenderDictionaries *dictionaries = render_dictionaries_new();
    assert_true(render_dictionary_add(dictionaries, id, bytes));
    assert_false(render_dictionary_add(dictionaries, id + 1, bytes));
    assert_false(render_dictionary_add(dictionaries, 0, STR("raw content")));
    assert_false(render_dictionary_add(dictionaries, 7, STR_EMPTY));
    render_dictionaries_free(dictionaries);
    render_dictionaries_free(NULL);
}

static Str shown(RenderDictionaries *dictionaries, Str blob, Uuid entry_uuid, StrBuf *xml)
{
    const RenderValues values = {.entry_uuid = entry_uuid, .lid = entry_uuid, .version = 1};
    strbuf_clear(xml);
    assert_int_equal(rendered_append(dictionaries, OBJECT_DOCUMENT_ENTRY, blob, &values, xml), 0);
    return strbuf_str(xml);
}

/* TF-2 3.64.4.1.3.1.4: parts of a new version have ids of their own; sourcePatientId may change. */
static void test_a_new_version_has_its_own_part_ids_and_source_patient(void **state)
{
    Request *req = *state;
    Arena *arena = req->arena;
    const Uuid entry = uuid_new();
    const Str given = uuid_urn(arena, uuid_new());
    Str old_value = STR("1^^^&1.2.3&ISO");
    Slot slot = {.name = STR("sourcePatientId"), .values = &old_value, .value_count = 1};
    ExternalIdentifier identifier = {.id = given, .identification_scheme = STR("urn:uuid:x")};
    Classification symbolic = {.id = STR("c1"), .classification_scheme = STR("urn:uuid:y")};
    Classification marker = {
        .id = given, .classification_node = STR("urn:uuid:z"), .next = &symbolic};
    const RimObject object = {.kind = RIM_EXTRINSIC_OBJECT,
                              .slots = &slot,
                              .classifications = &marker,
                              .external_identifiers = &identifier};
    RenderDictionaries *dictionaries = render_dictionaries_new();
    StrBuf xml = {0};
    Str blob = rendered_make(arena, dictionaries, OBJECT_DOCUMENT_ENTRY, &object, entry);
    assert_true(str_contains(shown(dictionaries, blob, entry, &xml), given));
    assert_int_equal(rendered_renew_ids(arena, dictionaries, blob, &blob), 1);
    assert_int_equal(
        rendered_set_slot(arena, dictionaries, blob, "sourcePatientId", STR("2&"), &blob), 0);
    Str text = shown(dictionaries, blob, entry, &xml);
    assert_false(str_contains(text, given));
    for (uint32_t part = 0; part < 3; part++) {
        assert_true(str_contains(text, uuid_urn(arena, uuid_derive(entry, part))));
    }
    assert_true(str_contains(text, STR("<rim:Value>2&amp;</rim:Value>")));
    assert_int_equal(rendered_renew_ids(arena, dictionaries, blob, &blob), 0);
    assert_int_equal(rendered_set_slot(arena, dictionaries, blob, "absent", STR("2"), &blob),
                     -(int)ERR_CORRUPT);
    strbuf_done(&xml);
    render_dictionaries_free(dictionaries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EBRIM_TEST(test_a_document_entry_comes_back_as_it_was_sent),
        EBRIM_TEST(test_parts_have_uuids_that_follow_from_the_entry),
        EBRIM_TEST(test_values_of_the_row_replace_what_was_sent),
        EBRIM_TEST(test_packages_hold_their_marker_and_folders_their_update_time),
        EBRIM_TEST(test_unusual_spellings_of_hash_and_size_are_kept),
        EBRIM_TEST(test_an_association_is_written_from_its_columns),
        EBRIM_TEST(test_an_association_s_own_slots_are_kept_beside_its_status),
        EBRIM_TEST(test_every_changed_byte_of_a_blob_is_noticed),
        EBRIM_TEST(test_a_blob_stays_small),
        EBRIM_TEST(test_author_persons_are_found_as_they_were_sent),
        EBRIM_TEST(test_the_first_wanted_author_ends_the_search),
        EBRIM_TEST(test_authors_of_a_damaged_blob_are_an_error),
        EBRIM_TEST(test_dictionaries_are_known_by_their_id),
        EBRIM_TEST(test_a_new_version_has_its_own_part_ids_and_source_patient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
