#pragma once

#include "lib/db/db.h"
#include "lib/hl7/cx.h"

/**
 * The assigning authorities of the network as a snapshot in memory, renewed within a second of a
 * change (ITI TF-2 Appendix E; 3.8.4.1.3.1: the full HD of each domain and its one Patient Identity
 * Source).
 */

typedef enum DeriveRule {
    DERIVE_NONE,
    DERIVE_PAD,         /* leading zeros up to a length */
    DERIVE_STRIP_ZEROS, /* no leading zeros */
    DERIVE_PREFIX,      /* a text before the number */
} DeriveRule;

typedef struct AssigningAuthority {
    int32_t id;
    Str oid;
    Str namespace_id;    /* empty: none */
    int32_t facility_id; /* 0: none */
    Str facility;
    Str kind;
    Str source_application; /* MSH-3; "*" any; empty: any node that may feed */
    Str source_facility;    /* MSH-4 */
    Str source_node;        /* empty: told by MSH-3|MSH-4 */
    int64_t valid_from_us;  /* INT64_MIN: open */
    int64_t valid_to_us;    /* INT64_MAX: open; no longer valid at that instant */
    const struct AssigningAuthority *derive_from; /* NULL: its numbers are its own */
    DeriveRule derive_rule;
    size_t derive_width; /* DERIVE_PAD */
    Str derive_prefix;   /* DERIVE_PREFIX */
    bool is_affinity_domain;
} AssigningAuthority;

/** The tables as they were at one instant: the affinity domain's and all configured authorities. */
typedef struct Authorities {
    const AssigningAuthority *items; /* by id */
    size_t count;
    const AssigningAuthority *affinity_domain;
} Authorities;

/**
 * Reads "pad=N" (1 to 20), "strip-zeros" or "prefix=TEXT" into derive_rule and what belongs to it;
 * the prefix is borrowed.
 * @return false: there is no such rule; authority is untouched
 */
bool authority_read_derive_rule(Str rule, AssigningAuthority *authority) MUST_CHECK;

typedef struct AuthorityDirectory AuthorityDirectory;

/** Makes the row of the affinity domain if it is missing. */
int authority_directory_open(DbPool *pool, Request *req, Str affinity_oid, Str affinity_namespace,
                             AuthorityDirectory **ret_directory) MUST_CHECK;
void authority_directory_free(AuthorityDirectory *directory);

/** Reads the table anew; called every second and by SIGHUP. */
int authority_directory_refresh(AuthorityDirectory *directory, Request *req) MUST_CHECK;

/** The authorities of the moment; they live as long as the arena. */
const Authorities *authority_directory_hold(AuthorityDirectory *directory, Arena *arena);

/** NULL if there is none. */
const AssigningAuthority *authorities_by_id(const Authorities *authorities, int32_t id);
const AssigningAuthority *authorities_by_oid(const Authorities *authorities, Str oid);
const AssigningAuthority *authorities_by_namespace(const Authorities *authorities,
                                                   Str namespace_id);
/** The only authority whose source is exactly this MSH-3|MSH-4 (no "*"): for a feed that leaves
 * PID-3.4 out (TF-2 3.8.4.1.3). NULL if none or several. */
const AssigningAuthority *authorities_of_source(const Authorities *authorities, Str application,
                                                Str facility);

/** What is wrong with an HD. */
typedef enum AuthorityFault {
    AUTHORITY_GOOD,
    AUTHORITY_ABSENT,        /* CX-4 is empty */
    AUTHORITY_UNKNOWN,       /* not configured */
    AUTHORITY_INCOMPLETE,    /* one of CX-4.2 and CX-4.3 */
    AUTHORITY_CONTRADICTORY, /* CX-4.1 and CX-4.2 name two authorities (TF-2 E.1.1) */
} AuthorityFault;

/**
 * The authority that CX-4 names: by universal id and type ISO, or by namespace alone; where both
 * are given both must name the same one, unless this network gave it no namespace (TF-2 E.1).
 * @return NULL with the fault
 */
const AssigningAuthority *authorities_find(const Authorities *authorities, const Hl7Cx *cx,
                                           AuthorityFault *ret_fault);

/** "assigning authority (namespace "X", universal id "1.2", type "ISO") is not known here; ..." for
 * an error text; in the arena. */
Str authority_fault_text(Arena *arena, AuthorityFault fault, const Hl7Cx *cx);

/** "id^^^namespace&oid&ISO" (TF-2 E.1: what a PIX Manager sends); without a configured namespace
 * the OID stands for it. In the arena. */
Str authority_format_cx(Arena *arena, const AssigningAuthority *authority, Str id);

/** What a number of authority->derive_from is in authority; empty if it has none. In the arena. */
Str authority_derive(Arena *arena, const AssigningAuthority *authority, Str number);
/** The numbers of authority->derive_from that may have become value, most probable first. */
size_t authority_underive(Arena *arena, const AssigningAuthority *authority, Str value,
                          Str **ret_numbers);
