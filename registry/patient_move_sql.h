#pragma once

#include "lib/db/db.h"

/**
 * The statements of patient_move.c. All work on sets within the database, so that a move takes the
 * same memory here for one document as for all of a hospital.
 *
 * Kinds, types and statuses are literals, as the columns' comments define them: kind 0
 * DocumentEntry, 1 SubmissionSet, 2 Folder, 3 Association; type 0 HasMember, 1 RPLC, 4 XFRM_RPLC;
 * status 0 Approved, 1 Deprecated; submission_set_status 1 Original, 2 Reference.
 */

_Static_assert(OBJECT_DOCUMENT_ENTRY == 0 && OBJECT_SUBMISSION_SET == 1 && OBJECT_FOLDER == 2 &&
                   OBJECT_ASSOCIATION == 3,
               "literals of patient_move_sql.h");
_Static_assert(ASSOCIATION_HAS_MEMBER == 0 && ASSOCIATION_RPLC == 1 && ASSOCIATION_XFRM_RPLC == 4,
               "literals of patient_move_sql.h");

/* A UUID of version 7, as uuid_new(): milliseconds in place of the first 48 random bits, and the
 * version's low bits set (RFC 9562 5.7). */
#define SQL_NEW_UUID                                                                               \
    "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING"                          \
    " substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)"     \
    " FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid"

#define SQL_ASSOCIATION_COLUMNS                                                                    \
    "association (entry_uuid, source_object, target_object, type, source_kind, target_kind,"       \
    " submission_set_status, status, metadata)"

/* A macro with arguments is part of its line. */
/* clang-format off */

/* Joins as v every version of the logical object. Two probes of an index for each row: of an OR
 * the planner may make a comparison of every row with every other. */
#define SQL_JOIN_VERSIONS(table, v, lid)                                                           \
    " JOIN LATERAL (SELECT entry_uuid FROM " table " WHERE entry_uuid = " lid                      \
    " UNION ALL SELECT entry_uuid FROM " table " WHERE lid = " lid ") " v "_id ON true"            \
    " JOIN " table " " v " ON " v ".entry_uuid = " v "_id.entry_uuid"
/* The logicalID of a row of any version. */
#define SQL_LID(row) "coalesce(" row ".lid, " row ".entry_uuid)"
/* Joins as a every Association with this end. */
#define SQL_JOIN_ASSOCIATIONS(end)                                                                 \
    " JOIN LATERAL (SELECT * FROM association WHERE source_object = " end                          \
    " UNION ALL SELECT * FROM association WHERE target_object = " end ") a ON true"

/* ---- the documents ---- */

static const DbStatement select_source_patient_ids = {
    "patient_move_source_ids", "SELECT DISTINCT source_patient_id FROM document_entry"
                               " WHERE patient = ANY ($1::bigint[]) AND is_latest AND status = 0"};

/* Of a move back: also of what was made Deprecated since. */
static const DbStatement select_source_patient_ids_back = {
    "patient_move_back_source_ids", "SELECT DISTINCT source_patient_id FROM document_entry"
                                    " WHERE patient = ANY ($1::bigint[]) AND is_latest"};

/* n: the version that ends; o: whose content the new one has. $1 patients, $2 sourcePatientIds, $3
 * the SubmissionSet to undo: what it moved goes back from wherever later moves took it, to the
 * version before. A version that was made Deprecated since it moved goes back as such. */
#define SQL_MOVED                                                                                  \
    " FROM document_entry n JOIN document_entry o ON o.entry_uuid = n.entry_uuid"                  \
    " WHERE n.patient = ANY ($1::bigint[]) AND n.is_latest AND n.status = 0"                       \
    " AND n.source_patient_id = ANY ($2::text[]) AND $3::uuid IS NULL"
#define SQL_MOVED_BACK                                                                             \
    " FROM association h JOIN document_entry v ON v.entry_uuid = h.target_object"                  \
    SQL_JOIN_VERSIONS("document_entry", "n", "v.lid") " AND n.is_latest"                           \
    SQL_JOIN_VERSIONS("document_entry", "o", "v.lid") " AND o.version = v.version - 1"             \
    " WHERE h.source_object = $3::uuid AND h.type = 0 AND h.target_kind = 0"                       \
    " AND h.submission_set_status = 1 AND n.patient = ANY ($1::bigint[])"                          \
    " AND n.source_patient_id = ANY ($2::text[])"

#define SQL_LOCK(chosen)                                                                           \
    "WITH locked AS MATERIALIZED (SELECT n.version, n.source_facility" chosen                      \
    " ORDER BY n.entry_uuid FOR NO KEY UPDATE OF n)"                                               \
    " SELECT version, count(*), min(source_facility) FROM locked GROUP BY version"
