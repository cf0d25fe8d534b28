#include "repository/imaging/arrival.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/crc32c.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/instance_rows.h"
#include "repository/imaging/rejection_notes.h"
#include "repository/imaging/study_time.h"

/** Transactions that lost a race for a row are repeated. */
#define ATTEMPTS 20
/** Studies of one association whose instances are counted before they are recorded. */
#define COUNTED_STUDIES 64
#define COUNTED_CLASSES 16

/** What has come of one study since it was recorded last. */
typedef struct StudyCount {
    Str study_uid;
    Str patient; /* CX */
    Str accession;
    AuditSopClass classes[COUNTED_CLASSES]; /* the last one holds what does not fit */
    size_t class_count;
} StudyCount;

struct Arrivals {
    Imaging *imaging;
    AuditEventType begun;
    AuditEventType stored;
    Arena *arena; /* of the AE */
    const Ae *ae;
    Arena *counted; /* of the studies */
    StudyCount *studies;
    size_t study_count;
};

struct Arrival {
    Arrivals *arrivals;
    BlobWriter *writer;
    StrBuf head; /* of a file whose data set has not begun yet */
    bool is_in_data_set;
    uint32_t crc; /* of the data set */
    uint64_t data_set_offset;
};

/* ---- audit ---- */

Arrivals *arrivals_new(Imaging *imaging, const Ae *ae, AuditEventType begun, AuditEventType stored)
{
    Arrivals *arrivals = HEAP_NEW(Arrivals);
    arrivals->imaging = imaging;
    arrivals->begun = begun;
    arrivals->stored = stored;
    arrivals->arena = arena_new();
    arrivals->ae = ae_copy(arrivals->arena, ae);
    arrivals->counted = arena_new();
    arrivals->studies = ARENA_ARRAY(arrivals->arena, StudyCount, COUNTED_STUDIES);
    return arrivals;
}

static StudyCount *find_count(const Arrivals *arrivals, Str study_uid, Str patient)
{
    for (size_t i = arrivals->study_count; i > 0; i--) {
        StudyCount *study = &arrivals->studies[i - 1];
        if (str_equal(study->study_uid, study_uid) && str_equal(study->patient, patient)) {
            return study;
        }
    }
    return NULL;
}

static void count_instance(Arena *arena, StudyCount *study, Str sop_class)
{
    size_t at = 0;
    while (at < study->class_count && !str_equal(study->classes[at].uid, sop_class)) {
        at++;
    }
    at = MIN(at, (size_t)COUNTED_CLASSES - 1);
    if (at == study->class_count) {
        study->classes[study->class_count++] = (AuditSopClass){.uid = str_dup(arena, sop_class)};
    }
    study->classes[at].instance_count++;
}

static int queue_event(const Arrivals *arrivals, Request *req, DbConn *conn, AuditEventType type,
                       const StudyCount *study)
{
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_STUDY,
         .id = study->study_uid,
         .accession = study->accession,
         .sop_classes = study->classes,
         .sop_class_count = study->class_count},
        {.kind = AUDIT_OBJECT_PATIENT, .id = study->patient},
    };
    const AuditEvent event = {.type = type, .objects = objects, .object_count = ARRAY_LEN(objects)};
    return audit_queue_event(arrivals->imaging->config.audit, conn, req, &event);
}

