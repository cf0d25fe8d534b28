/*
 * Load generator: sends prepared HTTP requests over mutual TLS (or plain), keep-alive, from N connections, and prints one
 * line of JSON: rate, latency percentiles, errors. Each request file is sent as it is, except that every run of the
 * placeholder letters "@@@@@@@@@@@@" becomes a number that no other request of this run has.
 *
 *   load --host 127.0.0.1 --port 8443 --cert c.pem --key c.key --ca ca.pem --connections 4 --seconds 3
 *        --request FILE [--expect TEXT] [--new-connection full|resumed] [--seed N]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PLACEHOLDER "@@@@@@@@@@@@"
#define PLACEHOLDER_LEN 12
#define PLACES_MAX 4096
#define SAMPLES_MAX 4000000

typedef enum NewConnection { KEEP_ALIVE, NEW_FULL, NEW_RESUMED } NewConnection;

typedef struct Settings {
    const char *host;
    int port;
    const char *cert;
    const char *key;
    const char *ca;
    int connections;
    double seconds;
    const char *request;
    const char *expect;
    NewConnection new_connection;
    uint64_t seed;
} Settings;

typedef struct Template {
    char *bytes;
    size_t len;
    size_t places[PLACES_MAX];
    size_t place_count;
} Template;

typedef struct Worker {
    const Settings *settings;
    const Template *request;
    SSL_CTX *tls;
    SSL_SESSION *session;
    uint64_t first_number;
    int64_t deadline_ns;
    uint64_t done;
    uint64_t errors;
    uint64_t received_bytes;
    uint32_t *samples_us;
    size_t sample_count;
    char problem[512];
} Worker;

typedef struct Connection {
    int fd;
    SSL *ssl;
    char *buf;
    size_t len;
    size_t cap;
} Connection;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "load: %s\n", what);
    exit(2);
}

static Template read_template(const char *path)
{
    Template t = {0};
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0) {
        die("cannot read the request file");
    }
    t.len = (size_t)st.st_size;
    t.bytes = malloc(t.len + 1);
    if (!t.bytes || fread(t.bytes, 1, t.len, file) != t.len) {
        die("cannot read the request file");
    }
    (void)fclose(file);
    for (size_t i = 0; i + PLACEHOLDER_LEN <= t.len && t.place_count < PLACES_MAX; i++) {
        if (memcmp(t.bytes + i, PLACEHOLDER, PLACEHOLDER_LEN) == 0) {
            t.places[t.place_count++] = i;
            i += PLACEHOLDER_LEN - 1;
        }
    }
    return t;
}

static void fill(const Template *t, char *copy, uint64_t number)
{
    char digits[PLACEHOLDER_LEN + 1];
    (void)snprintf(digits, sizeof(digits), "%012llu", (unsigned long long)(number % 1000000000000ULL));
    for (size_t i = 0; i < t->place_count; i++) {
        memcpy(copy + t->places[i], digits, PLACEHOLDER_LEN);
    }
}

static bool open_connection(Worker *w, Connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->settings->port)};
    inet_pton(AF_INET, w->settings->host, &address.sin_addr);
    c->len = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)snprintf(w->problem, sizeof(w->problem), "connect: %s", strerror(errno));
        return false;
    }
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!w->tls) {
        return true;
    }
    c->ssl = SSL_new(w->tls);
    SSL_set_fd(c->ssl, c->fd);
    if (w->settings->new_connection == NEW_RESUMED && w->session) {
        SSL_set_session(c->ssl, w->session);
    }
    if (SSL_connect(c->ssl) != 1) {
        (void)snprintf(w->problem, sizeof(w->problem), "TLS: %s", ERR_error_string(ERR_get_error(), NULL));
        return false;
    }
    return true;
}

static void close_connection(Worker *w, Connection *c)
{
    if (c->ssl) {
        if (w->settings->new_connection == NEW_RESUMED && !w->session) {
            w->session = SSL_get1_session(c->ssl);
        }
        SSL_set_quiet_shutdown(c->ssl, 1);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

static bool send_all(Connection *c, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t piece = len > (1U << 20) ? (1U << 20) : len;
        ssize_t n = c->ssl ? SSL_write(c->ssl, bytes, (int)piece) : send(c->fd, bytes, piece, MSG_NOSIGNAL);
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
    if (c->cap - c->len < 65536) {
        c->cap = c->cap * 2 + (1U << 20);
        c->buf = realloc(c->buf, c->cap);
        if (!c->buf) {
            die("out of memory");
        }
    }
    ssize_t n = c->ssl ? SSL_read(c->ssl, c->buf + c->len, 65536) : recv(c->fd, c->buf + c->len, 65536, 0);
    if (n <= 0) {
        return false;
    }
    c->len += (size_t)n;
    return true;
}

/** Reads one HTTP response to its end; the bytes stay in c->buf. */
static bool receive_response(Connection *c, int *ret_status)
{
    c->len = 0;
    char *end = NULL;
    while (!end) {
        if (!receive_more(c)) {
            return false;
        }
        end = memmem(c->buf, c->len, "\r\n\r\n", 4);
    }
    size_t head = (size_t)(end - c->buf) + 4;
    *ret_status = c->len > 12 ? atoi(c->buf + 9) : 0;
    char *length = memmem(c->buf, head, "Content-Length:", 15);
    if (length) {
        size_t total = head + strtoul(length + 15, NULL, 10);
        while (c->len < total) {
            if (!receive_more(c)) {
                return false;
            }
        }
        return true;
    }
    /* chunked: walk the chunk sizes */
    size_t at = head;
    for (;;) {
        char *line;
        while (!(line = at < c->len ? memmem(c->buf + at, c->len - at, "\r\n", 2) : NULL)) {
            if (!receive_more(c)) {
                return false;
            }
        }
        size_t size = strtoul(c->buf + at, NULL, 16);
        at = (size_t)(line - c->buf) + 2 + size + 2;
        while (c->len < at) {
            if (!receive_more(c)) {
                return false;
            }
        }
        if (size == 0) {
            return true;
        }
    }
}

