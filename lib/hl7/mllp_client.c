#include "lib/hl7/mllp_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/url.h"
#include "lib/hl7/mllp.h"
#include "lib/tls/connection.h"

#define READ_BYTES ((size_t)16384)
#define REPLY_MAX_BYTES ((size_t)1 << 20)

struct MllpClient {
    char host[256];
    char port[6];
    TlsPeer peer;
    SSL_CTX *context; /* NULL: plain */
    unsigned kept_ms;
    bool is_connected;
    TlsConnection connection;
};

static bool parse_url(MllpClient *client, const char *text, bool *ret_is_tls)
{
    Url url;
    if (!url_parse(str_from(text), &url) || str_is_empty(url.port) || !str_is_empty(url.path) ||
        url.host.len >= sizeof(client->host) || url.port.len >= sizeof(client->port)) {
        return false;
    }
    snprintf(client->host, sizeof(client->host), "%.*s", STR_ARG(url.host));
    snprintf(client->port, sizeof(client->port), "%.*s", STR_ARG(url.port));
    *ret_is_tls = str_equal(url.scheme, STR("mllps"));
    return *ret_is_tls || str_equal(url.scheme, STR("mllp"));
}

MllpClient *mllp_client_new(const MllpClientConfig *config, char *ret_problem, size_t problem_size)
{
    bool is_tls = false;
    MllpClient *client = HEAP_NEW(MllpClient);
    client->peer = (TlsPeer){client->host, config->fingerprint};
    client->connection = TLS_CONNECTION_NONE;
    client->kept_ms = config->kept_ms > 0 ? config->kept_ms : TLS_CONNECTION_KEPT_MS;
    bool is_good = parse_url(client, config->url, &is_tls);
    if (!is_good) {
        snprintf(ret_problem, problem_size, "%s is not of the form mllps://HOST:PORT", config->url);
    } else if (is_tls && !config->tls) {
        snprintf(ret_problem, problem_size, "%s needs tls_certificate, tls_key and tls_ca",
                 config->url);
        is_good = false;
    } else if (is_tls) {
        client->context = tls_client_context(config->tls, ret_problem, problem_size);
        is_good = client->context != NULL;
    }
    if (!is_good) {
        mllp_client_free(client);
        return NULL;
    }
    return client;
}

static void disconnect(MllpClient *client)
{
    tls_connection_close(&client->connection);
    client->is_connected = false;
}

void mllp_client_free(MllpClient *client)
{
    if (!client) {
        return;
    }
    disconnect(client);
    SSL_CTX_free(client->context);
    free(client);
}

/** Whether the connection stands, and nothing came on it but the end of the last frame. */
static bool can_be_used_again(MllpClient *client)
{
    char bytes[64];
    size_t count = 0;
    if (!client->is_connected || tls_connection_is_old(&client->connection, client->kept_ms)) {
        return false;
    }
    do {
        if (!tls_connection_take(&client->connection, bytes, sizeof(bytes), &count) ||
            !str_is_empty(str_trim((Str){bytes, count}))) {
            return false;
        }
    } while (count > 0);
    return true;
}

int mllp_client_connect(MllpClient *client, Request *req, Str *ret_problem)
{
    char problem[MLLP_CLIENT_PROBLEM_BYTES];
    if (can_be_used_again(client)) {
        return 0;
    }
    disconnect(client);
    client->is_connected =
        tls_connection_open(&client->connection, client->context, &client->peer, client->port,
                            req->deadline_ns, problem, sizeof(problem));
    if (!client->is_connected) {
        *ret_problem = str_dup(req->arena, str_from(problem));
        return -ERR_IO;
    }
    return 0;
}

/** @return NULL, or what is wrong */
static const char *read_frame(MllpClient *client, Request *req, Str *ret_reply)
{
    const char *problem = NULL;
    MllpEvent event = MLLP_MORE;
    MllpParser parser;
    char *bytes = arena_alloc(req->arena, READ_BYTES);
    mllp_parser_init(&parser, REPLY_MAX_BYTES);
    while (event == MLLP_MORE && !problem) {
        Str received = {
            bytes, tls_connection_read(&client->connection, bytes, READ_BYTES, req->deadline_ns)};
        if (received.len == 0) {
            problem = "no acknowledgement came in time, or the connection was closed";
        } else {
            event = mllp_parser_push(&parser, &received);
        }
    }
    if (event == MLLP_FRAME) {
        *ret_reply = str_dup(req->arena, strbuf_str(&parser.payload));
    } else if (!problem) {
        problem = "what came back is no MLLP frame";
    }
    mllp_parser_done(&parser);
    return problem;
}

int mllp_client_exchange(MllpClient *client, Request *req, Str payload, Str *ret_reply,
                         Str *ret_problem)
{
    StrBuf frame = {0};
    mllp_append_frame(&frame, payload);
    bool is_sent = tls_connection_write(&client->connection, strbuf_str(&frame), req->deadline_ns);
    strbuf_done(&frame);
    const char *problem =
        is_sent ? read_frame(client, req, ret_reply) : "the connection was closed";
    if (!problem) {
        return 0;
    }
    disconnect(client); /* an answer that comes late must not pass for that of the next message */
    *ret_problem = str_printf(req->arena, "%s:%s: %s", client->host, client->port, problem);
    return -ERR_IO;
}
