#pragma once

#include "atna/record_read.h"

/**
 * Takes the header of RFC 5424 6 off a message. Private to this folder.
 *
 * @param ret_header  borrowed from raw
 * @param ret_text    what follows, MSG: of a BSD message (RFC 3164) all behind PRI; without a
 *                    header all of raw
 * @param defects     what is wrong with the header is added
 * @return whether there is one, however bad
 */
bool syslog_header_read(Str raw, SyslogHeader *ret_header, Str *ret_text, uint64_t *defects);
