#include "registry/query_run.h"

#include "lib/access/access.h"
#include "lib/base/macros.h"
#include "registry/load.h"
#include "registry/uuid_set.h"

/** A patient met in a row. */
typedef struct KnownPatient {
    int64_t id;
    const AccessScope *scope;
    bool is_in_answer;
} KnownPatient;

/** Patients by id, numbered in the order in which they were met. */
typedef struct PatientTable {
    KnownPatient *items;
    size_t count;
    size_t capacity; /* of items; power of two */
    uint32_t *slots; /* open addressing, 2 * capacity: number + 1, 0 free */
} PatientTable;

struct QueryRun {
    Registry *registry;
    Request *req;
    const QueryRequest *request;
    DbConn *conn;
    const LoadFilters *filters;
    QueryAnswer *answer;
    LoadKeys
        patient; /* internal ids of the patient that the query names; none if unknown or subsumed */
    PatientTable patients;
};

/* ---- patients ---- */

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

/** Number of the patient; its rules are compiled when it is first met. */
static uint32_t patient_number(QueryRun *run, int64_t id)
{
    PatientTable *table = &run->patients;
    if (table->count == table->capacity) {
        grow_patients(run->req->arena, table);
    }
    size_t slot = patient_slot(table, id);
    if (table->slots[slot] == 0) {
        table->items[table->count++] =
            (KnownPatient){.id = id, .scope = access_open(run->req, id, ACCESS_LIST)};
        table->slots[slot] = (uint32_t)table->count;
    }
    return table->slots[slot] - 1;
}

/* ---- objects ---- */

/** What becomes of the objects of one load. */
typedef struct Selection {
    QueryRun *run;
    bool is_answer;   /* visible ones become part of the answer */
    UuidSet *visible; /* may be NULL */
    UuidSet *denied;  /* may be NULL */
} Selection;

