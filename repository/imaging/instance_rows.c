#include "repository/imaging/instance_rows.h"

#include <assert.h>
#include <string.h>
#include <zstd.h>

#define FRAME_BYTES 20
#define METADATA_LEVEL 3
#define METADATA_MAX ((unsigned long long)64 << 20)
/** Of a text that is kept in a column; all of it is in the metadata. */
#define COLUMN_TEXT_MAX 1024
/** A position that sorts behind all numbers. */
#define POSITION_LAST INT64_MAX

#define NOTHING(name)
#define COLUMN(name) ", " #name
#define VALUE(name) record->name,

/* Placeholders follow the order of instance_rows_queue(). A study that is new to this statement is
 * not seen by its UPDATE, and needs none. */
/* Held against a rejection note that is just being applied: of the two that come at once one sees
 * the other. */
static const DbStatement lock_facility = {
    "imaging_facility_lock",
    "SELECT pg_advisory_xact_lock_shared(" IMAGING_REJECTION_LOCK ", $1::integer)",
};

static const DbStatement insert_instance = {
    "imaging_instance_insert",
    "WITH same AS (SELECT study, variant, sha256, size_bytes, data_set_offset, data_set_crc32c "
    "FROM imaging_instance WHERE sop_instance = $16::text AND facility = $1::integer), "
    "noted AS (SELECT rejected, rejected_by FROM imaging_rejection WHERE sop_instance = $16::text "
    "AND facility = $1::integer AND study_uid IN ('', $4::text) LIMIT 1), "
    "is_new AS (SELECT WHERE NOT EXISTS (SELECT FROM same WHERE sha256 <> ALL ($36::bytea[]))), "
    "old_study AS (SELECT id FROM imaging_study WHERE study_uid = $4::text "
    "AND facility = $1::integer AND authority = $3::integer AND patient_number = $5::text), "
    "new_study AS (INSERT INTO imaging_study (facility, node, authority, study_uid, "
    "patient_number, ae_title, started_at, flags, is_manifest_due, character_set, "
    "character_set_confidence"
#define FIELD_STUDY COLUMN
#define FIELD_SERIES NOTHING
#define FIELD_INSTANCE NOTHING
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
    ", accession_oid, placer_order, placer_order_oid, procedure_value, procedure_scheme, "
    "procedure_meaning, anatomy_value, anatomy_scheme, anatomy_meaning) "
    "SELECT $1::integer, $2::integer, $3::integer, $4::text, $5::text, $6::text, "
    "$7::timestamptz, $8::integer | CASE WHEN EXISTS (SELECT FROM same) THEN $35::integer ELSE 0 "
    "END, $9::boolean, $10::text, $11::smallint, t[1], t[2], t[3], t[4], "
    "t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16], t[17], t[18], "
    "t[19], t[20] FROM (SELECT $12::text[]) v (t), is_new "
    "WHERE NOT EXISTS (SELECT FROM old_study) ON CONFLICT DO NOTHING RETURNING id), "
    "study AS (SELECT id FROM old_study UNION ALL SELECT id FROM new_study), "
    "old_series AS (SELECT r.id FROM imaging_series r JOIN study s ON r.study = s.id "
    "WHERE r.series_uid = $13::text), "
    "new_series AS (INSERT INTO imaging_series (study, series_uid, position"
#define FIELD_STUDY NOTHING
#define FIELD_SERIES COLUMN
#define FIELD_INSTANCE NOTHING
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
    ") SELECT s.id, $13::text, $14::bigint, t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], "
    "t[10], t[11] FROM study s, (SELECT $15::text[]) v (t), is_new "
    "WHERE NOT EXISTS (SELECT FROM old_series) ON CONFLICT DO NOTHING RETURNING id), "
    "series AS (SELECT id FROM old_series UNION ALL SELECT id FROM new_series), "
    "added AS (INSERT INTO imaging_instance (series, study, facility, node, variant, "
    "sop_instance, position, size_bytes, data_set_offset, pixel_offset, number_of_frames, "
    "image_rows, image_columns, bits_allocated, samples_per_pixel, has_pixel_data, is_lossy, "
    "sha256, data_set_crc32c, sop_class, transfer_syntax, frames, metadata, rejected, rejected_by"
#define FIELD_STUDY NOTHING
#define FIELD_SERIES NOTHING
#define FIELD_INSTANCE COLUMN
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
    ") SELECT series.id, study.id, $1::integer, $2::integer, "
    "coalesce((SELECT max(variant) + 1 FROM same), 0), $16::text, $17::bigint, $18::bigint, "
    "$19::bigint, $20::bigint, $21::bigint, $22::integer, $23::integer, $24::integer, "
    "$25::integer, $26::boolean, $27::boolean, $28::bytea, $29::bigint, $30::text, $31::text, "
    "$33::bytea, $34::bytea, coalesce((SELECT rejected FROM noted), ''), "
    "coalesce((SELECT rejected_by FROM noted), ''), t[1], t[2], t[3] "
    "FROM study, series, (SELECT $32::text[]) v (t), is_new "
    "RETURNING study, variant), "
    "changed AS (UPDATE imaging_study s SET changed_at = clock_timestamp(), "
    "is_manifest_due = s.is_manifest_due OR $9::boolean, flags = s.flags | a.flags "
    "FROM (SELECT study, $8::integer | CASE WHEN variant > 0 THEN $35::integer ELSE 0 END flags "
    "FROM added) a WHERE s.id = a.study AND (s.changed_at < clock_timestamp() - interval '1 s' "
    "OR ($9::boolean AND NOT s.is_manifest_due) OR s.flags | a.flags <> s.flags)), "
    "flagged AS (UPDATE imaging_study SET flags = flags | $35::integer WHERE id IN "
    "(SELECT study FROM same) AND EXISTS (SELECT FROM added) AND id <> ALL "
    "(ARRAY(SELECT study FROM added)) AND flags & $35::integer = 0) "
    "SELECT variant, NULL, NULL, NULL, NULL FROM added UNION ALL "
    "SELECT -1, sha256, size_bytes, data_set_offset, coalesce(data_set_crc32c, -1) FROM same "
    "WHERE NOT EXISTS (SELECT FROM is_new)",
};

