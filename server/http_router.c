#include "server/http_router.h"

static bool is_inside(const HttpRoute *route, Str path)
{
    Str rest = str_from_offset(path, route->prefix.len);
    return str_starts_with(path, route->prefix) &&
           (str_is_empty(rest) || str_starts_with(rest, STR("/")));
}

static const HttpService *choose(const HttpRouter *router, Str path)
{
    for (size_t i = 0; i < router->count; i++) {
        if (is_inside(&router->routes[i], path)) {
            return &router->routes[i].service;
        }
    }
    return &router->other;
}

static void router_begin(void *ctx, HttpExchange *http)
{
    http->route = choose(ctx, http->path);
    http->route->begin(http->route->ctx, http);
}

static void router_body(void *ctx, HttpExchange *http, const void *bytes, size_t len)
{
    (void)ctx;
    http->route->body(http->route->ctx, http, bytes, len);
}

static void router_end(void *ctx, HttpExchange *http)
{
    (void)ctx;
    http->route->end(http->route->ctx, http);
}

static void router_completed(void *ctx, HttpExchange *http)
{
    (void)ctx;
    if (http->route) { /* NULL: refused before anybody saw it */
        http->route->completed(http->route->ctx, http);
    }
}

/** Whatever its path says. */
static void router_refused(void *ctx, HttpExchange *http, const char *problem)
{
    const HttpRouter *router = ctx;
    router->other.refused(router->other.ctx, http, problem);
}

HttpService http_router_service(HttpRouter *router)
{
    return (HttpService){
        .ctx = router,
        .begin = router_begin,
        .body = router_body,
        .end = router_end,
        .completed = router_completed,
        .refused = router_refused,
    };
}
