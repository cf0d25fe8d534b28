/* The document itself: Key Object Selection Document (PS3.3 A.35.4, PS3.16 TID 2010). */

#include <stdio.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/zone.h"
#include "lib/dicom/part10.h"
#include "repository/imaging/manifest.h"
#include "repository/imaging/study_time.h"

#define SECOND_US INT64_C(1000000)

/** What the parts of the document share. */
typedef struct Kos {
    Arena *arena;
    const ImagingConfig *config;
    const ManifestStudy *study;
    const ManifestPlan *plan;
    StrBuf *buf;
} Kos;

static void put(const Kos *kos, DicomDataset *dataset, uint32_t tag, DicomVr vr, Str value)
{
    dicom_put(kos->arena, dataset, tag, vr, value);
}

static void put_code(const Kos *kos, DicomDataset *dataset, uint32_t tag, Code code)
{
    DicomDataset *item = dicom_add_item(kos->arena, dataset, tag);
    put(kos, item, DICOM_TAG(0x0008, 0x0100), DICOM_VR_SH, code.code);
    put(kos, item, DICOM_TAG(0x0008, 0x0102), DICOM_VR_SH, code.scheme);
    put(kos, item, DICOM_TAG(0x0008, 0x0104), DICOM_VR_LO, code.display);
}

/** HL7v2 Hierarchic Designator Macro (PS3.3 Table 10-17). */
static void put_issuer(const Kos *kos, DicomDataset *dataset, uint32_t tag, Str oid)
{
    if (str_is_empty(oid)) {
        return;
    }
    DicomDataset *item = dicom_add_item(kos->arena, dataset, tag);
    put(kos, item, DICOM_TAG(0x0040, 0x0032), DICOM_VR_UT, oid);
    put(kos, item, DICOM_TAG(0x0040, 0x0033), DICOM_VR_CS, STR("ISO"));
}

static void put_empty_sequence(const Kos *kos, DicomDataset *dataset, uint32_t tag)
{
    put(kos, dataset, tag, DICOM_VR_SQ, STR_EMPTY);
}

/* ---- times ---- */

/** How far the clock of the study is ahead of UTC: as it says itself, else as its zone is. */
static int64_t offset_us(const Kos *kos)
{
    const ManifestStudy *study = kos->study;
    const char *zone = kos->config->source_timezone;
    int64_t utc_us;
    int64_t as_utc_us;
    bool has_time =
        study_time_utc_us(study->study_date, study->study_time, study->timezone_offset, zone,
                          &utc_us) &&
        study_time_utc_us(study->study_date, study->study_time, STR_EMPTY, "UTC", &as_utc_us);
    struct tm local;
    if (has_time) {
        return as_utc_us - utc_us;
    }
    if (!zone_to_local(zone, study->changed_us, &local) ||
        !zone_to_utc_us("UTC", &local, &as_utc_us)) {
        return 0;
    }
    return as_utc_us - study->changed_us / SECOND_US * SECOND_US;
}

/** Of all times in the document, those of the study among them. */
static void put_times(const Kos *kos, DicomDataset *dataset)
{
    int64_t offset = offset_us(kos);
    Str local = clock_dtm(kos->arena, kos->study->changed_us + offset);
    Str date = str_slice(local, 0, 8);
    Str time = str_slice(local, 8, 6);
    int64_t minutes = (offset < 0 ? -offset : offset) / (60 * SECOND_US);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0012), DICOM_VR_DA, date);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0013), DICOM_VR_TM, time);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0023), DICOM_VR_DA, date);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0033), DICOM_VR_TM, time);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0201), DICOM_VR_SH,
        str_printf(kos->arena, "%c%02d%02d", offset < 0 ? '-' : '+', (int)(minutes / 60),
                   (int)(minutes % 60)));
}

/* ---- modules ---- */

