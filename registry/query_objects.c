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
        int rc = access_open(run->reader, id, ACCESS_LIST, &scope);
        if (rc < 0) {
            return rc;
        }
        table->items[table->count++] = (KnownPatient){.id = id, .scope = scope};
        table->slots[slot] = (uint32_t)table->count;
    }
    *ret_number = table->slots[slot] - 1;
    return 0;
}

/* ---- SubmissionSets and Folders ---- */

/** What is known of packages before any is answered. */
typedef struct Packages {
    QueryRun *run;
    UuidSet *denied;     /* the others; may be NULL */
    UuidSet candidates;  /* by themselves they may be known */
    UuidSet with_hidden; /* of those: some document in it may not be known */
    UuidSet with_shown;  /* of those: some document in it may be known */
} Packages;

/** The decision alone, without the notice of an emergency: nothing is shown by it. */
static int may_be_known(QueryRun *run, const LoadedObject *object, bool *ret_may)
{
    uint32_t number;
    int rc = patient_number(run, object->patient, &number);
    if (rc == 0) {
        const AccessScope *scope = run->patients.items[number].scope;
        *ret_may = access_permits(access_explain(scope, &object->access).reason);
    }
    return rc;
}

static int add_candidate(void *ctx, Request *req UNUSED, const LoadedObject *object)
{
    Packages *packages = ctx;
    bool may = false;
    int rc = may_be_known(packages->run, object, &may);
    if (may) {
        uuid_set_add(&packages->candidates, object->entry_uuid);
    } else if (packages->denied != NULL) {
        uuid_set_add(packages->denied, object->entry_uuid);
    }
    return rc;
}

static int add_member(void *ctx, Request *req UNUSED, const LoadedObject *document)
{
    Packages *packages = ctx;
    bool may = false;
    int rc = may_be_known(packages->run, document, &may);
    uuid_set_add(may ? &packages->with_shown : &packages->with_hidden, document->package);
    return rc;
}

/**
 * Those of the packages that hold documents, but none that may be known.
 * @param denied  what may not be known is added, hidden or not; may be NULL
 * @return 1: others may be known; 0: none; negative ErrorCode
 */
static int find_hidden_packages(QueryRun *run, LoadKind kind, const LoadKeys *keys, UuidSet *denied,
                                UuidSet *ret_hidden)
{
    Arena *arena = run->req->arena;
    Packages packages = {.run = run, .denied = denied};
    uuid_set_init(&packages.candidates, arena);
    uuid_set_init(&packages.with_hidden, arena);
    uuid_set_init(&packages.with_shown, arena);
    int rc = load_objects(run->conn, run->req, kind, keys, run->filters, false, add_candidate,
                          &packages);
    if (rc < 0) {
        return rc;
    }
    uuid_set_close(&packages.candidates);
    const LoadKeys candidates = load_keys_of(&packages.candidates);
    rc = load_objects(run->conn, run->req, LOAD_MEMBER_DOCUMENTS, &candidates, run->filters, false,
                      add_member, &packages);
    uuid_set_close(&packages.with_hidden);
    uuid_set_close(&packages.with_shown);
    uuid_set_init(ret_hidden, arena);
    for (size_t i = 0; i < packages.with_hidden.count; i++) {
        if (!uuid_set_has(&packages.with_shown, packages.with_hidden.items[i])) {
            uuid_set_add(ret_hidden, packages.with_hidden.items[i]);
        }
    }
    for (size_t i = 0; denied != NULL && i < ret_hidden->count; i++) {
        uuid_set_add(denied, ret_hidden->items[i]);
    }
    uuid_set_close(ret_hidden);
    return rc < 0 ? rc : packages.candidates.count > ret_hidden->count;
}

/* ---- objects of every kind ---- */

/** A selection, and packages that it passes by. */
typedef struct Selecting {
    const Selection *selection;
    UuidSet hidden;
} Selecting;

static int select_object(void *ctx, Request *req, const LoadedObject *object)
{
    const Selecting *selecting = ctx;
    const Selection *selection = selecting->selection;
    QueryRun *run = selection->run;
    uint32_t number;
    int rc = patient_number(run, object->patient, &number);
    if (rc < 0) {
        return rc;
    }
    KnownPatient *patient = &run->patients.items[number];
    if (uuid_set_has(&selecting->hidden, object->entry_uuid) ||
        !access_decide(patient->scope, &object->access)) {
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
    Selecting selecting = {.selection = &selection};
    if (load_kind_is_of_packages(kind) && access_has_rules(run->req)) {
        int rc = find_hidden_packages(run, kind, &keys, selection.denied, &selecting.hidden);
        if (rc <= 0) {
            return rc;
        }
    }
    return load_objects(run->conn, run->req, kind, &keys, run->filters, with_metadata,
                        select_object, &selecting);
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
