#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "lib/base/macros.h"

/** Listening sockets and the addresses of peers, the same for every listener. */

/**
 * Binds and listens on "HOST:PORT" ("0.0.0.0:2576", "[::1]:2575").
 *
 * @param is_loopback_only  refuse an address that another host can reach
 * @return a blocking descriptor, or -1 and the reason
 */
int socket_listen(const char *address, bool is_loopback_only, char *ret_problem,
                  size_t problem_size);

/**
 * Binds "HOST:PORT" without listening, while the process may still use ports below 1024. A later
 * socket_listen() of the same text takes this socket. Not for concurrent use.
 * @return false and the reason
 */
bool socket_reserve(const char *address, char *ret_problem, size_t problem_size) MUST_CHECK;

/** As socket_reserve(), for socket_bind_udp(). */
bool socket_reserve_udp(const char *address, char *ret_problem, size_t problem_size) MUST_CHECK;

/** Closes reserved sockets that nobody took. */
void socket_release_reserved(void);

/** As socket_listen(), for datagrams. @return a descriptor, or -1 and the reason */
int socket_bind_udp(const char *address, char *ret_problem, size_t problem_size);

/** The port that a listening socket got; 0 if it cannot be read. */
unsigned socket_port(int fd);

/**
 * The peer is given up: closing the socket throws away what it has not taken and resets the
 * connection. Otherwise the kernel would keep the bytes for a peer that never reads them.
 */
void socket_give_up(int fd);

typedef struct SocketAddress {
    char text[INET6_ADDRSTRLEN]; /* numeric; IPv4 mapped to IPv6 is written as IPv4 */
    bool is_loopback;
} SocketAddress;

SocketAddress socket_address(const struct sockaddr_storage *address);

/** An address, or all that begin with the same bits. IPv4 is kept as mapped to IPv6. */
typedef struct SocketNetwork {
    unsigned char address[16];
    unsigned bits; /* 0 to 128 */
} SocketNetwork;

/**
 * Reads addresses and networks with commas: "192.0.2.7, 10.0.0.0/8, 2001:db8::/32"; nothing is
 * none.
 * @param ret_networks  on the heap; the caller frees it
 */
bool socket_networks_parse(const char *text, SocketNetwork **ret_networks,
                           size_t *ret_count) MUST_CHECK;
bool socket_network_has(const SocketNetwork *network, const struct sockaddr_storage *address);

/** Reads a numeric "ADDRESS:PORT" or "[ADDRESS]:PORT" with a port from 1 to 65535. */
bool socket_parse(const char *text, SocketAddress *ret_address) MUST_CHECK;
