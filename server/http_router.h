#pragma once

#include "server/http.h"

/** One listener for two services, told apart by the first part of the path. */
typedef struct HttpRouter {
    Str prefix; /* "/fhir" */
    HttpService inside;
    HttpService outside; /* also told of rejected peers */
} HttpRouter;

/** Borrows router. */
HttpService http_router_service(HttpRouter *router);
