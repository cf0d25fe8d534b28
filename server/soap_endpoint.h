#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/soap/exchange.h"
#include "server/http.h"
#include "server/journal.h"
#include "server/transactions.h"

/** The SOAP surface: from an HTTP request to the handler of its transaction and back (ITI TF-2
 * Appendix V). */
typedef struct SoapEndpoint {
    NodeDirectory *nodes;
    Audit *audit;
    Journal *journal;
    void *modules[MODULE_COUNT]; /* NULL: this process does not serve the role */
    const DocumentSink *sink;    /* of the repository; NULL without */
    const char *plain_node; /* name of the node whose rights plain peers get; empty in mode open */
    const char *public_authority; /* "host:port" of this listener, for audit */
    bool is_tls;
} SoapEndpoint;

/** The endpoint as what a listener serves; borrows endpoint. */
HttpService soap_endpoint_service(SoapEndpoint *endpoint);
