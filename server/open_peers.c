#include "server/open_peers.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "server/refused_peer.h"

/** A revocation ends connections within 60 s; reading the files and tables takes some of them. */
#define CHECK_EVERY_NS (10 * INT64_C(1000000000))

/** One certificate with its chain, and the connections that were made with it. */
typedef struct PeerCertificate {
    Arena *arena;
    TlsCertificate leaf;
    TlsChain chain;
    OpenPeer *connections;
    unsigned users; /* connections, and a check that is under way */
    struct PeerCertificate *previous;
    struct PeerCertificate *next;
} PeerCertificate;

struct OpenPeers {
    const Tls *tls;
    NodeDirectory *nodes;
    Audit *audit;
    unsigned max_of_one;
    int64_t checked_ns;   /* clock_now_ns(); of the one thread that checks */
    pthread_mutex_t lock; /* guards what follows, and what it points to */
    PeerCertificate *first;
};

OpenPeers *open_peers_new(const Tls *tls, NodeDirectory *nodes, Audit *audit, unsigned max_of_one)
{
    OpenPeers *peers = HEAP_NEW(OpenPeers);
    *peers = (OpenPeers){.tls = tls, .nodes = nodes, .audit = audit, .max_of_one = max_of_one};
    pthread_mutex_init(&peers->lock, NULL);
    return peers;
}

void open_peers_free(OpenPeers *peers)
{
    if (!peers) {
        return;
    }
    pthread_mutex_destroy(&peers->lock);
    free(peers);
}

/* ---- certificates; the lock is held ---- */

static bool is_same_chain(const TlsChain *a, const TlsChain *b)
{
    bool is_same = a->count == b->count;
    for (size_t i = 0; is_same && i < a->count; i++) {
        is_same = str_equal(a->certificates[i], b->certificates[i]);
    }
    return is_same;
}

static PeerCertificate *certificate_new(const TlsCertificate *leaf, const TlsChain *chain)
{
    PeerCertificate *certificate = HEAP_NEW(PeerCertificate);
    Arena *arena = arena_new();
    *certificate = (PeerCertificate){
        .arena = arena,
        .leaf = {.fingerprint = str_dup(arena, leaf->fingerprint),
                 .subject = str_dup(arena, leaf->subject)},
        .chain = {.certificates = ARENA_ARRAY(arena, Str, chain->count), .count = chain->count},
    };
    for (size_t i = 0; i < chain->count; i++) {
        certificate->chain.certificates[i] = str_dup(arena, chain->certificates[i]);
    }
    return certificate;
}

/** The one of this chain, or a new one. */
static PeerCertificate *find(OpenPeers *peers, const TlsCertificate *leaf, const TlsChain *chain)
{
    PeerCertificate *certificate = peers->first;
    while (certificate && !(str_equal(certificate->leaf.fingerprint, leaf->fingerprint) &&
                            is_same_chain(&certificate->chain, chain))) {
        certificate = certificate->next;
    }
    if (!certificate) {
        certificate = certificate_new(leaf, chain);
        certificate->next = peers->first;
        if (certificate->next) {
            certificate->next->previous = certificate;
        }
        peers->first = certificate;
    }
    return certificate;
}

/** One user less; the last one frees it. */
static void give_back(OpenPeers *peers, PeerCertificate *certificate)
{
    if (--certificate->users > 0) {
        return;
    }
    if (certificate->next) {
        certificate->next->previous = certificate->previous;
    }
    if (certificate->previous) {
        certificate->previous->next = certificate->next;
    } else {
        peers->first = certificate->next;
    }
    arena_free(certificate->arena);
    free(certificate);
}

/* ---- connections ---- */

bool open_peers_add(OpenPeers *peers, OpenPeer *peer, const TlsCertificate *certificate,
                    const TlsChain *chain)
{
    pthread_mutex_lock(&peers->lock);
    PeerCertificate *shared = find(peers, certificate, chain);
    if (shared->users >= peers->max_of_one) {
        pthread_mutex_unlock(&peers->lock);
        return false;
    }
    shared->users++;
    peer->certificate = shared;
    peer->previous = NULL;
    peer->next = shared->connections;
    if (peer->next) {
        peer->next->previous = peer;
    }
    shared->connections = peer;
    pthread_mutex_unlock(&peers->lock);
    return true;
}

