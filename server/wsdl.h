#pragma once

#include "lib/base/str.h"

/**
 * Writes the WSDL 1.1 of the transactions of one path (names of ITI TF-2 Appendix W; schemas by
 * namespace only).
 * @param authority  "host:port" that the reader used: a listener's own may be 0.0.0.0
 */
void wsdl_write(StrBuf *buf, Str path, bool is_tls, Str authority);
