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

/** Closes reserved sockets that nobody took. */
void socket_release_reserved(void);

/** The port that a listening socket got; 0 if it cannot be read. */
unsigned socket_port(int fd);

typedef struct SocketAddress {
    char text[INET6_ADDRSTRLEN]; /* numeric; IPv4 mapped to IPv6 is written as IPv4 */
    bool is_loopback;
} SocketAddress;

SocketAddress socket_address(const struct sockaddr_storage *address);

/** Reads a numeric "ADDRESS:PORT" or "[ADDRESS]:PORT" with a port from 1 to 65535. */
bool socket_parse(const char *text, SocketAddress *ret_address) MUST_CHECK;