static int select_object(void *ctx, Request *req, const LoadedObject *object)
{
    Selection *selection = ctx;
    QueryRun *run = selection->run;
    uint32_t number = patient_number(run, object->patient);
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

static int select_objects(Selection selection, LoadKind kind, LoadKeys keys)
{
    QueryRun *run = selection.run;
    bool with_metadata = selection.is_answer && run->request->is_leaf_class;
    return load_objects(run->conn, run->req, kind, &keys, run->filters, with_metadata,
                        select_object, &selection);
}

static LoadKeys keys_of(const UuidSet *set)
{
    return (LoadKeys){.uuids = set->items, .count = set->count};
}

/** Objects become part of the answer; those that are also go to visible, which may be NULL. */
static int answer_objects(QueryRun *run, LoadKind kind, LoadKeys keys, UuidSet *visible)
{
    return select_objects((Selection){.run = run, .is_answer = true, .visible = visible}, kind,
                          keys);
}

/** The objects that the message names, by the one of both parameters that it has. */
static int select_named(Selection selection, QueryField uuid_field, LoadKind by_uuid,
                        QueryField unique_id_field, LoadKind by_unique_id)
{
    const QueryValue *values = selection.run->request->values;
    const QueryValue *uuids = &values[uuid_field];
    const QueryValue *unique_ids = &values[unique_id_field];
    if (uuids->parameter != NULL) {
        return select_objects(selection, by_uuid,
                              (LoadKeys){.uuids = uuids->uuids, .count = uuids->count});
    }
    return select_objects(selection, by_unique_id,
                          (LoadKeys){.unique_ids = unique_ids->texts, .count = unique_ids->count});
}

static int select_named_documents(Selection selection)
{
    return select_named(selection, FIELD_DocumentEntry_entry_uuid, LOAD_DOCUMENTS_BY_UUID,
                        FIELD_DocumentEntry_unique_id, LOAD_DOCUMENTS_BY_UNIQUE_ID);
}

static int select_named_folders(Selection selection)
{
    return select_named(selection, FIELD_Folder_entry_uuid, LOAD_FOLDERS_BY_UUID,
                        FIELD_Folder_unique_id, LOAD_FOLDERS_BY_UNIQUE_ID);
}

static int select_named_submission_sets(Selection selection)
{
    return select_named(selection, FIELD_SubmissionSet_entry_uuid, LOAD_SUBMISSION_SETS_BY_UUID,
                        FIELD_SubmissionSet_unique_id, LOAD_SUBMISSION_SETS_BY_UNIQUE_ID);
}

/* ---- associations ---- */

/** An Association that waits until it is known whether its ends are in the answer. */
typedef struct Link {
    Uuid entry_uuid;
    Uuid source;
    Uuid target;
    uint8_t type;
    uint8_t source_kind;
    uint8_t target_kind;
    uint8_t status;
    Str metadata;
    struct Link *next;
} Link;

#define KIND_ANY (-1)

/** Which Associations of a load are kept. */
typedef struct LinkFilter {
    const int32_t *types; /* NULL: all */
    size_t type_count;
    int source_kind; /* ObjectKind or KIND_ANY */
    int target_kind;
    const UuidSet *not_from; /* drop those with this source: they were loaded before; may be NULL */
} LinkFilter;

typedef struct LinkList {
    QueryRun *run;
    const LinkFilter *filter;
    const UuidSet *settled; /* ends in it are visible: no need to wait; may be NULL */
    Link *first;
    Link **end;
} LinkList;

static const int32_t has_member[] = {ASSOCIATION_HAS_MEMBER};

static void link_list_init(LinkList *list, QueryRun *run)
{
    *list = (LinkList){.run = run};
    list->end = &list->first;
}

static bool is_kept(const LinkFilter *filter, const LoadedObject *object)
{
    bool is_type = filter->types == NULL;
    for (size_t i = 0; i < filter->type_count && !is_type; i++) {
        is_type = filter->types[i] == (int32_t)object->association_type;
    }
    return is_type &&
           (filter->source_kind == KIND_ANY || filter->source_kind == (int)object->source_kind) &&
           (filter->target_kind == KIND_ANY || filter->target_kind == (int)object->target_kind) &&
           (filter->not_from == NULL || !uuid_set_has(filter->not_from, object->source));
}

static int hold_link(void *ctx, Request *req, const LoadedObject *object)
{
    LinkList *list = ctx;
    if (!is_kept(list->filter, object)) {
        return 0;
    }
    if (list->settled != NULL && uuid_set_has(list->settled, object->source) &&
        uuid_set_has(list->settled, object->target)) {
        return query_answer_add(list->run->answer, req, object, 0);
    }
    Link *link = arena_alloc(req->arena, sizeof(*link));
    *link = (Link){
        .entry_uuid = object->entry_uuid,
        .source = object->source,
        .target = object->target,
        .type = (uint8_t)object->association_type,
        .source_kind = (uint8_t)object->source_kind,
        .target_kind = (uint8_t)object->target_kind,
        .status = (uint8_t)object->access.status,
        .metadata = str_dup(req->arena, object->metadata),
    };
    *list->end = link;
    list->end = &link->next;
    return 0;
}

static int load_links(LinkList *list, LoadKind kind, const UuidSet *keys, const LinkFilter *filter)
{
    QueryRun *run = list->run;
    const LoadKeys load_keys = keys_of(keys);
    list->filter = filter;
    return load_objects(run->conn, run->req, kind, &load_keys, run->filters,
                        run->request->is_leaf_class, hold_link, list);
}

/** Associations that have one of the objects as source or target, each once. */
static int load_links_of(LinkList *list, const UuidSet *objects, LinkFilter filter)
{
    int r = load_links(list, LOAD_ASSOCIATIONS_FROM, objects, &filter);
    if (r < 0) {
        return r;
    }
    filter.not_from = objects;
    return load_links(list, LOAD_ASSOCIATIONS_TO, objects, &filter);
}

static int answer_link(QueryRun *run, const Link *link)
{
    const LoadedObject object = {
        .kind = OBJECT_ASSOCIATION,
        .entry_uuid = link->entry_uuid,
        .lid = link->entry_uuid,
        .version = 1,
        .size_bytes = -1,
        .access.status = link->status,
        .metadata = link->metadata,
        .association_type = (AssociationType)link->type,
        .source = link->source,
        .target = link->target,
        .source_kind = (ObjectKind)link->source_kind,
        .target_kind = (ObjectKind)link->target_kind,
    };
    return query_answer_add(run->answer, run->req, &object, 0);
}

/** The general rule (3.18.4.1.2.3.7.10): an Association is returned if both objects that it
 * connects are. */
static int answer_links_within(const LinkList *list, const UuidSet *sources, const UuidSet *targets)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (uuid_set_has(sources, link->source) && uuid_set_has(targets, link->target)) {
            int r = answer_link(list->run, link);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

/** Keeps the links that have both ends in the set. */
static void keep_links_within(LinkList *list, const UuidSet *objects)
{
    Link **at = &list->first;
    while (*at != NULL) {
        if (uuid_set_has(objects, (*at)->source) && uuid_set_has(objects, (*at)->target)) {
            at = &(*at)->next;
        } else {
            *at = (*at)->next;
        }
    }
    list->end = at;
}

/** Keeps the links that have no end in the set. */
static void drop_links_to(LinkList *list, const UuidSet *denied)
{
    Link **at = &list->first;
    while (*at != NULL) {
        if (uuid_set_has(denied, (*at)->source) || uuid_set_has(denied, (*at)->target)) {
            *at = (*at)->next;
        } else {
            at = &(*at)->next;
        }
    }
    list->end = at;
}

/** UUIDs by ObjectKind. */
typedef struct Ends {
    UuidSet of_kind[OBJECT_ASSOCIATION + 1];
} Ends;

static void add_end(Ends *ends, const UuidSet *visible, uint8_t kind, Uuid uuid)
{
    if (kind < ARRAY_LEN(ends->of_kind) && !uuid_set_has(visible, uuid)) {
        uuid_set_add(&ends->of_kind[kind], uuid);
    }
}

static void add_ends(Ends *ends, const UuidSet *visible, const LinkList *list)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        add_end(ends, visible, link->source_kind, link->source);
        add_end(ends, visible, link->target_kind, link->target);
    }
}

