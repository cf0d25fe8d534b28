#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/macros.h"
#include "registry/query_objects.h"
#include "registry/query_run.h"

/**
 * Queries of many patients (ITI TF-2 3.51.4.1.2.1). First whose objects they may be about: the
 * patients that the message names, or those of whom one index gives an object that matches. Then
 * batch by batch their rules are read and forgotten behind it, and their objects looked up as a
 * query of one patient does. Memory is that of one batch, and a few bytes for each patient.
 */

/** Patients, each once after patient_list_close(). */
typedef struct PatientList {
    int64_t *items;
    size_t count;
    size_t capacity;
} PatientList;

static void patient_list_done(PatientList *list)
{
    free(list->items);
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void patient_list_close(PatientList *list)
{
    size_t kept = 0;
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof(int64_t), compare_ids);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || list->items[i] != list->items[kept - 1]) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

/** Room for one more: of those that are there several times one is enough. */
static void patient_list_grow(PatientList *list)
{
    patient_list_close(list);
    if (list->count > list->capacity / 2 || list->capacity == 0) {
        list->capacity = 2 * list->capacity + QUERY_PATIENT_BATCH;
        list->items = heap_resized(list->items, list->capacity, sizeof(int64_t));
    }
}

static void patient_list_add(PatientList *list, int64_t id)
{
    if (list->count > 0 && list->items[list->count - 1] == id) {
        return;
    }
    if (list->count == list->capacity) {
        patient_list_grow(list);
    }
    list->items[list->count++] = id;
}

static int add_patient(void *ctx, Request *req UNUSED, const LoadedObject *object)
{
    patient_list_add(ctx, object->patient);
    return 0;
}

/** A parameter by which objects can be found without a patient. */
typedef struct Entrance {
    QueryField field;
    LoadKind kind;
} Entrance;

/** How a query finds whose objects it may be about, and then the objects. */
typedef struct ManyQuery {
    const Entrance *entrances; /* the best first */
    size_t entrance_count;
    LoadKind of_patients;
} ManyQuery;

static int find_patients(const QueryRun *run, const ManyQuery *query, PatientList *ret_patients)
{
    const QueryValue *values = run->request->values;
    int r = 0;
    if (values[FIELD_Patient_patient_id].parameter != NULL) {
        for (size_t i = 0; i < run->patient.count; i++) {
            patient_list_add(ret_patients, run->patient.patients[i]);
        }
    } else {
        size_t at = 0;
        while (values[query->entrances[at].field].parameter == NULL) {
            at++; /* query_request_read() has seen to it that there is one */
        }
        static const LoadKeys none;
        r = load_objects(run->conn, run->req, query->entrances[at].kind, &none, run->filters, false,
                         add_patient, ret_patients);
    }
    patient_list_close(ret_patients);
    return r;
}

/** Those of whom something could show; others take no time. */
static int keep_visible(Request *reader, const int64_t *patients, size_t count, int64_t *ret_kept,
                        size_t *ret_count)
{
    int r = access_prepare(reader, patients, count);
    for (size_t i = 0; i < count && r == 0; i++) {
        const AccessScope *scope = NULL;
        r = access_open(reader, patients[i], ACCESS_LIST, &scope);
        if (r == 0 && access_may_see_any(scope)) {
            ret_kept[(*ret_count)++] = patients[i];
        }
    }
    return r;
}

/** A batch has the patients of one stretch of ids: none of them comes back in another. */
static int answer_batch(QueryRun *run, const ManyQuery *query, const int64_t *patients,
                        size_t count, Arena *arena)
{
    int64_t kept[QUERY_PATIENT_BATCH];
    LoadKeys keys = {.patients = kept};
    Request passing = access_passing(run->req, arena);
    run->reader = &passing;
    int r = keep_visible(&passing, patients, count, kept, &keys.count);
    if (r == 0) {
        r = answer_objects(run, query->of_patients, keys, NULL);
    }
    run->reader = run->req;
    access_passed(run->req, &passing);
    for (size_t i = 0; i < run->patients.count; i++) {
        run->patients.items[i].scope = NULL;
    }
    arena_clear(arena);
    return r;
}

/** At least one batch, of nobody: what may not be known takes as long as what is not there. */
static int answer_many(QueryRun *run, const ManyQuery *query)
{
    _cleanup_(patient_list_done) PatientList patients = {0};
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int r = find_patients(run, query, &patients);
    size_t at = 0;
    do {
        size_t count = MIN(patients.count - at, (size_t)QUERY_PATIENT_BATCH);
        r = r < 0 ? r : answer_batch(run, query, patients.items + at, count, arena);
        at += count;
    } while (r == 0 && at < patients.count);
    return r;
}

int query_run_find_documents_of_many(QueryRun *run)
{
    static const Entrance entrances[] = {
        {FIELD_DocumentEntry_class_code, LOAD_DOCUMENTS_BY_CLASS},
        {FIELD_DocumentEntry_event_code_list, LOAD_DOCUMENTS_BY_TIME},
        {FIELD_DocumentEntry_healthcare_facility_type_code, LOAD_DOCUMENTS_BY_TIME},
    };
    return answer_many(run, &(ManyQuery){.entrances = entrances,
                                         .entrance_count = ARRAY_LEN(entrances),
                                         .of_patients = LOAD_DOCUMENTS_OF_PATIENT});
}

int query_run_find_folders_of_many(QueryRun *run)
{
    static const Entrance entrances[] = {{FIELD_Folder_code_list, LOAD_FOLDERS_BY_CODE}};
    return answer_many(run, &(ManyQuery){.entrances = entrances,
                                         .entrance_count = ARRAY_LEN(entrances),
                                         .of_patients = LOAD_FOLDERS_OF_PATIENT});
}
