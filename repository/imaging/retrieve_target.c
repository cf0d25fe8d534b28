#include "repository/imaging/retrieve_target.h"

#include <stdlib.h>

#include "lib/dicom/uid.h"
#include "lib/dicom/worker_fields.h"
#include "repository/imaging/query_match.h"

#define PATIENT_ID DICOM_TAG(0x0010, 0x0020)
#define ISSUER DICOM_TAG(0x0010, 0x0021)
#define STUDY_UID DICOM_TAG(0x0020, 0x000d)
#define SERIES_UID DICOM_TAG(0x0020, 0x000e)
#define SOP_INSTANCE_UID DICOM_TAG(0x0008, 0x0018)
#define KEY_HEADER 10U /* tag and VR */
/** Of a list. */
#define UIDS_MAX 65536

static const struct {
    const char *name;
    uint32_t unique_key;
} levels[] = {
    [IMAGING_PATIENT] = {"PATIENT", PATIENT_ID},
    [IMAGING_STUDY] = {"STUDY", STUDY_UID},
    [IMAGING_SERIES] = {"SERIES", SERIES_UID},
    [IMAGING_INSTANCE] = {"IMAGE", SOP_INSTANCE_UID},
};

/* ---- the identifier ---- */

static bool read_level(Str text, bool has_patients, ImagingLevel *ret_level)
{
    for (size_t i = has_patients ? IMAGING_PATIENT : IMAGING_STUDY; i < ARRAY_LEN(levels); i++) {
        if (str_equal(str_trim(text), str_from(levels[i].name))) {
            *ret_level = (ImagingLevel)i;
            return true;
        }
    }
    return false;
}

static void take_key(Request *req, Str key, RetrieveTarget *target)
{
    uint8_t tag[4];
    if (key.len < KEY_HEADER || !str_unhex(str_slice(key, 0, 8), tag, sizeof(tag))) {
        return;
    }
    uint32_t number =
        (uint32_t)tag[0] << 24 | (uint32_t)tag[1] << 16 | (uint32_t)tag[2] << 8 | tag[3];
    Str value = str_dup(req->arena, str_trim(str_from_offset(key, KEY_HEADER)));
    if (number == PATIENT_ID) {
        target->patient_id = value;
    } else if (number == ISSUER) {
        target->issuer = value;
    }
    for (size_t i = IMAGING_STUDY; i < ARRAY_LEN(levels); i++) {
        if (number == levels[i].unique_key) {
            target->uids[i] = value;
        }
    }
}

static bool is_list_of_uids(Str list)
{
    Str uid;
    size_t count = 0;
    while (str_split_next(&list, '\\', &uid)) {
        if (!dicom_uid_is_valid(uid) || ++count > UIDS_MAX) {
            return false;
        }
    }
    return count > 0;
}

/** The unique key of a patient is matched as a single value (PS3.4 C.4.2.1.4.1). */
static bool is_one_patient(Str patient_id)
{
    return !str_is_empty(patient_id) && !query_is_wildcard(patient_id) &&
           str_find_char(patient_id, '\\') == SIZE_MAX;
}

static int check_keys(Request *req, const RetrieveTarget *target)
{
    if (target->has_patients && !is_one_patient(target->patient_id)) {
        return error_add(&req->errors, ERR_DICOM_DATA_SET, "(0010,0020)",
                         "patient root needs one value of (0010,0020)");
    }
    for (size_t i = IMAGING_STUDY; i <= target->level; i++) {
        bool is_good = i == target->level ? is_list_of_uids(target->uids[i])
                                          : dicom_uid_is_valid(target->uids[i]);
        if (!is_good) {
            return error_add(&req->errors, ERR_DICOM_DATA_SET, NULL,
                             "(%04X,%04X) needs %s at level %s", levels[i].unique_key >> 16,
                             levels[i].unique_key & 0xffff, i == target->level ? "UIDs" : "one UID",
                             levels[target->level].name);
        }
    }
    return 0;
}

int retrieve_target_read(Request *req, Str fields, RetrieveTarget *ret_target)
{
    Str rest = fields;
    WorkerField field;
    Str value;
    *ret_target =
        (RetrieveTarget){.has_patients = str_equal(worker_get(fields, WORKER_MODEL), STR("P"))};
    if (!read_level(worker_get(fields, WORKER_LEVEL), ret_target->has_patients,
                    &ret_target->level)) {
        return error_add(&req->errors, ERR_DICOM_DATA_SET, "(0008,0052)",
                         "(0008,0052) is no level of this model");
    }
    while (worker_next(&rest, &field, &value)) {
        if (field == WORKER_KEY) {
            take_key(req, value, ret_target);
        }
    }
    return check_keys(req, ret_target);
}

