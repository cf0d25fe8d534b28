#include "lib/tls/scan.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/tls/connection.h"
#include "lib/tls/identity.h"
#include "lib/tls/store.h"

#define PROBE_NS (5 * INT64_C(1000000000))
#define SILENCE_NS (2 * INT64_C(1000000000))
#define MAX_CIPHERS 64
#define WARNING_DAYS 30
#define DAY_US (24LL * 3600 * 1000000)
/* Messages of RFC 8446 section 4, content types of section 5.1. */
#define RECORD_HANDSHAKE 22
#define SERVER_HELLO 2
#define NEW_SESSION_TICKET 4
#define CERTIFICATE_REQUEST 13

typedef struct Scan {
    const TlsScanTarget *target;
    Arena *arena;
    TlsScanReport *report;
} Scan;

/** What one client offers. */
typedef struct Offer {
    int least_version;
    int most_version;
    const char *ciphers; /* up to TLS 1.2; NULL: all */
    const char *suites;  /* of TLS 1.3; NULL: all */
    const char *groups;  /* NULL: OpenSSL's */
    bool has_certificate;
} Offer;

/** What came of it. */
typedef struct Answer {
    SSL_CTX *context;
    TlsConnection connection;
    bool is_answered; /* a ServerHello arrived: version and cipher are agreed */
    bool asks_for_certificate;
    bool gives_ticket;
    bool is_finished; /* as far as we see: with TLS 1.3 the listener may refuse later */
    const SSL_CIPHER *cipher;
} Answer;

#define ALL_SUITES                                                                                 \
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"                  \
    "TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256"

static void add(Scan *scan, const char *check, TlsScanVerdict verdict, Str found,
                const char *remedy)
{
    if (scan->report->count < TLS_SCAN_MAX_FINDINGS) {
        scan->report->findings[scan->report->count++] =
            (TlsScanFinding){check, verdict, found, verdict == TLS_SCAN_GOOD ? "" : remedy};
    }
}

/* ---- one handshake ---- */

/** The suite stands behind version, random and session id (RFC 8446 section 4.1.3). */
static void take_server_hello(Answer *answer, SSL *ssl, const unsigned char *body, size_t len)
{
    size_t at = 4 + 2 + 32;
    answer->is_answered = true;
    if (len > at && len >= at + 1 + body[at] + 2) {
        answer->cipher = SSL_CIPHER_find(ssl, body + at + 1 + body[at]);
    }
}

static void on_message(int is_write, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *ctx)
{
    Answer *answer = ctx;
    const unsigned char *body = bytes;
    (void)version;
    if (is_write || type != RECORD_HANDSHAKE || len < 4) {
        return;
    }
    if (body[0] == SERVER_HELLO) {
        take_server_hello(answer, ssl, body, len);
    }
    answer->asks_for_certificate |= body[0] == CERTIFICATE_REQUEST;
    answer->gives_ticket |= body[0] == NEW_SESSION_TICKET;
}

static SSL_CTX *context_of(const Scan *scan, const Offer *offer, Answer *answer)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        abort();
    }
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_min_proto_version(context, offer->least_version);
    SSL_CTX_set_max_proto_version(context, offer->most_version);
    SSL_CTX_set_options(context, SSL_OP_LEGACY_SERVER_CONNECT);
    SSL_CTX_set_cipher_list(context, offer->ciphers != NULL ? offer->ciphers
                                                            : "ALL:COMPLEMENTOFALL:@SECLEVEL=0");
    SSL_CTX_set_ciphersuites(context, offer->suites != NULL ? offer->suites : ALL_SUITES);
    if (offer->groups != NULL) {
        SSL_CTX_set1_groups_list(context, WITHOUT_CONST(offer->groups));
    }
    SSL_CTX_set_msg_callback(context, on_message);
    SSL_CTX_set_msg_callback_arg(context, answer);
    if (offer->has_certificate && scan->target->tls != NULL) {
        SSL_CTX_set_cert_cb(context, tls_identity_use, scan->target->tls);
    }
    return context;
}

