#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/tls/tls.h"

/**
 * The open connections of TLS peers, of all listeners. A certificate that expires, is revoked by a
 * CRL, or whose node is revoked, loses its open connections too, not only its next one: every few
 * seconds each certificate is judged again, and the sockets of one that is refused now are shut
 * down; the threads that serve them see the end of the stream. Thread-safe.
 *
 * A listener keeps an OpenPeer in each of its connections, and calls
 *   open_peers_add()     once the peer is known: tls_chain_of_peer() gives its chain
 *   open_peers_remove()  before it closes the socket; also if it was never added
 */
typedef struct OpenPeers OpenPeers;

/** What a refusal says of a peer that open_peers_add() does not take. */
#define CROWD_OF_ONE "with this certificate"

/** One connection; all zero before open_peers_add(). */
typedef struct OpenPeer {
    int fd;
    const char
        *endpoint; /* URL or address of the listener, as for refused_peer_record_connection() */
    const char *address; /* of the peer; both are borrowed until open_peers_remove() */
    bool is_shut;
    struct PeerCertificate *certificate; /* NULL: not added */
    struct OpenPeer *previous;
    struct OpenPeer *next;
} OpenPeer;

/**
 * All is borrowed.
 * @param max_of_one  connections that one certificate may have, of all listeners: one node that
 * goes wild leaves room for others
 */
OpenPeers *open_peers_new(const Tls *tls, NodeDirectory *nodes, Audit *audit, unsigned max_of_one);

/** Every connection must have been removed. open_peers_free(NULL) is fine. */
void open_peers_free(OpenPeers *peers);

/**
 * @param peer  its fd, endpoint and address are set
 * @return false: not added, as its certificate has as many connections as it may have
 */
bool open_peers_add(OpenPeers *peers, OpenPeer *peer, const TlsCertificate *certificate,
                    const TlsChain *chain) MUST_CHECK;
void open_peers_remove(OpenPeers *peers, OpenPeer *peer);

/** Judges all, if that was not done within the last seconds; called each second. */
void open_peers_check(OpenPeers *peers);