/** Records what has come since the last time. */
static int record_studies(Arrivals *arrivals, Request *req)
{
    if (arrivals->study_count == 0) {
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(arrivals->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    for (size_t i = 0; i < arrivals->study_count && rc == 0; i++) {
        rc = queue_event(arrivals, req, conn, arrivals->stored, &arrivals->studies[i]);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    if (rc == 0) {
        arrivals->study_count = 0;
        arena_clear(arrivals->counted);
    }
    return rc;
}

int arrivals_end(Arrivals *arrivals, Request *req)
{
    int rc = record_studies(arrivals, req);
    arena_free(arrivals->counted);
    arena_free(arrivals->arena);
    free(arrivals);
    return rc;
}

/* ---- bytes ---- */

int arrival_begin(Arrivals *arrivals, Request *req, const FileMeta *meta, Arrival **ret_arrival)
{
    const Ae *ae = arrivals->ae;
    if (ae->authority == 0) {
        return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                         "the assigning authority of PatientIDs from AE %.*s is not configured: "
                         "ask the operator for musubi ae add",
                         STR_ARG(ae->title));
    }
    Arrival *arrival = HEAP_NEW(Arrival);
    arrival->arrivals = arrivals;
    int rc = blob_writer_open(arrivals->imaging->blobs, req, &arrival->writer);
    if (rc == 0) {
        blob_writer_skip_sha1(arrival->writer);
    }
    if (rc == 0 && meta) {
        part10_write(meta, &arrival->head);
        arrival->data_set_offset = arrival->head.len;
        arrival->is_in_data_set = true;
        rc = blob_writer_write(arrival->writer, req, arrival->head.data, arrival->head.len);
        strbuf_clear(&arrival->head);
    }
    if (rc < 0) {
        arrival_abandon(arrival);
        return rc;
    }
    *ret_arrival = arrival;
    return 0;
}

static void sum_data_set(Arrival *arrival, Str bytes)
{
    arrival->crc = crc32c(arrival->crc, bytes.data, bytes.len);
}

/** Looks for where the data set of a file begins. */
static int find_data_set(Arrival *arrival, Request *req, Str bytes)
{
    FileMeta meta;
    size_t offset;
    strbuf_append(&arrival->head, bytes);
    int rc = part10_read(req->arena, &req->errors, strbuf_str(&arrival->head), &meta, &offset);
    if (rc <= 0) {
        return rc;
    }
    arrival->data_set_offset = offset;
    arrival->is_in_data_set = true;
    sum_data_set(arrival, str_from_offset(strbuf_str(&arrival->head), offset));
    strbuf_done(&arrival->head);
    return 0;
}

int arrival_write(Arrival *arrival, Request *req, const void *bytes, size_t len)
{
    Str piece = {bytes, len};
    int rc = 0;
    if (arrival->is_in_data_set) {
        sum_data_set(arrival, piece);
    } else {
        rc = find_data_set(arrival, req, piece);
    }
    return rc < 0 ? rc : blob_writer_write(arrival->writer, req, bytes, len);
}

void arrival_abandon(Arrival *arrival)
{
    if (!arrival) {
        return;
    }
    blob_writer_abandon(arrival->writer);
    strbuf_done(&arrival->head);
    free(arrival);
}

/* ---- whose it is ---- */

static bool has_institution(const Ae *ae, Str name)
{
    bool is_own = ae->institution_count == 0 || str_is_empty(name);
    for (size_t i = 0; i < ae->institution_count && !is_own; i++) {
        is_own = str_equal(ae->institutions[i], name);
    }
    return is_own;
}

static bool may_name(const Ae *ae, int32_t authority)
{
    bool may = ae->authority == authority;
    for (size_t i = 0; i < ae->issuer_count && !may; i++) {
        may = ae->issuers[i] == authority;
    }
    return may;
}

/** The authority follows from who sends; the issuer in the data set counts only where the sender
 * may name it. */
static void settle_origin(const Arrivals *arrivals, Request *req, NewInstance *instance)
{
    const InstanceRecord *record = instance->record;
    const Ae *ae = arrivals->ae;
    const bool has_issuer =
        !str_is_empty(record->patient_id_issuer) || !str_is_empty(record->patient_id_oid);
    const ImagingAuthority *issuer = ae_directory_issuer(
        arrivals->imaging->aes, req->arena, record->patient_id_issuer, record->patient_id_oid);
    instance->authority = ae->authority;
    if (issuer && may_name(ae, issuer->id)) {
        instance->authority = issuer->id;
    } else if (has_issuer) {
        instance->flags |= STUDY_ISSUER_REFUSED | STUDY_FOREIGN;
    }
    if (!has_institution(ae, record->institution_name)) {
        instance->flags |= STUDY_FOREIGN;
    }
    if (record->text.contradicts) {
        instance->flags |= STUDY_WRONG_CHARACTER_SET;
    }
}

static Str patient_cx(const Arrivals *arrivals, Request *req, const NewInstance *instance)
{
    const ImagingAuthority *authority =
        ae_directory_authority(arrivals->imaging->aes, req->arena, instance->authority);
    return str_shown(req->arena, str_printf(req->arena, "%.*s^^^&%.*s&ISO",
                                            STR_ARG(instance->record->patient_id),
                                            STR_ARG(authority ? authority->oid : STR_EMPTY)));
}

/* ---- rows ---- */

/** One transaction, and what is there already. */
typedef struct InsertAttempt {
    InstanceRowOutcome outcome;
    StoredDataSet *held;
    size_t held_count;
} InsertAttempt;

/** The instance, and with the first of its study the record that they begin to come. */
static int insert(const Arrivals *arrivals, Request *req, const NewInstance *instance,
                  const StudyCount *begun, InsertAttempt *ret_attempt)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[INSTANCE_ROWS_RESULTS + 1];
    const ErrorList before = req->errors;
    int rc = db_acquire(arrivals->imaging->config.pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : instance_rows_queue(req, conn, instance);
    if (rc == 0 && begun) {
        rc = queue_event(arrivals, req, conn, arrivals->begun, begun);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, results);
    if (rc == 0) {
        ret_attempt->outcome = instance_rows_outcome(req->arena, results, instance,
                                                     &ret_attempt->held, &ret_attempt->held_count);
    } else if (db_is_raced(conn, rc) && db_rollback(conn, req) == 0) {
        error_list_rewind(&req->errors, &before);
        ret_attempt->outcome = INSTANCE_ROW_RACED;
        rc = -(int)ERR_DATABASE_BUSY;
    }
    return rc;
}

/** Other files of this UID: one of them may have the same data set under another file meta
 * information. What differs is remembered in instance->others. */
static int compare_held(const Arrivals *arrivals, Request *req, NewInstance *instance,
                        InsertAttempt *attempt)
{
    Str *others = ARENA_ARRAY(req->arena, Str, attempt->held_count);
    for (size_t i = 0; i < attempt->held_count; i++) {
        const StoredDataSet *held = &attempt->held[i];
        bool is_same;
        int rc = same_data_set(arrivals->imaging->blobs, &instance->file, held, &is_same);
        if (rc < 0) {
            return error_add(&req->errors, (ErrorCode)-rc, NULL,
                             "the instance that is stored under this SOP Instance UID cannot be "
                             "read: nothing was stored; send it again later");
        }
        if (is_same) {
            attempt->outcome = INSTANCE_THERE;
            return 0;
        }
        others[i] = (Str){(const char *)held->sha256, sizeof(held->sha256)};
    }
    instance->others = others;
    instance->other_count = attempt->held_count;
    return 0;
}

static int insert_repeatedly(const Arrivals *arrivals, Request *req, NewInstance *instance,
                             const StudyCount *begun, InstanceRowOutcome *ret_outcome)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        InsertAttempt attempt = {.outcome = INSTANCE_HELD};
        int rc = insert(arrivals, req, instance, begun, &attempt);
        if (rc < 0 && attempt.outcome != INSTANCE_ROW_RACED) {
            return rc;
        }
        begun = rc == 0 ? NULL : begun; /* it is recorded now */
        rc = attempt.outcome == INSTANCE_HELD ? compare_held(arrivals, req, instance, &attempt) : 0;
        if (rc < 0) {
            return rc;
        }
        if (attempt.outcome <= INSTANCE_THERE) {
            *ret_outcome = attempt.outcome;
            return 0;
        }
    }
    return error_add(&req->errors, ERR_XDS_REPOSITORY_BUSY, NULL,
                     "many store the same instance at once: send it again");
}

