#pragma once

#include "lib/saml/check.h"

struct _xmlDoc;  /* libxml2's xmlDoc */
struct _xmlNode; /* libxml2's xmlNode */

/**
 * Finds the one assertion in the wsse:Security header that is addressed to this node, and checks
 * the wsu:Timestamp beside it.
 *
 * @param message        envelope, header and every wsse:Security of it; NULL: it has none
 * @param ret_assertion  NULL: the header holds no token; borrowed from message
 *
 * Spec: WS-Security 1.1 sections 5, 10; SAML Token Profile 1.1.
 */
SamlCheck saml_security_header_read(const struct _xmlDoc *message, int64_t now_us, int64_t skew_us,
                                    struct _xmlNode **ret_assertion);