static const DbStatement lock_moved = {"patient_move_lock", SQL_LOCK(SQL_MOVED)};
static const DbStatement lock_moved_back = {"patient_move_back_lock", SQL_LOCK(SQL_MOVED_BACK)};

/* $4 SubmissionSet, $5 versions that end and $6 the metadata of HasMember with that PreviousVersion
 * (TF-2 3.64.4.1.3.1.4), $7 patient, $8 sourcePatientId (NULL: as before). */
#define SQL_MAKE_VERSIONS(chosen)                                                                  \
    "WITH made AS (INSERT INTO document_entry (entry_uuid, lid, patient, size_bytes,"              \
    " creation_time, service_start_time, service_stop_time, version, class_code, type_code,"       \
    " format_code, practice_setting_code, healthcare_facility_type_code, repository,"              \
    " source_facility, status, is_on_demand, is_latest, hash, unique_id, source_patient_id,"       \
    " confidentiality_code, event_code_list, reference_id_list, metadata)"                         \
    " SELECT " SQL_NEW_UUID ", coalesce(n.lid, n.entry_uuid), $7::bigint, o.size_bytes,"           \
    " o.creation_time, o.service_start_time, o.service_stop_time, n.version + 1, o.class_code,"    \
    " o.type_code, o.format_code, o.practice_setting_code, o.healthcare_facility_type_code,"       \
    " o.repository, o.source_facility, n.status, o.is_on_demand, true, o.hash, o.unique_id,"       \
    " coalesce($8::text, o.source_patient_id), o.confidentiality_code, o.event_code_list,"         \
    " o.reference_id_list, o.metadata" chosen " RETURNING entry_uuid, version)"                    \
    " INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID                                \
    ", $4::uuid, made.entry_uuid, 0, 1, 0, 1, 0, previous.metadata FROM made"                      \
    " JOIN unnest($5::int[], $6::bytea[]) AS previous (version, metadata)"                         \
    " ON previous.version = made.version - 1"
static const DbStatement make_versions = {"patient_move_versions", SQL_MAKE_VERSIONS(SQL_MOVED)};
static const DbStatement make_versions_back = {"patient_move_back_versions",
                                               SQL_MAKE_VERSIONS(SQL_MOVED_BACK)};

/* From here on $1 is the SubmissionSet of this move. pair: the versions that it made, and those
 * that they supersede. */
#define SQL_PAIRS                                                                                  \
    "pair AS MATERIALIZED (SELECT n.entry_uuid AS new, o.entry_uuid AS old, n.lid, n.version"      \
    " FROM association h JOIN document_entry n ON n.entry_uuid = h.target_object"                  \
    SQL_JOIN_VERSIONS("document_entry", "o", "n.lid") " AND o.version = n.version - 1"             \
    " WHERE h.source_object = $1::uuid AND h.type = 0 AND h.target_kind = 0)"
/* What a move back restores: of the versions before those that end. */
#define SQL_EARLIER                                                                                \
    ", earlier AS MATERIALIZED (SELECT e.entry_uuid FROM pair"                                     \
    SQL_JOIN_VERSIONS("document_entry", "e", "pair.lid") " AND e.version <= pair.version - 2)"

static const DbStatement retire_versions = {
    "patient_move_retire",
    "WITH " SQL_PAIRS " UPDATE document_entry SET status = 1, is_latest = false"
    " WHERE entry_uuid = ANY (ARRAY(SELECT old FROM pair))"};

/* In order of entryUUID from $2 on; $3 how many. */
static const DbStatement select_made = {
    "patient_move_made",
    "SELECT entry_uuid, unique_id, metadata FROM document_entry WHERE entry_uuid = ANY (ARRAY("
    "SELECT target_object FROM association WHERE source_object = $1::uuid AND type = 0"
    " AND target_kind = 0 AND target_object > $2::uuid ORDER BY target_object LIMIT $3::int))"
    " ORDER BY entry_uuid"};

static const DbStatement set_metadata = {
    "patient_move_metadata", "UPDATE document_entry d SET metadata = m.metadata"
                             " FROM unnest($1::uuid[], $2::bytea[]) AS m (entry_uuid, metadata)"
                             " WHERE d.entry_uuid = m.entry_uuid"};

