#pragma once

#include <stdbool.h>

#include "lib/base/str.h"
#include "lib/db/db.h"

/**
 * The addresses of a node: where its operator has said that messages for it may be sent. A message
 * that names another one (wsa:ReplyTo, a subscription's consumer) makes this server call nobody.
 */

#define ENDPOINT_URL_MAX_BYTES ((size_t)1024)

/** A row of node_endpoint. */
typedef struct Endpoint {
    int32_t node_id;
    Str prefix;
    Str fingerprint; /* SHA-256 of the certificate there; empty: the certificate names the host */
} Endpoint;

/** The rows of nodes that are not revoked: node, url, fingerprint. */
extern const DbStatement endpoint_select;

/** Its rows, in the arena. @return how many */
size_t endpoints_read(const DbResult *rows, Arena *arena, Endpoint **ret_endpoints);

/**
 * Whether a URL has a form that is called at all: https, or http to loopback; without user
 * information, fragment, encoded slash, "." and ".." segments, in characters of RFC 3986.
 * @param ret_problem  one sentence, static
 */
bool endpoint_url_is_good(Str url, const char **ret_problem);

/** Whether the host of a good URL is loopback, by name or number. */
bool endpoint_url_is_loopback(Str url);

/** Whether a good URL is the prefix or continues it at '/' or '?'; the host in either case,
 * a default port given or not. */
bool endpoint_covers(Str prefix, Str url);

/** The longest prefix of this node that covers the URL; NULL: none does. */
const Endpoint *endpoint_find(const Endpoint *endpoints, size_t count, int32_t node_id, Str url);
