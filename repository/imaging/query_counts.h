#pragma once

#include "repository/imaging/imaging_state.h"
#include "repository/imaging/study_copies.h"

/** What a reader gets of studies, counted: of several copies of one person their union, as
 * index_find_instances() gives it. */

/** Texts are borrowed from the request's arena. */
typedef struct StudyCounts {
    int64_t series; /* with something to give out */
    int64_t instances;
    Str modalities;  /* with backslash between */
    Str sop_classes; /* the same; empty unless asked for */
} StudyCounts;

typedef struct PatientCounts {
    int64_t studies;
    int64_t series;
    int64_t instances;
} PatientCounts;

/** Unions as the parameters $1 (rows) and $2 (of which study: its place, from 1) of statements. */
void study_unions_bind(DbParams *params, const StudyUnion *studies, size_t count);
/** Whether one of them has several copies. */
bool study_unions_overlap(const StudyUnion *studies, size_t count);

/** FROM of what binds unions: w (id, at). */
#define STUDY_UNIONS "unnest($1::bigint[], $2::integer[]) w (id, at) "
/** That instance i is given out: of a study with one copy, and of one with several: what two copies
 * both hold is given once, as it came first. A subquery that cannot become a join: 25 000 instances
 * are looked up one by one, not compared with each other; + 0 keeps it off the index of ids. */
#define INSTANCE_IS_SERVED "i.variant = 0 AND i.rejected = '' "
#define INSTANCE_IS_SERVED_ONCE                                                                    \
    INSTANCE_IS_SERVED                                                                             \
    "AND i.id = (SELECT min(o.id + 0) FROM imaging_instance o "                                    \
    "WHERE o.sop_instance = i.sop_instance AND o.variant = 0 AND o.rejected = '' "                 \
    "AND ($2::integer[])[array_position($1::bigint[], o.study)] = w.at) "

/** @param ret_counts  as many as studies */
int study_counts_read(Request *req, DbConn *conn, const StudyUnion *studies, size_t count,
                      bool with_classes, StudyCounts *ret_counts) MUST_CHECK;

/** All studies of a person that the reader may have. */
int patient_counts_read(const Imaging *imaging, Request *req, DbConn *conn, int64_t person,
                        PatientCounts *ret_counts) MUST_CHECK;
