#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/heap.h"
#include "registry/gateway/gateway_private.h"

/** At a time. */
#define REQUESTS_PER_ADDRESS_MAX 64U

const ServiceRow gateway_services[GATEWAY_SERVICE_COUNT] = {
#define SERVICE(name, transaction, own_action, own_reply_action, action, event, is_mtom)           \
    [GATEWAY_##name] = {transaction, own_action, own_reply_action, action, event, is_mtom},
#include "registry/gateway/services.def"
#undef SERVICE
};

const char *gateway_service_transaction(GatewayService service)
{
    return gateway_services[service].transaction;
}

InitiatingGateway *initiating_gateway_new(const InitiatingGatewayConfig *config)
{
    InitiatingGateway *gateway = HEAP_NEW(InitiatingGateway);
    gateway->config = *config;
    gateway->room.directory = config->spill_directory;
    gateway->room.limit_bytes = config->spill_bytes;
    pthread_mutex_init(&gateway->lock, NULL);
    return gateway;
}

static void client_free(KeptClient *client)
{
    http_client_free(client->http);
    free(client->url);
    free(client->fingerprint);
    free(client);
}

void initiating_gateway_free(InitiatingGateway *gateway)
{
    if (!gateway) {
        return;
    }
    KeptClient *next;
    for (KeptClient *client = gateway->clients; client; client = next) {
        next = client->next;
        client_free(client);
    }
    pthread_mutex_destroy(&gateway->lock);
    free(gateway);
}

GatewayCounts initiating_gateway_counts(InitiatingGateway *gateway)
{
    return (GatewayCounts){.spill_bytes = atomic_load(&gateway->room.used_bytes),
                           .spill_refused = atomic_load(&gateway->room.refused_count)};
}

static KeptClient *find_client(const InitiatingGateway *gateway, const char *url,
                               const char *fingerprint)
{
    KeptClient *client = gateway->clients;
    while (client &&
           (strcmp(client->url, url) != 0 || strcmp(client->fingerprint, fingerprint) != 0)) {
        client = client->next;
    }
    return client;
}

static KeptClient *client_new(const InitiatingGateway *gateway, const char *url,
                              const char *fingerprint, char *ret_problem, size_t problem_size)
{
    KeptClient *client = HEAP_NEW(KeptClient);
    client->url = heap_text(str_from(url));
    client->fingerprint = heap_text(str_from(fingerprint));
    const HttpClientConfig config = {.url = client->url,
                                     .tls = gateway->config.tls,
                                     .fingerprint = client->fingerprint,
                                     .may_be_plain = true};
    client->http = http_client_new(&config, ret_problem, problem_size);
    if (!client->http) {
        client_free(client);
        return NULL;
    }
    return client;
}

KeptClient *gateway_client_take(InitiatingGateway *gateway, const char *url,
                                const char *fingerprint, char *ret_problem, size_t problem_size)
{
    pthread_mutex_lock(&gateway->lock);
    KeptClient *client = find_client(gateway, url, fingerprint);
    if (!client) {
        client = client_new(gateway, url, fingerprint, ret_problem, problem_size);
        if (client) {
            client->next = gateway->clients;
            gateway->clients = client;
        }
    }
    if (client && client->busy >= REQUESTS_PER_ADDRESS_MAX) {
        snprintf(ret_problem, problem_size, "%u requests to it wait already",
                 REQUESTS_PER_ADDRESS_MAX);
        client = NULL;
    } else if (client) {
        client->busy++;
    }
    pthread_mutex_unlock(&gateway->lock);
    return client;
}

void gateway_client_give_back(InitiatingGateway *gateway, KeptClient *client)
{
    pthread_mutex_lock(&gateway->lock);
    client->busy--;
    pthread_mutex_unlock(&gateway->lock);
}