/** @param answer  stays where it is until answer_done() */
static bool ask(const Scan *scan, const Offer *offer, Answer *answer, char *ret_problem,
                size_t problem_size)
{
    const int64_t deadline_ns = clock_now_ns() + PROBE_NS;
    int rc = 0;
    *answer = (Answer){.connection = TLS_CONNECTION_NONE};
    answer->connection.socket = tls_connection_socket(scan->target->host, scan->target->port, false,
                                                      deadline_ns, ret_problem, problem_size);
    if (answer->connection.socket < 0) {
        return false;
    }
    answer->context = context_of(scan, offer, answer);
    answer->connection.ssl = SSL_new(answer->context);
    if (answer->connection.ssl == NULL ||
        SSL_set_fd(answer->connection.ssl, answer->connection.socket) != 1) {
        abort();
    }
    do {
        ERR_clear_error();
        rc = SSL_connect(answer->connection.ssl);
    } while (rc != 1 && tls_connection_may_repeat(&answer->connection, rc, deadline_ns));
    answer->is_finished = rc == 1;
    ERR_clear_error();
    return true;
}

static void answer_done(Answer *answer)
{
    tls_connection_close(&answer->connection);
    SSL_CTX_free(answer->context);
}

/** Whether an offer is agreed to; false also if nobody answers. */
static bool is_agreed(const Scan *scan, const Offer *offer, const SSL_CIPHER **ret_cipher)
{
    Answer answer;
    char problem[256];
    bool is_answered = ask(scan, offer, &answer, problem, sizeof problem) && answer.is_answered;
    if (ret_cipher != NULL) {
        *ret_cipher = answer.cipher;
    }
    if (answer.context != NULL) {
        answer_done(&answer);
    }
    return is_answered;
}

/* ---- hellos that OpenSSL does not speak any more ---- */

/** A ClientHello with suites of old, and extensions for those that need them. */
static const unsigned char hello_tail[] = {
    0,    16,                                                         /* cipher_suites */
    0xc0, 0x2f, 0xc0, 0x30, 0xc0, 0x2b, 0xc0, 0x2c,                   /* ECDHE with AES-GCM */
    0x00, 0x2f, 0x00, 0x35, 0x00, 0x0a, 0x00, 0xff,                   /* RSA with CBC; signalling */
    2,    1,    0,                                                    /* DEFLATE, none */
    0,    22,                                                         /* extensions */
    0,    10,   0,    4,    0,    2,    0,    23,                     /* supported_groups: P-256 */
    0,    13,   0,    10,   0,    8,    4,    1,    8, 4, 4, 3, 6, 1, /* signature_algorithms */
};
#define HELLO_BODY (2 + 32 + 1 + sizeof hello_tail)

/** @return bytes of the answer to a hello of this version */
static size_t send_hello(const Scan *scan, unsigned char minor_version, unsigned char *ret_answer,
                         size_t size)
{
    unsigned char hello[5 + 4 + HELLO_BODY] = {22, 3, minor_version, 0, 4 + HELLO_BODY, 1,
                                               0,  0, HELLO_BODY,    3, minor_version};
    const int64_t deadline_ns = clock_now_ns() + PROBE_NS;
    char problem[256];
    size_t len = 0;
    size_t more = 0;
    memcpy(hello + sizeof hello - sizeof hello_tail, hello_tail, sizeof hello_tail);
    TlsConnection connection = {
        .socket = tls_connection_socket(scan->target->host, scan->target->port, false, deadline_ns,
                                        problem, sizeof problem)};
    if (connection.socket >= 0 &&
        tls_connection_write(&connection, (Str){(char *)hello, sizeof hello}, deadline_ns)) {
        do {
            more = tls_connection_read(&connection, ret_answer + len, size - len, deadline_ns);
            len += more;
        } while (more > 0 && len < size);
    }
    tls_connection_close(&connection);
    return len;
}

