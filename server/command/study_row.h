#pragma once

#include "repository/imaging/study_copies.h"
#include "server/command/identity_command.h"

/** Rows of table imaging_study for a reader: each is a copy of a study, of one facility and
 * PatientID. */

#define SELECT_STUDIES                                                                             \
    "SELECT " STUDY_COPY_COLUMNS ", coalesce(f.name, ''), s.ae_title, s.patient_number, "          \
    "coalesce(a.oid, ''), coalesce(x.value, ''), s.study_date, s.accession_number, "               \
    "s.study_description, s.received_at, s.changed_at, s.flags, s.manifest_kind, "                 \
    "s.is_manifest_due, s.manifest_unique_id, s.manifest_failure, s.character_set, "               \
    "s.character_set_confidence, "                                                                 \
    "(SELECT count(*) FROM imaging_instance i WHERE i.study = s.id AND i.variant = 0 "             \
    "AND i.rejected = ''), "                                                                       \
    "(SELECT count(*) FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "           \
    "WHERE r.study = s.id AND i.variant > 0), "                                                    \
    "(SELECT count(*) FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "           \
    "WHERE r.study = s.id AND i.variant = 0 AND i.rejected <> ''), "                               \
    "(SELECT count(*) FROM imaging_source_manifest m, unnest(m.sop_instances) w (uid) "            \
    "WHERE m.study_uid = s.study_uid AND m.facility = s.facility AND NOT EXISTS "                  \
    "(SELECT FROM imaging_instance i WHERE i.sop_instance = w.uid AND i.variant = 0)) "            \
    "FROM imaging_study s LEFT JOIN facility f ON f.id = s.facility "                              \
    "LEFT JOIN assigning_authority a ON a.id = s.authority " STUDY_PERSON_JOINS

/** Columns of SELECT_STUDIES, behind those of a StudyCopy. */
enum StudyColumn {
    STUDY_UID = STUDY_COPY_COLUMN_COUNT - 1,
    STUDY_FACILITY,
    STUDY_AE_TITLE,
    STUDY_PATIENT_NUMBER,
    STUDY_AUTHORITY,
    STUDY_XAD_PID,
    STUDY_DATE,
    STUDY_ACCESSION,
    STUDY_DESCRIPTION,
    STUDY_RECEIVED_AT,
    STUDY_CHANGED_AT,
    STUDY_FLAGS,
    STUDY_MANIFEST_KIND,
    STUDY_IS_MANIFEST_DUE,
    STUDY_MANIFEST_UNIQUE_ID,
    STUDY_MANIFEST_FAILURE,
    STUDY_CHARACTER_SET,
    STUDY_CONFIDENCE,
    STUDY_INSTANCES,
    STUDY_VARIANTS,
    STUDY_REJECTED,
    STUDY_MANIFEST_MISSING,
};

/** Every copy of a study, in order of arrival. */
int study_rows_read(const IdentityCommand *command, Str study_uid, DbResult **ret_rows) MUST_CHECK;

/** Before patients are shown (contract C4). */
int study_rows_record_shown(const IdentityCommand *command, const DbResult *rows) MUST_CHECK;

/** The PatientID with its authority (CX); in the arena. */
Str study_row_patient(Arena *arena, const DbResult *rows, int row);
/** Who made its manifest: "none", "source" or "auto". */
const char *study_row_manifest(const DbResult *rows, int row);
/** Two spaces and a word in the operator's language for each flag. */
void study_row_print_flags(const DbResult *rows, int row);
/** New reference. */
json_t *study_row_json(Arena *arena, const DbResult *rows, int row);
