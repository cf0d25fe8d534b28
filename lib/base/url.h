#pragma once

#include "lib/base/str.h"

/** Whom we call: "SCHEME://HOST[:PORT][/PATH]", a host of IPv6 digits in brackets. Borrowed. */
typedef struct Url {
    Str scheme;
    Str host; /* without brackets */
    Str port; /* 1 to 65535; empty: not given */
    Str path; /* from its slash; empty: none */
} Url;

bool url_parse(Str text, Url *ret_url) MUST_CHECK;
