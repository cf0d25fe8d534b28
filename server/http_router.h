#pragma once

#include "server/http.h"

#define HTTP_ROUTES_MAX 4

typedef struct HttpRoute {
    Str prefix; /* "/fhir": this path, and those below it */
    HttpService service;
} HttpRoute;

/** One listener for several services, told apart by the first part of the path. */
typedef struct HttpRouter {
    HttpRoute routes[HTTP_ROUTES_MAX];
    size_t count;
    HttpService other; /* of all other paths; also told of rejected peers */
} HttpRouter;

/** Borrows router. */
HttpService http_router_service(HttpRouter *router);
