#pragma once

#include "lib/base/request.h"

struct Demographics; /* lib/hl7/demographics.h */

/**
 * What a repository asks about a patient to make an On-Demand document of it (ITI TF-2 3.43.4.2.2).
 * Everything is as the reader of the request may see it: what may not be known is not in it. All is
 * in the request's arena.
 */

/** An Approved, Stable DocumentEntry. */
typedef struct ListedDocument {
    Str unique_id;
    Str title;       /* may be empty */
    Str type_name;   /* display name of its typeCode */
    int64_t time_us; /* serviceStartTime, else creationTime; INT64_MIN: neither */
    int32_t source_facility;
} ListedDocument;

/** registry/ fills it in. */
typedef struct PatientDocuments {
    void *ctx;
    /**
     * The documents of a patient and of those merged into it, apart from snapshots of On-Demand
     * entries, in no order.
     * @param patient         row of patient_identifier, merged or not
     * @param ret_patient_id  CX of the survivor
     */
    int (*list)(void *ctx, Request *req, int64_t patient, Str *ret_patient_id,
                ListedDocument **ret_documents, size_t *ret_count);
} PatientDocuments;

/** pix/ fills it in. */
typedef struct PatientDescription {
    void *ctx;
    /** @param patient_id        CX of the affinity domain
     *  @param ret_demographics  all empty: nothing may be known */
    int (*describe)(void *ctx, Request *req, Str patient_id, struct Demographics *ret_demographics);
} PatientDescription;

/** A study of images. */
typedef struct ListedStudy {
    Str study_uid;
    Str date;        /* YYYYMMDD, or empty: local, as the modality said it */
    Str time;        /* hh[mm[ss]], or empty */
    Str description; /* the others may be empty too */
    Str modalities;  /* "CT, SR" */
    Str institution;
} ListedStudy;

/** repository/imaging fills it in. */
typedef struct PatientStudies {
    void *ctx;
    /** In no order. @param patient_id  CX of the affinity domain */
    int (*list)(void *ctx, Request *req, Str patient_id, ListedStudy **ret_studies,
                size_t *ret_count);
} PatientStudies;