/** As the images have it; the identifier of the affinity domain is in the metadata alone. */
static void put_patient(const Kos *kos, DicomDataset *dataset)
{
    const ManifestStudy *study = kos->study;
    put(kos, dataset, DICOM_TAG(0x0010, 0x0010), DICOM_VR_PN, study->patient_name);
    put(kos, dataset, DICOM_TAG(0x0010, 0x0020), DICOM_VR_LO, study->patient_number);
    put_issuer(kos, dataset, DICOM_TAG(0x0010, 0x0024), study->authority);
    put(kos, dataset, DICOM_TAG(0x0010, 0x0030), DICOM_VR_DA, study->patient_birth_date);
    put(kos, dataset, DICOM_TAG(0x0010, 0x0040), DICOM_VR_CS, study->patient_sex);
}

static void put_study(const Kos *kos, DicomDataset *dataset)
{
    const ManifestStudy *study = kos->study;
    put(kos, dataset, DICOM_TAG(0x0008, 0x0020), DICOM_VR_DA, study->study_date);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0030), DICOM_VR_TM, study->study_time);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0050), DICOM_VR_SH, study->accession_number);
    put_issuer(kos, dataset, DICOM_TAG(0x0008, 0x0051), study->accession_oid);
    put(kos, dataset, DICOM_TAG(0x0008, 0x0090), DICOM_VR_PN, study->referring_physician);
    if (!str_is_empty(study->study_description)) {
        put(kos, dataset, DICOM_TAG(0x0008, 0x1030), DICOM_VR_LO, study->study_description);
    }
    put(kos, dataset, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, study->study_uid);
    put(kos, dataset, DICOM_TAG(0x0020, 0x0010), DICOM_VR_SH, study->study_id);
}

/** A series of its own (PS3.3 C.17.6.1), and equipment. */
static void put_series(const Kos *kos, DicomDataset *dataset)
{
    put(kos, dataset, DICOM_TAG(0x0008, 0x0060), DICOM_VR_CS, STR("KO"));
    put(kos, dataset, DICOM_TAG(0x0008, 0x0070), DICOM_VR_LO, STR(DICOM_IMPLEMENTATION_VERSION));
    if (!str_is_empty(kos->study->institution_name)) {
        put(kos, dataset, DICOM_TAG(0x0008, 0x0080), DICOM_VR_LO, kos->study->institution_name);
    }
    put_empty_sequence(kos, dataset, DICOM_TAG(0x0008, 0x1111));
    put(kos, dataset, DICOM_TAG(0x0020, 0x000E), DICOM_VR_UI, kos->plan->series_uid);
    put(kos, dataset, DICOM_TAG(0x0020, 0x0011), DICOM_VR_IS, STR("9999"));
    put(kos, dataset, DICOM_TAG(0x0020, 0x0013), DICOM_VR_IS,
        str_printf(kos->arena, "%d", kos->study->version + 1));
}

/** What was ordered (PS3.3 C.17.6.2). */
static void put_request(const Kos *kos, DicomDataset *dataset)
{
    const ManifestStudy *study = kos->study;
    if (str_is_empty(study->accession_number) && str_is_empty(study->placer_order)) {
        return;
    }
    DicomDataset *item = dicom_add_item(kos->arena, dataset, DICOM_TAG(0x0040, 0xA370));
    put(kos, item, DICOM_TAG(0x0008, 0x0050), DICOM_VR_SH, study->accession_number);
    put_issuer(kos, item, DICOM_TAG(0x0008, 0x0051), study->accession_oid);
    put_empty_sequence(kos, item, DICOM_TAG(0x0008, 0x1110));
    put(kos, item, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, study->study_uid);
    put(kos, item, DICOM_TAG(0x0032, 0x1060), DICOM_VR_LO, study->procedure.display);
    put_empty_sequence(kos, item, DICOM_TAG(0x0032, 0x1064));
    if (!str_is_empty(study->placer_order)) {
        put_issuer(kos, item, DICOM_TAG(0x0040, 0x0026), study->placer_order_oid);
    }
    put(kos, item, DICOM_TAG(0x0040, 0x1001), DICOM_VR_SH, STR_EMPTY);
    put(kos, item, DICOM_TAG(0x0040, 0x2016), DICOM_VR_LO, study->placer_order);
    put(kos, item, DICOM_TAG(0x0040, 0x2017), DICOM_VR_LO, STR_EMPTY);
}