/* A record with a ServerHello: header, message header, version, random, session id, suite,
 * compression. */
#define SESSION_ID_AT (5 + 4 + 2 + 32)

static bool is_server_hello(const unsigned char *answer, size_t len)
{
    return len > SESSION_ID_AT && answer[0] == RECORD_HANDSHAKE && answer[5] == SERVER_HELLO;
}

static void check_compression(Scan *scan)
{
    unsigned char answer[SESSION_ID_AT + 1 + 32 + 2 + 1];
    size_t len = send_hello(scan, 3, answer, sizeof answer);
    size_t at = len;
    if (is_server_hello(answer, len)) {
        at = (size_t)SESSION_ID_AT + 1 + answer[SESSION_ID_AT] + 2;
    }
    bool is_on = at < len && answer[at] != 0;
    add(scan, "compression", is_on ? TLS_SCAN_BAD : TLS_SCAN_GOOD,
        is_on ? STR("accepted") : STR("refused"), "switch TLS compression off (CRIME)");
}

/* ---- versions, ciphers, groups ---- */

static void append_item(StrBuf *list, const char *item)
{
    strbuf_printf(list, "%s%s", list->len > 0 ? ", " : "", item);
}

/** The list as the finding; "none" if it is empty. */
static Str take_list(const Scan *scan, StrBuf *list)
{
    Str text = list->len > 0 ? str_dup(scan->arena, strbuf_str(list)) : STR("none");
    strbuf_done(list);
    return text;
}

static void check_versions(Scan *scan)
{
    static const struct {
        int version;
        const char *name;
        bool is_good;
    } versions[] = {{TLS1_3_VERSION, "TLS 1.3", true},
                    {TLS1_2_VERSION, "TLS 1.2", true},
                    {TLS1_1_VERSION, "TLS 1.1", false},
                    {TLS1_VERSION, "TLS 1.0", false}};
    unsigned char answer[SESSION_ID_AT + 1];
    StrBuf list = {0};
    bool is_good = true;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const Offer offer = {versions[i].version, versions[i].version, NULL, NULL, NULL, false};
        if (is_agreed(scan, &offer, NULL)) {
            append_item(&list, versions[i].name);
            is_good &= versions[i].is_good;
        }
    }
    if (is_server_hello(answer, send_hello(scan, 0, answer, sizeof answer))) {
        append_item(&list, "SSL 3.0");
        is_good = false;
    }
    add(scan, "versions", is_good ? TLS_SCAN_GOOD : TLS_SCAN_BAD, take_list(scan, &list),
        "allow TLS 1.2 and 1.3 only (RFC 8996)");
}

static bool is_good_cipher(const Scan *scan, const SSL_CIPHER *cipher)
{
    int exchange = SSL_CIPHER_get_kx_nid(cipher);
    bool is_forward_secret = exchange == NID_kx_ecdhe || exchange == NID_kx_any ||
                             (exchange == NID_kx_dhe && scan->target->preset == TLS_PRESET_BCP195);
    return is_forward_secret && SSL_CIPHER_is_aead(cipher) &&
           SSL_CIPHER_get_auth_nid(cipher) != NID_auth_null &&
           SSL_CIPHER_get_bits(cipher, NULL) >= 128;
}

/** Offers everything but what was agreed already, until nothing is. */
static void check_ciphers_of_tls12(Scan *scan)
{
    StrBuf list = {0};
    bool is_good = true;
    Str left = STR("ALL:COMPLEMENTOFALL:@SECLEVEL=0");
    for (size_t i = 0; i < MAX_CIPHERS; i++) {
        const Offer offer = {TLS1_2_VERSION, TLS1_2_VERSION, left.data, NULL, NULL, false};
        const SSL_CIPHER *cipher = NULL;
        if (!is_agreed(scan, &offer, &cipher) || cipher == NULL) {
            break;
        }
        append_item(&list, SSL_CIPHER_get_name(cipher));
        is_good &= is_good_cipher(scan, cipher);
        left = str_printf(scan->arena, "%s:!%s", left.data, SSL_CIPHER_get_name(cipher));
    }
    add(scan, "ciphers of TLS 1.2", is_good ? TLS_SCAN_GOOD : TLS_SCAN_BAD, take_list(scan, &list),
        "allow only ECDHE (with bcp195 also DHE) with AES-GCM or ChaCha20-Poly1305");
}