void open_peers_remove(OpenPeers *peers, OpenPeer *peer)
{
    if (!peer->certificate) {
        return;
    }
    pthread_mutex_lock(&peers->lock);
    if (peer->next) {
        peer->next->previous = peer->previous;
    }
    if (peer->previous) {
        peer->previous->next = peer->next;
    } else {
        peer->certificate->connections = peer->next;
    }
    give_back(peers, peer->certificate);
    peer->certificate = NULL;
    pthread_mutex_unlock(&peers->lock);
}

/* ---- checking ---- */

/** A connection that was shut, for the log. */
typedef struct Ended {
    Str endpoint;
    Str address;
} Ended;

/** Whether the peer would be let in now. */
static bool is_good(const OpenPeers *peers, const PeerCertificate *certificate,
                    TlsProblem *ret_problem)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    if (!tls_verify_chain(peers->tls, &certificate->chain, ret_problem)) {
        return false;
    }
    if (!node_directory_find(peers->nodes, arena, certificate->leaf.fingerprint,
                             certificate->leaf.subject)) {
        tls_problem_set(ret_problem, TLS_REFUSED_UNREGISTERED, "\"%.*s\", not any more",
                        STR_ARG(str_slice(certificate->leaf.subject, 0, 100)));
        return false;
    }
    return true;
}

/** Shuts the connections of a certificate. @return how many were not shut already */
static size_t shut(OpenPeers *peers, PeerCertificate *certificate, Arena *arena, Ended **ret_ended)
{
    size_t count = 0;
    pthread_mutex_lock(&peers->lock);
    *ret_ended = ARENA_ARRAY(arena, Ended, certificate->users);
    for (OpenPeer *peer = certificate->connections; peer; peer = peer->next) {
        if (!peer->is_shut) {
            peer->is_shut = true;
            shutdown(peer->fd, SHUT_RDWR);
            (*ret_ended)[count++] = (Ended){str_dup(arena, str_from(peer->endpoint)),
                                            str_dup(arena, str_from(peer->address))};
        }
    }
    pthread_mutex_unlock(&peers->lock);
    return count;
}

static void check(OpenPeers *peers, PeerCertificate *certificate)
{
    TlsProblem problem;
    if (is_good(peers, certificate, &problem)) {
        return;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Ended *ended;
    size_t count = shut(peers, certificate, arena, &ended);
    for (size_t i = 0; i < count; i++) {
        (void)refused_peer_record_connection(peers->audit, ended[i].endpoint.data,
                                             ended[i].address.data, &problem);
    }
}

/** The certificates of this moment, each kept from being freed. @return how many */
static size_t hold_all(OpenPeers *peers, Arena *arena, PeerCertificate ***ret_held)
{
    size_t count = 0;
    pthread_mutex_lock(&peers->lock);
    for (const PeerCertificate *each = peers->first; each; each = each->next) {
        count++;
    }
    PeerCertificate **held = ARENA_ARRAY(arena, PeerCertificate *, count);
    count = 0;
    for (PeerCertificate *each = peers->first; each; each = each->next) {
        each->users++;
        held[count++] = each;
    }
    pthread_mutex_unlock(&peers->lock);
    *ret_held = held;
    return count;
}

void open_peers_check(OpenPeers *peers)
{
    if (clock_now_ns() - peers->checked_ns < CHECK_EVERY_NS) {
        return;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    PeerCertificate **held;
    size_t count = hold_all(peers, arena, &held);
    for (size_t i = 0; i < count; i++) {
        check(peers, held[i]);
        pthread_mutex_lock(&peers->lock);
        give_back(peers, held[i]);
        pthread_mutex_unlock(&peers->lock);
    }
    peers->checked_ns = clock_now_ns();
}
