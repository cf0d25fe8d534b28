#include "lib/access/nodes.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/access/endpoints.h"
#include "lib/base/heap.h"

#define RULE_CONNECTIONS 8

typedef struct Node {
    Principal principal; /* without what comes from the certificate */
    Str *sources;
    size_t source_count;
    Str *source_ids;
    size_t source_id_count;
} Node;

typedef struct Certificate {
    Str fingerprint;
    int32_t node_id;
    int64_t not_after_us; /* INT64_MAX: not known */
} Certificate;

/** The tables as they were at one instant; never changed once published. */
typedef struct Snapshot {
    Arena *arena;
    Node *nodes; /* by principal.node_id */
    size_t node_count;
    Certificate *certificates; /* by fingerprint */
    size_t certificate_count;
    Endpoint *endpoints;
    size_t endpoint_count;
} Snapshot;

struct NodeDirectory {
    DbPool *pool;
    DbPool *rules; /* a request holds one of these for one question, and waits for nothing else */
    AccessMode mode;
    pthread_rwlock_t lock;
    Snapshot snapshot;
};

static const DbStatement select_nodes = {
    "access_nodes",
    "SELECT node.id, node.name, facility.id, facility.name, node.is_operator, node.transactions, "
    "node.sources, "
    "node.source_ids, node.roles, node.may_submit, node.facilities FROM node JOIN facility ON "
    "facility.id = node.facility "
    "WHERE node.revoked_at IS NULL ORDER BY node.id",
};

static const DbStatement select_certificates = {
    "access_certificates",
    "SELECT node_certificate.fingerprint, node_certificate.node, node_certificate.not_after, "
    "isfinite(node_certificate.not_after) FROM node_certificate "
    "JOIN node ON node.id = node_certificate.node "
    "WHERE node.revoked_at IS NULL AND node_certificate.revoked_at IS NULL ORDER BY "
    "node_certificate.fingerprint COLLATE \"C\"",
};

NodeDirectory *node_directory_new(DbPool *pool, AccessMode mode)
{
    NodeDirectory *directory = HEAP_NEW(NodeDirectory);
    directory->pool = pool;
    directory->rules = pool ? db_pool_beside(pool, RULE_CONNECTIONS) : NULL;
    directory->mode = mode;
    directory->snapshot.arena = arena_new();
    pthread_rwlock_init(&directory->lock, NULL);
    return directory;
}

void node_directory_free(NodeDirectory *directory)
{
    if (!directory) {
        return;
    }
    arena_free(directory->snapshot.arena);
    db_pool_free(directory->rules);
    pthread_rwlock_destroy(&directory->lock);
    free(directory);
}

/** "*" stands for every transaction that is about patients. ITI-81 reads what all others did to all
 * of them, so only its own name grants it. A name of a newer version that this one does not know
 * grants nothing. */
static uint64_t read_transactions(const DbResult *rows, int row, int column, Arena *arena)
{
    Str *names = NULL;
    size_t count = db_text_array(rows, row, column, arena, &names);
    const uint64_t any = UINT64_MAX & ~access_transaction_bit("ITI-81");
    uint64_t bits = 0;

    for (size_t i = 0; i < count; i++) {
        bits |=
            str_equal(names[i], STR("*")) ? any : access_transaction_bit(str_cstr(arena, names[i]));
    }
    return bits;
}

static void read_node(const DbResult *rows, int row, Arena *arena, Node *node)
{
    Str *roles;
    int32_t *facilities;
    size_t role_count = db_text_array(rows, row, 8, arena, &roles);
    size_t facility_count = db_i32_array(rows, row, 10, arena, &facilities);
    node->principal = (Principal){
        .node_id = db_i32(rows, row, 0),
        .node_name = str_dup(arena, db_text(rows, row, 1)),
        .facility_id = db_i32(rows, row, 2),
        .facility_name = str_dup(arena, db_text(rows, row, 3)),
        .facilities = facilities,
        .facility_count = facility_count,
        .roles = {roles, role_count},
        .is_operator = db_bool(rows, row, 4),
        .may_submit = db_bool(rows, row, 9),
        .transactions = read_transactions(rows, row, 5, arena),
    };
    node->source_count = db_text_array(rows, row, 6, arena, &node->sources);
    node->source_id_count = db_text_array(rows, row, 7, arena, &node->source_ids);
}

