#pragma once

#include "server/dicomweb_transactions.h"
#include "server/http_peer.h"
#include "server/journal.h"

/** The DICOMweb surface: from an HTTP request to the handler of its transaction and back (PS3.18 8,
 * 9, 10). */

#define DICOMWEB_PATH "/dicomweb"
#define WADO_URI_PATH "/wado"

typedef struct DicomwebEndpoint {
    HttpPeers peers;
    Journal *journal;
    Imaging *imaging;             /* NULL: this process does not serve the role */
    const char *public_authority; /* "host:port" of this listener */
    const char *public_url;      /* of DICOMweb, for URLs in answers; empty: as the peer calls us */
    const char *allowed_origins; /* of scripts in browsers, with blanks between (CORS) */
} DicomwebEndpoint;

/** The endpoint as what a listener serves; borrows endpoint. */
HttpService dicomweb_endpoint_service(DicomwebEndpoint *endpoint);
