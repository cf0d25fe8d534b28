/*
 * Load generator: sends prepared HTTP requests, or HL7 v2 messages in MLLP frames, over mutual TLS
 * (or plain), keep-alive, from N connections, and prints one line of JSON: rate, latency
 * percentiles, errors (measure.h).
 *
 *   load --port 8443 --cert c.pem --key c.key --ca ca.pem --connections 4 --seconds 3 --request
 * FILE [--request FILE ...]
 *        [--count N] [--first N] [--modulo M] [--expect TEXT] [--new-connection full|resumed]
 * [--nagle] [--hold]
 *        [--ciphersuite NAME] [--frames FILE | --syslog FILE]
 *
 * Request number n, from --first on, is the file n modulo the number of files, sent as it is except
 * that every
 * "@@@@@@@@@@@@" becomes n and every "%%%%%%%%%%%%" becomes n modulo M, as 12 digits. --count ends
 * after so many requests,
 * --hold sends one request per connection and keeps the connections open for the seconds. The host
 * is always 127.0.0.1. --frames, instead of --request, has the requests in one file: MLLP frames,
 * sent as they are. --syslog has frames of RFC 5425: each is sent once, nothing is answered, and a
 * connection is over when the peer has closed it after our goodbye.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define NUMBER_PLACE "@@@@@@@@@@@@"
#define MODULO_PLACE "%%%%%%%%%%%%"
#define PLACE_LEN 12
#define NUMBER_LIMIT 1000000000000ULL
#define PLACES_MAX 256
#define REQUESTS_MAX 4096
#define CONNECTIONS_MAX 10000
#define ERRORS_MAX 100
#define READ_BYTES 65536
#define STACK_BYTES (256 * 1024)
#define MLLP_BEGIN '\x0b'
#define MLLP_END "\x1c\r"

typedef enum NewConnection { KEEP_ALIVE, NEW_FULL, NEW_RESUMED } NewConnection;

typedef struct Place {
    size_t at;
    bool is_modulo;
} Place;

/** One request file. */
typedef struct Template {
    char *bytes;
    size_t len;
    Place *places;
    size_t place_count;
} Template;

typedef struct Settings {
    int port;
    const char *cert;
    const char *key;
    const char *ca;
    const char *ciphersuite;
    const char *expect;
    unsigned connections;
    double seconds;
    uint64_t count; /* 0: no limit */
    uint64_t first;
    uint64_t modulo;
    NewConnection new_connection;
    bool has_nagle;
    bool is_hold;
    bool is_one_way;
    Template *requests;
    size_t request_count;
} Settings;

typedef struct Connection {
    int fd; /* -1: none */
    SSL *ssl;
    char *buf;
    size_t len;
    size_t cap;
} Connection;

typedef struct Worker {
    const Settings *settings;
    _Atomic uint64_t *next_number;
    SSL_CTX *tls;
    SSL_SESSION *session;
    int64_t deadline_ns;
    char **copies; /* of each request, made when it is first sent */
    Connection connection;
    Sampler sampler;
} Worker;

/* Requests */

static void find_places(Template *t)
{
    Place places[PLACES_MAX];
    for (size_t i = 0; i + PLACE_LEN <= t->len && t->place_count < PLACES_MAX; i++) {
        bool is_number = memcmp(t->bytes + i, NUMBER_PLACE, PLACE_LEN) == 0;
        if (is_number || memcmp(t->bytes + i, MODULO_PLACE, PLACE_LEN) == 0) {
            places[t->place_count++] = (Place){i, !is_number};
            i += PLACE_LEN - 1;
        }
    }
    t->places = allocate(t->place_count + 1, sizeof(Place));
    memcpy(t->places, places, t->place_count * sizeof(Place));
}

static void read_file(const char *path, Template *t)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0) {
        die("load: cannot read the request file");
    }
    t->len = (size_t)st.st_size;
    t->bytes = allocate(t->len, 1);
    if (fread(t->bytes, 1, t->len, file) != t->len) {
        die("load: cannot read the request file");
    }
    (void)fclose(file);
}

static void read_template(const char *path, Template *t)
{
    read_file(path, t);
    find_places(t);
}

