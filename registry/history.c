#include "registry/history.h"

#include <string.h>

#include "lib/ebrim/metadata.h"

/* ---- statements ---- */

/* The lids of what $1 (text) or $2 (entryUUID or lid, may be NULL) names, there or removed. */
#define SQL_NAMED(table)                                                                           \
    "SELECT coalesce(lid, entry_uuid) AS lid FROM " table                                          \
    " WHERE hashtext(unique_id) = hashtext($1::text) AND unique_id = $1::text"                     \
    " UNION SELECT coalesce(lid, entry_uuid) FROM " table                                          \
    " WHERE entry_uuid = $2::uuid UNION SELECT lid FROM " table " WHERE lid = $2::uuid"
#define SQL_LIDS                                                                                   \
    "lids AS MATERIALIZED (" SQL_NAMED("document_entry") " UNION " SQL_NAMED(                      \
        "(SELECT * FROM removed_object WHERE kind = 0) r") ")"

/* Every version of these, and what decides about its rows below. */
#define SQL_VERSIONS                                                                               \
    "versions AS MATERIALIZED ("                                                                   \
    "SELECT entry_uuid, coalesce(lid, entry_uuid) AS lid, unique_id, patient, source_facility,"    \
    " version, status, document_availability, is_latest, object_came_at(entry_uuid) AS came_at,"   \
    " NULL::timestamptz AS removed_at FROM document_entry"                                         \
    " WHERE entry_uuid = ANY (ARRAY(SELECT lid FROM lids)) OR lid = ANY (ARRAY(SELECT lid FROM "   \
    "lids))"                                                                                       \
    " UNION ALL "                                                                                  \
    "SELECT entry_uuid, coalesce(lid, entry_uuid), unique_id, patient, source_facility, version,"  \
    " status, document_availability, is_latest, removed_came_at(r), removed_at FROM "              \
    "removed_object r"                                                                             \
    " WHERE kind = 0 AND (entry_uuid = ANY (ARRAY(SELECT lid FROM lids)) OR lid = ANY "            \
    "(ARRAY(SELECT lid FROM lids))))"

/* The patients of the versions, before and after merges. */
#define SQL_PATIENTS                                                                               \
    "roots AS MATERIALIZED (SELECT coalesce(survivor, id) AS id FROM patient_identifier"           \
    " WHERE id = ANY (ARRAY(SELECT patient FROM versions))),"                                      \
    " patients AS MATERIALIZED (SELECT id FROM roots UNION SELECT id FROM patient_identifier"      \
    " WHERE survivor = ANY (ARRAY(SELECT id FROM roots)) UNION SELECT patient FROM versions)"

/* The SubmissionSets of these patients: what a transaction changes has its instant. */
#define SQL_SETS                                                                                   \
    "sets AS MATERIALIZED (SELECT unique_id, registered_at FROM submission_set"                    \
    " WHERE patient = ANY (ARRAY(SELECT id FROM patients)) UNION ALL SELECT unique_id, came_at "   \
    "FROM"                                                                                         \
    " removed_object WHERE kind = 1 AND patient = ANY (ARRAY(SELECT id FROM patients)))"

#define SQL_SET_OF(instant)                                                                        \
    "coalesce((SELECT min(s.unique_id) FROM sets s WHERE s.registered_at = " instant "), '')"

static const DbStatement select_versions = {
    "history_versions",
    "WITH " SQL_LIDS ", " SQL_VERSIONS ", " SQL_PATIENTS ", " SQL_SETS
    " SELECT v.entry_uuid, v.lid, v.unique_id, coalesce(p.value, ''), coalesce(f.name, ''),"
    " " SQL_SET_OF(
        "v.came_at") ", v.version, nullif(v.came_at, '-infinity'), v.removed_at,"
                     " v.status, coalesce(v.document_availability, 0) = 1 FROM versions v"
                     " LEFT JOIN patient_identifier named ON named.id = v.patient"
                     " LEFT JOIN patient_identifier p ON p.id = coalesce(named.survivor, named.id)"
                     " LEFT JOIN facility f ON f.id = v.source_facility"
                     " ORDER BY v.came_at, v.lid, v.version, v.entry_uuid"};

