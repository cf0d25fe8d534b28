#include "pix/authorities.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/heap.h"

/** Shortest and longest number that a rule is undone for. */
#define NUMBER_MAX_DIGITS 20

/** The rows as they were at one instant; freed when nobody holds them any more. */
typedef struct Snapshot {
    Arena *arena;
    Authorities authorities;
    unsigned holders; /* under the directory's lock */
    AuthorityDirectory *directory;
} Snapshot;

struct AuthorityDirectory {
    DbPool *pool;
    int32_t affinity_id;
    pthread_mutex_t lock;
    Snapshot *snapshot;
};

/* Without one in the configuration, the namespace that an operator gave it stays. */
static const DbStatement upsert_affinity_domain = {
    "authority_upsert_affinity",
    "INSERT INTO assigning_authority (oid, namespace) VALUES ($1::text, $2::text)"
    " ON CONFLICT (oid) DO UPDATE SET namespace = coalesce(nullif(excluded.namespace, ''),"
    " assigning_authority.namespace) RETURNING id",
};

static const DbStatement select_authorities = {
    "authority_select",
    "SELECT authority.id, oid, namespace, facility.id, facility.name, kind, source_application,"
    " source_facility, source_node, valid_from, valid_to, derive_from, derive_rule"
    " FROM assigning_authority authority LEFT JOIN facility ON facility.id = authority.facility"
    " WHERE is_configured OR authority.id = $1::int4 ORDER BY authority.id",
};

/* ---- rows ---- */

bool authority_read_derive_rule(Str rule, AssigningAuthority *authority)
{
    static const Str pad = STR_INIT("pad=");
    static const Str prefix = STR_INIT("prefix=");
    uint64_t width = 0;
    if (str_equal(rule, STR("strip-zeros"))) {
        authority->derive_rule = DERIVE_STRIP_ZEROS;
        return true;
    }
    if (str_starts_with(rule, pad) && str_to_u64(str_from_offset(rule, pad.len), &width) &&
        width > 0 && width <= NUMBER_MAX_DIGITS) {
        authority->derive_rule = DERIVE_PAD;
        authority->derive_width = (size_t)width;
        return true;
    }
    if (str_starts_with(rule, prefix) && rule.len > prefix.len) {
        authority->derive_rule = DERIVE_PREFIX;
        authority->derive_prefix = str_from_offset(rule, prefix.len);
        return true;
    }
    return false;
}

static void read_row(Arena *arena, const DbResult *rows, int row, AssigningAuthority *authority)
{
    *authority = (AssigningAuthority){
        .id = db_i32(rows, row, 0),
        .oid = str_dup(arena, db_text(rows, row, 1)),
        .namespace_id = str_dup(arena, db_text(rows, row, 2)),
        .facility_id = db_is_null(rows, row, 3) ? 0 : db_i32(rows, row, 3),
        .facility = db_is_null(rows, row, 4) ? STR_EMPTY : str_dup(arena, db_text(rows, row, 4)),
        .kind = str_dup(arena, db_text(rows, row, 5)),
        .source_application = str_dup(arena, db_text(rows, row, 6)),
        .source_facility = str_dup(arena, db_text(rows, row, 7)),
        .source_node = str_dup(arena, db_text(rows, row, 8)),
        .valid_from_us = db_timestamp_or(rows, row, 9, INT64_MIN),
        .valid_to_us = db_timestamp_or(rows, row, 10, INT64_MAX),
    };
    (void)!authority_read_derive_rule(str_dup(arena, db_text(rows, row, 12)), authority);
}

static Snapshot *read_snapshot(AuthorityDirectory *directory, const DbResult *rows)
{
    Arena *arena = arena_new();
    Snapshot *snapshot = ARENA_NEW(arena, Snapshot);
    snapshot->arena = arena;
    snapshot->directory = directory;
    snapshot->holders = 1;
    size_t count = (size_t)db_rows(rows);
    AssigningAuthority *items = ARENA_ARRAY(arena, AssigningAuthority, count);
    snapshot->authorities = (Authorities){.items = items, .count = count};
    for (size_t i = 0; i < count; i++) {
        read_row(arena, rows, (int)i, &items[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].derive_rule != DERIVE_NONE && !db_is_null(rows, (int)i, 11)) {
            items[i].derive_from =
                authorities_by_id(&snapshot->authorities, db_i32(rows, (int)i, 11));
        }
        if (items[i].id == directory->affinity_id) {
            items[i].is_affinity_domain = true;
            snapshot->authorities.affinity_domain = &items[i];
        }
    }
    return snapshot;
}

/* ---- life ---- */

static void let_go(void *object)
{
    Snapshot *snapshot = object;
    pthread_mutex_lock(&snapshot->directory->lock);
    bool is_last = --snapshot->holders == 0;
    pthread_mutex_unlock(&snapshot->directory->lock);
    if (is_last) {
        arena_free(snapshot->arena);
    }
}

