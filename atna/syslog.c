#include "atna/syslog.h"

#include <linux/sockios.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/url.h"
#include "lib/tls/connection.h"

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
    TlsConnection connection;
};

/** "tls://HOST:PORT" or "tls://HOST". */
static bool parse_url(SyslogSender *sender, Str text)
{
    Url url;
    if (!url_parse(text, &url) || !str_equal(url.scheme, STR("tls")) || !str_is_empty(url.path) ||
        url.host.len >= sizeof sender->host || url.port.len >= sizeof sender->port) {
        return false;
    }
    Str port = str_is_empty(url.port) ? STR(DEFAULT_PORT) : url.port;
    snprintf(sender->host, sizeof sender->host, "%.*s", STR_ARG(url.host));
    snprintf(sender->port, sizeof sender->port, "%.*s", STR_ARG(port));
    return true;
}

SyslogSender *syslog_sender_new(const AuditConfig *config, char *ret_problem, size_t problem_size)
{
    SyslogSender *sender = HEAP_NEW(SyslogSender);
    sender->connection = TLS_CONNECTION_NONE;
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

void syslog_sender_free(SyslogSender *sender)
{
    if (sender == NULL) {
        return;
    }
    tls_connection_close(&sender->connection);
    SSL_CTX_free(sender->ctx);
    free(sender);
}

bool syslog_sender_is_connected(const SyslogSender *sender)
{
    return sender->connection.ssl != NULL;
}

bool syslog_sender_connect(SyslogSender *sender, char *ret_problem, size_t problem_size)
{
    return syslog_sender_is_connected(sender) ||
           tls_connection_open(&sender->connection, sender->ctx, &sender->peer, sender->port,
                               clock_now_ns() + CONNECT_TIMEOUT_NS, ret_problem, problem_size);
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
    if (tls_connection_write(&sender->connection, frames, deadline_ns)) {
        return true;
    }
    char reason[160];
    tls_take_error("the connection was lost", reason, sizeof reason);
    snprintf(ret_problem, problem_size, "%s:%s: %s", sender->host, sender->port, reason);
    tls_connection_close(&sender->connection);
    return false;
}

/** Reads what a syslog receiver has to say: tickets and goodbyes only. */
static bool stands(SyslogSender *sender)
{
    char ignored[256];
    size_t count = 0;
    bool is_open = false;
    do {
        is_open = tls_connection_take(&sender->connection, ignored, sizeof ignored, &count);
    } while (is_open && count > 0);
    return is_open;
}

bool syslog_sender_is_acknowledged(SyslogSender *sender)
{
    int unacknowledged_bytes = 0;
    if (!syslog_sender_is_connected(sender)) {
        return false;
    }
    if (!stands(sender)) {
        tls_connection_close(&sender->connection);
        return false;
    }
    return ioctl(sender->connection.socket, SIOCOUTQ, &unacknowledged_bytes) == 0 &&
           unacknowledged_bytes == 0;
}

bool syslog_sender_finish(SyslogSender *sender)
{
    int64_t deadline_ns = clock_now_ns() + GOODBYE_TIMEOUT_NS;
    int rc = 0;
    if (!syslog_sender_is_connected(sender)) {
        return false;
    }
    do {
        ERR_clear_error();
        rc = SSL_shutdown(sender->connection.ssl);
    } while (rc == 0 ||
             (rc < 0 && tls_connection_may_repeat(&sender->connection, rc, deadline_ns)));
    tls_connection_close(&sender->connection);
    return rc == 1;
}