static void put_document(const Kos *kos, DicomDataset *dataset)
{
    static const Code title = {STR_INIT("113030"), STR_INIT("DCM"), STR_INIT("Manifest")};
    put(kos, dataset, DICOM_TAG(0x0008, 0x0005), DICOM_VR_CS, STR("ISO_IR 192"));
    put(kos, dataset, DICOM_TAG(0x0008, 0x0016), DICOM_VR_UI, STR(UID_KEY_OBJECT_SELECTION));
    put(kos, dataset, DICOM_TAG(0x0008, 0x0018), DICOM_VR_UI, kos->plan->sop_instance);
    put(kos, dataset, DICOM_TAG(0x0040, 0xA040), DICOM_VR_CS, STR("CONTAINER"));
    put_code(kos, dataset, DICOM_TAG(0x0040, 0xA043), title);
    put(kos, dataset, DICOM_TAG(0x0040, 0xA050), DICOM_VR_CS, STR("SEPARATE"));
}

static void write_dataset(const Kos *kos, const DicomDataset *dataset)
{
    dicom_write(dataset, transfer_syntax_find(STR(UID_EXPLICIT_LITTLE_ENDIAN)), kos->buf);
}

/* ---- references: one by one, for a study has thousands ---- */

/** A copy whose arena is the one of a single item. */
static void write_reference(const Kos *kos, Arena *arena, const ManifestInstance *instance)
{
    size_t place = dicom_write_item(kos->buf);
    DicomDataset *item = dicom_dataset_new(arena);
    dicom_put(arena, item, DICOM_TAG(0x0008, 0x1150), DICOM_VR_UI, instance->sop_class);
    dicom_put(arena, item, DICOM_TAG(0x0008, 0x1155), DICOM_VR_UI, instance->sop_instance);
    write_dataset(kos, item);
    dicom_write_end(kos->buf, place);
    arena_clear(arena);
}

/** An item of the Referenced Series Sequence. @return behind its instances */
static size_t write_series(const Kos *kos, Arena *arena, size_t begin)
{
    const ManifestStudy *study = kos->study;
    const ManifestInstance *first = &study->instances[begin];
    size_t place = dicom_write_item(kos->buf);
    DicomDataset *before = dicom_dataset_new(arena);
    dicom_put(arena, before, DICOM_TAG(0x0008, 0x0054), DICOM_VR_AE,
              str_from(kos->config->ae_title));
    if (kos->config->public_url[0]) {
        dicom_put(arena, before, DICOM_TAG(0x0008, 0x1190), DICOM_VR_UR,
                  str_from(kos->config->public_url));
    }
    write_dataset(kos, before);
    size_t sops = dicom_write_sequence(kos->buf, DICOM_TAG(0x0008, 0x1199));
    size_t at = begin;
    while (at < study->instance_count &&
           str_equal(study->instances[at].series_uid, first->series_uid)) {
        write_reference(kos, arena, &study->instances[at]);
        at++;
    }
    dicom_write_end(kos->buf, sops);
    DicomDataset *behind = dicom_dataset_new(arena);
    dicom_put(arena, behind, DICOM_TAG(0x0020, 0x000E), DICOM_VR_UI, first->series_uid);
    dicom_put(arena, behind, DICOM_TAG(0x0040, 0xE011), DICOM_VR_UI,
              str_from(kos->config->unique_id));
    write_dataset(kos, behind);
    dicom_write_end(kos->buf, place);
    arena_clear(arena);
    return at;
}

