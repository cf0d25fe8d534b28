#pragma once

#include "registry/query_objects.h"

/** Associations of one running query, held until it is known whether their ends are in the answer.
 */

typedef struct Link {
    Uuid entry_uuid;
    Uuid source;
    Uuid target;
    uint8_t type; /* AssociationType */
    uint8_t source_kind;
    uint8_t target_kind;
    uint8_t status;
    uint8_t submission_set_status;
    Str metadata;
    struct Link *next;
} Link;

#define KIND_ANY (-1)

/** Which Associations of a load are kept. */
typedef struct LinkFilter {
    const int32_t *types; /* NULL: all */
    size_t type_count;
    int source_kind; /* ObjectKind or KIND_ANY */
    int target_kind;
    const UuidSet *not_from; /* drop those with this source: they were loaded before; may be NULL */
} LinkFilter;

/** In the arena of the request. */
typedef struct LinkList {
    QueryRun *run;
    const LinkFilter *filter;
    const UuidSet *settled; /* both ends in it: goes to the answer at once; may be NULL */
    Link *first;
    Link **end;
} LinkList;

void link_list_init(LinkList *list, QueryRun *run);

LinkFilter link_filter_any(void);
/** HasMember from and to objects of these kinds. */
LinkFilter link_filter_members(int source_kind, int target_kind);

/** Adds the Associations that the filter keeps. kind: one of LOAD_ASSOCIATIONS_. */
int link_list_load(LinkList *list, LoadKind kind, const UuidSet *keys,
                   const LinkFilter *filter) MUST_CHECK;
/** Adds the Associations that have one of the objects as source or target, each once. */
int link_list_load_of(LinkList *list, const UuidSet *objects, LinkFilter filter) MUST_CHECK;

/** Keeps the links that have both ends in the set. */
void link_list_keep_within(LinkList *list, const UuidSet *objects);

/**
 * Drops the links that would tell of an object that may not be known. An end that is itself an
 * Association (of a SubmissionSet's HasMember) may be known if both of its ends may.
 * @param visible  closed; ends that were decided before
 */
int link_list_drop_denied(LinkList *list, const UuidSet *visible) MUST_CHECK;

/** All links become part of the answer. */
int link_list_answer(const LinkList *list) MUST_CHECK;
/** Those become part of the answer whose source and target are in these sets (the general rule
 * of 3.18.4.1.2.3.7.10). */
int link_list_answer_within(const LinkList *list, const UuidSet *sources,
                            const UuidSet *targets) MUST_CHECK;

/* Closed sets. */
UuidSet link_list_sources(const LinkList *list);
UuidSet link_list_targets(const LinkList *list, ObjectKind kind);
UuidSet link_list_ends(const LinkList *list);
