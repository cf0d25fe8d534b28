#include "repository/imaging/ae_directory.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/heap.h"

/** The tables as they were at one instant; never changed once published. */
typedef struct Snapshot {
    Arena *arena;
    Ae *aes; /* by title, then node */
    size_t ae_count;
    ImagingAuthority *authorities; /* by id */
    size_t authority_count;
    ImagingCodes codes;
} Snapshot;

struct AeDirectory {
    AeDirectoryConfig config;
    pthread_rwlock_t lock;
    Snapshot snapshot;
};

static const DbStatement select_aes = {
    "imaging_aes",
    "SELECT t.title, n.id, n.facility, coalesce(a.authority, 0), coalesce(a.issuers, '{}'), "
    "coalesce(a.institutions, '{}'), coalesce(a.manifest, '') = 'source', coalesce(a.host, ''), "
    "coalesce(a.port, 0), coalesce(a.is_tls, true), coalesce(a.fingerprint, '') "
    "FROM (SELECT node, ae_title FROM imaging_ae UNION SELECT id, unnest(ae_titles) FROM node) "
    "t (node, title) JOIN node n ON n.id = t.node "
    "LEFT JOIN imaging_ae a ON a.node = t.node AND a.ae_title = t.title "
    "WHERE n.revoked_at IS NULL ORDER BY t.title COLLATE \"C\", n.id",
};

static const DbStatement select_authorities = {
    "imaging_authorities",
    "SELECT id, oid, namespace, coalesce(facility, 0), kind = 'pacs', is_configured, "
    "coalesce(derive_from, 0) "
    "FROM assigning_authority ORDER BY id",
};

/* Of mode open, where nobody has configured it. */
static const DbStatement insert_authority = {
    "imaging_authority_insert",
    "INSERT INTO assigning_authority (oid) SELECT $1::text WHERE $1::text <> '' "
    "AND NOT EXISTS (SELECT FROM assigning_authority WHERE oid = $1::text) ON CONFLICT DO NOTHING",
};

AeDirectory *ae_directory_new(const AeDirectoryConfig *config)
{
    AeDirectory *directory = HEAP_NEW(AeDirectory);
    directory->config = *config;
    directory->snapshot.arena = arena_new();
    pthread_rwlock_init(&directory->lock, NULL);
    return directory;
}

void ae_directory_free(AeDirectory *directory)
{
    if (!directory) {
        return;
    }
    arena_free(directory->snapshot.arena);
    pthread_rwlock_destroy(&directory->lock);
    free(directory);
}

static void read_ae(const DbResult *rows, int row, Arena *arena, Ae *ret_ae)
{
    int32_t *issuers;
    Str *institutions;
    *ret_ae = (Ae){
        .title = str_dup(arena, db_text(rows, row, 0)),
        .node = db_i32(rows, row, 1),
        .facility = db_i32(rows, row, 2),
        .authority = db_i32(rows, row, 3),
        .issuer_count = db_i32_array(rows, row, 4, arena, &issuers),
        .institution_count = db_text_array(rows, row, 5, arena, &institutions),
        .makes_manifests = db_bool(rows, row, 6),
        .host = str_dup(arena, db_text(rows, row, 7)),
        .port = db_i32(rows, row, 8),
        .is_tls = db_bool(rows, row, 9),
        .fingerprint = str_dup(arena, db_text(rows, row, 10)),
    };
    ret_ae->issuers = issuers;
    ret_ae->institutions = institutions;
}

static Snapshot read_snapshot(DbResult *const *results)
{
    const DbResult *aes = results[1];
    const DbResult *authorities = results[2];
    Snapshot snapshot = {
        .arena = arena_new(),
        .ae_count = (size_t)db_rows(aes),
        .authority_count = (size_t)db_rows(authorities),
        .codes = imaging_codes_read(results[3]),
    };
    snapshot.aes = ARENA_ARRAY(snapshot.arena, Ae, snapshot.ae_count);
    for (size_t i = 0; i < snapshot.ae_count; i++) {
        read_ae(aes, (int)i, snapshot.arena, &snapshot.aes[i]);
    }
    snapshot.authorities = ARENA_ARRAY(snapshot.arena, ImagingAuthority, snapshot.authority_count);
    for (size_t i = 0; i < snapshot.authority_count; i++) {
        snapshot.authorities[i] = (ImagingAuthority){
            .id = db_i32(authorities, (int)i, 0),
            .oid = str_dup(snapshot.arena, db_text(authorities, (int)i, 1)),
            .name = str_dup(snapshot.arena, db_text(authorities, (int)i, 2)),
            .facility = db_i32(authorities, (int)i, 3),
            .is_pacs = db_bool(authorities, (int)i, 4),
            .is_configured = db_bool(authorities, (int)i, 5),
            .derive_from = db_i32(authorities, (int)i, 6),
        };
    }
    return snapshot;
}

