#pragma once

#include "lib/access/access.h"
#include "lib/db/db.h"
#include "repository/imaging/study_persons.h"

/** Rows of imaging_study as access rules see them: whose each is, and whether the reader may have
 * it. */

/** What access rules know of images: rows of table code; 0: nobody has named it yet. */
typedef struct ImagingCodes {
    int32_t class_code;
    int32_t confidentiality_code;
} ImagingCodes;

/** Queues the statement whose result imaging_codes_read() takes; each code is CODE^^SCHEME. */
int imaging_codes_queue(DbConn *conn, Request *req, Str class_code,
                        Str confidentiality_code) MUST_CHECK;
ImagingCodes imaging_codes_read(const DbResult *rows);

typedef struct StudyCopy {
    int64_t study;      /* row */
    int64_t person;     /* 0: of an unknown patient */
    int64_t patient;    /* row of the XAD-PID; 0: none, it waits */
    int64_t started_us; /* INT64_MIN: not known */
    int32_t facility;
    bool is_visible; /* that it exists may be known */
    bool is_permitted;
    Str study_uid;
} StudyCopy;

/** Columns of a StudyCopy, the first of a statement; s is the row of imaging_study,
 * followed by STUDY_PERSON_JOINS. */
#define STUDY_COPY_COLUMNS                                                                         \
    "s.id, coalesce(i.person, 0), coalesce(x.id, 0), s.started_at, s.facility, s.study_uid"
#define STUDY_COPY_COLUMN_COUNT 6

StudyCopy study_copy_read(const DbResult *rows, int row);

/** By what a target names studies. */
typedef enum StudyNaming { STUDY_BY_UID, STUDY_BY_SERIES, STUDY_BY_INSTANCE } StudyNaming;

/** What the rules decide about. Borrows codes. */
AccessObject study_copy_object(const ImagingCodes *codes, const StudyCopy *copy);

/** All rows that a UID names, in the request's arena. */
int study_copies_find(Request *req, DbConn *conn, StudyNaming naming, Str uid,
                      StudyCopy **ret_copies, size_t *ret_count) MUST_CHECK;

/** Decides about each; always one round trip to the rules where there are any, so that nothing
 * takes as long as what may not be known. */
int study_copies_decide(ImagingCodes codes, Request *req, StudyCopy *copies, size_t count,
                        AccessPurpose purpose) MUST_CHECK;

/** Whether the visible ones are of different persons: none of them is given out, for whatever
 * purpose. */
bool study_copies_conflict(const StudyCopy *copies, size_t count);

/** One study: the rows of it that are given out, the first of which stands for it. */
typedef struct StudyUnion {
    const int64_t *copies;
    size_t copy_count;
} StudyUnion;

/** Of all copies of a study, in order of their rows; in the arena. */
StudyUnion study_copies_unite(Arena *arena, const StudyCopy *copies, size_t count);
