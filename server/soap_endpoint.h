#pragma once

#include "lib/saml/saml.h"
#include "lib/soap/exchange.h"
#include "server/async_replies.h"
#include "server/config.h"
#include "server/http_peer.h"
#include "server/journal.h"
#include "server/transactions.h"

/** The SOAP surface: from an HTTP request to the handler of its transaction and back (ITI TF-2
 * Appendix V). */
typedef struct SoapEndpoint {
    HttpPeers peers;
    Journal *journal;
    AsyncReplies *replies;       /* to the addresses that requests name */
    void *modules[MODULE_COUNT]; /* NULL: this process does not serve the role */
    const DocumentSink *sink;    /* of the repository; NULL without */
    Saml *saml;                  /* NULL: users are not asked for anywhere */
    XuaDemand xua[MODULE_COUNT];
    const char *public_authority; /* "host:port" of this listener, for audit */
    bool has_home;                /* this community has a homeCommunityId */
    bool is_tls;
} SoapEndpoint;

/** The endpoint as what a listener serves; borrows endpoint. */
HttpService soap_endpoint_service(SoapEndpoint *endpoint);