static Snapshot read_snapshot(const DbResult *nodes, const DbResult *certificates,
                              const DbResult *endpoints)
{
    Snapshot snapshot = {
        .arena = arena_new(),
        .node_count = (size_t)db_rows(nodes),
        .certificate_count = (size_t)db_rows(certificates),
    };

    snapshot.nodes = ARENA_ARRAY(snapshot.arena, Node, snapshot.node_count);
    for (size_t i = 0; i < snapshot.node_count; i++) {
        read_node(nodes, (int)i, snapshot.arena, &snapshot.nodes[i]);
    }
    snapshot.certificates = ARENA_ARRAY(snapshot.arena, Certificate, snapshot.certificate_count);
    for (size_t i = 0; i < snapshot.certificate_count; i++) {
        snapshot.certificates[i].fingerprint =
            str_dup(snapshot.arena, db_text(certificates, (int)i, 0));
        snapshot.certificates[i].node_id = db_i32(certificates, (int)i, 1);
        snapshot.certificates[i].not_after_us =
            db_bool(certificates, (int)i, 3) ? db_timestamp(certificates, (int)i, 2) : INT64_MAX;
    }
    snapshot.endpoint_count = endpoints_read(endpoints, snapshot.arena, &snapshot.endpoints);
    return snapshot;
}

int node_directory_refresh(NodeDirectory *directory, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[3];

    int rc = db_acquire(directory->pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    if ((rc = db_queue(conn, req, &select_nodes, NULL)) < 0 ||
        (rc = db_queue(conn, req, &select_certificates, NULL)) < 0 ||
        (rc = db_queue(conn, req, &endpoint_select, NULL)) < 0 ||
        (rc = db_sync(conn, req, results)) < 0) {
        return rc;
    }
    Snapshot fresh = read_snapshot(results[0], results[1], results[2]);
    pthread_rwlock_wrlock(&directory->lock);
    Snapshot old = directory->snapshot;
    directory->snapshot = fresh;
    pthread_rwlock_unlock(&directory->lock);
    arena_free(old.arena);
    return 0;
}

static int compare_fingerprint(const void *key, const void *item)
{
    return str_compare(*(const Str *)key, ((const Certificate *)item)->fingerprint);
}

static int compare_node_id(const void *key, const void *item)
{
    int32_t wanted = *(const int32_t *)key;
    int32_t id = ((const Node *)item)->principal.node_id;
    return (wanted > id) - (wanted < id);
}

static const Node *find_node(const Snapshot *snapshot, int32_t node_id)
{
    if (snapshot->node_count == 0) {
        return NULL;
    }
    return bsearch(&node_id, snapshot->nodes, snapshot->node_count, sizeof(*snapshot->nodes),
                   compare_node_id);
}

static const Node *find_certificate(const Snapshot *snapshot, Str fingerprint)
{
    if (snapshot->certificate_count == 0 || str_is_empty(fingerprint)) {
        return NULL;
    }
    const Certificate *certificate =
        bsearch(&fingerprint, snapshot->certificates, snapshot->certificate_count,
                sizeof(*snapshot->certificates), compare_fingerprint);
    return certificate ? find_node(snapshot, certificate->node_id) : NULL;
}

static const Node *find_name(const Snapshot *snapshot, Str name)
{
    for (size_t i = 0; i < snapshot->node_count; i++) {
        if (str_equal(snapshot->nodes[i].principal.node_name, name)) {
            return &snapshot->nodes[i];
        }
    }
    return NULL;
}

/** What the snapshot lists must outlive it. */
static void copy_lists(Arena *arena, Principal *principal)
{
    Str *roles = ARENA_ARRAY(arena, Str, principal->roles.count);
    int32_t *facilities = ARENA_ARRAY(arena, int32_t, principal->facility_count);
    for (size_t i = 0; i < principal->roles.count; i++) {
        roles[i] = str_dup(arena, principal->roles.items[i]);
    }
    for (size_t i = 0; i < principal->facility_count; i++) {
        facilities[i] = principal->facilities[i];
    }
    principal->roles.items = roles;
    principal->facilities = facilities;
}

/** @param node  NULL: not registered, which only mode open lets pass */
static Principal *copy_principal(const NodeDirectory *directory, Arena *arena, const Node *node,
                                 Str fingerprint, Str subject)
{
    if (!node && directory->mode == ACCESS_ENFORCE) {
        return NULL;
    }
    Principal *principal = ARENA_NEW(arena, Principal);
    if (node) {
        *principal = node->principal;
        principal->node_name = str_dup(arena, node->principal.node_name);
        principal->facility_name = str_dup(arena, node->principal.facility_name);
        copy_lists(arena, principal);
    } else {
        principal->node_name = str_is_empty(fingerprint) ? STR("anonymous") : STR("unregistered");
        principal->facility_name = STR_EMPTY;
    }
    principal->may_do_everything = directory->mode == ACCESS_OPEN;
    principal->rules = directory->rules;
    principal->certificate_fingerprint = str_dup(arena, fingerprint);
    principal->certificate_subject = str_dup(arena, subject);
    return principal;
}

const Principal *node_directory_find(NodeDirectory *directory, Arena *arena, Str fingerprint,
                                     Str subject)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Node *node = find_certificate(&directory->snapshot, fingerprint);
    const Principal *principal = copy_principal(directory, arena, node, fingerprint, subject);
    pthread_rwlock_unlock(&directory->lock);
    return principal;
}