static int store_rows(Arrivals *arrivals, Request *req, NewInstance *instance,
                      ArrivalOutcome *ret_outcome)
{
    static const ArrivalOutcome outcomes[] = {
        [INSTANCE_ADDED] = ARRIVAL_STORED,
        [INSTANCE_VARIANT] = ARRIVAL_DIFFERENT,
        [INSTANCE_THERE] = ARRIVAL_KNOWN,
    };
    const InstanceRecord *record = instance->record;
    Str patient = patient_cx(arrivals, req, instance);
    StudyCount *known = find_count(arrivals, record->study_uid, patient);
    int rc = known || arrivals->study_count < COUNTED_STUDIES ? 0 : record_studies(arrivals, req);
    if (rc < 0) {
        return rc;
    }
    StudyCount begun = {.study_uid = record->study_uid,
                        .patient = patient,
                        .accession = str_shown(req->arena, record->accession_number)};
    InstanceRowOutcome outcome = INSTANCE_THERE;
    rc = insert_repeatedly(arrivals, req, instance, known ? NULL : &begun, &outcome);
    if (rc < 0) {
        return rc;
    }
    if (!known) {
        known = &arrivals->studies[arrivals->study_count++];
        *known = (StudyCount){.study_uid = str_dup(arrivals->counted, begun.study_uid),
                              .patient = str_dup(arrivals->counted, begun.patient),
                              .accession = str_dup(arrivals->counted, begun.accession)};
    }
    count_instance(arrivals->counted, known, record->sop_class);
    *ret_outcome = outcomes[outcome];
    if (outcome != INSTANCE_THERE) {
        atomic_fetch_add(&arrivals->imaging->stored, 1);
    }
    return 0;
}

