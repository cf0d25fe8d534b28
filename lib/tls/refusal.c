#include "lib/tls/refusal.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static const struct {
    const char *word;
    const char *text;
} rows[TLS_REFUSAL_COUNT] = {
#define REFUSAL(name, word, text) [TLS_REFUSED_##name] = {word, text},
#include "lib/tls/refusals.def"
#undef REFUSAL
};

/** A number of OpenSSL and the row that it means. */
typedef struct Meaning {
    int number;
    TlsRefusal refusal;
} Meaning;

static const Meaning verdicts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, TLS_REFUSED_EXPIRED},
    {X509_V_ERR_CERT_NOT_YET_VALID, TLS_REFUSED_NOT_YET_VALID},
    {X509_V_ERR_CERT_REVOKED, TLS_REFUSED_REVOKED},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, TLS_REFUSED_OTHER_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, TLS_REFUSED_OTHER_AUTHORITY},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, TLS_REFUSED_OTHER_AUTHORITY},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, TLS_REFUSED_OTHER_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, TLS_REFUSED_OTHER_AUTHORITY},
    {X509_V_ERR_CERT_UNTRUSTED, TLS_REFUSED_OTHER_AUTHORITY},
    /* another key under the name of an authority that is trusted */
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, TLS_REFUSED_OTHER_AUTHORITY},
};

static const Meaning errors[] = {
    {SSL_R_HTTP_REQUEST, TLS_REFUSED_PLAIN_TEXT},
    {SSL_R_HTTPS_PROXY_REQUEST, TLS_REFUSED_PLAIN_TEXT},
    {SSL_R_WRONG_VERSION_NUMBER, TLS_REFUSED_PLAIN_TEXT},
    {SSL_R_PACKET_LENGTH_TOO_LONG, TLS_REFUSED_PLAIN_TEXT},
    {SSL_R_BAD_RECORD_TYPE, TLS_REFUSED_PLAIN_TEXT},
    {SSL_R_UNSUPPORTED_PROTOCOL, TLS_REFUSED_OLD_VERSION},
    {SSL_R_VERSION_TOO_LOW, TLS_REFUSED_OLD_VERSION},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, TLS_REFUSED_OLD_VERSION},
    {SSL_R_NO_SHARED_CIPHER, TLS_REFUSED_NO_COMMON_CIPHER},
    {SSL_R_NO_SUITABLE_KEY_SHARE, TLS_REFUSED_NO_COMMON_CIPHER},
    {SSL_R_NO_SUITABLE_GROUPS, TLS_REFUSED_NO_COMMON_CIPHER},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, TLS_REFUSED_NO_COMMON_CIPHER},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TLS_REFUSED_NO_COMMON_CIPHER},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TLS_REFUSED_NO_CERTIFICATE},
};

static TlsRefusal find(const Meaning *meanings, size_t count, int number, TlsRefusal otherwise)
{
    for (size_t i = 0; i < count; i++) {
        if (meanings[i].number == number) {
            return meanings[i].refusal;
        }
    }
    return otherwise;
}

const char *tls_refusal_word(TlsRefusal refusal)
{
    return rows[refusal].word;
}

void tls_problem_set(TlsProblem *ret_problem, TlsRefusal refusal, const char *details, ...)
{
    char text[sizeof ret_problem->text];
    va_list args;
    va_start(args, details);
    (void)vsnprintf(text, sizeof text, details, args);
    va_end(args);
    ret_problem->refusal = refusal;
    (void)snprintf(ret_problem->text, sizeof ret_problem->text, "%s%s%.180s", rows[refusal].text,
                   text[0] != '\0' ? ": " : "", text);
}

TlsRefusal tls_refusal_of_verdict(int verdict)
{
    return find(verdicts, ARRAY_LEN(verdicts), verdict, TLS_REFUSED_BAD_CERTIFICATE);
}

TlsRefusal tls_refusal_of_error(unsigned long error)
{
    const bool is_of_tls = ERR_GET_LIB(error) == ERR_LIB_SSL;
    return is_of_tls ? find(errors, ARRAY_LEN(errors), ERR_GET_REASON(error), TLS_REFUSED_ENDED)
                     : TLS_REFUSED_ENDED;
}
