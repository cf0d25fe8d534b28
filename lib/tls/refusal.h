#pragma once

#include <stddef.h>

#include "lib/base/macros.h"

/** Why a peer is refused: a row of refusals.def. */
typedef enum TlsRefusal {
#define REFUSAL(name, word, text) TLS_REFUSED_##name,
#include "lib/tls/refusals.def"
#undef REFUSAL
    TLS_REFUSAL_COUNT
} TlsRefusal;

/** A row and its details, for the log and the audit record. */
typedef struct TlsProblem {
    TlsRefusal refusal;
    char text[256]; /* what refusals.def says of the peer; then, behind a colon, the details */
} TlsProblem;

/** The word of log lines, e.g. "expired". */
const char *tls_refusal_word(TlsRefusal refusal);

/** Fills a problem. @param details  printf format; "" if there are none */
void tls_problem_set(TlsProblem *ret_problem, TlsRefusal refusal, const char *details, ...)
    PRINTF_LIKE(3, 4);

/** The row for what OpenSSL found wrong with a certificate (X509_V_ERR_...). */
TlsRefusal tls_refusal_of_verdict(int verdict);

/** The row for an error of OpenSSL's queue in the handshake of a listener; 0: the queue was empty.
 */
TlsRefusal tls_refusal_of_error(unsigned long error);
