#include "repository/imaging/index.h"

#include <string.h>

#include "repository/imaging/imaging_state.h"
#include "repository/imaging/instance_rows.h"
#include "repository/imaging/study_copies.h"

/** Metadata are read in pieces of so many. */
#define METADATA_BATCH 128

/* What two copies of a study both hold is given once: as it came first. */
#define SELECT_INSTANCES                                                                           \
    "SELECT i.id, i.series, i.study, i.facility, r.series_uid, i.sop_class, i.sop_instance, "      \
    "i.transfer_syntax, i.sha256, i.size_bytes, i.data_set_offset, i.number_of_frames, "           \
    "i.has_pixel_data, CASE WHEN i.has_pixel_data THEN i.bits_allocated ELSE 0 END "               \
    "FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "                            \
    "WHERE i.study = ANY ($1::bigint[]) AND i.variant = 0 AND i.rejected = '' "                    \
    "AND (NOT $2::boolean OR NOT EXISTS (SELECT FROM imaging_instance o "                          \
    "WHERE o.sop_instance = i.sop_instance AND o.study = ANY ($1::bigint[]) AND o.variant = 0 "    \
    "AND o.rejected = '' AND o.id < i.id)) "
#define IN_ORDER "ORDER BY r.position, r.series_uid, i.position, i.sop_instance"

static const DbStatement select_of_study = {"imaging_instances_study", SELECT_INSTANCES IN_ORDER};
static const DbStatement select_of_series = {"imaging_instances_series", SELECT_INSTANCES
                                             "AND r.series_uid = $3::text " IN_ORDER};
static const DbStatement select_one = {"imaging_instances_one", SELECT_INSTANCES
                                       "AND ($3::text = '' OR r.series_uid = $3::text) "
                                       "AND i.sop_instance = $4::text " IN_ORDER};

static const DbStatement select_metadata = {
    "imaging_metadata",
    "SELECT i.metadata FROM unnest($1::bigint[]) WITH ORDINALITY w (id, at) "
    "LEFT JOIN imaging_instance i ON i.id = w.id ORDER BY w.at",
};

static const DbStatement select_frame = {
    "imaging_frame",
    "SELECT substr(frames, ($2::integer - 1) * 20 + 1, 20), length(frames), pixel_offset, "
    "least(image_rows::numeric * image_columns * samples_per_pixel * bits_allocated, "
    "9223372036854775807)::bigint, "
    "greatest(number_of_frames, 1) FROM imaging_instance WHERE id = $1::bigint",
};

/* ---- instances ---- */

typedef struct Finding {
    Imaging *imaging;
    Request *req;
    const ImagingTarget *target;
    StudyCopy *copies;
    size_t copy_count;
    ImagingInstance last; /* that was read */
    ImagingInstanceFn found;
    void *ctx; /* of found */
} Finding;

/** From the study down: what is not named is told by what is below it. */
static int read_copies(Finding *finding, DbConn *conn)
{
    const ImagingTarget *target = finding->target;
    const Str uids[] = {
        [STUDY_BY_UID] = target->study_uid,
        [STUDY_BY_SERIES] = target->series_uid,
        [STUDY_BY_INSTANCE] = target->sop_instance,
    };
    StudyNaming naming = !str_is_empty(target->study_uid)      ? STUDY_BY_UID
                         : !str_is_empty(target->sop_instance) ? STUDY_BY_INSTANCE
                                                               : STUDY_BY_SERIES;
    return study_copies_find(finding->req, conn, naming, uids[naming], &finding->copies,
                             &finding->copy_count);
}

static const StudyCopy *copy_of(const Finding *finding, int64_t study)
{
    const StudyCopy *copy = finding->copies;
    while (copy->study != study) {
        copy++;
    }
    return copy;
}

/** A text that is mostly that of the row before is kept once. */
static Str keep_text(const Finding *finding, const DbResult *row, int column, Str last)
{
    Str text = db_text(row, 0, column);
    return str_equal(text, last) ? last : str_dup(finding->req->arena, text);
}

/** A study may have so many instances that their rows are never all in memory. */
static int take_row(void *ctx, Request *req, const DbResult *row)
{
    Finding *finding = ctx;
    ImagingInstance *last = &finding->last;
    const StudyCopy *copy = copy_of(finding, db_i64(row, 0, 2));
    Str digest = db_text(row, 0, 8);
    *last = (ImagingInstance){
        .instance = db_i64(row, 0, 0),
        .series = db_i64(row, 0, 1),
        .study = copy->study,
        .facility = db_i32(row, 0, 3),
        .patient = copy->patient,
        .study_uid = copy->study_uid,
        .series_uid = keep_text(finding, row, 4, last->series_uid),
        .sop_class = keep_text(finding, row, 5, last->sop_class),
        .sop_instance = str_dup(finding->req->arena, db_text(row, 0, 6)),
        .transfer_syntax = keep_text(finding, row, 7, last->transfer_syntax),
        .size_bytes = (uint64_t)db_i64(row, 0, 9),
        .data_set_offset = (uint64_t)db_i64(row, 0, 10),
        .number_of_frames = db_i64(row, 0, 11),
        .has_pixel_data = db_bool(row, 0, 12),
        .bits_allocated = db_i32(row, 0, 13),
    };
    if (digest.len != sizeof(last->sha256)) {
        return error_add(&req->errors, ERR_CORRUPT, NULL, "a row of imaging_instance is damaged");
    }
    memcpy(last->sha256, digest.data, digest.len);
    return finding->found(finding->ctx, last);
}