#define SQL_AFTER(column) "coalesce(lead(c." column ") OVER object, v." column ")"
static const DbStatement select_changes = {
    "history_changes", "WITH " SQL_LIDS ", " SQL_VERSIONS ", " SQL_PATIENTS ", " SQL_SETS
                       " SELECT c.changed_at, c.transaction::text, "
                       "c.entry_uuid, " SQL_SET_OF("c.changed_at") ", c.status, " SQL_AFTER(
                           "status") ", c.is_latest, " SQL_AFTER("is_latest") ", "
                                                                              "coalesce(c."
                                                                              "document_"
                                                                              "availability"
                                                                              ", 0) = 1, "
                                                                              "CASE WHEN "
                                                                              "lead(c.id) "
                                                                              "OVER object "
                                                                              "IS NULL"
                                                                              " THEN "
                                                                              "coalesce(v."
                                                                              "document_"
                                                                              "availability"
                                                                              ", 0)"
                                                                              " ELSE "
                                                                              "coalesce("
                                                                              "lead(c."
                                                                              "document_"
                                                                              "availability"
                                                                              ") OVER "
                                                                              "object, 0) "
                                                                              "END = 1"
                                                                              " FROM "
                                                                              "versions v "
                                                                              "JOIN "
                                                                              "object_"
                                                                              "change c ON "
                                                                              "c.entry_"
                                                                              "uuid = "
                                                                              "v.entry_uuid"
                                                                              " AND "
                                                                              "c.changed_"
                                                                              "at >= "
                                                                              "v.came_at "
                                                                              "AND "
                                                                              "(v.removed_"
                                                                              "at IS NULL "
                                                                              "OR "
                                                                              "c.changed_"
                                                                              "at <= "
                                                                              "v.removed_"
                                                                              "at)"
                                                                              " WINDOW "
                                                                              "object AS "
                                                                              "(PARTITION "
                                                                              "BY "
                                                                              "c.entry_"
                                                                              "uuid, "
                                                                              "v.removed_"
                                                                              "at ORDER BY "
                                                                              "c.id)"
                                                                              " ORDER BY "
                                                                              "c.id"};

/* Types are rows of association_types.def; 0 is HasMember. */
#define SQL_LINKS(table, condition, removed_at)                                                    \
    "SELECT type, source_object, target_object, " removed_at " AS removed_at FROM " table          \
    " WHERE " condition "type <> 0 AND source_kind = 0 AND target_kind = 0 AND ("                  \
    "source_object = ANY (ARRAY(SELECT entry_uuid FROM versions))"                                 \
    " OR target_object = ANY (ARRAY(SELECT entry_uuid FROM versions)))"
#define SQL_UNIQUE_ID(object)                                                                      \
    "coalesce((SELECT unique_id FROM document_entry WHERE entry_uuid = " object "),"               \
    " (SELECT min(unique_id) FROM removed_object WHERE entry_uuid = " object "), '')"
static const DbStatement select_relations = {
    "history_relations",
    "WITH " SQL_LIDS ", " SQL_VERSIONS
    ", links AS (" SQL_LINKS("association", "", "NULL::timestamptz") " UNION ALL " SQL_LINKS(
        "removed_object", "kind = 3 AND ",
        "removed_at") ")"
                      " SELECT l.type, l.source_object, l.target_object, " SQL_UNIQUE_ID(
                          "l.source_object") ", " SQL_UNIQUE_ID("l.target_object") ", "
                                                                                   "nullif(object_"
                                                                                   "came_at(l."
                                                                                   "source_object),"
                                                                                   " '-infinity'),"
                                                                                   " l.removed_at "
                                                                                   "FROM links l"
                                                                                   " ORDER BY "
                                                                                   "object_came_at("
                                                                                   "l.source_"
                                                                                   "object), "
                                                                                   "l.source_"
                                                                                   "object, "
                                                                                   "l.target_"
                                                                                   "object"};

static const DbStatement select_begin = {"history_begin",
                                         "SELECT min(valid_from) FROM rule_history"};

/* ---- rows ---- */

