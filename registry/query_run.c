#include "registry/query_run.h"

#include "lib/base/macros.h"
#include "registry/query_links.h"

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
    int r = link_list_load_of(&links, objects, link_filter_any());
    if (r == 0) {
        r = link_list_drop_denied(&links, visible);
    }
    return r < 0 ? r : link_list_answer(&links);
}

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
    int r = 0;
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
    return answer_links_of(run, &named, true);
}

int query_run_get_documents_and_associations(QueryRun *run)
{
    UuidSet documents;
    uuid_set_init(&documents, run->req->arena);
    int r =
        select_named_documents((Selection){.run = run, .is_answer = true, .visible = &documents});
    if (r < 0) {
        return r;
    }
    uuid_set_close(&documents);
    return answer_links_of(run, &documents, false);
}

/** 3.18.4.1.2.3.7.9: an object that may not be known has no SubmissionSet. */
int query_run_get_submission_sets(QueryRun *run)
{
    static const UuidSet none;
    const LinkFilter filter = link_filter_members(OBJECT_SUBMISSION_SET, KIND_ANY);
    const UuidSet named = named_uuids(run);
    UuidSet visible;
    LinkList links;
    uuid_set_init(&visible, run->req->arena);
    link_list_init(&links, run);
    int r = link_list_load(&links, LOAD_ASSOCIATIONS_TO, &named, &filter);
    if (r == 0) {
        r = link_list_drop_denied(&links, &none);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet sets = link_list_sources(&links);
    r = answer_objects(run, LOAD_SUBMISSION_SETS_BY_UUID, load_keys_of(&sets), &visible);
    if (r < 0) {
        return r;
    }
    uuid_set_close(&visible);
    return link_list_answer_within(&links, &visible, &named);
}

/** Members of the SubmissionSet: its documents and Folders become part of the answer and go to
 * objects. */
static int answer_members(LinkList *members, UuidSet *objects)
{
    const UuidSet documents = link_list_targets(members, OBJECT_DOCUMENT_ENTRY);
    const UuidSet folders = link_list_targets(members, OBJECT_FOLDER);
    int r = answer_objects(members->run, LOAD_DOCUMENTS_BY_UUID, load_keys_of(&documents), objects);
    if (r == 0) {
        r = answer_objects(members->run, LOAD_FOLDERS_BY_UUID, load_keys_of(&folders), objects);
    }
    uuid_set_close(objects);
    return r;
}

/** Members that are Associations between objects of the answer become part of it, and go to
 * objects. */
static int answer_member_associations(const LinkList *members, UuidSet *objects)
{
    const LinkFilter all = link_filter_any();
    const UuidSet associations = link_list_targets(members, OBJECT_ASSOCIATION);
    LinkList links;
    link_list_init(&links, members->run);
    int r = link_list_load(&links, LOAD_ASSOCIATIONS_BY_UUID, &associations, &all);
    if (r < 0) {
        return r;
    }
    link_list_keep_within(&links, objects);
    for (const Link *link = links.first; link != NULL; link = link->next) {
        uuid_set_add(objects, link->entry_uuid);
    }
    uuid_set_close(objects);
    return link_list_answer(&links);
}

/** 3.18.4.1.2.3.7.10, in its order of derivation */
int query_run_get_submission_set_and_contents(QueryRun *run)
{
    const LinkFilter filter = link_filter_members(OBJECT_SUBMISSION_SET, KIND_ANY);
    UuidSet set;
    UuidSet objects;
    LinkList members;
    uuid_set_init(&set, run->req->arena);
    uuid_set_init(&objects, run->req->arena);
    link_list_init(&members, run);
    int r =
        select_named_submission_sets((Selection){.run = run, .is_answer = true, .visible = &set});
    uuid_set_close(&set);
    if (r == 0) {
        r = link_list_load(&members, LOAD_ASSOCIATIONS_FROM, &set, &filter);
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
    return r < 0 ? r : link_list_answer_within(&members, &set, &objects);
}

/** 3.18.4.1.2.3.7.11 */
int query_run_get_folder_and_contents(QueryRun *run)
{
    const LinkFilter filter = link_filter_members(OBJECT_FOLDER, OBJECT_DOCUMENT_ENTRY);
    UuidSet folders;
    UuidSet documents;
    LinkList members;
    uuid_set_init(&folders, run->req->arena);
    uuid_set_init(&documents, run->req->arena);
    link_list_init(&members, run);
    int r = select_named_folders((Selection){.run = run, .is_answer = true, .visible = &folders});
    uuid_set_close(&folders);
    if (r == 0) {
        r = link_list_load(&members, LOAD_ASSOCIATIONS_FROM, &folders, &filter);
    }
    if (r == 0) {
        r = answer_members(&members, &documents);
    }
    return r < 0 ? r : link_list_answer_within(&members, &folders, &documents);
}

/** 3.18.4.1.2.3.7.12 */
int query_run_get_folders_for_document(QueryRun *run)
{
    const LinkFilter filter = link_filter_members(OBJECT_FOLDER, OBJECT_DOCUMENT_ENTRY);
    UuidSet documents;
    LinkList links;
    uuid_set_init(&documents, run->req->arena);
    link_list_init(&links, run);
    int r = select_named_documents((Selection){.run = run, .visible = &documents});
    uuid_set_close(&documents);
    if (r == 0) {
        r = link_list_load(&links, LOAD_ASSOCIATIONS_TO, &documents, &filter);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet folders = link_list_sources(&links);
    return answer_objects(run, LOAD_FOLDERS_BY_UUID, load_keys_of(&folders), NULL);
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
    int r = select_named_documents((Selection){.run = run, .visible = &given});
    uuid_set_close(&given);
    if (r == 0) {
        r = link_list_load_of(&links, &given, filter);
    }
    if (r < 0) {
        return r;
    }
    const UuidSet ends = link_list_ends(&links);
    r = select_objects((Selection){.run = run, .visible = &visible}, LOAD_DOCUMENTS_BY_UUID,
                       load_keys_of(&ends));
    if (r < 0) {
        return r;
    }
    uuid_set_close(&visible);
    link_list_keep_within(&links, &visible);
    const UuidSet related = link_list_ends(&links);
    r = answer_objects(run, LOAD_DOCUMENTS_BY_UUID, load_keys_of(&related), NULL);
    return r < 0 ? r : link_list_answer(&links);
}

/* ---- the whole run ---- */

static bool is_of_many(const QueryRequest *request)
{
    return request->query->patients == QUERY_MANY_PATIENTS;
}

/** The patient of a query that is of one. */
static const QueryValue *named_patient(const QueryRequest *request)
{
    const QueryValue *value = &request->values[FIELD_Patient_patient_id];
    return value->parameter != NULL && !is_of_many(request) ? value : NULL;
}

static int find_patients(QueryRun *run)
{
    const QueryValue *value = &run->request->values[FIELD_Patient_patient_id];
    if (value->parameter == NULL) {
        return 0;
    }
    const PatientDirectory *directory = run->registry->config.patients;
    int64_t *ids = NULL;
    size_t count = 0;
    int r = directory->ids(directory->ctx, run->req, run->conn, value->texts, value->count, &ids,
                           &count);
    if (r < 0) {
        return r;
    }
    run->patient = (LoadKeys){.patients = ids, .count = count};
    return 0;
}

/** Only what could show is looked for: nothing of a patient of whom nothing may be known. What was
 * merged into a patient has the rules of the patient. */
static int limit_patient(QueryRun *run, LoadFilters *filters)
{
    const AccessScope *scope;
    int32_t *facilities = NULL;
    size_t count = 0;
    int r = access_prepare(run->req, run->patient.patients, run->patient.count);
    if (r < 0 || run->patient.count == 0) {
        return r;
    }
    r = access_open(run->req, run->patient.patients[0], ACCESS_LIST, &scope);
    if (r == 0 && access_limits_facilities(scope, run->req->arena, &facilities, &count)) {
        load_filters_limit(filters, facilities, count);
        run->patient.count = count > 0 ? run->patient.count : 0;
    }
    return r;
}

/** The identifier of a query that names its patient is that of the survivor: a subsumed one has no
 * objects. */
static void show_named_patient(QueryRun *run, Str identifier)
{
    for (size_t i = 0; i < run->patients.count; i++) {
        query_answer_set_patient(run->answer, (uint32_t)i, identifier);
    }
}

/** What the rows of some patients show as patientId: that of the survivor.
 * @param numbers       of the patients; at most QUERY_PATIENT_BATCH
 * @param ret_survivor  0: none yet; -1: several */
static int show_batch(QueryRun *run, const uint32_t *numbers, size_t count, int64_t *ret_survivor)
{
    int64_t ids[QUERY_PATIENT_BATCH];
    Str identifiers[QUERY_PATIENT_BATCH];
    int64_t survivors[QUERY_PATIENT_BATCH];
    for (size_t i = 0; i < count; i++) {
        ids[i] = run->patients.items[numbers[i]].id;
    }
    const PatientDirectory *directory = run->registry->config.patients;
    int r = directory->identifiers(directory->ctx, run->req, run->conn, ids, count, identifiers,
                                   survivors);
    for (size_t i = 0; i < count && r == 0; i++) {
        bool is_same = *ret_survivor == 0 || *ret_survivor == survivors[i];
        *ret_survivor = is_same ? survivors[i] : -1;
        query_answer_set_patient(run->answer, numbers[i], identifiers[i]);
    }
    return r;
}

/** What rows show as patientId, and the single-patient check: both after merges (3.18.4.1.2.3.9).
 */
static int show_found_patients(QueryRun *run)
{
    const PatientTable *table = &run->patients;
    uint32_t numbers[QUERY_PATIENT_BATCH];
    int64_t survivor = 0;
    int r = 0;
    for (size_t i = 0, count = 0; i < table->count && r == 0; i++) {
        if (table->items[i].is_in_answer) {
            numbers[count++] = (uint32_t)i;
        }
        if (count == ARRAY_LEN(numbers) || (i + 1 == table->count && count > 0)) {
            r = show_batch(run, numbers, count, &survivor);
            count = 0;
        }
    }
    if (r == 0 && survivor == -1 && run->request->query->patients == QUERY_ONE_PATIENT) {
        return error_add(&run->req->errors, ERR_XDS_RESULT_NOT_SINGLE_PATIENT, NULL,
                         "the objects belong to different patients; ask for ObjectRef first, then "
                         "for the objects of one patient at a time");
    }
    return r;
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
    QueryRun run = {.registry = registry,
                    .req = req,
                    .reader = req,
                    .request = request,
                    .conn = conn,
                    .answer = answer};
    /* Identifiers and objects of one instant, also while merges and moves go on. */
    r = db_queue_snapshot(conn, req);
    if (r == 0) {
        r = find_patients(&run);
    }
    LoadFilters *filters = NULL;
    if (r == 0) {
        r = load_filters_new(registry, req, conn, request, &filters);
    }
    if (r == 0 && named_patient(request) != NULL) {
        r = limit_patient(&run, filters);
    }
    run.filters = filters;
    if (r == 0) {
        r = request->query->run(&run);
    }
    if (r == 0 && req->rules == NULL) {
        r = access_prepare(req, NULL, 0); /* objects that are not there: see access.h */
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
