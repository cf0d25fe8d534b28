#include "repository/imaging/fsck.h"

#include "repository/imaging/instance_rows.h"

/** Manifests that the registry is asked for at a time. */
#define MANIFEST_BATCH 256

typedef struct Invariant {
    const char *fault;
    DbStatement statement;
} Invariant;

static const Invariant invariants[] = {
#define INVARIANT(name, fault, sql) {fault, {"imaging_fsck_" #name, sql}},
#include "repository/imaging/invariants.def"
#undef INVARIANT
};

static const DbStatement select_contents = {
    "imaging_fsck_contents",
    "SELECT " IMAGE_OF ", i.sop_instance, i.transfer_syntax, i.metadata, i.frames, "
    "i.pixel_offset, i.size_bytes - i.data_set_offset "
    "FROM imaging_instance i JOIN imaging_study s ON s.id = i.study",
};

static const DbStatement select_manifests = {
    "imaging_fsck_manifests",
    "SELECT s.id, s.study_uid, s.manifest_unique_id FROM imaging_study s "
    "WHERE s.manifest_unique_id <> '' AND s.id > $1::bigint ORDER BY s.id LIMIT 256",
};

enum {
    COLUMN_NAME,
    COLUMN_SOP_INSTANCE,
    COLUMN_TRANSFER_SYNTAX,
    COLUMN_METADATA,
    COLUMN_FRAMES,
    COLUMN_PIXEL_OFFSET,
    COLUMN_DATA_SET_BYTES,
};

/* ---- invariants ---- */

typedef struct Check {
    Inspection *inspection;
    const char *fault;
    Arena *arena; /* of one row */
} Check;

static int report_faulty(void *ctx, UNUSED Request *req, const DbResult *row)
{
    const Check *check = ctx;
    inspection_report(check->inspection, "%.*s %s", STR_ARG(db_text(row, 0, COLUMN_NAME)),
                      check->fault);
    return 0;
}

/* ---- what a row holds ---- */

static const char *metadata_fault(Arena *arena, const DbResult *row)
{
    Str json;
    if (!instance_rows_metadata(arena, db_text(row, 0, COLUMN_METADATA), &json)) {
        return "has damaged metadata";
    }
    Str uid = str_printf(arena, "\"%.*s\"", STR_ARG(db_text(row, 0, COLUMN_SOP_INSTANCE)));
    return str_contains(json, uid) ? NULL : "has the metadata of another one";
}

static bool lies_within(uint64_t offset, uint64_t length, uint64_t size_bytes)
{
    return offset <= size_bytes && length <= size_bytes - offset;
}

/** Encapsulated frames as they are noted, and native ones by their size. */
static const char *frames_fault(const DbResult *row)
{
    const Str frames = db_text(row, 0, COLUMN_FRAMES);
    const uint64_t size_bytes = (uint64_t)MAX(db_i64(row, 0, COLUMN_DATA_SET_BYTES), 0);
    const uint64_t pixel_offset = (uint64_t)MAX(db_i64(row, 0, COLUMN_PIXEL_OFFSET), 0);
    const TransferSyntax *syntax = transfer_syntax_find(db_text(row, 0, COLUMN_TRANSFER_SYNTAX));
    DicomFrame frame;
    bool is_good = syntax && (syntax->is_deflated || lies_within(pixel_offset, 0, size_bytes));
    size_t count = 0;
    while (is_good && instance_rows_frame(frames, (int64_t)count + 1, &frame)) {
        is_good = lies_within(frame.offset, frame.length, size_bytes);
        count++;
    }
    return is_good ? NULL : "has frames that do not lie within its bytes";
}

static int check_contents(void *ctx, Request *req, const DbResult *row)
{
    Check *check = ctx;
    const char *faults[] = {metadata_fault(check->arena, row), frames_fault(row)};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        check->fault = faults[i];
        if (check->fault) {
            (void)report_faulty(check, req, row);
        }
    }
    arena_clear(check->arena);
    return 0;
}

/* ---- manifests ---- */

static void report_unregistered(Inspection *inspection, const DbResult *rows,
                                const DocumentRegistration *registrations, size_t count)
{
    bool is_registered[MANIFEST_BATCH] = {false};
    for (size_t i = 0; i < count; i++) {
        is_registered[registrations[i].document] = true;
    }
    for (int i = 0; i < db_rows(rows); i++) {
        if (!is_registered[i]) {
            inspection_report(inspection, "manifest %.*s of study %.*s is not registered",
                              STR_ARG(db_text(rows, i, 2)), STR_ARG(db_text(rows, i, 1)));
        }
    }
}

/** @return how many there were, or negative */
static int check_manifests(Inspection *inspection, Request *req, DbConn *conn, int64_t *behind)
{
    const DocumentCatalogue *catalogue = inspection->config->catalogue;
    DocumentRegistration *registrations;
    Str unique_ids[MANIFEST_BATCH];
    size_t count;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_i64(&params, *behind);
    int rc = db_exec(conn, req, &select_manifests, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    for (int i = 0; i < db_rows(rows); i++) {
        unique_ids[i] = db_text(rows, i, 2);
        *behind = db_i64(rows, i, 0);
    }
    rc = catalogue->find(catalogue->ctx, req, conn, unique_ids, (size_t)db_rows(rows),
                         &registrations, &count);
    if (rc < 0) {
        return rc;
    }
    report_unregistered(inspection, rows, registrations, count);
    return db_rows(rows);
}

/** With the registry of this database. */
static int check_registrations(Inspection *inspection, DbConn *conn)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int64_t behind = 0;
    int rc = inspection->config->catalogue ? 1 : 0;
    while (rc > 0) {
        Request passing = access_passing(inspection->req, arena);
        rc = check_manifests(inspection, &passing, conn, &behind);
        inspection->req->errors = passing.errors;
        arena_clear(arena);
    }
    return rc;
}

int imaging_fsck(Inspection *inspection)
{
    Request *req = inspection->req;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Check check = {.inspection = inspection, .arena = arena};
    DbParams none;
    db_params_init(&none, req->arena);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(inspection->config->pool, req, &conn);
    for (size_t i = 0; i < ARRAY_LEN(invariants) && rc == 0; i++) {
        check.fault = invariants[i].fault;
        rc = db_stream(conn, req, &invariants[i].statement, &none, report_faulty, &check);
    }
    rc = rc < 0 ? rc : db_stream(conn, req, &select_contents, &none, check_contents, &check);
    return rc < 0 ? rc : check_registrations(inspection, conn);
}
