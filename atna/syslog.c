#include "atna/syslog.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/tls/tls.h"

#define URL_PREFIX "tls://"
#define DEFAULT_PORT "6514" /* RFC 5425 section 4.1 */
#define CONNECT_TIMEOUT_NS INT64_C(5000000000)
#define WRITE_TIMEOUT_NS INT64_C(10000000000)
#define GOODBYE_TIMEOUT_NS INT64_C(1000000000)

/** Facility 10 (security/authorization) * 8 + severity 5 (notice), MSGID as ITI TF-2 3.20.4.1.2. */
#define PRIORITY 85
#define MESSAGE_ID "IHE+RFC-3881"
#define APPLICATION_NAME "musubi"

struct SyslogSender {
    char host[256];
    char port[6];
    TlsPeer peer;
    SSL_CTX *ctx;
    SSL *ssl;   /* NULL: not connected */
    int socket; /* -1: not connected */
};

/** Splits "tls://HOST:PORT", "tls://HOST" or "tls://[ADDRESS]:PORT". */
static bool parse_url(SyslogSender *sender, Str url)
{
    uint64_t port = 0;
    if (!str_starts_with(url, STR(URL_PREFIX))) {
        return false;
    }
    Str host = str_from_offset(url, sizeof URL_PREFIX - 1);
    Str rest;
    if (str_starts_with(host, STR("["))) {
        size_t end = str_find_char(host, ']');
        rest = str_from_offset(host, end == SIZE_MAX ? end : end + 1);
        host = str_slice(host, 1, end == SIZE_MAX ? 0 : end - 1);
    } else {
        size_t end = str_find_char(host, ':');
        rest = str_from_offset(host, end);
        host = str_slice(host, 0, end);
    }
    Str number = str_is_empty(rest) ? STR(DEFAULT_PORT) : str_from_offset(rest, 1);
    if (str_is_empty(host) || host.len >= sizeof sender->host ||
        (!str_is_empty(rest) && rest.data[0] != ':') || !str_to_u64(number, &port) || port == 0 ||
        port > UINT16_MAX) {
        return false;
    }
    snprintf(sender->host, sizeof sender->host, "%.*s", STR_ARG(host));
    snprintf(sender->port, sizeof sender->port, "%u", (unsigned)port);
    return true;
}

SyslogSender *syslog_sender_new(const AuditConfig *config, char *ret_problem, size_t problem_size)
{
    SyslogSender *sender = calloc(1, sizeof *sender);
    if (sender == NULL) {
        abort();
    }
    sender->socket = -1;
    sender->peer = (TlsPeer){sender->host, config->fingerprint};
    if (!parse_url(sender, str_from(config->repository))) {
        snprintf(ret_problem, problem_size,
                 "[audit] repository = %s: expected local or tls://HOST:PORT", config->repository);
    } else if (config->tls == NULL) {
        snprintf(ret_problem, problem_size,
                 "[audit] repository = %s needs tls_certificate, tls_key and tls_ca",
                 config->repository);
    } else {
        sender->ctx = tls_client_context(config->tls, ret_problem, problem_size);
    }
    if (sender->ctx == NULL) {
        syslog_sender_free(sender);
        return NULL;
    }
    return sender;
}

static void disconnect(SyslogSender *sender)
{
    SSL_free(sender->ssl);
    sender->ssl = NULL;
    if (sender->socket >= 0) {
        close(sender->socket);
        sender->socket = -1;
    }
    ERR_clear_error();
}

void syslog_sender_free(SyslogSender *sender)
{
    if (sender == NULL) {
        return;
    }
    disconnect(sender);
    SSL_CTX_free(sender->ctx);
    free(sender);
}

bool syslog_sender_is_connected(const SyslogSender *sender)
{
    return sender->ssl != NULL;
}