int authority_directory_refresh(AuthorityDirectory *directory, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    int rc = db_acquire(directory->pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    db_params_init(&params, req->arena);
    db_param_i32(&params, directory->affinity_id);
    rc = db_exec(conn, req, &select_authorities, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    Snapshot *fresh = read_snapshot(directory, rows);
    pthread_mutex_lock(&directory->lock);
    Snapshot *old = directory->snapshot;
    directory->snapshot = fresh;
    pthread_mutex_unlock(&directory->lock);
    if (old) {
        let_go(old);
    }
    return 0;
}

static int open_affinity_domain(AuthorityDirectory *directory, Request *req, Str oid,
                                Str namespace_id)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *result = NULL;
    int rc = db_acquire(directory->pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    db_params_init(&params, req->arena);
    db_param_text(&params, oid);
    db_param_text(&params, namespace_id);
    rc = db_exec(conn, req, &upsert_affinity_domain, &params, &result);
    if (rc == 0) {
        directory->affinity_id = db_i32(result, 0, 0);
    }
    return rc;
}

int authority_directory_open(DbPool *pool, Request *req, Str affinity_oid, Str affinity_namespace,
                             AuthorityDirectory **ret_directory)
{
    AuthorityDirectory *directory = HEAP_NEW(AuthorityDirectory);
    directory->pool = pool;
    pthread_mutex_init(&directory->lock, NULL);
    int rc = open_affinity_domain(directory, req, affinity_oid, affinity_namespace);
    rc = rc < 0 ? rc : authority_directory_refresh(directory, req);
    if (rc < 0) {
        authority_directory_free(directory);
        return rc;
    }
    *ret_directory = directory;
    return 0;
}

void authority_directory_free(AuthorityDirectory *directory)
{
    if (!directory) {
        return;
    }
    if (directory->snapshot) {
        let_go(directory->snapshot);
    }
    pthread_mutex_destroy(&directory->lock);
    free(directory);
}

const Authorities *authority_directory_hold(AuthorityDirectory *directory, Arena *arena)
{
    pthread_mutex_lock(&directory->lock);
    Snapshot *snapshot = directory->snapshot;
    snapshot->holders++;
    pthread_mutex_unlock(&directory->lock);
    arena_defer(arena, let_go, snapshot);
    return &snapshot->authorities;
}

/* ---- finding ---- */

const AssigningAuthority *authorities_by_id(const Authorities *authorities, int32_t id)
{
    size_t low = 0;
    size_t high = authorities->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (authorities->items[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < authorities->count && authorities->items[low].id == id;
    return is_found ? &authorities->items[low] : NULL;
}

const AssigningAuthority *authorities_by_oid(const Authorities *authorities, Str oid)
{
    for (size_t i = 0; i < authorities->count; i++) {
        if (str_equal(authorities->items[i].oid, oid)) {
            return &authorities->items[i];
        }
    }
    return NULL;
}

/** What answers carry in CX-4.1, which must be there (TF-2 E.1): a domain that this network gave no
 * namespace is named by its OID. */
static Str namespace_of(const AssigningAuthority *authority)
{
    return str_is_empty(authority->namespace_id) ? authority->oid : authority->namespace_id;
}

const AssigningAuthority *authorities_by_namespace(const Authorities *authorities, Str namespace_id)
{
    for (size_t i = 0; i < authorities->count && !str_is_empty(namespace_id); i++) {
        if (str_equal(namespace_of(&authorities->items[i]), namespace_id)) {
            return &authorities->items[i];
        }
    }
    return NULL;
}

const AssigningAuthority *authorities_of_source(const Authorities *authorities, Str application,
                                                Str facility)
{
    const AssigningAuthority *only = NULL;
    for (size_t i = 0; i < authorities->count; i++) {
        const AssigningAuthority *authority = &authorities->items[i];
        bool is_named = !str_is_empty(authority->source_application) &&
                        str_equal(authority->source_application, application) &&
                        str_equal(authority->source_facility, facility);
        if (is_named && only) {
            return NULL;
        }
        only = is_named ? authority : only;
    }
    return only;
}

const AssigningAuthority *authorities_find(const Authorities *authorities, const Hl7Cx *cx,
                                           AuthorityFault *ret_fault)
{
    const AssigningAuthority *named = authorities_by_namespace(authorities, cx->namespace_id);
    bool has_namespace = !str_is_empty(cx->namespace_id);
    bool has_universal_id = !str_is_empty(cx->universal_id);
    *ret_fault = AUTHORITY_GOOD;
    if (has_universal_id == str_is_empty(cx->universal_id_type)) {
        *ret_fault = AUTHORITY_INCOMPLETE;
        return NULL;
    }
    if (!has_universal_id) {
        if (!named) {
            *ret_fault = has_namespace ? AUTHORITY_UNKNOWN : AUTHORITY_ABSENT;
        }
        return named;
    }
    const AssigningAuthority *authority = str_equal(cx->universal_id_type, STR("ISO"))
                                              ? authorities_by_oid(authorities, cx->universal_id)
                                              : NULL;
    bool can_compare =
        has_namespace && (named || !authority || !str_is_empty(authority->namespace_id));
    if (can_compare && named != authority) {
        *ret_fault = AUTHORITY_CONTRADICTORY;
        return NULL;
    }
    if (!authority) {
        *ret_fault = AUTHORITY_UNKNOWN;
    }
    return authority;
}

Str authority_fault_text(Arena *arena, AuthorityFault fault, const Hl7Cx *cx)
{
    static const char *const what[] = {
        [AUTHORITY_GOOD] = "is known",
        [AUTHORITY_ABSENT] = "is missing; send universal id (an OID) with type \"ISO\"",
        [AUTHORITY_UNKNOWN] = "is not configured here; ask the operator of this network to add it",
        [AUTHORITY_INCOMPLETE] = "has only one of universal id and universal id type; send an OID "
                                 "with type \"ISO\"",
        [AUTHORITY_CONTRADICTORY] = "names two different authorities by namespace and by universal "
                                    "id; send one, or both of the same",
    };
    return str_printf(arena,
                      "assigning authority (namespace \"%.*s\", universal id \"%.*s\", type "
                      "\"%.*s\") %s",
                      STR_ARG(cx->namespace_id), STR_ARG(cx->universal_id),
                      STR_ARG(cx->universal_id_type), what[fault]);
}

Str authority_format_cx(Arena *arena, const AssigningAuthority *authority, Str id)
{
    StrBuf buf = {0};
    er7_append_text(&buf, id);
    strbuf_literal(&buf, "^^^");
    er7_append_text(&buf, namespace_of(authority));
    strbuf_literal(&buf, "&");
    er7_append_text(&buf, authority->oid);
    strbuf_literal(&buf, "&ISO");
    Str cx = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return cx;
}

/* ---- derived numbers ---- */

static Str without_zeros(Str number)
{
    while (number.len > 1 && number.data[0] == '0') {
        number = str_from_offset(number, 1);
    }
    return number;
}

static Str with_zeros(Arena *arena, Str number, size_t zeros)
{
    return str_printf(arena, "%0*d%.*s", (int)zeros, 0, STR_ARG(number));
}

Str authority_derive(Arena *arena, const AssigningAuthority *authority, Str number)
{
    if (str_is_empty(number)) {
        return STR_EMPTY;
    }
    switch (authority->derive_rule) {
    case DERIVE_PAD:
        if (number.len > authority->derive_width) {
            return STR_EMPTY;
        }
        return number.len == authority->derive_width
                   ? number
                   : with_zeros(arena, number, authority->derive_width - number.len);
    case DERIVE_STRIP_ZEROS:
        return without_zeros(number);
    case DERIVE_PREFIX:
        return str_printf(arena, "%.*s%.*s", STR_ARG(authority->derive_prefix), STR_ARG(number));
    case DERIVE_NONE:
    default:
        return STR_EMPTY;
    }
}

/** The number with ever fewer of its leading zeros: what padding may have come from. */
static size_t undo_padding(Arena *arena, const AssigningAuthority *authority, Str value,
                           Str **ret_numbers)
{
    size_t zeros = value.len - without_zeros(value).len;
    if (value.len != authority->derive_width) {
        return 0;
    }
    *ret_numbers = ARENA_ARRAY(arena, Str, zeros + 1);
    for (size_t i = 0; i <= zeros; i++) {
        (*ret_numbers)[i] = str_from_offset(value, zeros - i);
    }
    return zeros + 1;
}

/** The number with ever more leading zeros. */
static size_t undo_stripping(Arena *arena, Str value, Str **ret_numbers)
{
    if (!str_equal(without_zeros(value), value) || value.len > NUMBER_MAX_DIGITS) {
        return 0;
    }
    size_t count = NUMBER_MAX_DIGITS - value.len + 1;
    *ret_numbers = ARENA_ARRAY(arena, Str, count);
    (*ret_numbers)[0] = value;
    for (size_t i = 1; i < count; i++) {
        (*ret_numbers)[i] = with_zeros(arena, value, i);
    }
    return count;
}

size_t authority_underive(Arena *arena, const AssigningAuthority *authority, Str value,
                          Str **ret_numbers)
{
    if (str_is_empty(value)) {
        return 0;
    }
    switch (authority->derive_rule) {
    case DERIVE_PAD:
        return undo_padding(arena, authority, value, ret_numbers);
    case DERIVE_STRIP_ZEROS:
        return undo_stripping(arena, value, ret_numbers);
    case DERIVE_PREFIX:
        if (!str_starts_with(value, authority->derive_prefix) ||
            value.len == authority->derive_prefix.len) {
            return 0;
        }
        *ret_numbers = ARENA_NEW(arena, Str);
        **ret_numbers = str_from_offset(value, authority->derive_prefix.len);
        return 1;
    case DERIVE_NONE:
    default:
        return 0;
    }
}