static void check_ciphers_of_tls13(Scan *scan)
{
    StrBuf list = {0};
    Str rest = STR(ALL_SUITES);
    Str suite;
    while (str_split_next(&rest, ':', &suite)) {
        const char *name = str_cstr(scan->arena, suite);
        const Offer offer = {TLS1_3_VERSION, TLS1_3_VERSION, NULL, name, NULL, false};
        if (is_agreed(scan, &offer, NULL)) {
            append_item(&list, name);
        }
    }
    bool is_weak = list.len > 0 && str_contains(strbuf_str(&list), STR("CCM_8"));
    add(scan, "ciphers of TLS 1.3", is_weak ? TLS_SCAN_BAD : TLS_SCAN_GOOD, take_list(scan, &list),
        "do not allow CCM_8, whose check value is short");
}

static void check_groups(Scan *scan)
{
    static const struct {
        const char *name;
        int version;
        const char *ciphers;
        bool is_good;
    } groups[] = {
        {"X25519", TLS1_3_VERSION, NULL, true},    {"P-256", TLS1_3_VERSION, NULL, true},
        {"P-384", TLS1_3_VERSION, NULL, true},     {"P-521", TLS1_3_VERSION, NULL, true},
        {"X448", TLS1_3_VERSION, NULL, true},      {"ffdhe2048", TLS1_3_VERSION, NULL, true},
        {"ffdhe3072", TLS1_3_VERSION, NULL, true}, {"P-224", TLS1_2_VERSION, "ECDHE", false},
        {"P-192", TLS1_2_VERSION, "ECDHE", false},
    };
    StrBuf list = {0};
    bool is_good = true;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        const Offer offer = {
            groups[i].version, groups[i].version, groups[i].ciphers, NULL, groups[i].name, false};
        if (is_agreed(scan, &offer, NULL)) {
            append_item(&list, groups[i].name);
            is_good &= groups[i].is_good;
        }
    }
    add(scan, "groups", is_good ? TLS_SCAN_GOOD : TLS_SCAN_BAD, take_list(scan, &list),
        "allow X25519, P-256 and P-384");
}

/** Of the DHE suites that bcp195 adds: their parameters are the server's choice. */
static void check_dh_parameters(Scan *scan)
{
    const Offer offer = {TLS1_2_VERSION, TLS1_2_VERSION, "DHE:@SECLEVEL=0", NULL, NULL, false};
    Answer answer = {0};
    char problem[256];
    if (!ask(scan, &offer, &answer, problem, sizeof problem)) {
        return;
    }
    EVP_PKEY *key = NULL;
    if (answer.is_answered && SSL_get_peer_tmp_key(answer.connection.ssl, &key) == 1) {
        int bits = EVP_PKEY_get_bits(key);
        add(scan, "DH parameters", bits >= 2048 ? TLS_SCAN_GOOD : TLS_SCAN_BAD,
            str_printf(scan->arena, "%d bits", bits), "use groups of 2048 bits or more (RFC 7919)");
    }
    EVP_PKEY_free(key);
    answer_done(&answer);
}

/* ---- who gets in, and what follows ---- */

/** Whether the listener ends a connection on which nothing more is asked. */
static bool is_ended(Answer *answer)
{
    const int64_t deadline_ns = clock_now_ns() + SILENCE_NS;
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    char bytes[1];
    (void)!tls_connection_write(&answer->connection, (Str){request, sizeof request - 1},
                                deadline_ns);
    return tls_connection_read(&answer->connection, bytes, sizeof bytes, deadline_ns) == 0 &&
           clock_now_ns() < deadline_ns;
}

