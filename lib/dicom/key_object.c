#include "lib/dicom/key_object.h"

#include <stdlib.h>

#define TAG_RETRIEVE_AE_TITLE DICOM_TAG(0x0008, 0x0054)
#define TAG_REFERENCED_CLASS DICOM_TAG(0x0008, 0x1150)
#define TAG_REFERENCED_INSTANCE DICOM_TAG(0x0008, 0x1155)
#define TAG_REFERENCED_SOPS DICOM_TAG(0x0008, 0x1199)
#define TAG_STUDY_UID DICOM_TAG(0x0020, 0x000D)
#define TAG_SERIES_UID DICOM_TAG(0x0020, 0x000E)
#define TAG_EVIDENCE DICOM_TAG(0x0040, 0xA375)
#define TAG_CONTENT DICOM_TAG(0x0040, 0xA730)
#define TAG_RETRIEVE_LOCATION DICOM_TAG(0x0040, 0xE011)

typedef struct References {
    Arena *arena;
    ErrorList *errors;
    InstanceReference *list;
    size_t count, capacity;
} References;

static bool has_uids(const InstanceReference *reference)
{
    return dicom_uid_is_valid(reference->sop_class) &&
           dicom_uid_is_valid(reference->sop_instance) &&
           (!reference->is_in_evidence || (dicom_uid_is_valid(reference->study_uid) &&
                                           dicom_uid_is_valid(reference->series_uid)));
}

static int add_reference(References *references, InstanceReference reference)
{
    if (!has_uids(&reference)) {
        return error_add(references->errors, ERR_DICOM_DATA_SET, "(0008,1199)",
                         "An item of a Referenced SOP Sequence (0008,1199) has no Referenced SOP "
                         "Class UID (0008,1150) or Referenced SOP Instance UID (0008,1155), or in "
                         "the Evidence Sequence no Study or Series Instance UID");
    }
    if (references->count == KEY_OBJECT_REFERENCES_MAX) {
        return error_add(references->errors, ERR_DICOM_DATA_SET, "(0008,1199)",
                         "The key object selection names more than 50000 instances");
    }
    if (references->count == references->capacity) {
        references->list = arena_grow(references->arena, references->list, &references->capacity,
                                      64, sizeof(*references->list));
    }
    references->list[references->count++] = reference;
    return 0;
}

/** All items of a Referenced SOP Sequence. @param common  what they share */
static int add_items(References *references, const DicomElement *sequence, InstanceReference common)
{
    for (size_t i = 0; i < sequence->item_count; i++) {
        common.sop_class = dicom_value(sequence->items[i], TAG_REFERENCED_CLASS);
        common.sop_instance = dicom_value(sequence->items[i], TAG_REFERENCED_INSTANCE);
        if (add_reference(references, common) < 0) {
            return -ERR_DICOM_DATA_SET;
        }
    }
    return 0;
}

/** Study items, each with series items (Hierarchical SOP Instance Reference Macro). */
static int read_evidence(References *references, const DicomDataset *dataset,
                         KeyObjectSelection *selection)
{
    const DicomDataset *study;
    for (size_t i = 0; (study = dicom_item(dataset, TAG_EVIDENCE, i)) != NULL; i++) {
        const DicomDataset *series;
        for (size_t k = 0; (series = dicom_item(study, DICOM_TAG(0x0008, 0x1115), k)) != NULL;
             k++) {
            Str location = dicom_value(series, TAG_RETRIEVE_LOCATION);
            if (selection->retrieve_location_uid.len == 0 && dicom_uid_is_valid(location)) {
                selection->retrieve_location_uid = location;
            }
            Str ae_title = dicom_value(series, TAG_RETRIEVE_AE_TITLE);
            if (selection->retrieve_ae_title.len == 0 && str_is_utf8(ae_title)) {
                selection->retrieve_ae_title = ae_title;
            }
            const DicomElement *sops = dicom_find(series, TAG_REFERENCED_SOPS);
            InstanceReference common = {.study_uid = dicom_value(study, TAG_STUDY_UID),
                                        .series_uid = dicom_value(series, TAG_SERIES_UID),
                                        .is_in_evidence = true};
            if (sops && add_items(references, sops, common) < 0) {
                return -ERR_DICOM_DATA_SET;
            }
        }
    }
    return 0;
}

/** Content items at any depth: a manifest with description holds an image library as well. */
static int read_content(References *references, const DicomDataset *dataset)
{
    const DicomElement *content = dicom_find(dataset, TAG_CONTENT);
    DicomWalk walk;
    for (size_t i = 0; content && i < content->item_count; i++) {
        dicom_walk_init(&walk, content->items[i]);
        const DicomElement *element = NULL;
        const DicomDataset *holder = NULL;
        DicomWalkEvent event;
        while ((event = dicom_walk_next(&walk, &element, &holder)) != DICOM_WALK_END) {
            if (event == DICOM_WALK_ELEMENT && element->tag == TAG_REFERENCED_SOPS &&
                add_items(references, element, (InstanceReference){.is_in_content = true}) < 0) {
                return -ERR_DICOM_DATA_SET;
            }
        }
    }
    return 0;
}

static int compare_references(const void *a, const void *b)
{
    const InstanceReference *left = *(const InstanceReference *const *)a;
    const InstanceReference *right = *(const InstanceReference *const *)b;
    return str_compare(left->sop_instance, right->sop_instance);
}

/** Content references to instances of the evidence become one with them. @return how many remain */
static size_t merge(References *references, size_t evidence_count)
{
    InstanceReference **sorted =
        ARENA_ARRAY(references->arena, InstanceReference *, MAX(evidence_count, (size_t)1));
    for (size_t i = 0; i < evidence_count; i++) {
        sorted[i] = &references->list[i];
    }
    qsort((void *)sorted, evidence_count, sizeof(*sorted), compare_references);
    size_t count = evidence_count;
    for (size_t i = evidence_count; i < references->count; i++) {
        InstanceReference *wanted = &references->list[i];
        InstanceReference **found = bsearch((const void *)&wanted, (const void *)sorted,
                                            evidence_count, sizeof(*sorted), compare_references);
        if (found) {
            (*found)->is_in_content = true;
        } else {
            references->list[count++] = *wanted;
        }
    }
    return count;
}

int key_object_read(Arena *arena, ErrorList *errors, const DicomDataset *dataset,
                    KeyObjectSelection *selection)
{
    References references = {.arena = arena, .errors = errors};
    if (read_evidence(&references, dataset, selection) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    size_t evidence_count = references.count;
    if (read_content(&references, dataset) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    selection->reference_count = merge(&references, evidence_count);
    selection->references = references.list;
    return 0;
}