/** Each MLLP frame of a file is a request. */
static void read_frames(const char *path, Settings *s)
{
    Template file = {0};
    read_file(path, &file);
    size_t count = 0;
    for (size_t i = 0; i < file.len; i++) {
        count += file.bytes[i] == MLLP_BEGIN;
    }
    s->requests = allocate(count, sizeof(*s->requests));
    s->request_count = count;
    char *rest = file.bytes;
    for (size_t i = 0; i < count; i++) {
        size_t left = file.len - (size_t)(rest - file.bytes);
        char *end = memmem(rest, left, MLLP_END, strlen(MLLP_END));
        if (!end) {
            die("load: the last frame has no end");
        }
        s->requests[i] = (Template){.bytes = rest, .len = (size_t)(end - rest) + strlen(MLLP_END)};
        rest = end + strlen(MLLP_END);
    }
}

/** Each frame of RFC 5425 (length, space, message) is a request. */
static void read_syslog(const char *path, Settings *s)
{
    Template file = {0};
    size_t cap = 0;
    read_file(path, &file);
    for (size_t at = 0; at < file.len;) {
        char *digits_end = NULL;
        size_t message_len = strtoul(file.bytes + at, &digits_end, 10);
        size_t len = (size_t)(digits_end - file.bytes) - at + 1 + message_len;
        if (*digits_end != ' ' || len > file.len - at) {
            die("load: not a file of syslog frames");
        }
        if (s->request_count == cap) {
            cap = cap ? 2 * cap : REQUESTS_MAX;
            s->requests = reallocarray(s->requests, cap, sizeof(*s->requests));
            if (!s->requests) {
                die("load: out of memory");
            }
        }
        s->requests[s->request_count++] = (Template){.bytes = file.bytes + at, .len = len};
        at += len;
    }
    s->is_one_way = true;
    s->first = 0;
    s->count = s->request_count;
}

static const char *fill(Worker *w, uint64_t number, size_t *ret_len)
{
    size_t index = number % w->settings->request_count;
    const Template *t = &w->settings->requests[index];
    *ret_len = t->len;
    if (t->place_count == 0) {
        return t->bytes;
    }
    if (!w->copies[index]) {
        w->copies[index] = allocate(t->len, 1);
        memcpy(w->copies[index], t->bytes, t->len);
    }
    for (size_t i = 0; i < t->place_count; i++) {
        uint64_t value = t->places[i].is_modulo ? number % w->settings->modulo : number;
        char digits[PLACE_LEN + 1];
        (void)snprintf(digits, sizeof(digits), "%012llu",
                       (unsigned long long)(value % NUMBER_LIMIT));
        memcpy(w->copies[index] + t->places[i].at, digits, PLACE_LEN);
    }
    return w->copies[index];
}

/* Connections */

static bool start_tls(Worker *w)
{
    Connection *c = &w->connection;
    c->ssl = SSL_new(w->tls);
    SSL_set_fd(c->ssl, c->fd);
    if (w->settings->new_connection == NEW_RESUMED && w->session) {
        SSL_set_session(c->ssl, w->session);
    }
    if (SSL_connect(c->ssl) != 1) {
        sampler_fail(&w->sampler, ERR_error_string(ERR_get_error(), NULL));
        return false;
    }
    if (w->settings->new_connection == NEW_RESUMED && w->session && !SSL_session_reused(c->ssl)) {
        sampler_fail(&w->sampler, "the session was not resumed");
    }
    return true;
}

static bool open_connection(Worker *w)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)w->settings->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Connection *c = &w->connection;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        sampler_fail(&w->sampler, strerror(errno));
        return false;
    }
    int on = !w->settings->has_nagle;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return !w->tls || start_tls(w);
}

