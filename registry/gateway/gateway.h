#pragma once

#include "atna/atna.h"
#include "lib/db/db.h"
#include "lib/soap/exchange.h"
#include "lib/tls/tls.h"

/**
 * The Initiating Gateway (XCA, XCA-I; ITI TF-1 18): takes ITI-18, ITI-43 and RAD-69 from actors of
 * this community and asks the other communities, by ITI-38, ITI-39 and RAD-75, and its own actors,
 * all at the same time. Nothing that a Responding Gateway serves comes here.
 */
typedef struct InitiatingGateway InitiatingGateway;

/** Rows of services.def: what is asked for. */
typedef enum GatewayService {
#define SERVICE(name, transaction, own_action, own_reply_action, action, event, is_mtom)           \
    GATEWAY_##name,
#include "registry/gateway/services.def"
#undef SERVICE
    GATEWAY_SERVICE_COUNT
} GatewayService;

/** "ITI-38": by which a service asks another community. */
const char *gateway_service_transaction(GatewayService service);

/** The actor of this community that answers a service. */
typedef struct GatewayActor {
    SoapHandler handler; /* NULL: this process has none */
    void *module;
} GatewayActor;

typedef struct InitiatingGatewayConfig {
    DbPool *pool;
    Audit *audit;
    Tls *tls;                      /* NULL: communities are reached on loopback only */
    const char *home_community_id; /* of this community */
    const char *spill_directory;   /* for unlinked temporary files of large answers */
    uint64_t spill_bytes;          /* that documents on their way take there at most */
    GatewayActor own[GATEWAY_SERVICE_COUNT];
} InitiatingGatewayConfig;

/** Borrows what config points to. */
InitiatingGateway *initiating_gateway_new(const InitiatingGatewayConfig *config);
/** initiating_gateway_free(NULL) is fine. */
void initiating_gateway_free(InitiatingGateway *gateway);

/** Metrics of documents on their way. */
typedef struct GatewayCounts {
    uint64_t spill_bytes;   /* that they take in spill_directory now */
    uint64_t spill_refused; /* answers of communities that there was no room for */
} GatewayCounts;

GatewayCounts initiating_gateway_counts(InitiatingGateway *gateway);

/** SoapHandler of ITI-18 (TF-2 3.18.4.1.3, 3.38). module is the InitiatingGateway. */
int gateway_iti18_query(void *gateway, SoapExchange *exchange);
/** SoapHandler of ITI-43 (TF-2 3.43.4.1.3, 3.39). */
int gateway_iti43_retrieve(void *gateway, SoapExchange *exchange);
/** SoapHandler of RAD-69 (RAD TF-2 4.69, 4.75). */
int gateway_rad69_retrieve(void *gateway, SoapExchange *exchange);
