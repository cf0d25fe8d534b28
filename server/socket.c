#include "server/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"

#define BACKLOG 1024
#define HOST_MAX 256
#define RESERVED_MAX 16

SocketAddress socket_address(const struct sockaddr_storage *address)
{
    SocketAddress found = {.text = ""};
    const void *bytes = (const char *)address + offsetof(struct sockaddr_in, sin_addr);
    int family = address->ss_family;
    if (family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof(in6));
        found.is_loopback = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
        bytes = (const char *)address + offsetof(struct sockaddr_in6, sin6_addr);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            family = AF_INET;
            bytes = (const char *)bytes + 12;
        }
    }
    if (family == AF_INET) {
        found.is_loopback = *(const unsigned char *)bytes == 127;
    }
    (void)inet_ntop(family, bytes, found.text, sizeof(found.text));
    return found;
}

/** Cuts "HOST:PORT" or "[HOST]:PORT". */
static bool split_address(const char *address, char *ret_host, const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    if (!colon) {
        return false;
    }
    size_t len = (size_t)(colon - address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len >= HOST_MAX) {
        return false;
    }
    memcpy(ret_host, address, len);
    ret_host[len] = '\0';
    *ret_port = colon + 1;
    return true;
}

bool socket_parse(const char *text, SocketAddress *ret_address)
{
    char host[HOST_MAX];
    const char *port_text;
    uint64_t port;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_storage address = {0};
    if (!split_address(text, host, &port_text) || !str_to_u64(str_from(port_text), &port) ||
        port == 0 || port > UINT16_MAX) {
        return false;
    }
    if (text[0] == '[' && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&address, &v6, sizeof(v6));
    } else if (text[0] != '[' && inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&address, &v4, sizeof(v4));
    } else {
        return false;
    }
    *ret_address = socket_address(&address);
    return true;
}

static bool is_loopback(const struct addrinfo *found)
{
    struct sockaddr_storage address = {0};
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    return socket_address(&address).is_loopback;
}

/** @return the descriptor, or -1 with errno */
static int bind_to(const struct addrinfo *found)
{
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
        int failed = errno;
        (void)close(fd);
        errno = failed;
        return -1;
    }
    return fd;
}

/** @return for freeaddrinfo(), or NULL and the reason */
static struct addrinfo *look_up(const char *address, char *ret_problem, size_t problem_size)
{
    char host[HOST_MAX];
    const char *port;
    if (!split_address(address, host, &port)) {
        (void)snprintf(ret_problem, problem_size, "%s is not HOST:PORT", address);
        return NULL;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (failed) {
        (void)snprintf(ret_problem, problem_size, "%s: %s", address, gai_strerror(failed));
        return NULL;
    }
    return found;
}

static int fail_listen(const char *address, char *ret_problem, size_t problem_size)
{
    (void)snprintf(ret_problem, problem_size, "cannot listen on %s: %s", address, strerror(errno));
    return -1;
}

/** Bound sockets whose turn to listen comes later. */
static struct {
    const char *address; /* borrowed from the configuration; NULL: free */
    int fd;
} reserved[RESERVED_MAX];

bool socket_reserve(const char *address, char *ret_problem, size_t problem_size)
{
    struct addrinfo *found = look_up(address, ret_problem, problem_size);
    if (!found) {
        return false;
    }
    int fd = bind_to(found);
    freeaddrinfo(found);
    if (fd < 0) {
        return fail_listen(address, ret_problem, problem_size) == 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (!reserved[i].address) {
            reserved[i].address = address;
            reserved[i].fd = fd;
            return true;
        }
    }
    (void)close(fd); /* it is bound again later, if its port is above 1023 */
    return true;
}

/** @return the descriptor, or -1 if the address was not reserved */
static int take_reserved(const char *address)
{
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (reserved[i].address && strcmp(reserved[i].address, address) == 0) {
            reserved[i].address = NULL;
            return reserved[i].fd;
        }
    }
    return -1;
}

void socket_release_reserved(void)
{
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (reserved[i].address) {
            (void)close(reserved[i].fd);
            reserved[i].address = NULL;
        }
    }
}

int socket_listen(const char *address, bool is_loopback_only, char *ret_problem,
                  size_t problem_size)
{
    struct addrinfo *found = look_up(address, ret_problem, problem_size);
    if (!found) {
        return -1;
    }
    bool is_allowed = !is_loopback_only || is_loopback(found);
    int fd = is_allowed ? take_reserved(address) : -1;
    if (is_allowed && fd < 0) {
        fd = bind_to(found);
    }
    freeaddrinfo(found);
    if (!is_allowed) {
        (void)snprintf(ret_problem, problem_size,
                       "%s: a listener without TLS may only use a loopback address "
                       "(127.0.0.1, [::1])",
                       address);
        return -1;
    }
    if (fd < 0) {
        return fail_listen(address, ret_problem, problem_size);
    }
    if (listen(fd, BACKLOG) != 0) {
        int failed = errno;
        (void)close(fd);
        errno = failed;
        return fail_listen(address, ret_problem, problem_size);
    }
    return fd;
}

unsigned socket_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    in_port_t port;
    size_t offset = address.ss_family == AF_INET6 ? offsetof(struct sockaddr_in6, sin6_port)
                                                  : offsetof(struct sockaddr_in, sin_port);
    memcpy(&port, (const char *)&address + offset, sizeof(port));
    return ntohs(port);
}