int ae_directory_refresh(AeDirectory *directory, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[4];
    DbParams authority;
    db_params_init(&authority, req->arena);
    db_param_text(&authority, directory->config.default_authority);
    int rc = db_acquire(directory->config.pool, req, &conn);
    if (rc < 0 || (rc = db_queue(conn, req, &insert_authority, &authority)) < 0 ||
        (rc = db_queue(conn, req, &select_aes, NULL)) < 0 ||
        (rc = db_queue(conn, req, &select_authorities, NULL)) < 0 ||
        (rc = imaging_codes_queue(conn, req, directory->config.class_code,
                                  directory->config.confidentiality_code)) < 0 ||
        (rc = db_sync(conn, req, results)) < 0) {
        return rc;
    }
    Snapshot fresh = read_snapshot(results);
    pthread_rwlock_wrlock(&directory->lock);
    Snapshot old = directory->snapshot;
    directory->snapshot = fresh;
    pthread_rwlock_unlock(&directory->lock);
    arena_free(old.arena);
    return 0;
}

/* ---- under the lock ---- */

static const ImagingAuthority *find_authority(const Snapshot *snapshot, int32_t id)
{
    for (size_t i = 0; i < snapshot->authority_count; i++) {
        if (snapshot->authorities[i].id == id) {
            return &snapshot->authorities[i];
        }
    }
    return NULL;
}

static int32_t find_oid(const Snapshot *snapshot, Str oid)
{
    for (size_t i = 0; i < snapshot->authority_count; i++) {
        if (str_equal(snapshot->authorities[i].oid, oid)) {
            return snapshot->authorities[i].id;
        }
    }
    return 0;
}

/** The only authority of a facility, among those of PACS if there are any. 0: none, or several. */
static int32_t authority_of_facility(const Snapshot *snapshot, int32_t facility)
{
    int32_t found[2] = {0};
    size_t counts[2] = {0};
    for (size_t i = 0; i < snapshot->authority_count && facility; i++) {
        const ImagingAuthority *authority = &snapshot->authorities[i];
        if (authority->facility == facility && authority->is_configured) {
            found[authority->is_pacs] = authority->id;
            counts[authority->is_pacs]++;
        }
    }
    const size_t kind = counts[true] > 0;
    return counts[kind] == 1 ? found[kind] : 0;
}

static int32_t default_authority(const AeDirectory *directory)
{
    Str oid = str_is_empty(directory->config.default_authority)
                  ? directory->config.affinity_domain
                  : directory->config.default_authority;
    return find_oid(&directory->snapshot, oid);
}

/** What is not said of it follows from its facility; in mode open, from the configuration. */
static void settle_authority(const AeDirectory *directory, const Principal *principal, Ae *ae)
{
    if (ae->authority == 0) {
        ae->authority = authority_of_facility(&directory->snapshot, ae->facility);
    }
    if (ae->authority == 0 && principal->may_do_everything) {
        ae->authority = default_authority(directory);
    }
}

Ae *ae_copy(Arena *arena, const Ae *ae)
{
    Ae *copy = ARENA_NEW(arena, Ae);
    *copy = *ae;
    copy->title = str_dup(arena, ae->title);
    copy->host = str_dup(arena, ae->host);
    copy->fingerprint = str_dup(arena, ae->fingerprint);
    int32_t *issuers = ARENA_ARRAY(arena, int32_t, ae->issuer_count);
    Str *institutions = ARENA_ARRAY(arena, Str, ae->institution_count);
    for (size_t i = 0; i < ae->issuer_count; i++) {
        issuers[i] = ae->issuers[i];
    }
    for (size_t i = 0; i < ae->institution_count; i++) {
        institutions[i] = str_dup(arena, ae->institutions[i]);
    }
    copy->issuers = issuers;
    copy->institutions = institutions;
    return copy;
}

static Ae *copy_ae(const AeDirectory *directory, Arena *arena, const Principal *principal,
                   const Ae *ae)
{
    Ae *copy = ae_copy(arena, ae);
    settle_authority(directory, principal, copy);
    return copy;
}

/** Whether a peer may call itself so. A peer without certificate is told by its title alone. */
static bool may_be(const Principal *principal, const Ae *ae)
{
    if (ae->node == principal->node_id) {
        return true;
    }
    bool is_plain = str_is_empty(principal->certificate_fingerprint);
    return is_plain &&
           (principal->may_do_everything || access_may_submit_for(principal, ae->facility));
}

static const Ae *find_ae(const Snapshot *snapshot, const Principal *principal, Str title)
{
    const Ae *found = NULL;
    for (size_t i = 0; i < snapshot->ae_count; i++) {
        const Ae *ae = &snapshot->aes[i];
        if (str_equal(ae->title, title) && may_be(principal, ae) &&
            (!found || ae->node == principal->node_id)) {
            found = ae;
        }
    }
    return found;
}

static Ae of_principal(const Principal *principal, Str title)
{
    return (Ae){.title = title,
                .node = principal->node_id,
                .facility = principal->facility_id,
                .is_tls = true};
}