static bool is_expected(const Settings *s, const Connection *c, int status)
{
    return status == 200 && (!s->expect || memmem(c->buf, c->len, s->expect, strlen(s->expect)));
}

static void *run_worker(void *argument)
{
    Worker *w = argument;
    const Template *t = w->request;
    Connection c = {.fd = -1};
    char *copy = malloc(t->len);
    if (!copy) {
        die("out of memory");
    }
    memcpy(copy, t->bytes, t->len);
    uint64_t number = w->first_number;
    while (now_ns() < w->deadline_ns) {
        fill(t, copy, number++);
        int64_t began = now_ns();
        int status = 0;
        bool good = (c.fd >= 0 || open_connection(w, &c)) && send_all(&c, copy, t->len) && receive_response(&c, &status);
        if (good && is_expected(w->settings, &c, status)) {
            w->done++;
            w->received_bytes += c.len;
            if (w->sample_count < SAMPLES_MAX) {
                w->samples_us[w->sample_count++] = (uint32_t)((now_ns() - began) / 1000);
            }
        } else {
            w->errors++;
            if (!w->problem[0]) {
                (void)snprintf(w->problem, sizeof(w->problem), "HTTP %d: %.*s", status,
                               (int)(c.len < 400 ? c.len : 400), c.buf ? c.buf : "");
            }
            close_connection(w, &c);
            if (w->errors > 100) {
                break;
            }
        }
        if (w->settings->new_connection != KEEP_ALIVE) {
            close_connection(w, &c);
        }
    }
    close_connection(w, &c);
    free(c.buf);
    free(copy);
    return NULL;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_escaped(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            putchar('\\');
        }
        putchar(c < 0x20 || c >= 0x7f ? ' ' : c);
    }
    putchar('"');
}