static int load_denied(QueryRun *run, Ends *ends, UuidSet *denied)
{
    static const LoadKind kinds[] = {[OBJECT_DOCUMENT_ENTRY] = LOAD_DOCUMENT_ACCESS,
                                     [OBJECT_SUBMISSION_SET] = LOAD_SUBMISSION_SET_ACCESS,
                                     [OBJECT_FOLDER] = LOAD_FOLDER_ACCESS};
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        uuid_set_close(&ends->of_kind[kind]);
        int r = select_objects((Selection){.run = run, .denied = denied}, kinds[kind],
                               keys_of(&ends->of_kind[kind]));
        if (r < 0) {
            return r;
        }
    }
    uuid_set_close(denied);
    return 0;
}

/** Adds the Associations of which an end is denied. */
static void add_denied_links(const LinkList *list, UuidSet *denied)
{
    UuidSet found;
    uuid_set_init(&found, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (uuid_set_has(denied, link->source) || uuid_set_has(denied, link->target)) {
            uuid_set_add(&found, link->entry_uuid);
        }
    }
    for (size_t i = 0; i < found.count; i++) {
        uuid_set_add(denied, found.items[i]);
    }
    uuid_set_close(denied);
}

/**
 * Drops the links that would tell of an object that may not be known. An end that is itself an
 * Association (of a SubmissionSet's HasMember) may be known if both of its ends may.
 * @param visible  closed; ends that were decided before
 */
