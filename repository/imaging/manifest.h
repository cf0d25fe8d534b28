#pragma once

#include "lib/ebrim/codes.h"
#include "repository/imaging/imaging_state.h"

/**
 * Manifests that this server makes (RAD TF-2 4.68): when a study has been quiet for long enough, a
 * Key Object Selection Document of all its instances, registered as a document. A later instance
 * replaces it by one with a new SOP Instance UID.
 */

/** Titles and templates of manifests (PS3.16 CID 7010, TID 2010). */
#define MANIFEST_FORMAT_CODE "1.2.840.10008.5.1.4.1.1.88.59"
#define MANIFEST_FORMAT_SCHEME "1.2.840.10008.2.6.1"

/** One instance that a manifest names. */
typedef struct ManifestInstance {
    Str series_uid; /* those of a series stand together */
    Str sop_class;
    Str sop_instance;
    bool has_pixel_data;
} ManifestInstance;

/** A row of imaging_study and what belongs to it, in UTF-8. */
typedef struct ManifestStudy {
    int64_t id;
    int64_t received_us;
    int64_t changed_us;
    int64_t started_us; /* INT64_MIN: not known */
    int32_t facility;
    int32_t version;       /* of the last manifest; 0: none */
    Uuid entry;            /* of the last manifest's DocumentEntry */
    Str unique_id;         /* the same */
    Str digest;            /* of what it lists */
    Str source_unique_id;  /* of the manifest that the source provided; empty: none */
    Str patient_id;        /* XAD-PID as CX */
    Str source_patient_id; /* PatientID with its authority, as CX */
    Str authority;         /* OID of it */
    Str study_uid;
    Str patient_number;
    Str patient_name; /* PN */
    Str patient_birth_date;
    Str patient_sex;
    Str study_date;
    Str study_time;
    Str timezone_offset;
    Str accession_number;
    Str study_id;
    Str study_description;
    Str referring_physician;
    Str institution_name;
    Str accession_oid;
    Str placer_order;
    Str placer_order_oid;
    Code procedure; /* scheme: designator */
    Code anatomy;   /* the same */
    const Str *modalities;
    size_t modality_count;
    const Str *body_parts;
    size_t body_part_count;
    const ManifestInstance *instances;
    size_t instance_count;
} ManifestStudy;

/** What is new with a version. The same study gives the same plan as long as nothing comes, so that
 * an attempt whose end is not known is repeated, and not made twice. */
typedef struct ManifestPlan {
    Str digest;       /* SHA-256 over the instances */
    Str sop_instance; /* of the document */
    Str series_uid;   /* of manifests of this study */
    Uuid entry;
    Uuid submission_set;
    Uuid replaced; /* with is_replacement */
    bool is_replacement;
} ManifestPlan;

/** In the arena. */
ManifestPlan manifest_plan(Arena *arena, const ImagingConfig *config, const ManifestStudy *study);

/** Appends the document: a file (PS3.10) in Explicit VR Little Endian. */
void manifest_kos_write(Arena *arena, const ImagingConfig *config, const ManifestStudy *study,
                        const ManifestPlan *plan, StrBuf *buf);

/** Appends lcm:SubmitObjectsRequest with the metadata (RAD TF-2 4.68.4.1.2.3).
 * @param codes  of the affinity domain; NULL: every code is taken */
void manifest_metadata_write(Arena *arena, const ImagingConfig *config, const CodeSets *codes,
                             const ManifestStudy *study, const ManifestPlan *plan, StrBuf *buf);

/** The thread that makes them. NULL: it cannot be started. */
typedef struct ManifestMaker ManifestMaker;
ManifestMaker *manifest_maker_new(Imaging *imaging, char *ret_problem, size_t problem_size);
void manifest_maker_free(ManifestMaker *maker);