static int read_instances(Finding *finding, DbConn *conn, const StudyUnion *study)
{
    const ImagingTarget *target = finding->target;
    const bool has_series = !str_is_empty(target->series_uid);
    const bool has_instance = !str_is_empty(target->sop_instance);
    DbParams params;
    db_params_init(&params, finding->req->arena);
    db_param_i64_array(&params, study->copies, study->copy_count);
    db_param_bool(&params, study->copy_count > 1);
    if (has_series || has_instance) {
        db_param_text(&params, target->series_uid);
    }
    if (has_instance) {
        db_param_text(&params, target->sop_instance);
    }
    return db_stream(conn, finding->req,
                     has_instance ? &select_one
                     : has_series ? &select_of_series
                                  : &select_of_study,
                     &params, take_row, finding);
}

int index_find_instances(Imaging *imaging, Request *req, const ImagingTarget *target,
                         AccessPurpose purpose, ImagingInstanceFn found, void *ctx)
{
    Finding finding = {
        .imaging = imaging, .req = req, .target = target, .found = found, .ctx = ctx};
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : read_copies(&finding, conn);
    rc = rc < 0 ? rc
                : study_copies_decide(ae_directory_codes(imaging->aes), req, finding.copies,
                                      finding.copy_count, purpose);
    if (rc < 0) {
        return rc;
    }
    const StudyUnion study = study_copies_unite(req->arena, finding.copies, finding.copy_count);
    return read_instances(&finding, conn, &study);
}

/* ---- metadata and frames ---- */

static int read_metadata(Imaging *imaging, Request *req, const ImagingInstance *instances,
                         size_t count, DbResult **ret_rows)
{
    int64_t ids[METADATA_BATCH];
    DbParams params;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    for (size_t i = 0; i < count; i++) {
        ids[i] = instances[i].instance;
    }
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, ids, count);
    int rc = db_acquire(imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_metadata, &params, ret_rows);
}

int index_metadata(Imaging *imaging, Request *req, const ImagingInstance *instances, size_t count,
                   int (*metadata)(void *ctx, size_t index, Str json), void *ctx)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int rc = 0;
    for (size_t first = 0; first < count && rc == 0; first += METADATA_BATCH) {
        size_t in_batch = MIN(count - first, (size_t)METADATA_BATCH);
        DbResult *rows = NULL;
        Request passing = access_passing(req, arena);
        rc = read_metadata(imaging, &passing, &instances[first], in_batch, &rows);
        req->errors = passing.errors;
        for (size_t i = 0; i < in_batch && rc == 0; i++) {
            Str json;
            rc =
                instance_rows_metadata(arena, db_text(rows, (int)i, 0), &json)
                    ? metadata(ctx, first + i, json)
                    : error_add(&req->errors, ERR_CORRUPT, NULL, "the metadata of %.*s are damaged",
                                STR_ARG(instances[first + i].sop_instance));
        }
        arena_clear(arena);
    }
    return rc;
}

static bool is_deflated(Str transfer_syntax)
{
    const TransferSyntax *syntax = transfer_syntax_find(transfer_syntax);
    return syntax && syntax->is_deflated;
}

/** Native frames follow each other (PS3.5 8.1.1); those of 1 bit that do not end with a byte have
 * no place of their own. */
static bool native_frame(int64_t pixel_offset, int64_t frame_bits, int64_t frames, int64_t frame,
                         DicomFrame *ret_frame)
{
    if (pixel_offset <= 0 || frame < 1 || frame > frames || frame_bits <= 0 ||
        frame_bits % 8 != 0) {
        return false;
    }
    uint64_t length = (uint64_t)frame_bits / 8;
    uint64_t distance;
    if (__builtin_mul_overflow(length, (uint64_t)(frame - 1), &distance)) {
        return false;
    }
    *ret_frame = (DicomFrame){.offset = (uint64_t)pixel_offset + distance, .length = length};
    return true;
}

int index_frame(Imaging *imaging, Request *req, const ImagingInstance *instance, int64_t frame,
                DicomFrame *ret_frame)
{
    DbParams params;
    DbResult *rows;
    if (frame < 1 || frame > (int64_t)DICOM_FRAMES_MAX || is_deflated(instance->transfer_syntax)) {
        return 0;
    }
    db_params_init(&params, req->arena);
    db_param_i64(&params, instance->instance);
    db_param_i32(&params, (int32_t)frame);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_frame, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    DicomFrame found;
    bool is_found = db_i32(rows, 0, 1) > 0 ? instance_rows_frame(db_text(rows, 0, 0), 1, &found)
                                           : native_frame(db_i64(rows, 0, 2), db_i64(rows, 0, 3),
                                                          db_i64(rows, 0, 4), frame, &found);
    if (!is_found) {
        return 0;
    }
    found.offset += instance->data_set_offset;
    *ret_frame = found;
    return 1;
}