static int drop_denied(LinkList *list, const UuidSet *visible)
{
    static const LinkFilter all = {.source_kind = KIND_ANY, .target_kind = KIND_ANY};
    QueryRun *run = list->run;
    Ends ends;
    LinkList nested;
    UuidSet denied;
    for (size_t i = 0; i < ARRAY_LEN(ends.of_kind); i++) {
        uuid_set_init(&ends.of_kind[i], run->req->arena);
    }
    link_list_init(&nested, run);
    uuid_set_init(&denied, run->req->arena);
    add_ends(&ends, visible, list);
    uuid_set_close(&ends.of_kind[OBJECT_ASSOCIATION]);
    int r = load_links(&nested, LOAD_ASSOCIATIONS_BY_UUID, &ends.of_kind[OBJECT_ASSOCIATION], &all);
    if (r < 0) {
        return r;
    }
    add_ends(&ends, visible, &nested);
    r = load_denied(run, &ends, &denied);
    if (r < 0) {
        return r;
    }
    add_denied_links(&nested, &denied);
    drop_links_to(list, &denied);
    return 0;
}

static int answer_links(const LinkList *list)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        int r = answer_link(list->run, link);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/**
 * Associations of objects that are visible (objects is closed) and, if may_be_denied, of others:
 * each whose ends may both be known.
 */
static int answer_links_of(QueryRun *run, const UuidSet *objects, bool may_be_denied)
{
    static const UuidSet none;
    const UuidSet *visible = may_be_denied ? &none : objects;
    LinkList links;
    link_list_init(&links, run);
    links.settled = visible;
    int r = load_links_of(&links, objects,
                          (LinkFilter){.source_kind = KIND_ANY, .target_kind = KIND_ANY});
    if (r == 0) {
        r = drop_denied(&links, visible);
    }
    return r < 0 ? r : answer_links(&links);
}

/* ---- queries ---- */

int query_run_find_documents(QueryRun *run)
{
    return answer_objects(run, LOAD_DOCUMENTS_OF_PATIENT, run->patient, NULL);
}

int query_run_find_submission_sets(QueryRun *run)
{
    return answer_objects(run, LOAD_SUBMISSION_SETS_OF_PATIENT, run->patient, NULL);
}

int query_run_find_folders(QueryRun *run)
{
    return answer_objects(run, LOAD_FOLDERS_OF_PATIENT, run->patient, NULL);
}

int query_run_get_documents(QueryRun *run)
{
    return select_named_documents((Selection){.run = run, .is_answer = true});
}

int query_run_get_folders(QueryRun *run)
{
    return select_named_folders((Selection){.run = run, .is_answer = true});
}

/** 3.18.4.1.2.3.7.4: an Association may point at an object that the other parameters exclude. */
int query_run_get_all(QueryRun *run)
{
    static const LoadKind kinds[] = {LOAD_SUBMISSION_SETS_OF_PATIENT, LOAD_DOCUMENTS_OF_PATIENT,
                                     LOAD_FOLDERS_OF_PATIENT};
    UuidSet visible;
    uuid_set_init(&visible, run->req->arena);
    int r = load_begin_snapshot(run->conn, run->req);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && r == 0; i++) {
        r = answer_objects(run, kinds[i], run->patient, &visible);
    }
    if (r < 0) {
        return r;
    }
    uuid_set_close(&visible);
    return answer_links_of(run, &visible, false);
}

/** The values of $uuid. */
static UuidSet named_uuids(const QueryRun *run)
{
    const QueryValue *value = &run->request->values[FIELD_RegistryObject_entry_uuid];
    UuidSet set;
    uuid_set_init(&set, run->req->arena);
    for (size_t i = 0; i < value->count; i++) {
        uuid_set_add(&set, value->uuids[i]);
    }
    uuid_set_close(&set);
    return set;
}

int query_run_get_associations(QueryRun *run)
{
    const UuidSet named = named_uuids(run);
    int r = load_begin_snapshot(run->conn, run->req);
    return r < 0 ? r : answer_links_of(run, &named, true);
}

