#include "server/admin.h"

#include "server/http_peer.h"
#include "server/metrics.h"
#include "server/refused_peer.h"

typedef void (*PageFn)(AdminPages *pages, HttpExchange *http);

static void reply_text(HttpExchange *http, int status, const char *type, StrBuf *buf)
{
    http_reply(http, status, type, buf);
    strbuf_done(buf);
}

static void page_live(AdminPages *pages, HttpExchange *http)
{
    (void)pages;
    StrBuf buf = {0};
    strbuf_literal(&buf, "live\n");
    reply_text(http, 200, "text/plain; charset=utf-8", &buf);
}

static void page_ready(AdminPages *pages, HttpExchange *http)
{
    StrBuf buf = {0};
    bool is_ready = pages->is_ready(pages->ctx, http->req, &buf);
    if (is_ready) {
        strbuf_literal(&buf, "ready\n");
    }
    reply_text(http, is_ready ? 200 : 503, "text/plain; charset=utf-8", &buf);
}

static void page_metrics(AdminPages *pages, HttpExchange *http)
{
    StrBuf buf = {0};
    metrics_write(&buf);
    pages->write_gauges(pages->ctx, http->req, &buf);
    reply_text(http, 200, "text/plain; version=0.0.4; charset=utf-8", &buf);
}

static const struct {
    const char *path;
    PageFn page;
} routes[] = {
    {"/health/live", page_live},
    {"/health/ready", page_ready},
    {"/metrics", page_metrics},
};

static bool is_operator(const AdminPages *pages, HttpExchange *http)
{
    http->req->principal = node_directory_find(
        pages->nodes, http->req->arena, http->certificate_fingerprint, http->certificate_subject);
    return http->req->principal && http->req->principal->is_operator;
}

static void refuse(const AdminPages *pages, HttpExchange *http)
{
    StrBuf buf = {0};
    TlsProblem problem;
    if (http->req->principal) {
        tls_problem_set(&problem, TLS_REFUSED_RIGHTS, "node %.*s is no operator's",
                        STR_ARG(http->req->principal->node_name));
    } else {
        http_peer_unregistered(http, &problem);
    }
    http->req->endpoint = str_from(pages->endpoint);
    refused_peer_record(pages->audit, http->req, &problem);
    strbuf_printf(&buf,
                  "The certificate \"%.*s\" (SHA-256 %.*s) is not that of a registered operator: "
                  "musubi node add NAME --operator. [ref %s]\n",
                  STR_ARG(http->certificate_subject), STR_ARG(http->certificate_fingerprint),
                  http->req->ref);
    reply_text(http, 403, "text/plain; charset=utf-8", &buf);
}

static void admin_begin(void *ctx, HttpExchange *http)
{
    if (http->is_tls && !is_operator(ctx, http)) {
        refuse(ctx, http);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (str_equal(http->path, str_from(routes[i].path)) &&
            str_equal(http->method, STR("GET"))) {
            routes[i].page(ctx, http);
            return;
        }
    }
    StrBuf buf = {0};
    strbuf_literal(&buf, "Pages: GET /health/live, /health/ready, /metrics\n");
    reply_text(http, 404, "text/plain; charset=utf-8", &buf);
}

static void ignore_body(void *ctx, HttpExchange *http, const void *bytes, size_t len)
{
    (void)ctx;
    (void)http;
    (void)bytes;
    (void)len;
}

static void ignore(void *ctx, HttpExchange *http)
{
    (void)ctx;
    (void)http;
}

HttpService admin_service(AdminPages *pages)
{
    return (HttpService){
        .ctx = pages,
        .begin = admin_begin,
        .body = ignore_body,
        .end = ignore,
        .completed = ignore,
    };
}
