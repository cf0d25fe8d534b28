#pragma once

/* The index of images over a schema of its own: two hospitals with a PACS each, and patients that
 * the PIX manager knows. */

#include "repository/imaging/ae_directory.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/index.h"
#include "repository/imaging/instance_rows.h"

#include "tests/unit/repository_service.h"

#define AFFINITY_DOMAIN "1.3.6.1.4.1.21367.2005.13.20.1000"

typedef struct Images {
    Service *service;
    Imaging imaging;
} Images;

/* Facilities 1 and 2; authorities 1: the affinity domain, 2 and 3: PACS of the facilities, 4:
 * department of facility 1. Person 1 is P1 in both hospitals' numbers A1 and B1, person 2 is A2 in
 * one and A1 in the other, person 3 has no XAD-PID. */
static const char image_patients[] =
    "INSERT INTO facility (name) VALUES ('one'), ('two');"
    "INSERT INTO node (name, facility, transactions, ae_titles) VALUES "
    "('pacs1', 1, '{*}', '{PACS1,VIEW1}'), ('pacs2', 2, '{*}', '{PACS2}'), "
    "('old', 1, '{*}', '{OLD}'), ('ward2', 2, '{*}', '{VIEW1}');"
    "UPDATE node SET revoked_at = now() WHERE name = 'old';"
    "INSERT INTO assigning_authority (oid, namespace, is_configured, facility, kind) VALUES "
    "('" AFFINITY_DOMAIN "', 'AD', true, NULL, ''), ('1.2.3.2', 'ONE', true, 1, 'pacs'), "
    "('1.2.3.3', 'TWO', true, 2, 'pacs'), ('1.2.3.4', 'DEP', true, 1, 'department');"
    "INSERT INTO imaging_ae (node, ae_title, host, port, issuers) VALUES "
    "(1, 'VIEW1', '192.0.2.1', 104, '{3}'), (2, 'PACS2', '192.0.2.2', 104, '{}'), "
    "(4, 'VIEW1', '192.0.2.4', 104, '{}');"
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) VALUES "
    "(1, 'P1', 1, true), (2, 'A1', 1, false), (3, 'B1', 1, false), "
    "(1, 'P2', 2, true), (2, 'A2', 2, false), (3, 'A1', 2, false), "
    "(2, 'A3', 3, false), (4, 'A2', 1, false);";

static inline int images_set_up(void **state)
{
    Images *images = calloc(1, sizeof(*images));
    void *service;
    assert_int_equal(service_set_up(&service), 0);
    images->service = service;
    service_run(images->service->pool, image_patients);
    const AeDirectoryConfig aes = {.pool = images->service->pool,
                                   .affinity_domain = STR(AFFINITY_DOMAIN),
                                   .class_code = STR("IMG^^1.2"),
                                   .confidentiality_code = STR("N^^1.3")};
    images->imaging = (Imaging){
        .config = {.pool = images->service->pool,
                   .audit = images->service->audit,
                   .ae_title = "MUSUBI",
                   .public_url = "https://musubi.example/dicomweb"},
        .blobs = images->service->repository->blobs,
        .aes = ae_directory_new(&aes),
    };
    Request *req = request_new(600000);
    if (ae_directory_refresh(images->imaging.aes, req) < 0) {
        fail_msg("%s", db_last_failure());
    }
    request_free(req);
    *state = images;
    return 0;
}

static inline int images_tear_down(void **state)
{
    Images *images = *state;
    void *service = images->service;
    ae_directory_free(images->imaging.aes);
    free(images);
    return service_tear_down(&service);
}

/** Of somebody who may do everything, at node 1 of facility 1. */
static inline Request *images_request(const Images *images)
{
    Request *req = request_new(600000);
    req->principal = &images->service->principal;
    return req;
}

/** What a test says of an instance; what it leaves out has a value. */
typedef struct Image {
    const char *study;
    const char *series;
    const char *sop;
    const char *patient;
    const char *bytes; /* of its data set */
    int32_t facility;  /* 0: 1 */
    int32_t authority; /* 0: 2 */
    const char *name;
    const char *date;
    const char *time;
    const char *accession;
    const char *modality;
    const char *number;
    const char *description;
    const uint8_t *sha256; /* of the file; NULL: of bytes that are nowhere */
    uint64_t size_bytes;   /* 0: 4096 */
} Image;

static inline Str text_or(const char *text, const char *otherwise)
{
    return str_from(text ? text : otherwise);
}

