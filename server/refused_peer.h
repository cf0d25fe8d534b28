#pragma once

#include "atna/atna.h"

/** Audit events of peers that were sent away: Node Authentication Failure (ITI TF-2 Table
 * 3.20.4.1.1.1-1). An event that cannot be recorded shows in readiness; the peer is refused anyhow.
 */

/** A request whose sender is not who it must be; req has the peer and the endpoint. */
void refused_peer_record(Audit *audit, Request *req, Str reason);

/** A TLS peer that went away before any request. */
void refused_peer_record_handshake(Audit *audit, const char *endpoint, const char *address);