int query_run_get_documents_and_associations(QueryRun *run)
{
    UuidSet documents;
    uuid_set_init(&documents, run->req->arena);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = select_named_documents(
            (Selection){.run = run, .is_answer = true, .visible = &documents});
    }
    if (r < 0) {
        return r;
    }
    uuid_set_close(&documents);
    return answer_links_of(run, &documents, false);
}

static UuidSet sources_of(const LinkList *list)
{
    UuidSet set;
    uuid_set_init(&set, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        uuid_set_add(&set, link->source);
    }
    uuid_set_close(&set);
    return set;
}

static UuidSet targets_of(const LinkList *list, ObjectKind kind)
{
    UuidSet set;
    uuid_set_init(&set, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (link->target_kind == (uint8_t)kind) {
            uuid_set_add(&set, link->target);
        }
    }
    uuid_set_close(&set);
    return set;
}

static LinkFilter members_between(int source_kind, int target_kind)
{
    return (LinkFilter){.types = has_member,
                        .type_count = ARRAY_LEN(has_member),
                        .source_kind = source_kind,
                        .target_kind = target_kind};
}

/** 3.18.4.1.2.3.7.9: an object that may not be known has no SubmissionSet. */
int query_run_get_submission_sets(QueryRun *run)
{
    static const UuidSet none;
    const LinkFilter filter = members_between(OBJECT_SUBMISSION_SET, KIND_ANY);
    const UuidSet named = named_uuids(run);
    UuidSet visible;
    LinkList links;
    uuid_set_init(&visible, run->req->arena);
    link_list_init(&links, run);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = load_links(&links, LOAD_ASSOCIATIONS_TO, &named, &filter);
    }
    if (r == 0) {
        r = drop_denied(&links, &none);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet sets = sources_of(&links);
    r = answer_objects(run, LOAD_SUBMISSION_SETS_BY_UUID, keys_of(&sets), &visible);
    if (r < 0) {
        return r;
    }
    uuid_set_close(&visible);
    return answer_links_within(&links, &visible, &named);
}

/** Members of the SubmissionSet: its documents and Folders become part of the answer and go to
 * objects. */
static int answer_members(LinkList *members, UuidSet *objects)
{
    const UuidSet documents = targets_of(members, OBJECT_DOCUMENT_ENTRY);
    const UuidSet folders = targets_of(members, OBJECT_FOLDER);
    int r = answer_objects(members->run, LOAD_DOCUMENTS_BY_UUID, keys_of(&documents), objects);
    if (r == 0) {
        r = answer_objects(members->run, LOAD_FOLDERS_BY_UUID, keys_of(&folders), objects);
    }
    uuid_set_close(objects);
    return r;
}

/** Members that are Associations between objects of the answer become part of it, and go to
 * objects. */
static int answer_member_associations(const LinkList *members, UuidSet *objects)
{
    static const LinkFilter all = {.source_kind = KIND_ANY, .target_kind = KIND_ANY};
    const UuidSet associations = targets_of(members, OBJECT_ASSOCIATION);
    LinkList links;
    link_list_init(&links, members->run);
    int r = load_links(&links, LOAD_ASSOCIATIONS_BY_UUID, &associations, &all);
    if (r < 0) {
        return r;
    }
    keep_links_within(&links, objects);
    for (const Link *link = links.first; link != NULL; link = link->next) {
        uuid_set_add(objects, link->entry_uuid);
    }
    uuid_set_close(objects);
    return answer_links(&links);
}

