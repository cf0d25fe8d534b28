#include "tests/bench/linkage.h"

#include <stdlib.h>
#include <time.h>

#include "tests/bench/random_numbers.h"

#define NONE UINT32_MAX

/** A row of match_key. */
typedef struct Entry {
    int64_t key;
    uint32_t record;
    uint32_t next; /* of the same slot */
} Entry;

typedef struct Pair {
    uint32_t one;
    uint32_t other;
} Pair;

typedef struct Linkage {
    const MatchConfig *config;
    const Population *population;
    Arena *arena;
    Arena *scratch; /* cleared after each record */
    Str *profiles;
    uint32_t *parents; /* of the disjoint sets */
    uint32_t *seen;    /* record for which this one was a candidate last */
    uint32_t *slots;
    size_t slot_count; /* a power of two */
    Entry *entries;
    size_t entry_count;
    Pair *reviews;
    size_t review_count;
    size_t review_room;
    LinkageReport report;
} Linkage;

static uint32_t cluster_of(const uint32_t *parents, uint32_t record)
{
    while (parents[record] != record) {
        record = parents[record];
    }
    return record;
}

/** The lower record stands for the cluster. */
static void join(uint32_t *parents, uint32_t one, uint32_t other)
{
    uint32_t a = cluster_of(parents, one);
    uint32_t b = cluster_of(parents, other);
    parents[MAX(a, b)] = MIN(a, b);
}

static void add_review(Linkage *linkage, uint32_t one, uint32_t other)
{
    if (linkage->review_count == linkage->review_room) {
        size_t room = linkage->review_room * 2 + 1000;
        Pair *reviews = ARENA_ARRAY(linkage->arena, Pair, room);
        if (linkage->review_count) {
            memcpy(reviews, linkage->reviews, linkage->review_count * sizeof(Pair));
        }
        linkage->reviews = reviews;
        linkage->review_room = room;
    }
    linkage->reviews[linkage->review_count++] = (Pair){one, other};
}

static void compare(Linkage *linkage, const MatchProfile *profile, uint32_t record, uint32_t other)
{
    const MatchProfile *candidate = match_profile_read(linkage->scratch, linkage->profiles[other]);
    Match match = match_compare(linkage->config, linkage->scratch, profile, candidate);
    linkage->report.candidate_count++;
    if (match.verdict == MATCH_SAME) {
        join(linkage->parents, record, other);
    } else if (match.verdict == MATCH_REVIEW) {
        add_review(linkage, record, other);
    }
}

static uint32_t *slot_of(Linkage *linkage, int64_t key)
{
    return &linkage->slots[((uint64_t)key * 0x9E3779B97F4A7C15U >> 20) & (linkage->slot_count - 1)];
}

static void feed(Linkage *linkage, uint32_t record)
{
    const MatchProfile *profile =
        match_profile_new(linkage->scratch, &linkage->population->records[record].demographics);
    linkage->profiles[record] = match_profile_write(linkage->arena, profile);
    int64_t keys[MATCH_KEYS_MAX];
    size_t count = match_profile_keys(linkage->config, profile, keys);
    size_t block = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t *slot = slot_of(linkage, keys[i]);
        for (uint32_t at = *slot; at != NONE; at = linkage->entries[at].next) {
            uint32_t other = linkage->entries[at].record;
            if (linkage->entries[at].key == keys[i] && linkage->seen[other] != record) {
                linkage->seen[other] = record;
                compare(linkage, profile, record, other);
                block++;
            }
        }
        linkage->entries[linkage->entry_count] = (Entry){keys[i], record, *slot};
        *slot = (uint32_t)linkage->entry_count++;
    }
    linkage->report.key_count += count;
    linkage->report.largest_block = MAX(linkage->report.largest_block, block);
    arena_clear(linkage->scratch);
}

static Linkage linkage_new(Arena *arena, const MatchConfig *config, const Population *population)
{
    size_t count = population->record_count;
    Linkage linkage = {.config = config, .population = population, .arena = arena};
    linkage.scratch = arena_new();
    linkage.profiles = ARENA_ARRAY(arena, Str, count);
    linkage.parents = ARENA_ARRAY(arena, uint32_t, count);
    linkage.seen = ARENA_ARRAY(arena, uint32_t, count);
    linkage.entries = ARENA_ARRAY(arena, Entry, count * MATCH_KEYS_MAX);
    linkage.slot_count = 1024;
    while (linkage.slot_count < count * 8) {
        linkage.slot_count *= 2;
    }
    linkage.slots = ARENA_ARRAY(arena, uint32_t, linkage.slot_count);
    for (size_t i = 0; i < linkage.slot_count; i++) {
        linkage.slots[i] = NONE;
    }
    for (size_t i = 0; i < count; i++) {
        linkage.parents[i] = (uint32_t)i;
        linkage.seen[i] = NONE;
    }
    return linkage;
}

/* ---- counting ---- */

typedef struct Member {
    uint32_t group;
    uint32_t record;
} Member;

