#pragma once

#include "lib/base/error.h"

/** What is wrong with an assertion: rows of checks.def. */
typedef enum SamlCheck {
    SAML_GOOD = 0,
#define CHECK(name, word, error) SAML_##name,
#include "lib/saml/checks.def"
#undef CHECK
    SAML_CHECK_COUNT
} SamlCheck;

/** The word of the log line, "expired"; "" for SAML_GOOD. */
const char *saml_check_word(SamlCheck check);

/** What the peer is told. */
ErrorCode saml_check_error(SamlCheck check);