static void check_client_certificate(Scan *scan)
{
    bool is_asked = true;
    bool is_refused = true;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const Offer offer = {versions[i], versions[i], NULL, NULL, NULL, false};
        Answer answer = {0};
        char problem[256];
        if (ask(scan, &offer, &answer, problem, sizeof problem)) {
            is_asked &= !answer.is_answered || answer.asks_for_certificate;
            is_refused &= !answer.is_finished || is_ended(&answer);
            answer_done(&answer);
        }
    }
    add(scan, "client certificate", is_asked && is_refused ? TLS_SCAN_GOOD : TLS_SCAN_BAD,
        is_asked && is_refused ? STR("demanded; without one the connection ends")
        : is_asked             ? STR("asked for, but a client without one is kept")
                               : STR("not asked for"),
        "demand a certificate of every client (ITI TF-2 3.19.6)");
}

/** Tries to negotiate again. @return whether the listener does it */
static bool does_renegotiate(Answer *answer)
{
    const int64_t deadline_ns = clock_now_ns() + SILENCE_NS;
    SSL *ssl = answer->connection.ssl;
    int rc = 0;
    if (SSL_renegotiate(ssl) != 1) {
        return false;
    }
    do {
        ERR_clear_error();
        rc = SSL_do_handshake(ssl);
    } while (rc != 1 && tls_connection_may_repeat(&answer->connection, rc, deadline_ns));
    ERR_clear_error();
    return rc == 1 && !SSL_renegotiate_pending(ssl);
}

static void check_renegotiation(Scan *scan)
{
    const Offer offer = {TLS1_2_VERSION, TLS1_2_VERSION, NULL, NULL, NULL, true};
    Answer answer = {0};
    char problem[256];
    if (!ask(scan, &offer, &answer, problem, sizeof problem)) {
        return;
    }
    bool is_safe =
        !answer.is_answered || SSL_get_secure_renegotiation_support(answer.connection.ssl);
    add(scan, "secure renegotiation", is_safe ? TLS_SCAN_GOOD : TLS_SCAN_BAD,
        is_safe ? STR("signalled (RFC 5746)") : STR("not signalled"),
        "signal RFC 5746, against inserted requests");
    bool is_done = answer.is_finished && does_renegotiate(&answer);
    add(scan, "renegotiation", is_done ? TLS_SCAN_BAD : TLS_SCAN_GOOD,
        is_done              ? STR("a client may renegotiate")
        : answer.is_finished ? STR("refused")
                             : STR("out of reach without a certificate that is trusted here"),
        "refuse renegotiation");
    answer_done(&answer);
}

static void check_tickets(Scan *scan)
{
    const Offer offer = {TLS1_2_VERSION, TLS1_3_VERSION, NULL, NULL, NULL, true};
    Answer answer = {0};
    char problem[256];
    if (!ask(scan, &offer, &answer, problem, sizeof problem)) {
        return;
    }
    if (answer.is_finished && !answer.gives_ticket) {
        (void)is_ended(&answer); /* with TLS 1.3 they come behind the handshake */
    }
    add(scan, "session tickets", TLS_SCAN_NOTE,
        answer.gives_ticket ? STR("given to who has a trusted certificate") : STR("none"),
        "nothing: a resumed session is judged again by chain, CRL and registration");
    answer_done(&answer);
}

/* ---- our certificate ---- */

static bool is_chain_in_order(STACK_OF(X509) * chain)
{
    for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
        if (X509_check_issued(sk_X509_value(chain, i + 1), sk_X509_value(chain, i)) != X509_V_OK) {
            return false;
        }
    }
    return true;
}