/* ---- studies of a patient ---- */

typedef struct UidList {
    Arena *arena;
    Str *items;
    size_t count;
    size_t capacity;
} UidList;

static void add_uid(UidList *list, Str uid)
{
    if (list->count == list->capacity) {
        list->items = arena_grow(list->arena, list->items, &list->capacity, 16, sizeof(Str));
    }
    list->items[list->count++] = uid;
}

static void split_uids(Str text, UidList *list)
{
    Str uid;
    while (str_split_next(&text, '\\', &uid)) {
        add_uid(list, uid);
    }
}

static int compare_uids(const void *one, const void *other)
{
    return str_compare(*(const Str *)one, *(const Str *)other);
}

static bool has_uid(const UidList *sorted, Str uid)
{
    return sorted->count > 0 &&
           bsearch(&uid, sorted->items, sorted->count, sizeof(uid), compare_uids) != NULL;
}

static void sort_uids(UidList *list)
{
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof(*list->items), compare_uids);
    }
}

static int take_study(void *ctx, UNUSED Arena *arena, const DicomDataset *match)
{
    UidList *studies = ctx;
    add_uid(studies, str_dup(studies->arena, dicom_value(match, STUDY_UID)));
    return 0;
}

/** The studies to look into: those named, of the patient where one is named, once each. */
static int find_studies(Imaging *imaging, Request *req, const Ae *ae, const RetrieveTarget *target,
                        UidList *studies)
{
    if (!target->has_patients) {
        split_uids(target->uids[IMAGING_STUDY], studies);
        sort_uids(studies);
        return 0;
    }
    const ImagingKey keys[] = {
        {PATIENT_ID, target->patient_id},
        {ISSUER, target->issuer},
        {STUDY_UID, target->uids[IMAGING_STUDY]},
    };
    const ImagingQuery query = {
        .ae = ae, .level = IMAGING_STUDY, .keys = keys, .key_count = ARRAY_LEN(keys)};
    int rc = index_query(imaging, req, &query, take_study, studies);
    sort_uids(studies);
    return rc;
}

/* ---- instances ---- */

typedef struct Collecting {
    Arena *arena;
    UidList wanted; /* of series or instances, sorted; none: all */
    ImagingLevel level;
    ImagingInstance *instances;
    size_t count;
    size_t capacity;
} Collecting;

static int collect(void *ctx, const ImagingInstance *instance)
{
    Collecting *collecting = ctx;
    Str uid = collecting->level == IMAGING_SERIES ? instance->series_uid : instance->sop_instance;
    if (collecting->wanted.count > 0 && !has_uid(&collecting->wanted, uid)) {
        return 0;
    }
    if (collecting->count == collecting->capacity) {
        collecting->instances = arena_grow(collecting->arena, collecting->instances,
                                           &collecting->capacity, 64, sizeof(*instance));
    }
    collecting->instances[collecting->count++] = *instance;
    return 0;
}

/** Of a list, the level above is read and what is not listed left out. */
static ImagingTarget narrow(const RetrieveTarget *target, Collecting *collecting)
{
    ImagingTarget narrowed = {STR_EMPTY, STR_EMPTY, STR_EMPTY};
    Str *const keys[] = {
        [IMAGING_SERIES] = &narrowed.series_uid, [IMAGING_INSTANCE] = &narrowed.sop_instance};
    for (size_t i = IMAGING_SERIES; i < ARRAY_LEN(keys) && i <= target->level; i++) {
        if (str_find_char(target->uids[i], '\\') == SIZE_MAX) {
            *keys[i] = target->uids[i];
        } else {
            split_uids(target->uids[i], &collecting->wanted);
            sort_uids(&collecting->wanted);
        }
    }
    return narrowed;
}

int retrieve_target_find(Imaging *imaging, Request *req, const Ae *ae, const RetrieveTarget *target,
                         ImagingInstance **ret_instances, size_t *ret_count)
{
    Collecting collecting = {
        .arena = req->arena, .wanted = {.arena = req->arena}, .level = target->level};
    UidList studies = {.arena = req->arena};
    ImagingTarget narrowed = narrow(target, &collecting);
    int rc = find_studies(imaging, req, ae, target, &studies);
    for (size_t i = 0; i < studies.count && rc == 0; i++) {
        if (i > 0 && str_equal(studies.items[i], studies.items[i - 1])) {
            continue;
        }
        narrowed.study_uid = studies.items[i];
        rc = index_find_instances(imaging, req, &narrowed, ACCESS_DOWNLOAD, collect, &collecting);
    }
    *ret_instances = collecting.instances;
    *ret_count = collecting.count;
    return rc;
}
