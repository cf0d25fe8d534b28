#pragma once

#include "tests/bench/https_floor.h"

/**
 * The least that a receiver of syslog over TLS can do: what a connection sends is cut into frames
 * (RFC 5425) and appended, frames only, to a file that is synced every 20 ms for all connections.
 * The goodbye of a sender is answered when what it sent is durable.
 *
 * @param https  port, certificate, key, CA
 * @param path   of the file
 */
_Noreturn void syslog_floor_run(HttpsFloor https, const char *path);