const Principal *node_directory_find_name(NodeDirectory *directory, Arena *arena, Str name)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Node *node = find_name(&directory->snapshot, name);
    const Principal *principal =
        node ? copy_principal(directory, arena, node, STR_EMPTY, STR_EMPTY) : NULL;
    pthread_rwlock_unlock(&directory->lock);
    return principal;
}

const Principal *node_directory_find_id(NodeDirectory *directory, Arena *arena, int32_t node_id)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Node *node = find_node(&directory->snapshot, node_id);
    const Principal *principal =
        node ? copy_principal(directory, arena, node, STR_EMPTY, STR_EMPTY) : NULL;
    pthread_rwlock_unlock(&directory->lock);
    return principal;
}

static bool matches(Str pattern, Str value)
{
    return str_equal(pattern, STR("*")) || str_equal(pattern, value);
}

/** source is "MSH-3|MSH-4"; "*" stands for any value of either. */
static bool source_matches(Str source, Str application, Str facility)
{
    Str rest = source;
    Str wanted_application;
    Str wanted_facility;

    return str_split_next(&rest, '|', &wanted_application) &&
           str_split_next(&rest, '|', &wanted_facility) &&
           matches(wanted_application, application) && matches(wanted_facility, facility);
}

bool node_directory_may_send_as(NodeDirectory *directory, const Principal *principal,
                                Str application, Str facility)
{
    bool may = false;

    if (!principal || principal->may_do_everything) {
        return principal != NULL;
    }
    pthread_rwlock_rdlock(&directory->lock);
    const Node *node = find_node(&directory->snapshot, principal->node_id);
    for (size_t i = 0; node && i < node->source_count && !may; i++) {
        may = source_matches(node->sources[i], application, facility);
    }
    pthread_rwlock_unlock(&directory->lock);
    return may;
}

bool node_directory_may_submit_as(NodeDirectory *directory, const Principal *principal,
                                  Str source_id)
{
    if (!principal || principal->may_do_everything) {
        return principal != NULL;
    }
    pthread_rwlock_rdlock(&directory->lock);
    const Node *node = find_node(&directory->snapshot, principal->node_id);
    bool may = node && node->source_id_count == 0; /* none given: any */
    for (size_t i = 0; node && i < node->source_id_count && !may; i++) {
        may = str_equal(node->source_ids[i], source_id);
    }
    pthread_rwlock_unlock(&directory->lock);
    return may;
}

size_t node_directory_certificates(NodeDirectory *directory, Arena *arena,
                                   NodeCertificate **ret_certificates)
{
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    NodeCertificate *list = ARENA_ARRAY(arena, NodeCertificate, snapshot->certificate_count);
    size_t count = 0;
    for (size_t i = 0; i < snapshot->certificate_count; i++) {
        const Certificate *certificate = &snapshot->certificates[i];
        const Node *node = find_node(snapshot, certificate->node_id);
        if (node) {
            list[count++] = (NodeCertificate){
                .node_name = str_dup(arena, node->principal.node_name),
                .fingerprint = str_dup(arena, certificate->fingerprint),
                .not_after_us = certificate->not_after_us,
            };
        }
    }
    pthread_rwlock_unlock(&directory->lock);
    *ret_certificates = list;
    return count;
}

/** What the sender is to ask its operator for. */
static Str unregistered(Arena *arena, Str node_name, Str url)
{
    return str_printf(arena,
                      "%.*s is no registered address of node %.*s, and nothing is sent there; the "
                      "operator of this server can register it: musubi node endpoint add %.*s URL",
                      STR_ARG(url), STR_ARG(node_name), STR_ARG(node_name));
}

bool node_directory_may_send_to(NodeDirectory *directory, Arena *arena, int32_t node_id, Str url,
                                Str *ret_fingerprint, Str *ret_problem)
{
    const char *problem;
    Str shown = str_printable(arena, url);
    if (!endpoint_url_is_good(url, &problem)) {
        *ret_problem = str_printf(arena, "%.*s is an address that nothing is sent to: %s",
                                  STR_ARG(shown), problem);
        return false;
    }
    pthread_rwlock_rdlock(&directory->lock);
    const Snapshot *snapshot = &directory->snapshot;
    const Node *node = find_node(snapshot, node_id);
    const Endpoint *endpoint =
        node ? endpoint_find(snapshot->endpoints, snapshot->endpoint_count, node_id, url) : NULL;
    bool may = endpoint || (directory->mode == ACCESS_OPEN && endpoint_url_is_loopback(url));
    *ret_fingerprint = endpoint ? str_dup(arena, endpoint->fingerprint) : STR_EMPTY;
    if (!may) {
        Str name = node ? node->principal.node_name : STR("NAME");
        *ret_problem = unregistered(arena, name, shown);
    }
    pthread_rwlock_unlock(&directory->lock);
    return may;
}