/** As arrivals make it; digests are of the bytes. */
static inline InstanceRecord image_record(Arena *arena, const Image *image)
{
    Str sop = str_from(image->sop);
    return (InstanceRecord){
        .study_uid = str_from(image->study),
        .series_uid = text_or(image->series, "1.2.9"),
        .sop_instance = sop,
        .sop_class = STR("1.2.840.10008.5.1.4.1.1.2"),
        .transfer_syntax = STR("1.2.840.10008.1.2.1"),
        .patient_id = text_or(image->patient, "A1"),
        .patient_name = text_or(image->name, "Yamada^Tarou=\xe5\xb1\xb1\xe7\x94\xb0^"
                                             "\xe5\xa4\xaa\xe9\x83\x8e"),
        .patient_birth_date = STR("19700101"),
        .patient_sex = STR("M"),
        .study_date = text_or(image->date, "20260401"),
        .study_time = text_or(image->time, "083000"),
        .accession_number = text_or(image->accession, "ACC1"),
        .study_id = STR("S1"),
        .study_description = text_or(image->description, "CT of the chest"),
        .modality = text_or(image->modality, "CT"),
        .series_number = STR("1"),
        .instance_number = text_or(image->number, "1"),
        .rows = 512,
        .columns = 512,
        .bits_allocated = 16,
        .samples_per_pixel = 1,
        .has_pixel_data = true,
        .pixel_offset = 8,
        .json =
            str_printf(arena, "{\"00080018\":{\"vr\":\"UI\",\"Value\":[\"%.*s\"]}}", STR_ARG(sop)),
    };
}

/** What is known of other files of an instance, by their CRC: nobody can read them here. */
static inline InstanceRowOutcome image_compare(Arena *arena, NewInstance *instance,
                                               const StoredDataSet *held, size_t count)
{
    Str *others = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        if (held[i].crc32c == instance->file.crc32c) {
            return INSTANCE_THERE;
        }
        others[i] = (Str){(const char *)held[i].sha256, sizeof(held[i].sha256)};
    }
    instance->others = others;
    instance->other_count = count;
    return INSTANCE_HELD;
}

/** The statement that makes an instance's rows, once. */
static inline InstanceRowOutcome image_attempt(DbPool *pool, Request *req, NewInstance *instance)
{
    DbConn *conn = NULL;
    DbResult *results[INSTANCE_ROWS_RESULTS];
    StoredDataSet *held;
    size_t count;
    if (db_acquire(pool, req, &conn) < 0 || db_queue_begin(conn, req) < 0 ||
        instance_rows_queue(req, conn, instance) < 0) {
        fail_msg("%s", db_last_failure());
    }
    InstanceRowOutcome outcome = INSTANCE_ROW_RACED;
    int rc = db_commit(conn, req, results);
    if (rc == 0) {
        outcome = instance_rows_outcome(req->arena, results, instance, &held, &count);
    } else if (!db_is_raced(conn, rc) || db_rollback(conn, req) < 0) {
        fail_msg("%s", db_last_failure());
    }
    db_release(conn);
    return outcome == INSTANCE_HELD ? image_compare(req->arena, instance, held, count) : outcome;
}

/** The row of an image. @param record  image_record() of it; borrowed */
static inline NewInstance image_row(const Image *image, const InstanceRecord *record)
{
    NewInstance instance = {
        .record = record,
        .facility = image->facility ? image->facility : 1,
        .node = image->facility ? image->facility : 1,
        .authority = image->authority ? image->authority : 2,
        .ae_title = STR("PACS1"),
        .started_us = INT64_MIN,
        .file = {.size_bytes = image->size_bytes ? image->size_bytes : 4096, .offset = 300},
    };
    Uuid digest = uuid_digest(text_or(image->bytes, image->sop));
    memcpy(instance.file.sha256, image->sha256 ? image->sha256 : digest.bytes,
           image->sha256 ? sizeof(instance.file.sha256) : sizeof(digest.bytes));
    instance.file.crc32c = digest.bytes[0];
    return instance;
}

/** As arrivals do it: again while somebody else was as fast, and once others are known. */
static inline InstanceRowOutcome image_insert(DbPool *pool, const Image *image)
{
    Request *req = request_new(600000);
    InstanceRecord record = image_record(req->arena, image);
    NewInstance instance = image_row(image, &record);
    InstanceRowOutcome outcome;
    do {
        outcome = image_attempt(pool, req, &instance);
    } while (outcome == INSTANCE_ROW_RACED || outcome == INSTANCE_HELD);
    request_free(req);
    return outcome;
}