/** 3.18.4.1.2.3.7.10, in its order of derivation */
int query_run_get_submission_set_and_contents(QueryRun *run)
{
    const LinkFilter filter = members_between(OBJECT_SUBMISSION_SET, KIND_ANY);
    UuidSet set;
    UuidSet objects;
    LinkList members;
    uuid_set_init(&set, run->req->arena);
    uuid_set_init(&objects, run->req->arena);
    link_list_init(&members, run);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = select_named_submission_sets(
            (Selection){.run = run, .is_answer = true, .visible = &set});
    }
    uuid_set_close(&set);
    if (r == 0) {
        r = load_links(&members, LOAD_ASSOCIATIONS_FROM, &set, &filter);
    }
    for (size_t i = 0; i < set.count; i++) {
        uuid_set_add(&objects, set.items[i]);
    }
    if (r == 0) {
        r = answer_members(&members, &objects);
    }
    if (r == 0) {
        r = answer_member_associations(&members, &objects);
    }
    return r < 0 ? r : answer_links_within(&members, &set, &objects);
}

/** 3.18.4.1.2.3.7.11 */
int query_run_get_folder_and_contents(QueryRun *run)
{
    const LinkFilter filter = members_between(OBJECT_FOLDER, OBJECT_DOCUMENT_ENTRY);
    UuidSet folders;
    UuidSet documents;
    LinkList members;
    uuid_set_init(&folders, run->req->arena);
    uuid_set_init(&documents, run->req->arena);
    link_list_init(&members, run);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = select_named_folders((Selection){.run = run, .is_answer = true, .visible = &folders});
    }
    uuid_set_close(&folders);
    if (r == 0) {
        r = load_links(&members, LOAD_ASSOCIATIONS_FROM, &folders, &filter);
    }
    if (r == 0) {
        r = answer_members(&members, &documents);
    }
    return r < 0 ? r : answer_links_within(&members, &folders, &documents);
}

/** 3.18.4.1.2.3.7.12 */
int query_run_get_folders_for_document(QueryRun *run)
{
    const LinkFilter filter = members_between(OBJECT_FOLDER, OBJECT_DOCUMENT_ENTRY);
    UuidSet documents;
    LinkList links;
    uuid_set_init(&documents, run->req->arena);
    link_list_init(&links, run);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = select_named_documents((Selection){.run = run, .visible = &documents});
    }
    uuid_set_close(&documents);
    if (r == 0) {
        r = load_links(&links, LOAD_ASSOCIATIONS_TO, &documents, &filter);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet folders = sources_of(&links);
    return answer_objects(run, LOAD_FOLDERS_BY_UUID, keys_of(&folders), NULL);
}

/** Both ends of the links. */
static UuidSet ends_of(const LinkList *list)
{
    UuidSet set = sources_of(list);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        uuid_set_add(&set, link->target);
    }
    uuid_set_close(&set);
    return set;
}

/** 3.18.4.1.2.3.7.13: one hop; a document is part of the answer only with an Association that is.
 */
