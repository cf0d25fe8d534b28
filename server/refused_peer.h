#pragma once

#include "atna/atna.h"
#include "lib/tls/refusal.h"

/**
 * Peers that were sent away, the same for every listener: a log line that names the reason, and an
 * audit event, Node Authentication Failure (ITI TF-2 Table 3.20.4.1.1.1-1). An event that cannot be
 * recorded shows in readiness; the peer is refused anyhow.
 *
 * Whoever reaches a port can fail at a handshake as often as he likes. So that he cannot fill the
 * audit trail, whose end is the end of all reading, the failures of an address beyond the first of
 * a minute are counted, and recorded as one event with their number; so are, further on, the lines.
 */

/** A request whose sender is not who it must be; req has the peer and the endpoint. */
void refused_peer_record(Audit *audit, Request *req, const TlsProblem *problem);

/**
 * A peer that was sent away before any request, or later without one.
 * @param endpoint  URL or address of the listener
 * @return whether it has an audit event of its own, and is not only counted
 */
bool refused_peer_record_connection(Audit *audit, const char *endpoint, const char *address,
                                    const TlsProblem *problem);

/** Records what was counted in minutes that are over; with is_last, also in those that are not. */
void refused_peer_flush(Audit *audit, bool is_last);