/* A SubmissionSet that refers to the document goes on to do so (3.64.4.1.3.1.4, item 5). */
static const DbStatement move_references = {
    "patient_move_references",
    "WITH " SQL_PAIRS ", ended AS (UPDATE association a SET status = 1 FROM pair"
    " WHERE a.target_object = pair.old AND a.type = 0 AND a.source_kind = 1"
    " AND a.submission_set_status = 2 AND a.status = 0"
    " RETURNING a.source_object, pair.new, a.metadata)"
    " INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID
    ", source_object, new, 0, 1, 0, 2, 0, metadata FROM ended"};

/* ---- relationships ---- */

/* Membership of Associations that this move made in its SubmissionSet. */
#define SQL_LIST_MADE                                                                              \
    " INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID                                \
    ", $1::uuid, made.entry_uuid, 0, 1, 3, 0, 0, '' FROM made"

/* The latest versions s and t of both ends of candidate c; $2: the new patient. */
#define SQL_LATEST_DOCUMENT(name, end)                                                             \
    " JOIN document_entry " name "0 ON " name "0.entry_uuid = c." end                              \
    SQL_JOIN_VERSIONS("document_entry", name, SQL_LID(name "0"))                                   \
    " AND " name ".is_latest AND " name ".patient = ANY ($2::bigint[])"

/* Between documents that now both are the new patient's the relationship goes on, else it ends
 * (3.64.4.1.3.1.5). What was replaced is Deprecated and stays, with its RPLC. */
#define SQL_MOVE_RELATIONSHIPS(earlier, restored)                                                  \
    "WITH " SQL_PAIRS earlier ", current AS MATERIALIZED (SELECT DISTINCT a.*"                     \
    " FROM pair" SQL_JOIN_ASSOCIATIONS("pair.old")                                                 \
    " WHERE a.source_kind = 0 AND a.target_kind = 0 AND a.status = 0)"                             \
    ", ended AS (UPDATE association SET status = 1"                                                \
    " WHERE entry_uuid = ANY (ARRAY(SELECT entry_uuid FROM current"                                \
    " WHERE type <> ALL ('{1,4}'))))"                                                              \
    ", c AS (SELECT source_object, target_object, type, metadata FROM current" restored ")"        \
    ", made AS (INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID                      \
    ", source, target, type, 0, 0, 0, 0, metadata"                                                 \
    " FROM (SELECT DISTINCT ON (s.entry_uuid, t.entry_uuid, c.type)"                               \
    " s.entry_uuid AS source, t.entry_uuid AS target, c.type, c.metadata FROM "                    \
    "c" SQL_LATEST_DOCUMENT("s", "source_object")                                                  \
    SQL_LATEST_DOCUMENT("t", "target_object") ") carried RETURNING entry_uuid)" SQL_LIST_MADE
#define SQL_ENDED_RELATIONSHIPS                                                                    \
    " UNION ALL SELECT a.source_object, a.target_object, a.type, a.metadata FROM earlier"          \
    SQL_JOIN_ASSOCIATIONS("earlier.entry_uuid") " WHERE a.source_kind = 0 AND a.target_kind = 0"   \
    " AND a.status = CASE WHEN a.type = ANY ('{1,4}') THEN 0 ELSE 1 END"
static const DbStatement move_relationships = {"patient_move_relationships",
                                               SQL_MOVE_RELATIONSHIPS("", "")};
static const DbStatement move_relationships_back = {
    "patient_move_back_relationships",
    SQL_MOVE_RELATIONSHIPS(SQL_EARLIER, SQL_ENDED_RELATIONSHIPS)};

/* ---- Folders ---- */

/* Folders of another patient than the new one whose Approved members all moved: the old versions
 * are Deprecated by now (3.64.4.1.3.1.6). */
#define SQL_WHOLE_FOLDERS                                                                          \
    "whole AS MATERIALIZED (SELECT f.* FROM folder f WHERE f.entry_uuid = ANY (ARRAY("             \
    "SELECT a.source_object FROM pair JOIN association a ON a.target_object = pair.old"            \
    " WHERE a.type = 0 AND a.source_kind = 2 AND a.status = 0))"                                   \
    " AND f.is_latest AND f.status = 0 AND NOT f.patient = ANY ($2::bigint[])"                     \
    " AND NOT EXISTS (SELECT FROM association m JOIN document_entry d"                             \
    " ON d.entry_uuid = m.target_object WHERE m.source_object = f.entry_uuid AND m.type = 0"       \
    " AND m.status = 0 AND d.status = 0))"

static const DbStatement select_folder_versions = {"patient_move_folder_versions",
                                                   "WITH " SQL_PAIRS ", " SQL_WHOLE_FOLDERS
                                                   " SELECT DISTINCT version FROM whole"};

