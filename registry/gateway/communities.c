#include "registry/gateway/communities.h"

static const DbStatement select_communities = {
    "communities",
    "SELECT id, home, name, query_url, retrieve_url, imaging_url, discovery_url, fingerprint, "
    "timeout_ms, enabled FROM community ORDER BY home",
};

static const DbStatement upsert_community = {
    "community_upsert",
    "INSERT INTO community (home, name, query_url, retrieve_url, imaging_url, discovery_url, "
    "fingerprint, timeout_ms, enabled) VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, "
    "$6::text, $7::text, $8::integer, $9::boolean) ON CONFLICT (home) DO UPDATE SET name = "
    "excluded.name, query_url = excluded.query_url, retrieve_url = excluded.retrieve_url, "
    "imaging_url = excluded.imaging_url, discovery_url = excluded.discovery_url, fingerprint = "
    "excluded.fingerprint, timeout_ms = excluded.timeout_ms, enabled = excluded.enabled",
};

static const DbStatement delete_community = {
    "community_delete",
    "DELETE FROM community WHERE home = $1::text",
};

static const DbStatement select_correlations = {
    "patient_correlations",
    "SELECT p.community, c.home, p.patient_id, p.foreign_id FROM patient_correlation p JOIN "
    "community c ON c.id = p.community WHERE $1::text IS NULL OR p.patient_id = $1::text "
    "ORDER BY p.patient_id, c.home",
};

static const DbStatement upsert_correlation = {
    "patient_correlation_upsert",
    "INSERT INTO patient_correlation (community, patient_id, foreign_id) SELECT id, $2::text, "
    "$3::text FROM community WHERE home = $1::text ON CONFLICT (community, patient_id) DO UPDATE "
    "SET foreign_id = excluded.foreign_id",
};

static const DbStatement delete_correlation = {
    "patient_correlation_delete",
    "DELETE FROM patient_correlation p USING community c WHERE c.id = p.community AND c.home = "
    "$1::text AND p.patient_id = $2::text",
};

static Community read_community(const DbResult *rows, int row, Arena *arena)
{
    Community community = {
        .id = db_i32(rows, row, 0),
        .home = str_dup(arena, db_text(rows, row, 1)),
        .name = str_dup(arena, db_text(rows, row, 2)),
        .discovery_url = str_dup(arena, db_text(rows, row, 6)),
        .fingerprint = str_dup(arena, db_text(rows, row, 7)),
        .timeout_ms = (unsigned)db_i32(rows, row, 8),
        .is_enabled = db_bool(rows, row, 9),
    };
    for (int service = 0; service < GATEWAY_SERVICE_COUNT; service++) {
        community.urls[service] = str_dup(arena, db_text(rows, row, 3 + service));
    }
    return community;
}

int communities_read(DbConn *conn, Request *req, Community **ret_communities, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    int rc = db_exec(conn, req, &select_communities, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    Community *communities = ARENA_ARRAY(req->arena, Community, count);
    for (size_t i = 0; i < count; i++) {
        communities[i] = read_community(rows, (int)i, req->arena);
    }
    *ret_communities = communities;
    *ret_count = count;
    return 0;
}

int community_store(DbConn *conn, Request *req, const Community *community)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, community->home);
    db_param_text(&params, community->name);
    for (int service = 0; service < GATEWAY_SERVICE_COUNT; service++) {
        db_param_text(&params, community->urls[service]);
    }
    db_param_text(&params, community->discovery_url);
    db_param_text(&params, community->fingerprint);
    db_param_i32(&params, (int32_t)community->timeout_ms);
    db_param_bool(&params, community->is_enabled);
    return db_exec(conn, req, &upsert_community, &params, &result);
}

/** Runs a statement whose parameters are texts. @return 0 with whether rows changed, or negative */
static int change(DbConn *conn, Request *req, const DbStatement *statement, const Str *texts,
                  size_t count, bool *ret_changed)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    for (size_t i = 0; i < count; i++) {
        db_param_text(&params, texts[i]);
    }
    int rc = db_exec(conn, req, statement, &params, &result);
    if (rc == 0) {
        *ret_changed = db_affected(result) > 0;
    }
    return rc;
}

int community_remove(DbConn *conn, Request *req, Str home, bool *ret_removed)
{
    return change(conn, req, &delete_community, &home, 1, ret_removed);
}

int patient_correlations_read(DbConn *conn, Request *req, Str patient_id,
                              PatientCorrelation **ret_correlations, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text_or_null(&params, patient_id);
    int rc = db_exec(conn, req, &select_correlations, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    PatientCorrelation *correlations = ARENA_ARRAY(req->arena, PatientCorrelation, count);
    for (size_t i = 0; i < count; i++) {
        correlations[i] = (PatientCorrelation){
            .community = db_i32(rows, (int)i, 0),
            .home = str_dup(req->arena, db_text(rows, (int)i, 1)),
            .patient_id = str_dup(req->arena, db_text(rows, (int)i, 2)),
            .foreign_id = str_dup(req->arena, db_text(rows, (int)i, 3)),
        };
    }
    *ret_correlations = correlations;
    *ret_count = count;
    return 0;
}

int patient_correlation_store(DbConn *conn, Request *req, Str home, Str patient_id, Str foreign_id,
                              bool *ret_changed)
{
    const Str texts[] = {home, patient_id, foreign_id};
    bool is_removed = str_is_empty(foreign_id);
    return change(conn, req, is_removed ? &delete_correlation : &upsert_correlation, texts,
                  is_removed ? 2 : 3, ret_changed);
}