static void check_chain(Scan *scan, STACK_OF(X509) * chain)
{
    bool is_good = is_chain_in_order(chain);
    const X509 *last = sk_X509_value(chain, sk_X509_num(chain) - 1);
    Str issuer = tls_name_text(scan->arena, X509_get_issuer_name(last));
    add(scan, "certificate chain", is_good ? TLS_SCAN_GOOD : TLS_SCAN_BAD,
        str_printf(scan->arena, "%d sent, up to \"%.*s\"%s", sk_X509_num(chain), STR_ARG(issuer),
                   is_good ? "" : "; out of order"),
        "put the certificate first in tls_certificate, then each issuer behind what it issued");
}

static void check_key(Scan *scan, X509 *certificate)
{
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    int bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;
    bool is_rsa = key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    int digest = NID_undef;
    int kind = NID_undef;
    int signature = X509_get_signature_nid(certificate);
    (void)OBJ_find_sigid_algs(signature, &digest, &kind);
    add(scan, "key", bits >= (is_rsa ? 2048 : 255) ? TLS_SCAN_GOOD : TLS_SCAN_BAD,
        str_printf(scan->arena, "%s, %d bits", is_rsa ? "RSA" : "not RSA", bits),
        "get a certificate for an RSA key of 2048 bits or more, or for P-256");
    bool is_weak = digest == NID_sha1 || digest == NID_md5;
    add(scan, "signature", is_weak ? TLS_SCAN_BAD : TLS_SCAN_GOOD, str_from(OBJ_nid2ln(signature)),
        "get a certificate that is signed with SHA-256 or better");
}

static void check_names_and_time(Scan *scan, X509 *certificate)
{
    int64_t end_us = tls_time_us(X509_get0_notAfter(certificate));
    long long days = (end_us - clock_utc_us()) / DAY_US;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    add(scan, "validity",
        days < 0              ? TLS_SCAN_BAD
        : days < WARNING_DAYS ? TLS_SCAN_NOTE
                              : TLS_SCAN_GOOD,
        str_printf(scan->arena, "until %.*s, %lld days",
                   STR_ARG(str_slice(clock_iso8601(scan->arena, end_us), 0, 10)), days),
        "replace tls_certificate, then send SIGHUP");
    add(scan, "subjectAltName", names != NULL ? TLS_SCAN_GOOD : TLS_SCAN_NOTE,
        names != NULL ? str_printf(scan->arena, "%d names", sk_GENERAL_NAME_num(names))
                      : STR("none"),
        "clients that compare host names (RFC 9525) need a dNSName");
    GENERAL_NAMES_free(names);
    add(scan, "stapling", TLS_SCAN_NOTE, STR("none"), "nothing: revocation is by CRL file here");
}

static void check_certificate(Scan *scan, const Answer *answer)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(answer->connection.ssl);
    if (sk_X509_num(chain) > 0) {
        check_chain(scan, chain);
        check_key(scan, sk_X509_value(chain, 0));
        check_names_and_time(scan, sk_X509_value(chain, 0));
    }
    ERR_clear_error();
}

bool tls_scan(const TlsScanTarget *target, Arena *arena, TlsScanReport *ret_report,
              char *ret_problem, size_t problem_size)
{
    Scan scan = {target, arena, ret_report};
    const Offer any = {TLS1_VERSION, TLS1_3_VERSION, NULL, NULL, NULL, false};
    Answer answer = {0};
    ret_report->count = 0;
    if (!ask(&scan, &any, &answer, ret_problem, problem_size)) {
        return false;
    }
    bool is_tls = answer.is_answered;
    if (is_tls) {
        check_certificate(&scan, &answer);
    } else {
        snprintf(ret_problem, problem_size, "%s:%s: no TLS answers", target->host, target->port);
    }
    answer_done(&answer); /* some servers take one connection at a time */
    if (is_tls) {
        check_versions(&scan);
        check_ciphers_of_tls13(&scan);
        check_ciphers_of_tls12(&scan);
        check_groups(&scan);
        check_dh_parameters(&scan);
        check_compression(&scan);
        check_client_certificate(&scan);
        check_renegotiation(&scan);
        check_tickets(&scan);
    }
    return is_tls;
}