/** What a worker sends may be anything; columns hold well-formed texts of a bounded length. */
static Str column_text(Arena *arena, Str text)
{
    return str_shown(arena, str_slice(text, 0, COLUMN_TEXT_MAX));
}

static void bind_texts(DbParams *params, const Str *texts, size_t count)
{
    Str *clean = ARENA_ARRAY(params->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        clean[i] = column_text(params->arena, texts[i]);
    }
    db_param_text_array(params, clean, count);
}

/** IS, which may have a sign and spaces. */
static int64_t position_of(Str text)
{
    int64_t value;
    text = str_trim(text);
    if (text.len > 0 && text.data[0] == '+') {
        text = str_from_offset(text, 1);
    }
    return str_to_i64(text, &value) ? value : POSITION_LAST;
}

static void bind_study(DbParams *params, const NewInstance *instance)
{
    const InstanceRecord *record = instance->record;
    static const char *const sets[CHARSET_COUNT] = {
#define CHARACTER_SET(name, terms, description) description,
#include "lib/dicom/character_sets.def"
#undef CHARACTER_SET
    };
    const Str texts[] = {
#define FIELD_STUDY VALUE
#define FIELD_SERIES NOTHING
#define FIELD_INSTANCE NOTHING
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
        record->accession_oid,   record->placer_order,     record->placer_order_oid,
        record->procedure.value, record->procedure.scheme, record->procedure.meaning,
        record->anatomy.value,   record->anatomy.scheme,   record->anatomy.meaning,
    };
    static_assert(ARRAY_LEN(texts) == 20, "the statement has as many");
    const bool is_set = (unsigned)record->text.used < CHARSET_COUNT;
    const double confidence = record->text.confidence;
    db_param_i32(params, instance->facility);
    db_param_i32(params, instance->node);
    db_param_i32(params, instance->authority);
    db_param_text(params, column_text(params->arena, record->study_uid));
    db_param_text(params, column_text(params->arena, record->patient_id));
    db_param_text(params, column_text(params->arena, instance->ae_title));
    if (instance->started_us == INT64_MIN) {
        db_param_null(params);
    } else {
        db_param_timestamp(params, instance->started_us);
    }
    db_param_i32(params, instance->flags);
    db_param_bool(params, instance->is_manifest_due);
    db_param_text(params, str_from(is_set ? sets[record->text.used] : ""));
    db_param_i16(params, confidence >= 0 && confidence <= 1 ? (int16_t)(confidence * 100) : 0);
    bind_texts(params, texts, ARRAY_LEN(texts));
}

static void bind_series(DbParams *params, const InstanceRecord *record)
{
    const Str texts[] = {
#define FIELD_STUDY NOTHING
#define FIELD_SERIES VALUE
#define FIELD_INSTANCE NOTHING
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
    };
    static_assert(ARRAY_LEN(texts) == 11, "the statement has as many");
    db_param_text(params, column_text(params->arena, record->series_uid));
    db_param_i64(params, position_of(record->series_number));
    bind_texts(params, texts, ARRAY_LEN(texts));
}

static void put_number(StrBuf *buf, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        strbuf_append_char(buf, (char)(unsigned char)(value >> (8 * i)));
    }
}

static uint64_t take_number(const char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = count; i > 0; i--) {
        value = value << 8 | (unsigned char)bytes[i - 1];
    }
    return value;
}

/** In the arena. */
static Str pack_frames(Arena *arena, const InstanceRecord *record)
{
    StrBuf buf = {0};
    for (size_t i = 0; i < record->frame_count; i++) {
        put_number(&buf, record->frames[i].offset, 8);
        put_number(&buf, record->frames[i].length, 8);
        put_number(&buf, record->frames[i].fragments, 4);
    }
    Str frames = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return frames;
}

bool instance_rows_frame(Str frames, int64_t frame, DicomFrame *ret_frame)
{
    if (frame < 1 || (uint64_t)frame > frames.len / FRAME_BYTES) {
        return false;
    }
    const char *at = frames.data + (size_t)(frame - 1) * FRAME_BYTES;
    *ret_frame = (DicomFrame){.offset = take_number(at, 8),
                              .length = take_number(at + 8, 8),
                              .fragments = (uint32_t)take_number(at + 16, 4)};
    return true;
}

