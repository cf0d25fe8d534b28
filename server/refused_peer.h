#pragma once

#include "atna/atna.h"

/**
 * Audit events of peers that were sent away: Node Authentication Failure (ITI TF-2 Table
 * 3.20.4.1.1.1-1). An event that cannot be recorded shows in readiness; the peer is refused anyhow.
 *
 * Whoever reaches a port can fail at a handshake as often as he likes. So that he cannot fill the
 * audit trail, whose end is the end of all reading, the failures of an address beyond the first of
 * a minute are counted, and recorded as one event with their number.
 */

/** A request whose sender is not who it must be; req has the peer and the endpoint. */
void refused_peer_record(Audit *audit, Request *req, Str reason);

/**
 * A peer that was sent away before any request.
 * @return whether it was recorded by itself, not only counted
 */
bool refused_peer_record_connection(Audit *audit, const char *endpoint, const char *address,
                                    const char *reason);

/** Records what was counted in minutes that are over; with is_last, also in those that are not. */
void refused_peer_flush(Audit *audit, bool is_last);

/** What a failed TLS handshake is called. */
extern const char REFUSED_HANDSHAKE[];
