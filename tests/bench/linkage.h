#pragma once

#include "pix/matching/match.h"

#include "tests/bench/population.h"

/** Record linkage of a population as the server does it, without server and database: each record
 * in turn is compared with the earlier ones that have a key in common. */

typedef struct PairCount {
    size_t all;
    size_t found;
} PairCount;

typedef struct LinkageReport {
    size_t record_count;
    size_t candidate_count; /* comparisons */
    size_t key_count;       /* rows of an index */
    size_t largest_block;   /* most candidates of one record */
    size_t linked_pairs;    /* pairs of records in one cluster, after transitive closure */
    PairCount pairs;        /* of records of one person, and those of them that are linked */
    PairCount
        kinds[ERROR_KINDS + 1]; /* those of which a record has the error; last: neither has one */
    PairCount lookalikes;       /* twins and namesakes, and those of them that share a cluster */
    size_t review_pairs;        /* verdict MATCH_REVIEW */
    size_t open_review_pairs;   /* of these, not linked through other records */
    double seconds;
} LinkageReport;

/** Feeds records in this order.
 * @param ret_clusters  for each record, in the order of population->records, the first record of
 *                      its cluster: equal partitions give equal arrays; in the arena */
void linkage_run(Arena *arena, const MatchConfig *config, const Population *population,
                 const uint32_t *order, LinkageReport *ret_report, uint32_t **ret_clusters);

/** A random order of a population's records. */
uint32_t *linkage_order(Arena *arena, const Population *population, uint64_t seed);

static inline double linkage_precision(const LinkageReport *report)
{
    return report->linked_pairs ? (double)report->pairs.found / (double)report->linked_pairs : 1.0;
}

static inline double linkage_recall(PairCount pairs)
{
    return pairs.all ? (double)pairs.found / (double)pairs.all : 1.0;
}

/** Pairs for a person to decide, for each record. */
static inline double linkage_review_share(const LinkageReport *report)
{
    return (double)report->review_pairs / (double)report->record_count;
}
