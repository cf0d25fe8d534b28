#pragma once

/* A study of two series, from which a manifest is made. */

#include "repository/imaging/manifest.h"

#define CT_IMAGE "1.2.840.10008.5.1.4.1.1.2"
#define ECG_WAVEFORM "1.2.840.10008.5.1.4.1.1.9.1.1"
#define TEXT_REPORT "1.2.840.10008.5.1.4.1.1.88.11"
#define SOURCE_UID "1.2.392.99999.6.1"
#define HOSPITAL_OID "1.2.392.99999.4.11"
/** 2026-04-01T03:04:05.678Z */
#define CHANGED_US INT64_C(1775012645678000)

static inline ImagingConfig manifest_config(void)
{
    return (ImagingConfig){
        .unique_id = SOURCE_UID,
        .ae_title = "MUSUBI",
        .public_url = "https://images.example/dicomweb",
        .source_timezone = "Asia/Tokyo",
        .class_code = "IMG^^1.2.392.99999.3",
        .confidentiality_code = "N^^2.16.840.1.113883.5.25",
        .type_code = "18748-4^^2.16.840.1.113883.6.1",
        .practice_setting_code = "394914008^^2.16.840.1.113883.6.96",
        .facility_type_code = "22232009^^2.16.840.1.113883.6.96",
        .language_code = "ja-JP",
    };
}

static const ManifestInstance manifest_instances[] = {
    {STR_INIT("1.2.3.1"), STR_INIT(CT_IMAGE), STR_INIT("1.2.3.1.1"), true},
    {STR_INIT("1.2.3.1"), STR_INIT(CT_IMAGE), STR_INIT("1.2.3.1.2"), true},
    {STR_INIT("1.2.3.2"), STR_INIT(ECG_WAVEFORM), STR_INIT("1.2.3.2.1"), false},
    {STR_INIT("1.2.3.2"), STR_INIT(TEXT_REPORT), STR_INIT("1.2.3.2.2"), false},
};
static const Str manifest_modalities[] = {STR_INIT("CT"), STR_INIT("SR")};
static const Str manifest_body_parts[] = {STR_INIT("CHEST")};

/** Everything is known of it. */
static inline ManifestStudy manifest_study(void)
{
    return (ManifestStudy){
        .id = 7,
        .received_us = CHANGED_US - 60000000,
        .changed_us = CHANGED_US,
        .started_us = INT64_C(1775000400000000), /* 2026-03-31T23:40:00Z */
        .facility = 1,
        .patient_id = STR("P1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"),
        .source_patient_id = STR("A1^^^&" HOSPITAL_OID "&ISO"),
        .authority = STR(HOSPITAL_OID),
        .study_uid = STR("1.2.3"),
        .patient_number = STR("A1"),
        .patient_name = STR("Yamada^Tarou=山田^太郎=やまだ^たろう"),
        .patient_birth_date = STR("19700102"),
        .patient_sex = STR("M"),
        .study_date = STR("20260401"),
        .study_time = STR("084000"),
        .accession_number = STR("ACC1"),
        .study_id = STR("S1"),
        .study_description = STR("胸部ＣＴ"),
        .referring_physician = STR("Suzuki^Hanako"),
        .institution_name = STR("結び病院"),
        .procedure = {STR("P5-09051"), STR("SRT"), STR("CT of chest")},
        .modalities = manifest_modalities,
        .modality_count = ARRAY_LEN(manifest_modalities),
        .body_parts = manifest_body_parts,
        .body_part_count = ARRAY_LEN(manifest_body_parts),
        .instances = manifest_instances,
        .instance_count = ARRAY_LEN(manifest_instances),
    };
}

/** Only what is never missing (PS3.3 C.7.2.1), and a patient who is known. */
static inline ManifestStudy manifest_bare_study(void)
{
    ManifestStudy full = manifest_study();
    return (ManifestStudy){
        .id = full.id,
        .received_us = full.received_us,
        .changed_us = full.changed_us,
        .started_us = INT64_MIN,
        .facility = full.facility,
        .patient_id = full.patient_id,
        .source_patient_id = full.source_patient_id,
        .authority = full.authority,
        .study_uid = full.study_uid,
        .patient_number = full.patient_number,
        .instances = manifest_instances,
        .instance_count = 1,
    };
}
