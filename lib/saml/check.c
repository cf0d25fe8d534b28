#include "lib/saml/check.h"

static const struct {
    const char *word;
    ErrorCode error;
} checks[] = {
    {"", ERR_NONE},
#define CHECK(name, word, error) {word, ERR_##error},
#include "lib/saml/checks.def"
#undef CHECK
};

const char *saml_check_word(SamlCheck check)
{
    return checks[check].word;
}

ErrorCode saml_check_error(SamlCheck check)
{
    return checks[check].error;
}