static void read_versions(Arena *arena, const DbResult *rows, History *history)
{
    history->version_count = (size_t)db_rows(rows);
    history->versions = ARENA_ARRAY(arena, HistoryVersion, history->version_count);
    for (int row = 0; row < db_rows(rows); row++) {
        history->versions[row] = (HistoryVersion){
            .entry_uuid = db_uuid(rows, row, 0),
            .lid = db_uuid(rows, row, 1),
            .unique_id = db_text(rows, row, 2),
            .patient = db_text(rows, row, 3),
            .facility = db_text(rows, row, 4),
            .submission_set = db_text(rows, row, 5),
            .version = db_i32(rows, row, 6),
            .came_us = db_timestamp_or(rows, row, 7, INT64_MIN),
            .removed_us = db_timestamp_or(rows, row, 8, INT64_MAX),
            .status = db_i16(rows, row, 9),
            .is_offline = db_bool(rows, row, 10),
        };
    }
}

static void read_changes(Arena *arena, const DbResult *rows, History *history)
{
    history->change_count = (size_t)db_rows(rows);
    history->changes = ARENA_ARRAY(arena, HistoryChange, history->change_count);
    for (int row = 0; row < db_rows(rows); row++) {
        history->changes[row] = (HistoryChange){
            .at_us = db_timestamp(rows, row, 0),
            .transaction = db_text(rows, row, 1),
            .entry_uuid = db_uuid(rows, row, 2),
            .submission_set = db_text(rows, row, 3),
            .old_status = db_i16(rows, row, 4),
            .new_status = db_i16(rows, row, 5),
            .was_latest = db_bool(rows, row, 6),
            .is_latest = db_bool(rows, row, 7),
            .was_offline = db_bool(rows, row, 8),
            .is_offline = db_bool(rows, row, 9),
        };
    }
}

/** What stands behind the last colon of its URN. */
static Str type_name(AssociationType type)
{
    const char *urn = association_type_urn(type);
    const char *colon = strrchr(urn, ':');
    return str_from(colon ? colon + 1 : urn);
}

static void read_relations(Arena *arena, const DbResult *rows, History *history)
{
    history->relation_count = (size_t)db_rows(rows);
    history->relations = ARENA_ARRAY(arena, HistoryRelation, history->relation_count);
    for (int row = 0; row < db_rows(rows); row++) {
        history->relations[row] = (HistoryRelation){
            .type = type_name((AssociationType)db_i16(rows, row, 0)),
            .source = db_uuid(rows, row, 1),
            .target = db_uuid(rows, row, 2),
            .source_unique_id = db_text(rows, row, 3),
            .target_unique_id = db_text(rows, row, 4),
            .came_us = db_timestamp_or(rows, row, 5, INT64_MIN),
            .removed_us = db_timestamp_or(rows, row, 6, INT64_MAX),
        };
    }
}

/* ---- reading ---- */

int registry_history_read(DbConn *conn, Request *req, Str name, History *ret_history)
{
    enum { VERSIONS, CHANGES, RELATIONS, BEGIN, COUNT };
    static const DbStatement *const statements[] = {&select_versions, &select_changes,
                                                    &select_relations};
    Str urn = str_starts_with(name, STR("urn:uuid:"))
                  ? name
                  : str_printf(req->arena, "urn:uuid:%.*s", STR_ARG(name));
    Uuid uuid;
    DbParams params;
    DbResult *results[COUNT];
    db_params_init(&params, req->arena);
    db_param_text(&params, name);
    if (uuid_parse_urn(urn, &uuid)) {
        db_param_uuid(&params, uuid);
    } else {
        db_param_null(&params);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(statements); i++) {
        rc = db_queue(conn, req, statements[i], &params);
    }
    rc = rc < 0 ? rc : db_queue(conn, req, &select_begin, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    *ret_history = (History){.begin_us = db_timestamp(results[BEGIN], 0, 0)};
    read_versions(req->arena, results[VERSIONS], ret_history);
    read_changes(req->arena, results[CHANGES], ret_history);
    read_relations(req->arena, results[RELATIONS], ret_history);
    return 0;
}