int query_run_get_related_documents(QueryRun *run)
{
    const QueryValue *types = &run->request->values[FIELD_Association_association_type];
    const LinkFilter filter = {.types = types->numbers,
                               .type_count = types->count,
                               .source_kind = OBJECT_DOCUMENT_ENTRY,
                               .target_kind = OBJECT_DOCUMENT_ENTRY};
    UuidSet given;
    UuidSet visible;
    LinkList links;
    uuid_set_init(&given, run->req->arena);
    uuid_set_init(&visible, run->req->arena);
    link_list_init(&links, run);
    int r = load_begin_snapshot(run->conn, run->req);
    if (r == 0) {
        r = select_named_documents((Selection){.run = run, .visible = &given});
    }
    uuid_set_close(&given);
    if (r == 0) {
        r = load_links_of(&links, &given, filter);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet ends = ends_of(&links);
    r = select_objects((Selection){.run = run, .visible = &visible}, LOAD_DOCUMENTS_BY_UUID,
                       keys_of(&ends));
    if (r < 0) {
        return r;
    }
    uuid_set_close(&visible);
    keep_links_within(&links, &visible);
    const UuidSet related = ends_of(&links);
    r = answer_objects(run, LOAD_DOCUMENTS_BY_UUID, keys_of(&related), NULL);
    return r < 0 ? r : answer_links(&links);
}

/* ---- the whole run ---- */

static const QueryValue *named_patient(const QueryRequest *request)
{
    const QueryValue *value = &request->values[FIELD_Patient_patient_id];
    return value->parameter != NULL ? value : NULL;
}

static int find_patient(QueryRun *run)
{
    const QueryValue *value = named_patient(run->request);
    if (value == NULL) {
        return 0;
    }
    const PatientDirectory *directory = run->registry->config.patients;
    int64_t *ids = NULL;
    size_t count = 0;
    int r = directory->ids(directory->ctx, run->req, run->conn, value->texts[0], &ids, &count);
    if (r < 0) {
        return r;
    }
    run->patient = (LoadKeys){.patients = ids, .count = count};
    return 0;
}

/** The identifier of a query that names its patient is that of the survivor: a subsumed one has no
 * objects. */
static void show_named_patient(QueryRun *run, Str identifier)
{
    for (size_t i = 0; i < run->patients.count; i++) {
        query_answer_set_patient(run->answer, (uint32_t)i, identifier);
    }
}

/** What rows show as patientId, and the single-patient check: both after merges (3.18.4.1.2.3.9).
 */
static int show_found_patients(QueryRun *run)
{
    const PatientTable *table = &run->patients;
    Arena *arena = run->req->arena;
    int64_t *ids = ARENA_ARRAY(arena, int64_t, table->count);
    uint32_t *numbers = ARENA_ARRAY(arena, uint32_t, table->count);
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (table->items[i].is_in_answer) {
            numbers[count] = (uint32_t)i;
            ids[count++] = table->items[i].id;
        }
    }
    if (count == 0) {
        return 0;
    }
    const PatientDirectory *directory = run->registry->config.patients;
    Str *identifiers = ARENA_ARRAY(arena, Str, count);
    int64_t *survivors = ARENA_ARRAY(arena, int64_t, count);
    int r = directory->identifiers(directory->ctx, run->req, run->conn, ids, count, identifiers,
                                   survivors);
    if (r < 0) {
        return r;
    }
    bool is_one_patient = true;
    for (size_t i = 0; i < count; i++) {
        query_answer_set_patient(run->answer, numbers[i], identifiers[i]);
        is_one_patient = is_one_patient && survivors[i] == survivors[0];
    }
    if (!is_one_patient && run->request->query->patients == QUERY_ONE_PATIENT) {
        return error_add(&run->req->errors, ERR_XDS_RESULT_NOT_SINGLE_PATIENT, NULL,
                         "the objects belong to different patients; ask for ObjectRef first, then "
                         "for the objects of one patient at a time");
    }
    return 0;
}

static int show_patients(QueryRun *run)
{
    if (!run->request->is_leaf_class) {
        return 0;
    }
    const QueryValue *value = named_patient(run->request);
    if (value == NULL) {
        return show_found_patients(run);
    }
    show_named_patient(run, value->texts[0]);
    return 0;
}

int query_run(Registry *registry, Request *req, const QueryRequest *request,
              QueryAnswer **ret_answer)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int r = db_acquire(registry->config.pool, req, &conn);
    if (r < 0) {
        return r;
    }
    _cleanup_(query_answer_freep) QueryAnswer *answer =
        query_answer_new(registry, request->is_leaf_class);
    QueryRun run = {
        .registry = registry, .req = req, .request = request, .conn = conn, .answer = answer};
    r = find_patient(&run);
    if (r == 0) {
        r = load_filters_new(registry->codes, req, conn, request, &run.filters);
    }
    if (r == 0) {
        r = request->query->run(&run);
    }
    if (r == 0) {
        r = show_patients(&run);
    }
    if (r == 0) {
        r = query_answer_finish(answer, req, conn);
    }
    if (r < 0) {
        return r;
    }
    *ret_answer = answer;
    answer = NULL;
    return 0;
}