/** In the arena. */
static Str pack_metadata(Arena *arena, Str json)
{
    size_t room = ZSTD_compressBound(json.len);
    char *packed = arena_alloc(arena, room);
    size_t len = ZSTD_compress(packed, room, json.data, json.len, METADATA_LEVEL);
    assert(!ZSTD_isError(len));
    return (Str){packed, len};
}

bool instance_rows_metadata(Arena *arena, Str metadata, Str *ret_json)
{
    unsigned long long size = ZSTD_getFrameContentSize(metadata.data, metadata.len);
    if (size > METADATA_MAX) { /* also of what is no frame */
        return false;
    }
    char *json = arena_alloc(arena, (size_t)size);
    size_t len = ZSTD_decompress(json, (size_t)size, metadata.data, metadata.len);
    if (ZSTD_isError(len)) {
        return false;
    }
    *ret_json = (Str){json, len};
    return true;
}

static Str sha256_of(const StoredDataSet *file)
{
    return (Str){(const char *)file->sha256, sizeof(file->sha256)};
}

static int32_t small(int64_t value)
{
    return (int32_t)MAX(MIN(value, INT32_MAX), 0);
}

static void bind_instance(DbParams *params, const NewInstance *instance)
{
    const InstanceRecord *record = instance->record;
    const Str texts[] = {
#define FIELD_STUDY NOTHING
#define FIELD_SERIES NOTHING
#define FIELD_INSTANCE VALUE
#define FIELD(level, name, tag, vr) FIELD_##level(name)
#include "lib/dicom/record.def"
#undef FIELD
#undef FIELD_STUDY
#undef FIELD_SERIES
#undef FIELD_INSTANCE
    };
    static_assert(ARRAY_LEN(texts) == 3, "the statement has as many");
    db_param_text(params, column_text(params->arena, record->sop_instance));
    db_param_i64(params, position_of(record->instance_number));
    db_param_i64(params, (int64_t)instance->file.size_bytes);
    db_param_i64(params, (int64_t)instance->file.offset);
    db_param_i64(params, (int64_t)record->pixel_offset);
    db_param_i64(params, MAX(record->number_of_frames, 0));
    db_param_i32(params, small(record->rows));
    db_param_i32(params, small(record->columns));
    db_param_i32(params, small(record->bits_allocated));
    db_param_i32(params, small(record->samples_per_pixel));
    db_param_bool(params, record->has_pixel_data);
    db_param_bool(params, record->is_lossy);
    db_param_bytes(params, sha256_of(&instance->file));
    db_param_i64(params, instance->file.crc32c);
    db_param_text(params, column_text(params->arena, record->sop_class));
    db_param_text(params, column_text(params->arena, record->transfer_syntax));
    bind_texts(params, texts, ARRAY_LEN(texts));
    db_param_bytes(params, pack_frames(params->arena, record));
    db_param_bytes(params, pack_metadata(params->arena, record->json));
    db_param_i32(params, STUDY_DIFFERENT_BYTES);
    db_param_bytes_array(params, instance->others, instance->other_count);
}

int instance_rows_queue(Request *req, DbConn *conn, const NewInstance *instance)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, instance->facility);
    int rc = db_queue(conn, req, &lock_facility, &params);
    db_params_init(&params, req->arena);
    bind_study(&params, instance);
    bind_series(&params, instance->record);
    bind_instance(&params, instance);
    return rc < 0 ? rc : db_queue(conn, req, &insert_instance, &params);
}

static bool read_held(const DbResult *result, int row, StoredDataSet *ret_held)
{
    if (!db_bytes(result, row, 1, ret_held->sha256, sizeof(ret_held->sha256))) {
        return false;
    }
    ret_held->size_bytes = (uint64_t)db_i64(result, row, 2);
    ret_held->offset = (uint64_t)db_i64(result, row, 3);
    ret_held->crc32c = db_i64(result, row, 4);
    return true;
}

InstanceRowOutcome instance_rows_outcome(Arena *arena, DbResult *const *results,
                                         const NewInstance *instance, StoredDataSet **ret_held,
                                         size_t *ret_count)
{
    const DbResult *result = results[INSTANCE_ROWS_RESULTS - 1];
    int rows = db_rows(result);
    *ret_count = 0;
    if (rows == 0) {
        return INSTANCE_ROW_RACED;
    }
    int32_t variant = db_i32(result, 0, 0);
    if (variant >= 0) {
        return variant == 0 ? INSTANCE_ADDED : INSTANCE_VARIANT;
    }
    StoredDataSet *held = ARENA_ARRAY(arena, StoredDataSet, (size_t)rows);
    for (int row = 0; row < rows; row++) {
        if (str_equal(db_text(result, row, 1), sha256_of(&instance->file))) {
            return INSTANCE_THERE;
        }
        *ret_count += read_held(result, row, &held[*ret_count]);
    }
    *ret_held = held;
    return INSTANCE_HELD;
}