/** Current Requested Procedure Evidence Sequence (PS3.3 C.17.2.1). */
static void write_evidence(const Kos *kos, Arena *arena)
{
    size_t evidence = dicom_write_sequence(kos->buf, DICOM_TAG(0x0040, 0xA375));
    size_t item = dicom_write_item(kos->buf);
    size_t series = dicom_write_sequence(kos->buf, DICOM_TAG(0x0008, 0x1115));
    for (size_t at = 0; at < kos->study->instance_count;) {
        at = write_series(kos, arena, at);
    }
    dicom_write_end(kos->buf, series);
    DicomDataset *study = dicom_dataset_new(arena);
    dicom_put(arena, study, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, kos->study->study_uid);
    write_dataset(kos, study);
    dicom_write_end(kos->buf, item);
    dicom_write_end(kos->buf, evidence);
}

static const char *value_type(const ManifestInstance *instance)
{
    switch (sop_kind(instance->sop_class, instance->has_pixel_data)) {
    case SOP_IMAGE:
        return "IMAGE";
    case SOP_WAVEFORM:
        return "WAVEFORM";
    case SOP_COMPOSITE:
    case SOP_OTHER:
        break;
    }
    return "COMPOSITE";
}

/** Content Sequence: every reference once more (PS3.3 C.17.3). */
static void write_content(const Kos *kos, Arena *arena)
{
    size_t content = dicom_write_sequence(kos->buf, DICOM_TAG(0x0040, 0xA730));
    for (size_t i = 0; i < kos->study->instance_count; i++) {
        const ManifestInstance *instance = &kos->study->instances[i];
        size_t place = dicom_write_item(kos->buf);
        size_t sops = dicom_write_sequence(kos->buf, DICOM_TAG(0x0008, 0x1199));
        write_reference(kos, arena, instance);
        dicom_write_end(kos->buf, sops);
        DicomDataset *item = dicom_dataset_new(arena);
        dicom_put(arena, item, DICOM_TAG(0x0040, 0xA010), DICOM_VR_CS, STR("CONTAINS"));
        dicom_put(arena, item, DICOM_TAG(0x0040, 0xA040), DICOM_VR_CS,
                  str_from(value_type(instance)));
        write_dataset(kos, item);
        dicom_write_end(kos->buf, place);
    }
    dicom_write_end(kos->buf, content);
}

static void write_template(const Kos *kos)
{
    DicomDataset *dataset = dicom_dataset_new(kos->arena);
    DicomDataset *item = dicom_add_item(kos->arena, dataset, DICOM_TAG(0x0040, 0xA504));
    put(kos, item, DICOM_TAG(0x0008, 0x0105), DICOM_VR_CS, STR("DCMR"));
    put(kos, item, DICOM_TAG(0x0040, 0xDB00), DICOM_VR_CS, STR("2010"));
    write_dataset(kos, dataset);
}

void manifest_kos_write(Arena *arena, const ImagingConfig *config, const ManifestStudy *study,
                        const ManifestPlan *plan, StrBuf *buf)
{
    const Kos kos = {arena, config, study, plan, buf};
    _cleanup_(arena_freep) Arena *item = arena_new();
    const FileMeta meta = {
        .sop_class = STR(UID_KEY_OBJECT_SELECTION),
        .sop_instance = plan->sop_instance,
        .transfer_syntax = STR(UID_EXPLICIT_LITTLE_ENDIAN),
        .source_ae_title = str_from(config->ae_title),
    };
    part10_write(&meta, buf);
    DicomDataset *dataset = dicom_dataset_new(arena);
    put_document(&kos, dataset);
    put_times(&kos, dataset);
    put_patient(&kos, dataset);
    put_study(&kos, dataset);
    put_series(&kos, dataset);
    put_request(&kos, dataset);
    write_dataset(&kos, dataset); /* up to (0040,A370) */
    write_evidence(&kos, item);   /* (0040,A375) */
    write_template(&kos);         /* (0040,A504) */
    write_content(&kos, item);    /* (0040,A730) */
}