static void report(const Settings *s, Worker *workers, double elapsed_s)
{
    uint64_t done = 0;
    uint64_t errors = 0;
    uint64_t bytes = 0;
    size_t count = 0;
    const char *problem = "";
    for (int i = 0; i < s->connections; i++) {
        done += workers[i].done;
        errors += workers[i].errors;
        bytes += workers[i].received_bytes;
        count += workers[i].sample_count;
        problem = workers[i].problem[0] ? workers[i].problem : problem;
    }
    uint32_t *all = malloc((count + 1) * sizeof(*all));
    if (!all) {
        die("out of memory");
    }
    size_t at = 0;
    for (int i = 0; i < s->connections; i++) {
        memcpy(all + at, workers[i].samples_us, workers[i].sample_count * sizeof(*all));
        at += workers[i].sample_count;
    }
    qsort(all, count, sizeof(*all), compare_u32);
    double p50 = count ? all[count / 2] / 1000.0 : 0;
    double p99 = count ? all[count * 99 / 100] / 1000.0 : 0;
    double max = count ? all[count - 1] / 1000.0 : 0;
    printf("{\"rate\": %.1f, \"requests\": %llu, \"errors\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
           "\"received_mb_s\": %.1f, \"connections\": %d, \"problem\": ",
           (double)done / elapsed_s, (unsigned long long)done, (unsigned long long)errors, p50, p99, max,
           (double)bytes / 1e6 / elapsed_s, s->connections);
    print_escaped(problem);
    printf("}\n");
    free(all);
}

static SSL_CTX *make_tls(const Settings *s)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_load_verify_locations(tls, s->ca, NULL) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls, s->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, s->key, SSL_FILETYPE_PEM) != 1) {
        die("cannot load certificate, key or CA");
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT);
    return tls;
}

static Settings read_settings(int argc, char **argv)
{
    static const struct option options[] = {
        {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},   {"cert", 1, 0, 'c'},           {"key", 1, 0, 'k'},
        {"ca", 1, 0, 'a'},      {"seed", 1, 0, 'S'},   {"connections", 1, 0, 'n'},    {"seconds", 1, 0, 's'},
        {"request", 1, 0, 'r'}, {"expect", 1, 0, 'e'}, {"new-connection", 1, 0, 'N'}, {0, 0, 0, 0}};
    Settings s = {.host = "127.0.0.1", .connections = 1, .seconds = 1, .seed = (uint64_t)time(NULL)};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'h': s.host = optarg; break;
        case 'p': s.port = atoi(optarg); break;
        case 'c': s.cert = optarg; break;
        case 'k': s.key = optarg; break;
        case 'a': s.ca = optarg; break;
        case 'S': s.seed = strtoull(optarg, NULL, 10); break;
        case 'n': s.connections = atoi(optarg); break;
        case 's': s.seconds = strtod(optarg, NULL); break;
        case 'r': s.request = optarg; break;
        case 'e': s.expect = optarg; break;
        case 'N': s.new_connection = strcmp(optarg, "resumed") == 0 ? NEW_RESUMED : NEW_FULL; break;
        default: die("unknown option");
        }
    }
    struct in_addr address;
    if (!s.request || !s.port || s.connections < 1 || s.connections > 10000 || inet_pton(AF_INET, s.host, &address) != 1 ||
        (ntohl(address.s_addr) >> 24) != 127) {
        die("need --request, --port, --connections 1..10000; --host must be a loopback address");
    }
    return s;
}

int main(int argc, char **argv)
{
    Settings s = read_settings(argc, argv);
    Template t = read_template(s.request);
    SSL_CTX *tls = s.cert ? make_tls(&s) : NULL;
    Worker *workers = calloc((size_t)s.connections, sizeof(*workers));
    pthread_t *threads = calloc((size_t)s.connections, sizeof(*threads));
    if (!workers || !threads) {
        die("out of memory");
    }
    size_t samples_each = SAMPLES_MAX / (size_t)s.connections;
    int64_t began = now_ns();
    for (int i = 0; i < s.connections; i++) {
        workers[i] = (Worker){.settings = &s, .request = &t, .tls = tls,
                              .first_number = s.seed * 1000003 % 1000000 * 1000000 + (uint64_t)i * 1000000 / (uint64_t)s.connections,
                              .deadline_ns = began + (int64_t)(s.seconds * 1e9),
                              .samples_us = calloc(samples_each, sizeof(uint32_t))};
        if (!workers[i].samples_us || pthread_create(&threads[i], NULL, run_worker, &workers[i]) != 0) {
            die("cannot start a thread");
        }
    }
    for (int i = 0; i < s.connections; i++) {
        pthread_join(threads[i], NULL);
    }
    report(&s, workers, (double)(now_ns() - began) / 1e9);
    SSL_CTX_free(tls);
    return 0;
}