/** @return true when the socket is ready before the deadline */
static bool wait_for(int socket, short events, int64_t deadline_ns)
{
    struct pollfd ready = {.fd = socket, .events = events};
    int rc = 0;
    do {
        int64_t left_ms = (deadline_ns - clock_now_ns()) / 1000000;
        rc = left_ms > 0 ? poll(&ready, 1, (int)left_ms) : 0;
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

static int connect_to(const struct addrinfo *address, int64_t deadline_ns)
{
    int error = 0;
    socklen_t len = sizeof error;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int rc = connect(fd, address->ai_addr, address->ai_addrlen);
    if (rc < 0 && errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ns) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0) {
        errno = error;
        rc = error == 0 ? 0 : -1;
    }
    if (rc < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    return fd;
}

/** TCP to the first address that answers. */
static bool connect_socket(SyslogSender *sender, int64_t deadline_ns, char *ret_problem,
                           size_t problem_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    int rc = getaddrinfo(sender->host, sender->port, &hints, &addresses);
    if (rc != 0) {
        snprintf(ret_problem, problem_size, "%s: %s", sender->host, gai_strerror(rc));
        return false;
    }
    errno = ETIMEDOUT;
    for (const struct addrinfo *a = addresses; a != NULL && sender->socket < 0; a = a->ai_next) {
        sender->socket = connect_to(a, deadline_ns);
    }
    freeaddrinfo(addresses);
    if (sender->socket < 0) {
        snprintf(ret_problem, problem_size, "%s:%s: %s", sender->host, sender->port,
                 strerror(errno));
        return false;
    }
    return true;
}

/** Whether the TLS call that gave rc should be repeated, after waiting for the socket. */
static bool may_repeat(SyslogSender *sender, int rc, int64_t deadline_ns)
{
    switch (SSL_get_error(sender->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(sender->socket, POLLIN, deadline_ns);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(sender->socket, POLLOUT, deadline_ns);
    default:
        return false;
    }
}

static bool handshake(SyslogSender *sender, int64_t deadline_ns, char *ret_problem,
                      size_t problem_size)
{
    int rc = 0;
    sender->ssl = tls_client_session(sender->ctx, &sender->peer, sender->socket);
    if (sender->ssl == NULL) {
        tls_take_error("no session", ret_problem, problem_size);
        return false;
    }
    do {
        ERR_clear_error();
        rc = SSL_connect(sender->ssl);
    } while (rc != 1 && may_repeat(sender, rc, deadline_ns));
    if (rc != 1) {
        char reason[400];
        tls_take_handshake_error(sender->ssl, "no answer, or the connection was closed", reason,
                                 sizeof reason);
        snprintf(ret_problem, problem_size, "%s:%s: TLS: %s", sender->host, sender->port, reason);
    }
    return rc == 1;
}

bool syslog_sender_connect(SyslogSender *sender, char *ret_problem, size_t problem_size)
{
    int64_t deadline_ns = clock_now_ns() + CONNECT_TIMEOUT_NS;
    if (sender->ssl != NULL) {
        return true;
    }
    if (!connect_socket(sender, deadline_ns, ret_problem, problem_size) ||
        !handshake(sender, deadline_ns, ret_problem, problem_size)) {
        disconnect(sender);
        return false;
    }
    return true;
}

/** HOSTNAME: printable ASCII, at most 255 (RFC 5424 section 6); "-" otherwise. */
static Str header_host_name(const char *host_name)
{
    Str name = str_from(host_name);
    bool is_valid = name.len > 0 && name.len <= 255;
    for (size_t i = 0; i < name.len; i++) {
        is_valid = is_valid && name.data[i] > ' ' && name.data[i] < 0x7f;
    }
    return is_valid ? name : STR("-");
}

void syslog_frame_write(const AuditConfig *config, const AuditRecord *record, Arena *arena,
                        StrBuf *buf)
{
    Str host_name = header_host_name(config->host_name);
    Str header = str_printf(arena, "<%d>1 %.*s %.*s " APPLICATION_NAME " %d " MESSAGE_ID " - ",
                            PRIORITY, STR_ARG(clock_iso8601(arena, record->recorded_us)),
                            STR_ARG(host_name), (int)getpid());
    strbuf_printf(buf, "%zu ", header.len + record->message.len);
    strbuf_append(buf, header);
    strbuf_append(buf, record->message);
}

bool syslog_sender_write(SyslogSender *sender, Str frames, char *ret_problem, size_t problem_size)
{
    int64_t deadline_ns = clock_now_ns() + WRITE_TIMEOUT_NS;
    size_t done = 0;
    while (done < frames.len) {
        size_t written = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(sender->ssl, frames.data + done, frames.len - done, &written);
        done += written;
        if (rc != 1 && !may_repeat(sender, rc, deadline_ns)) {
            char reason[160];
            tls_take_error("the connection was lost", reason, sizeof reason);
            snprintf(ret_problem, problem_size, "%s:%s: %s", sender->host, sender->port, reason);
            disconnect(sender);
            return false;
        }
    }
    return true;
}

/** Reads what a syslog receiver has to say: tickets and goodbyes only. */
static bool is_open(SyslogSender *sender)
{
    char ignored[256];
    int rc = 0;
    ERR_clear_error();
    do {
        rc = SSL_read(sender->ssl, ignored, sizeof ignored);
    } while (rc > 0);
    return SSL_get_error(sender->ssl, rc) == SSL_ERROR_WANT_READ;
}

bool syslog_sender_is_acknowledged(SyslogSender *sender)
{
    int unacknowledged_bytes = 0;
    if (sender->ssl == NULL) {
        return false;
    }
    if (!is_open(sender)) {
        disconnect(sender);
        return false;
    }
    return ioctl(sender->socket, SIOCOUTQ, &unacknowledged_bytes) == 0 && unacknowledged_bytes == 0;
}

bool syslog_sender_finish(SyslogSender *sender)
{
    int64_t deadline_ns = clock_now_ns() + GOODBYE_TIMEOUT_NS;
    int rc = 0;
    if (sender->ssl == NULL) {
        return false;
    }
    do {
        ERR_clear_error();
        rc = SSL_shutdown(sender->ssl);
    } while (rc == 0 || (rc < 0 && may_repeat(sender, rc, deadline_ns)));
    disconnect(sender);
    return rc == 1;
}
