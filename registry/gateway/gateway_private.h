#pragma once

#include <pthread.h>

#include "lib/base/spill.h"
#include "lib/soap/http_client.h"
#include "registry/gateway/gateway.h"

/** A row of services.def. */
typedef struct ServiceRow {
    const char *transaction;
    const char *own_action;
    const char *own_reply_action;
    const char *action;
    AuditEventType event; /* of who asks another community */
    bool is_mtom;
} ServiceRow;

extern const ServiceRow gateway_services[GATEWAY_SERVICE_COUNT];

/** Another community whose gateway was called before: connections are kept. */
typedef struct KeptClient {
    char *url;
    char *fingerprint;
    HttpClient *http;
    unsigned busy; /* requests on their way */
    struct KeptClient *next;
} KeptClient;

/** Immutable, but for the clients and the room. */
struct InitiatingGateway {
    InitiatingGatewayConfig config;
    SpillRoom room;       /* for documents on their way */
    pthread_mutex_t lock; /* guards clients, and busy of each */
    KeptClient *clients;  /* as many as operators have registered since the start */
};

/** The client for one request to an address, to be given back. NULL and a reason if there cannot be
 * one, or too many requests are on their way there: one that hangs takes only so many threads and
 * sockets. */
KeptClient *gateway_client_take(InitiatingGateway *gateway, const char *url,
                                const char *fingerprint, char *ret_problem, size_t problem_size);
void gateway_client_give_back(InitiatingGateway *gateway, KeptClient *client);