const Ae *ae_directory_find(AeDirectory *directory, Arena *arena, const Principal *principal,
                            Str title)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Ae *found = find_ae(&directory->snapshot, principal, title);
    const Ae anybody = of_principal(principal, title);
    if (!found && principal->may_do_everything) {
        found = &anybody;
    }
    const Ae *copy = found ? copy_ae(directory, arena, principal, found) : NULL;
    pthread_rwlock_unlock(&directory->lock);
    return copy;
}

const Ae *ae_directory_of_node(AeDirectory *directory, Arena *arena, const Principal *principal)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    Ae common = of_principal(principal, STR_EMPTY);
    size_t count = 0;
    for (size_t i = 0; i < snapshot->ae_count && principal->node_id; i++) {
        const Ae *ae = &snapshot->aes[i];
        if (ae->node == principal->node_id) {
            common = count == 0 ? *ae : common;
            common.authority = common.authority == ae->authority ? ae->authority : 0;
            count++;
        }
    }
    common.title = STR_EMPTY;
    const Ae *copy = copy_ae(directory, arena, principal, &common);
    pthread_rwlock_unlock(&directory->lock);
    return copy;
}

/** How near an AE is to the caller: 2 its node, 1 its facility. */
static int nearness(const Principal *principal, const Ae *ae)
{
    return ae->node == principal->node_id ? 2 : ae->facility == principal->facility_id ? 1 : 0;
}

const Ae *ae_directory_destination(AeDirectory *directory, Arena *arena, const Principal *principal,
                                   Str title)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    const Ae *found = NULL;
    size_t count = 0; /* as near as found */
    for (size_t i = 0; i < snapshot->ae_count; i++) {
        const Ae *ae = &snapshot->aes[i];
        if (!str_equal(ae->title, title) || str_is_empty(ae->host)) {
            continue;
        }
        if (!found || nearness(principal, ae) > nearness(principal, found)) {
            found = ae;
            count = 0;
        }
        count += nearness(principal, ae) == nearness(principal, found);
    }
    const Ae *copy = found && count == 1 ? copy_ae(directory, arena, principal, found) : NULL;
    pthread_rwlock_unlock(&directory->lock);
    return copy;
}

static const ImagingAuthority *copy_authority(Arena *arena, const ImagingAuthority *authority)
{
    if (!authority) {
        return NULL;
    }
    ImagingAuthority *copy = ARENA_NEW(arena, ImagingAuthority);
    *copy = *authority;
    copy->oid = str_dup(arena, authority->oid);
    copy->name = str_dup(arena, authority->name);
    return copy;
}

const ImagingAuthority *ae_directory_authority(AeDirectory *directory, Arena *arena, int32_t id)
{
    pthread_rwlock_rdlock(&directory->lock);
    const ImagingAuthority *copy = copy_authority(arena, find_authority(&directory->snapshot, id));
    pthread_rwlock_unlock(&directory->lock);
    return copy;
}

static bool is_issuer(const AeDirectory *directory, const ImagingAuthority *authority, Str name,
                      Str oid)
{
    bool is_known =
        authority->is_configured || str_equal(authority->oid, directory->config.affinity_domain);
    bool is_named = str_is_empty(oid)
                        ? str_equal(authority->name, name) || str_equal(authority->oid, name)
                        : str_equal(authority->oid, oid);
    return is_known && is_named;
}

const ImagingAuthority *ae_directory_issuer(AeDirectory *directory, Arena *arena, Str name, Str oid)
{
    if (str_is_empty(name) && str_is_empty(oid)) {
        return NULL;
    }
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    const ImagingAuthority *found = NULL;
    for (size_t i = 0; i < snapshot->authority_count && !found; i++) {
        if (is_issuer(directory, &snapshot->authorities[i], name, oid)) {
            found = &snapshot->authorities[i];
        }
    }
    const ImagingAuthority *copy = copy_authority(arena, found);
    pthread_rwlock_unlock(&directory->lock);
    return copy;
}

size_t ae_directory_own(AeDirectory *directory, Arena *arena, const Ae *ae,
                        int32_t **ret_authorities)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    int32_t *own = ARENA_ARRAY(arena, int32_t, snapshot->authority_count + 1);
    size_t count = 0;
    if (ae->authority) {
        own[count++] = ae->authority;
    }
    for (size_t i = 0; i < snapshot->authority_count && ae->facility; i++) {
        const ImagingAuthority *authority = &snapshot->authorities[i];
        if (authority->facility == ae->facility && authority->id != ae->authority) {
            own[count++] = authority->id;
        }
    }
    pthread_rwlock_unlock(&directory->lock);
    *ret_authorities = own;
    return count;
}

int32_t ae_directory_affinity_domain(AeDirectory *directory)
{
    pthread_rwlock_rdlock(&directory->lock);
    int32_t id = find_oid(&directory->snapshot, directory->config.affinity_domain);
    pthread_rwlock_unlock(&directory->lock);
    return id;
}

ImagingCodes ae_directory_codes(AeDirectory *directory)
{
    pthread_rwlock_rdlock(&directory->lock);
    ImagingCodes codes = directory->snapshot.codes;
    pthread_rwlock_unlock(&directory->lock);
    return codes;
}
