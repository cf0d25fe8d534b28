#pragma once

#include "server/fhir_transactions.h"
#include "server/http_peer.h"
#include "server/journal.h"

/** The FHIR surface: from an HTTP request to the handler of its transaction and back (ITI TF-2
 * Appendix Z; FHIR R4 3.1.0). */

#define FHIR_PATH "/fhir"

typedef struct FhirEndpoint {
    HttpPeers peers;
    Journal *journal;
    void *modules[MODULE_COUNT];  /* NULL: this process does not serve the role */
    const char *public_authority; /* "host:port" of this listener */
} FhirEndpoint;

/** The endpoint as what a listener serves; borrows endpoint. */
HttpService fhir_endpoint_service(FhirEndpoint *endpoint);