static void close_connection(Worker *w)
{
    Connection *c = &w->connection;
    if (c->ssl) {
        if (w->settings->new_connection == NEW_RESUMED && !w->session) {
            w->session = SSL_get1_session(c->ssl);
        }
        SSL_set_quiet_shutdown(c->ssl, 1);
        SSL_shutdown(c->ssl); /* marks the session as good for resumption; sends nothing */
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

static bool send_all(const Connection *c, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t piece = len > (1U << 20) ? (1U << 20) : len;
        ssize_t n =
            c->ssl ? SSL_write(c->ssl, bytes, (int)piece) : send(c->fd, bytes, piece, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool receive_more(Connection *c)
{
    if (c->cap - c->len < READ_BYTES) {
        c->cap = c->cap * 2 + (1U << 20);
        c->buf = realloc(c->buf, c->cap);
        if (!c->buf) {
            die("load: out of memory");
        }
    }
    char *end = c->buf + c->len;
    ssize_t n = c->ssl ? SSL_read(c->ssl, end, READ_BYTES) : recv(c->fd, end, READ_BYTES, 0);
    if (n <= 0) {
        return false;
    }
    c->len += (size_t)n;
    return true;
}

static bool receive_until(Connection *c, size_t len)
{
    while (c->len < len) {
        if (!receive_more(c)) {
            return false;
        }
    }
    return true;
}

/** Walks the chunks from at to the last one. */
static bool receive_chunks(Connection *c, size_t at)
{
    for (;;) {
        const char *line;
        while (!(line = at < c->len ? memmem(c->buf + at, c->len - at, "\r\n", 2) : NULL)) {
            if (!receive_more(c)) {
                return false;
            }
        }
        size_t size = strtoul(c->buf + at, NULL, 16);
        at = (size_t)(line - c->buf) + 2 + size + 2;
        if (!receive_until(c, at)) {
            return false;
        }
        if (size == 0) {
            return true;
        }
    }
}

/** Reads one MLLP frame; the bytes stay in c->buf. */
static bool receive_frame(Connection *c, long *ret_status)
{
    c->len = 0;
    while (c->len < 3 || memcmp(c->buf + c->len - 2, MLLP_END, 2) != 0) {
        if (!receive_more(c)) {
            return false;
        }
    }
    *ret_status = 200;
    return true;
}

/** Reads one HTTP response to its end; the bytes stay in c->buf. */
static bool receive_response(Connection *c, long *ret_status)
{
    const char *end = NULL;
    c->len = 0;
    while (!end) {
        if (!receive_more(c)) {
            return false;
        }
        end = memmem(c->buf, c->len, "\r\n\r\n", 4);
    }
    size_t head = (size_t)(end - c->buf) + 4;
    *ret_status = c->len > 12 ? strtol(c->buf + 9, NULL, 10) : 0;
    const char *length = memmem(c->buf, head, "Content-Length:", 15);
    return length ? receive_until(c, head + strtoul(length + 15, NULL, 10))
                  : receive_chunks(c, head);
}

static bool is_expected(const Settings *s, const Connection *c, long status)
{
    return status == 200 && (!s->expect || memmem(c->buf, c->len, s->expect, strlen(s->expect)));
}

/* Workers */

static void note_failure(Worker *w, long status)
{
    const Connection *c = &w->connection;
    char text[512];
    size_t shown = c->len > 1400 ? c->len - 400 : c->len / 2;
    (void)snprintf(text, sizeof(text), "status %ld: %.100s ... %.*s", status,
                   c->len > 100 ? c->buf : "", (int)(c->len - shown), c->buf ? c->buf + shown : "");
    sampler_fail(&w->sampler, text);
}

static bool receive_answer(const Worker *w, const char *request, Connection *c, long *ret_status)
{
    if (w->settings->is_one_way) {
        *ret_status = 200;
        return true;
    }
    return request[0] == MLLP_BEGIN ? receive_frame(c, ret_status)
                                    : receive_response(c, ret_status);
}

/** Says goodbye and waits until the peer has taken all and closed. */
static void finish_sending(Worker *w)
{
    Connection *c = &w->connection;
    if (!c->ssl) {
        return;
    }
    SSL_shutdown(c->ssl);
    while (receive_more(c)) {
    }
    if (SSL_get_error(c->ssl, 0) != SSL_ERROR_ZERO_RETURN) {
        sampler_fail(&w->sampler, "the peer closed without a goodbye");
    }
}

static void send_one(Worker *w, uint64_t number)
{
    Connection *c = &w->connection;
    size_t len = 0;
    const char *bytes = fill(w, number, &len);
    int64_t began = now_ns();
    long status = 0;
    c->len = 0;
    bool is_good = (c->fd >= 0 || open_connection(w)) && send_all(c, bytes, len) &&
                   receive_answer(w, bytes, c, &status);
    if (is_good && is_expected(w->settings, c, status)) {
        w->sampler.bytes += c->len;
        sampler_add(&w->sampler, began);
    } else {
        note_failure(w, status);
        close_connection(w);
    }
    if (w->settings->new_connection != KEEP_ALIVE) {
        close_connection(w);
    }
}

static void hold(const Worker *w)
{
    int64_t left_ns = w->deadline_ns - now_ns();
    if (left_ns > 0) {
        const struct timespec pause = {.tv_sec = left_ns / 1000000000,
                                       .tv_nsec = left_ns % 1000000000};
        nanosleep(&pause, NULL);
    }
}

static void *run_worker(void *argument)
{
    Worker *w = argument;
    const Settings *s = w->settings;
    uint64_t end = s->count ? s->first + s->count : UINT64_MAX;
    while (now_ns() < w->deadline_ns && w->sampler.errors < ERRORS_MAX) {
        uint64_t number = atomic_fetch_add(w->next_number, 1);
        if (number >= end) {
            break;
        }
        send_one(w, number);
        if (s->is_hold) {
            hold(w);
        }
    }
    if (s->is_one_way) {
        finish_sending(w);
    }
    close_connection(w);
    return NULL;
}

static SSL_CTX *make_tls(const Settings *s)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_load_verify_locations(tls, s->ca, NULL) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls, s->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, s->key, SSL_FILETYPE_PEM) != 1 ||
        (s->ciphersuite && SSL_CTX_set_ciphersuites(tls, s->ciphersuite) != 1)) {
        die("load: cannot load certificate, key, CA or cipher suite");
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    /* with OpenSSL's own cache a session could be resumed only once (TLS 1.3) */
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    return tls;
}

static Settings read_settings(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'},        {"cert", 1, 0, 'c'},   {"key", 1, 0, 'k'},
        {"ca", 1, 0, 'a'},          {"first", 1, 0, 'f'},  {"connections", 1, 0, 'n'},
        {"seconds", 1, 0, 's'},     {"count", 1, 0, 'C'},  {"modulo", 1, 0, 'm'},
        {"request", 1, 0, 'r'},     {"expect", 1, 0, 'e'}, {"new-connection", 1, 0, 'N'},
        {"ciphersuite", 1, 0, 'x'}, {"nagle", 0, 0, 'g'},  {"hold", 0, 0, 'h'},
        {"frames", 1, 0, 'F'},      {"syslog", 1, 0, 'S'}, {0, 0, 0, 0}};
    Settings s = {.connections = 1, .seconds = 1, .first = (uint64_t)time(NULL), .modulo = 1};
    int option;
    s.requests = allocate(REQUESTS_MAX, sizeof(*s.requests));
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            s.port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            s.cert = optarg;
            break;
        case 'k':
            s.key = optarg;
            break;
        case 'a':
            s.ca = optarg;
            break;
        case 'f':
            s.first = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            s.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            s.seconds = strtod(optarg, NULL);
            break;
        case 'C':
            s.count = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            s.modulo = strtoull(optarg, NULL, 10);
            break;
        case 'e':
            s.expect = optarg;
            break;
        case 'x':
            s.ciphersuite = optarg;
            break;
        case 'g':
            s.has_nagle = true;
            break;
        case 'h':
            s.is_hold = true;
            break;
        case 'N':
            s.new_connection = strcmp(optarg, "resumed") == 0 ? NEW_RESUMED : NEW_FULL;
            break;
        case 'F':
            read_frames(optarg, &s);
            break;
        case 'S':
            read_syslog(optarg, &s);
            break;
        case 'r':
            if (s.request_count == REQUESTS_MAX) {
                die("load: too many request files");
            }
            read_template(optarg, &s.requests[s.request_count++]);
            break;
        default:
            die("load: unknown option");
        }
    }
    if (!s.request_count || !s.port || !s.modulo || s.connections < 1 ||
        s.connections > CONNECTIONS_MAX) {
        die("load: need --request, --port, --connections 1..10000, --modulo from 1");
    }
    return s;
}