/** A worker may be in somebody else's hands: what becomes a key is looked at again. */
static int check_record(Request *req, const InstanceRecord *record)
{
    const struct {
        const char *name;
        Str uid;
    } uids[] = {
        {"(0020,000D) Study Instance UID", record->study_uid},
        {"(0020,000E) Series Instance UID", record->series_uid},
        {"(0008,0018) SOP Instance UID", record->sop_instance},
        {"(0008,0016) SOP Class UID", record->sop_class},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(uids); i++) {
        if (!dicom_uid_is_valid(uids[i].uid)) {
            rc = error_add(&req->errors, ERR_DICOM_DATA_SET, uids[i].name,
                           "%s is no UID: 1 to 64 digits and dots", uids[i].name);
        }
    }
    return rc;
}

static int store(Arrival *arrival, Request *req, const InstanceRecord *record,
                 ArrivalOutcome *ret_outcome)
{
    Arrivals *arrivals = arrival->arrivals;
    const ImagingConfig *config = &arrivals->imaging->config;
    NewInstance instance = {
        .record = record,
        .facility = arrivals->ae->facility,
        .node = arrivals->ae->node,
        .ae_title = arrivals->ae->title,
        .is_manifest_due = !arrivals->ae->makes_manifests,
        .file = {.offset = arrival->data_set_offset, .crc32c = arrival->crc},
    };
    if (!study_time_utc_us(record->study_date, record->study_time, record->timezone_offset,
                           config->source_timezone, &instance.started_us)) {
        instance.started_us = INT64_MIN;
    }
    settle_origin(arrivals, req, &instance);
    int rc = blob_writer_close(arrival->writer, req);
    if (rc < 0) {
        return rc;
    }
    instance.file.size_bytes = arrival->writer->content.size_bytes;
    memcpy(instance.file.sha256, arrival->writer->content.sha256, sizeof(instance.file.sha256));
    BlobWriter *writer = arrival->writer;
    arrival->writer = NULL; /* freed with the commit */
    rc = blob_writers_commit(arrivals->imaging->blobs, req, &writer, 1);
    if (rc < 0) {
        return rc;
    }
    fail_point("arrival.blob_durable");
    rc = store_rows(arrivals, req, &instance, ret_outcome);
    if (rc == 0) {
        fail_point("arrival.committed");
    }
    if (rc == 0 && rejection_note_is(record)) {
        rc = rejection_note_apply(arrivals->imaging, req, instance.facility, record);
    }
    return rc;
}

int arrival_end(Arrival *arrival, Request *req, const InstanceRecord *record,
                ArrivalOutcome *ret_outcome)
{
    int rc = -ERR_DICOM_DATA_SET;
    if (record && !arrival->is_in_data_set) {
        rc = error_add(&req->errors, ERR_DICOM_FILE, NULL, "the file ends before its data set");
    } else if (record) {
        rc = check_record(req, record);
        rc = rc < 0 ? rc : store(arrival, req, record, ret_outcome);
    }
    if (rc < 0) {
        *ret_outcome = ARRIVAL_REFUSED;
    }
    arrival_abandon(arrival);
    return rc;
}