static int compare_members(const void *a, const void *b)
{
    const Member *one = a;
    const Member *other = b;
    if (one->group != other->group) {
        return one->group > other->group ? 1 : -1;
    }
    return (one->record > other->record) - (one->record < other->record);
}

static void count_kinds(LinkageReport *report, uint32_t errors, bool is_found)
{
    for (size_t kind = 0; kind <= ERROR_KINDS; kind++) {
        bool is_of_kind = kind == ERROR_KINDS ? errors == 0 : errors >> kind & 1;
        report->kinds[kind].all += is_of_kind;
        report->kinds[kind].found += is_of_kind && is_found;
    }
}

/** Every pair of records of one person. */
static void count_true_pairs(Linkage *linkage, const uint32_t *clusters, Member *members)
{
    const PatientRecord *records = linkage->population->records;
    size_t count = linkage->population->record_count;
    for (size_t i = 0; i < count; i++) {
        members[i] = (Member){records[i].person, (uint32_t)i};
    }
    qsort(members, count, sizeof(*members), compare_members);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count && members[j].group == members[i].group; j++) {
            uint32_t one = members[i].record;
            uint32_t other = members[j].record;
            bool is_found = clusters[one] == clusters[other];
            linkage->report.pairs.all++;
            linkage->report.pairs.found += is_found;
            count_kinds(&linkage->report, records[one].errors | records[other].errors, is_found);
        }
    }
}

static void count_linked_pairs(Linkage *linkage, const uint32_t *clusters)
{
    size_t count = linkage->population->record_count;
    uint32_t *sizes = ARENA_ARRAY(linkage->arena, uint32_t, count);
    for (size_t i = 0; i < count; i++) {
        linkage->report.linked_pairs += sizes[clusters[i]]++;
    }
}

/** members are the records in the order of persons. */
static bool share_cluster(const Member *members, size_t count, const uint32_t *clusters,
                          Lookalikes pair)
{
    size_t at[2] = {0, 0};
    const uint32_t persons[] = {pair.one, pair.other};
    for (size_t k = 0; k < 2; k++) {
        size_t high = count;
        while (at[k] < high) {
            size_t middle = (at[k] + high) / 2;
            if (members[middle].group < persons[k]) {
                at[k] = middle + 1;
            } else {
                high = middle;
            }
        }
    }
    for (size_t i = at[0]; i < count && members[i].group == pair.one; i++) {
        for (size_t j = at[1]; j < count && members[j].group == pair.other; j++) {
            if (clusters[members[i].record] == clusters[members[j].record]) {
                return true;
            }
        }
    }
    return false;
}

static void count_lookalikes(Linkage *linkage, const Member *members, const uint32_t *clusters,
                             const Lookalikes *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        linkage->report.lookalikes.all++;
        linkage->report.lookalikes.found +=
            share_cluster(members, linkage->population->record_count, clusters, pairs[i]);
    }
}

static void count_reviews(Linkage *linkage, const uint32_t *clusters)
{
    linkage->report.review_pairs = linkage->review_count;
    for (size_t i = 0; i < linkage->review_count; i++) {
        linkage->report.open_review_pairs +=
            clusters[linkage->reviews[i].one] != clusters[linkage->reviews[i].other];
    }
}

static void count(Linkage *linkage, const uint32_t *clusters)
{
    const Population *population = linkage->population;
    Member *members = ARENA_ARRAY(linkage->arena, Member, population->record_count);
    linkage->report.record_count = population->record_count;
    count_true_pairs(linkage, clusters, members);
    count_linked_pairs(linkage, clusters);
    count_lookalikes(linkage, members, clusters, population->twins, population->twin_count);
    count_lookalikes(linkage, members, clusters, population->namesakes, population->namesake_count);
    count_reviews(linkage, clusters);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void linkage_run(Arena *arena, const MatchConfig *config, const Population *population,
                 const uint32_t *order, LinkageReport *ret_report, uint32_t **ret_clusters)
{
    Linkage linkage = linkage_new(arena, config, population);
    double start = now();
    for (size_t i = 0; i < population->record_count; i++) {
        feed(&linkage, order[i]);
    }
    linkage.report.seconds = now() - start;
    uint32_t *clusters = ARENA_ARRAY(arena, uint32_t, population->record_count);
    for (size_t i = 0; i < population->record_count; i++) {
        clusters[i] = cluster_of(linkage.parents, (uint32_t)i);
    }
    count(&linkage, clusters);
    arena_free(linkage.scratch);
    *ret_report = linkage.report;
    *ret_clusters = clusters;
}

uint32_t *linkage_order(Arena *arena, const Population *population, uint64_t seed)
{
    uint32_t *order = ARENA_ARRAY(arena, uint32_t, population->record_count);
    Rng rng = {seed};
    for (size_t i = 0; i < population->record_count; i++) {
        size_t at = rng_below(&rng, i + 1);
        order[i] = order[at];
        order[at] = (uint32_t)i;
    }
    return order;
}