static void start_worker(Worker *w, pthread_t *ret_thread)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(ret_thread, &attributes, run_worker, w) != 0) {
        die("load: cannot start a thread");
    }
    pthread_attr_destroy(&attributes);
}

int main(int argc, char **argv)
{
    Settings s = read_settings(argc, argv);
    SSL_CTX *tls = s.cert ? make_tls(&s) : NULL;
    Worker *workers = allocate(s.connections, sizeof(*workers));
    const Sampler **samplers = allocate(s.connections, sizeof(*samplers));
    pthread_t *threads = allocate(s.connections, sizeof(*threads));
    _Atomic uint64_t next_number = s.first;
    int64_t began = now_ns();

    for (unsigned i = 0; i < s.connections; i++) {
        workers[i] = (Worker){.settings = &s,
                              .next_number = &next_number,
                              .tls = tls,
                              .deadline_ns = began + (int64_t)(s.seconds * 1e9),
                              .copies = allocate(s.request_count, sizeof(char *)),
                              .connection = {.fd = -1}};
        sampler_init(&workers[i].sampler, s.connections);
        samplers[i] = &workers[i].sampler;
        start_worker(&workers[i], &threads[i]);
    }
    for (unsigned i = 0; i < s.connections; i++) {
        pthread_join(threads[i], NULL);
    }
    measure_report(samplers, s.connections, (double)(now_ns() - began) / 1e9);
    return 0;
}
