#include "tests/bench/https_floor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define HEAD_MAX 16384
#define DROP_BYTES 65536
#define STACK_BYTES (256 * 1024)
#define BACKLOG 1024
#define MLLP_BEGIN '\x0b'
#define MLLP_END "\x1c\r"

typedef struct Server {
    const HttpsFloor *floor;
    SSL_CTX *tls;
    char *answer;
    size_t answer_len;
    char *frame;
    size_t frame_len;
} Server;

typedef struct Peer {
    const Server *server;
    int fd;
    SSL *ssl;
    void *connection;
    char head[HEAD_MAX];
    size_t head_len; /* bytes in head, of which the first end are the head itself */
    char *body;
    size_t body_cap;
} Peer;

static bool read_some(Peer *peer, char *to, size_t max, size_t *ret_len)
{
    int n = SSL_read(peer->ssl, to, (int)(max > (1U << 30) ? (1U << 30) : max));
    if (n <= 0) {
        return false;
    }
    *ret_len = (size_t)n;
    return true;
}

static const char *find_head_end(const Peer *peer)
{
    if (peer->head_len > 0 && peer->head[0] == MLLP_BEGIN) {
        return memmem(peer->head, peer->head_len, MLLP_END, 2);
    }
    return memmem(peer->head, peer->head_len, "\r\n\r\n", 4);
}

/** Reads until the empty line, or a whole frame. @param ret_end  where the body begins in
 * peer->head */
static bool read_head(Peer *peer, size_t *ret_end)
{
    const char *end = NULL;
    size_t n = 0;
    peer->head_len = 0;
    while (!end) {
        if (peer->head_len == HEAD_MAX ||
            !read_some(peer, peer->head + peer->head_len, HEAD_MAX - peer->head_len, &n)) {
            return false;
        }
        peer->head_len += n;
        end = find_head_end(peer);
    }
    *ret_end = (size_t)(end - peer->head) + 4;
    return true;
}

static void make_room(Peer *peer, size_t size)
{
    if (size > peer->body_cap) {
        free(peer->body);
        peer->body = allocate(size, 1);
        peer->body_cap = size;
    }
}

/** The body of that length, of which a part came with the head. */
static bool read_body(Peer *peer, size_t head_end, size_t len)
{
    bool is_kept = peer->server->floor->handle != NULL;
    size_t at = peer->head_len - head_end;
    size_t n = 0;
    make_room(peer, is_kept ? len : DROP_BYTES);
    if (at > len) {
        return false; /* pipelined requests are not for us */
    }
    memcpy(peer->body, peer->head + head_end, at);
    while (at < len) {
        size_t room = len - at;
        if (!is_kept && room > DROP_BYTES) {
            room = DROP_BYTES;
        }
        if (!read_some(peer, is_kept ? peer->body + at : peer->body, room, &n)) {
            return false;
        }
        at += n;
    }
    return true;
}

static bool serve_one(Peer *peer)
{
    const Server *server = peer->server;
    size_t head_end = 0;
    if (!read_head(peer, &head_end)) {
        return false;
    }
    if (peer->head[0] == MLLP_BEGIN) {
        return SSL_write(peer->ssl, server->frame, (int)server->frame_len) > 0;
    }
    const char *length = memmem(peer->head, head_end, "Content-Length:", 15);
    size_t body_len = length ? strtoul(length + 15, NULL, 10) : 0;
    if (!read_body(peer, head_end, body_len)) {
        return false;
    }
    if (server->floor->handle) {
        server->floor->handle(peer->connection, peer->body, body_len);
    }
    return SSL_write(peer->ssl, server->answer, (int)server->answer_len) > 0;
}

static void serve_all(Peer *peer)
{
    const HttpsFloor *floor = peer->server->floor;
    if (floor->connection_new) {
        peer->connection = floor->connection_new(floor->ctx);
    }
    while (serve_one(peer)) {
    }
    if (floor->connection_free) {
        floor->connection_free(peer->connection);
    }
}

static void *run_peer(void *argument)
{
    Peer *peer = argument;
    const HttpsFloor *floor = peer->server->floor;
    int on = 1;
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    peer->ssl = SSL_new(peer->server->tls);
    SSL_set_fd(peer->ssl, peer->fd);
    if (SSL_accept(peer->ssl) == 1) {
        if (floor->converse) {
            floor->converse(floor->ctx, peer->ssl);
        } else {
            serve_all(peer);
        }
    }
    SSL_free(peer->ssl);
    close(peer->fd);
    free(peer->body);
    free(peer);
    return NULL;
}

static SSL_CTX *make_tls(const HttpsFloor *floor)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_load_verify_locations(tls, floor->ca, NULL) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls, floor->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, floor->key, SSL_FILETYPE_PEM) != 1) {
        die("floor: cannot load certificate, key or CA");
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(tls, (const unsigned char *)"floor", 5);
    return tls;
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, BACKLOG) != 0) {
        die("floor: cannot listen");
    }
    return fd;
}

static void make_answer(Server *server)
{
    char head[256];
    int head_len = snprintf(head, sizeof(head),
                            "HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            server->floor->answer_bytes);
    server->answer_len = (size_t)head_len + server->floor->answer_bytes;
    server->answer = allocate(server->answer_len, 1);
    memset(server->answer, 'x', server->answer_len);
    memcpy(server->answer, head, (size_t)head_len);
}

static void make_frame(Server *server)
{
    server->frame_len = server->floor->answer_bytes + 3;
    server->frame = allocate(server->frame_len, 1);
    memset(server->frame, 'x', server->frame_len);
    server->frame[0] = MLLP_BEGIN;
    memcpy(server->frame + server->frame_len - 2, MLLP_END, 2);
}

void https_floor_run(const HttpsFloor *floor)
{
    Server server = {.floor = floor, .tls = make_tls(floor)};
    pthread_attr_t attributes;
    pthread_t thread;

    make_answer(&server);
    make_frame(&server);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int listener = listen_on(floor->port);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        Peer *peer = allocate(1, sizeof(*peer));
        peer->server = &server;
        peer->fd = fd;
        if (pthread_create(&thread, &attributes, run_peer, peer) != 0) {
            die("floor: cannot start a thread");
        }
    }
}
