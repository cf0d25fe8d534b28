#include "registry/query_objects.h"

#include "lib/base/macros.h"

#define FIRST_PATIENTS 16

static size_t patient_slot(const PatientTable *table, int64_t id)
{
    size_t mask = 2 * table->capacity - 1;
    size_t i = (size_t)((uint64_t)id * 0x9e3779b97f4a7c15 >> 32) & mask;
    while (table->slots[i] != 0 && table->items[table->slots[i] - 1].id != id) {
        i = (i + 1) & mask;
    }
    return i;
}

static void grow_patients(Arena *arena, PatientTable *table)
{
    KnownPatient *items = table->items;
    table->capacity = table->capacity == 0 ? FIRST_PATIENTS : 2 * table->capacity;
    table->items = ARENA_ARRAY(arena, KnownPatient, table->capacity);
    table->slots = ARENA_ARRAY(arena, uint32_t, 2 * table->capacity);
    for (size_t i = 0; i < table->count; i++) {
        table->items[i] = items[i];
        table->slots[patient_slot(table, items[i].id)] = (uint32_t)i + 1;
    }
}

/** Number of the patient; its rules are read when it is first met, unless they were before. */
static int patient_number(QueryRun *run, int64_t id, uint32_t *ret_number)
{
    PatientTable *table = &run->patients;
    if (table->count == table->capacity) {
        grow_patients(run->req->arena, table);
    }
    size_t slot = patient_slot(table, id);
    if (table->slots[slot] == 0) {
        const AccessScope *scope;
        int rc = access_open(run->req, id, ACCESS_LIST, &scope);
        if (rc < 0) {
            return rc;
        }
        table->items[table->count++] = (KnownPatient){.id = id, .scope = scope};
        table->slots[slot] = (uint32_t)table->count;
    }
    *ret_number = table->slots[slot] - 1;
    return 0;
}

static int select_object(void *ctx, Request *req, const LoadedObject *object)
{
    Selection *selection = ctx;
    QueryRun *run = selection->run;
    uint32_t number;
    int rc = patient_number(run, object->patient, &number);
    if (rc < 0) {
        return rc;
    }
    KnownPatient *patient = &run->patients.items[number];
    if (!access_decide(patient->scope, &object->access)) {
        if (selection->denied != NULL) {
            uuid_set_add(selection->denied, object->entry_uuid);
        }
        return 0;
    }
    if (selection->visible != NULL) {
        uuid_set_add(selection->visible, object->entry_uuid);
    }
    if (!selection->is_answer) {
        return 0;
    }
    patient->is_in_answer = true;
    return query_answer_add(run->answer, req, object, number);
}

int select_objects(Selection selection, LoadKind kind, LoadKeys keys)
{
    QueryRun *run = selection.run;
    bool with_metadata = selection.is_answer && run->request->is_leaf_class;
    return load_objects(run->conn, run->req, kind, &keys, run->filters, with_metadata,
                        select_object, &selection);
}

int answer_objects(QueryRun *run, LoadKind kind, LoadKeys keys, UuidSet *visible)
{
    return select_objects((Selection){.run = run, .is_answer = true, .visible = visible}, kind,
                          keys);
}

/** One way in which a message names objects. */
typedef struct Naming {
    QueryField field;
    LoadKind kind;
    bool by_unique_id; /* else by UUID */
} Naming;

/** The objects that the message names, in the one way that it does. */
static int select_named(Selection selection, const Naming *namings, size_t count)
{
    const QueryValue *values = selection.run->request->values;
    for (size_t i = 0; i < count; i++) {
        const QueryValue *value = &values[namings[i].field];
        LoadKeys keys = {.count = value->count};
        if (value->parameter == NULL) {
            continue;
        }
        if (namings[i].by_unique_id) {
            keys.unique_ids = value->texts;
        } else {
            keys.uuids = value->uuids;
        }
        return select_objects(selection, namings[i].kind, keys);
    }
    return 0;
}

int select_named_documents(Selection selection)
{
    static const Naming namings[] = {
        {FIELD_DocumentEntry_entry_uuid, LOAD_DOCUMENTS_BY_UUID, false},
        {FIELD_DocumentEntry_unique_id, LOAD_DOCUMENTS_BY_UNIQUE_ID, true},
        {FIELD_DocumentEntry_lid, LOAD_DOCUMENTS_BY_LID, false},
    };
    return select_named(selection, namings, ARRAY_LEN(namings));
}

int select_named_folders(Selection selection)
{
    static const Naming namings[] = {
        {FIELD_Folder_entry_uuid, LOAD_FOLDERS_BY_UUID, false},
        {FIELD_Folder_unique_id, LOAD_FOLDERS_BY_UNIQUE_ID, true},
        {FIELD_Folder_lid, LOAD_FOLDERS_BY_LID, false},
    };
    return select_named(selection, namings, ARRAY_LEN(namings));
}

int select_named_submission_sets(Selection selection)
{
    static const Naming namings[] = {
        {FIELD_SubmissionSet_entry_uuid, LOAD_SUBMISSION_SETS_BY_UUID, false},
        {FIELD_SubmissionSet_unique_id, LOAD_SUBMISSION_SETS_BY_UNIQUE_ID, true},
    };
    return select_named(selection, namings, ARRAY_LEN(namings));
}
