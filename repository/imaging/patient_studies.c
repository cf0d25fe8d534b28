#include "repository/imaging/imaging_state.h"
#include "repository/imaging/index.h"

/** Which studies a patient has, for those who make a document of it (lib/ebrim/patient_record.h).
 */

#define TAG_PATIENT_ID DICOM_TAG(0x0010, 0x0020)
#define TAG_STUDY_UID DICOM_TAG(0x0020, 0x000D)
#define TAG_DATE DICOM_TAG(0x0008, 0x0020)
#define TAG_TIME DICOM_TAG(0x0008, 0x0030)
#define TAG_DESCRIPTION DICOM_TAG(0x0008, 0x1030)
#define TAG_MODALITIES DICOM_TAG(0x0008, 0x0061)
#define TAG_INSTITUTION DICOM_TAG(0x0008, 0x0080)

typedef struct StudyList {
    Arena *arena;
    ListedStudy *items;
    size_t count;
    size_t capacity;
} StudyList;

static Str text_of(const StudyList *list, const DicomDataset *match, uint32_t tag)
{
    const DicomElement *element = dicom_find(match, tag);
    return element ? str_dup(list->arena, str_trim(element->value)) : STR_EMPTY;
}

/** Values with backslashes between, as a list to be read. */
static Str listed(Arena *arena, Str values)
{
    StrBuf buf = {0};
    Str value;
    while (str_split_next(&values, '\\', &value)) {
        strbuf_append(&buf, buf.len > 0 ? STR(", ") : STR_EMPTY);
        strbuf_append(&buf, str_trim(value));
    }
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static int add_study(void *ctx, Arena *arena, const DicomDataset *match)
{
    StudyList *list = ctx;
    (void)arena; /* of the match alone */
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 32;
        ListedStudy *grown = ARENA_ARRAY(list->arena, ListedStudy, capacity);
        if (list->count > 0) {
            memcpy(grown, list->items, list->count * sizeof(*grown));
        }
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = (ListedStudy){
        .study_uid = text_of(list, match, TAG_STUDY_UID),
        .date = text_of(list, match, TAG_DATE),
        .time = text_of(list, match, TAG_TIME),
        .description = text_of(list, match, TAG_DESCRIPTION),
        .modalities = listed(list->arena, text_of(list, match, TAG_MODALITIES)),
        .institution = text_of(list, match, TAG_INSTITUTION),
    };
    return 0;
}

static int list_studies(void *ctx, Request *req, Str patient_id, ListedStudy **ret_studies,
                        size_t *ret_count)
{
    const ImagingKey keys[] = {
        {.tag = TAG_PATIENT_ID, .value = patient_id},
        {.tag = TAG_STUDY_UID},
        {.tag = TAG_DATE},
        {.tag = TAG_TIME},
        {.tag = TAG_DESCRIPTION},
        {.tag = TAG_MODALITIES},
        {.tag = TAG_INSTITUTION},
    };
    const ImagingQuery query = {.level = IMAGING_STUDY, .keys = keys, .key_count = ARRAY_LEN(keys)};
    StudyList list = {.arena = req->arena};
    int rc = index_query(ctx, req, &query, add_study, &list);
    *ret_studies = list.items;
    *ret_count = list.count;
    return rc;
}

PatientStudies imaging_patient_studies(Imaging *imaging)
{
    return (PatientStudies){.ctx = imaging, .list = list_studies};
}