/* $3 versions that end, $4 metadata of HasMember with that PreviousVersion, $5 patient. */
static const DbStatement make_folder_versions = {
    "patient_move_folders",
    "WITH " SQL_PAIRS ", " SQL_WHOLE_FOLDERS ", ended AS (UPDATE folder SET status = 1,"
    " is_latest = false WHERE entry_uuid = ANY (ARRAY(SELECT entry_uuid FROM whole)))"
    ", made AS (INSERT INTO folder (entry_uuid, lid, patient, last_update_time, version,"
    " source_facility, status, is_latest, unique_id, code_list, metadata)"
    " SELECT " SQL_NEW_UUID ", coalesce(lid, entry_uuid), $5::bigint, last_update_time,"
    " version + 1, source_facility, 0, true, unique_id, code_list, metadata FROM whole"
    " RETURNING entry_uuid, version)"
    " INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID
    ", $1::uuid, made.entry_uuid, 0, 1, 2, 0, 0, previous.metadata FROM made"
    " JOIN unnest($3::int[], $4::bytea[]) AS previous (version, metadata)"
    " ON previous.version = made.version - 1"};

/* The membership of what moved ends; in a Folder of the new patient it begins anew. */
#define SQL_MOVE_MEMBERSHIPS(earlier, restored)                                                    \
    "WITH " SQL_PAIRS earlier ", ended AS (UPDATE association a SET status = 1 FROM pair"          \
    " WHERE a.target_object = pair.old AND a.type = 0 AND a.source_kind = 2 AND a.status = 0"      \
    " RETURNING a.source_object, a.target_object, a.metadata)"                                     \
    ", c AS (SELECT source_object, target_object, metadata FROM ended" restored ")"                \
    ", made AS (INSERT INTO " SQL_ASSOCIATION_COLUMNS " SELECT " SQL_NEW_UUID                      \
    ", folder, document, 0, 2, 0, 0, 0, metadata"                                                  \
    " FROM (SELECT DISTINCT ON (f.entry_uuid, t.entry_uuid)"                                       \
    " f.entry_uuid AS folder, t.entry_uuid AS document, c.metadata FROM c"                         \
    " JOIN folder f0 ON f0.entry_uuid = c.source_object"                                           \
    SQL_JOIN_VERSIONS("folder", "f", SQL_LID("f0")) " AND f.is_latest AND f.status = 0"            \
    " AND f.patient = ANY ($2::bigint[])" SQL_LATEST_DOCUMENT("t", "target_object")                \
    " WHERE NOT EXISTS (SELECT FROM association m WHERE m.source_object = f.entry_uuid"            \
    " AND m.target_object = t.entry_uuid AND m.status = 0)) carried RETURNING entry_uuid)"         \
    SQL_LIST_MADE
/* Of the versions that come back, and of what stayed behind in the Folders that come back. */
#define SQL_ENDED_MEMBERSHIPS                                                                      \
    " UNION ALL SELECT a.source_object, a.target_object, a.metadata FROM earlier"                  \
    " JOIN association a ON a.target_object = earlier.entry_uuid"                                  \
    " WHERE a.type = 0 AND a.source_kind = 2 AND a.status = 1"                                     \
    " UNION ALL SELECT a.source_object, a.target_object, a.metadata FROM association h"            \
    " JOIN folder n ON n.entry_uuid = h.target_object"                                             \
    SQL_JOIN_VERSIONS("folder", "v", "n.lid") " AND v.version < n.version"                         \
    " JOIN association a ON a.source_object = v.entry_uuid"                                        \
    " WHERE h.source_object = $1::uuid AND h.type = 0 AND h.target_kind = 2"                       \
    " AND a.type = 0 AND a.target_kind = 0 AND a.status = 0"
static const DbStatement move_memberships = {"patient_move_memberships",
                                             SQL_MOVE_MEMBERSHIPS("", "")};
static const DbStatement move_memberships_back = {
    "patient_move_back_memberships", SQL_MOVE_MEMBERSHIPS(SQL_EARLIER, SQL_ENDED_MEMBERSHIPS)};

/* ---- the SubmissionSet ---- */

static const DbStatement insert_move_set = {
    "patient_move_set",
    "WITH claimed AS (INSERT INTO unique_id (digest, kind) VALUES ($7::uuid, 1))"
    " INSERT INTO submission_set (entry_uuid, patient, submission_time, content_type_code,"
    " source_facility, status, unique_id, source_id, metadata)"
    " VALUES ($1::uuid, $2::bigint, $3::timestamptz, $4::int, $5::int, 0, $6::text, $8::text,"
    " $9::bytea)"};

/* clang-format on */
