#include "server/admin.h"

#include "server/metrics.h"

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

static void admin_begin(void *ctx, HttpExchange *http)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (str_equal(http->path, str_from(routes[i].path)) && str_equal(http->method, STR("GET"))) {
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
