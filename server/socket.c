#include "server/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/heap.h"
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
    bool is_stream = found->ai_socktype == SOCK_STREAM;
    int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    if ((is_stream && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
        int failed = errno;
        (void)close(fd);
        errno = failed;
        return -1;
    }
    return fd;
}

/** @return for freeaddrinfo(), or NULL and the reason */
static struct addrinfo *look_up(const char *address, int type, char *ret_problem,
                                size_t problem_size)
{
    char host[HOST_MAX];
    const char *port;
    if (!split_address(address, host, &port)) {
        (void)snprintf(ret_problem, problem_size, "%s is not HOST:PORT", address);
        return NULL;
    }
    struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
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
    int type;
    int fd;
} reserved[RESERVED_MAX];

static bool reserve(const char *address, int type, char *ret_problem, size_t problem_size)
{
    struct addrinfo *found = look_up(address, type, ret_problem, problem_size);
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
            reserved[i].type = type;
            reserved[i].fd = fd;
            return true;
        }
    }
    (void)close(fd); /* it is bound again later, if its port is above 1023 */
    return true;
}

bool socket_reserve(const char *address, char *ret_problem, size_t problem_size)
{
    return reserve(address, SOCK_STREAM, ret_problem, problem_size);
}

bool socket_reserve_udp(const char *address, char *ret_problem, size_t problem_size)
{
    return reserve(address, SOCK_DGRAM, ret_problem, problem_size);
}

/** @return the descriptor, or -1 if the address was not reserved */
static int take_reserved(const char *address, int type)
{
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (reserved[i].address && reserved[i].type == type &&
            strcmp(reserved[i].address, address) == 0) {
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
    struct addrinfo *found = look_up(address, SOCK_STREAM, ret_problem, problem_size);
    if (!found) {
        return -1;
    }
    bool is_allowed = !is_loopback_only || is_loopback(found);
    int fd = is_allowed ? take_reserved(address, SOCK_STREAM) : -1;
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

int socket_bind_udp(const char *address, char *ret_problem, size_t problem_size)
{
    struct addrinfo *found = look_up(address, SOCK_DGRAM, ret_problem, problem_size);
    if (!found) {
        return -1;
    }
    int fd = take_reserved(address, SOCK_DGRAM);
    fd = fd < 0 ? bind_to(found) : fd;
    freeaddrinfo(found);
    return fd < 0 ? fail_listen(address, ret_problem, problem_size) : fd;
}

/* ---- networks ---- */

static const unsigned char mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/** Reads "ADDRESS" or "ADDRESS/BITS". */
static bool parse_network(Str text, SocketNetwork *ret_network)
{
    char host[INET6_ADDRSTRLEN];
    SocketNetwork network = {.bits = 128};
    size_t slash = str_find_char(text, '/');
    Str address = str_slice(text, 0, slash);
    uint64_t bits = 0;
    if (address.len >= sizeof(host)) {
        return false;
    }
    memcpy(host, address.data, address.len);
    host[address.len] = '\0';
    memcpy(network.address, mapped_prefix, sizeof(mapped_prefix));
    bool is_v4 = inet_pton(AF_INET, host, network.address + sizeof(mapped_prefix)) == 1;
    unsigned most = is_v4 ? 32 : 128;
    if (!is_v4 && inet_pton(AF_INET6, host, network.address) != 1) {
        return false;
    }
    if (slash != SIZE_MAX) {
        if (!str_to_u64(str_from_offset(text, slash + 1), &bits) || bits > most) {
            return false;
        }
        network.bits = 128 - most + (unsigned)bits;
    }
    *ret_network = network;
    return true;
}

bool socket_networks_parse(const char *text, SocketNetwork **ret_networks, size_t *ret_count)
{
    Str rest = str_from(text);
    Str item = STR_EMPTY;
    size_t most = 1;
    size_t count = 0;
    for (size_t i = 0; i < rest.len; i++) {
        most += rest.data[i] == ',';
    }
    SocketNetwork *networks = HEAP_ARRAY(SocketNetwork, most);
    bool is_good = true;
    while (is_good && str_split_next(&rest, ',', &item)) {
        item = str_trim(item);
        if (!str_is_empty(item)) {
            is_good = parse_network(item, &networks[count++]);
        }
    }
    if (!is_good) {
        free(networks);
        return false;
    }
    *ret_networks = networks;
    *ret_count = count;
    return true;
}

bool socket_network_has(const SocketNetwork *network, const struct sockaddr_storage *address)
{
    unsigned char bytes[16];
    if (address->ss_family == AF_INET6) {
        memcpy(bytes, (const char *)address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    } else {
        memcpy(bytes, mapped_prefix, sizeof(mapped_prefix));
        memcpy(bytes + sizeof(mapped_prefix),
               (const char *)address + offsetof(struct sockaddr_in, sin_addr), 4);
    }
    unsigned whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    return memcmp(bytes, network->address, whole) == 0 &&
           (rest == 0 || (bytes[whole] ^ network->address[whole]) >> (8 - rest) == 0);
}

void socket_give_up(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
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
