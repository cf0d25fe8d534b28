#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/tls/gnutls_peer.h"
#include "lib/tls/tls.h"

#include "tests/unit/certificates.h"

#define DAY 86400L
#define PATH_SIZE 256

enum { REVOKED_SERIAL = 66 };

typedef enum Who {
    GOOD,
    EXPIRED,
    NOT_YET_VALID,
    REVOKED,
    SELF_SIGNED_TRUSTED,
    SELF_SIGNED_UNKNOWN,
    FOREIGN,
    ISSUED_BY_LEAF,
    BELOW_CA_WITHOUT_CRL,
    WHO_COUNT
} Who;

typedef struct Fixture {
    char directory[32];
    Arena *arena;
    TestCertificate ca;
    TestCertificate ca_without_crl;
    TestCertificate foreign_ca;
    TestCertificate server;
    TestCertificate who[WHO_COUNT];
    char certificate_path[WHO_COUNT][PATH_SIZE];
    char key_path[WHO_COUNT][PATH_SIZE];
    char server_certificate_path[PATH_SIZE];
    char server_key_path[PATH_SIZE];
    char trust_path[PATH_SIZE];
    char crl_path[PATH_SIZE];
    char problem[320];
    TlsStore *store;
} Fixture;

static void trust_file_write(Fixture *f)
{
    const TestCertificate *trusted[] = {&f->ca, &f->ca_without_crl, &f->who[SELF_SIGNED_TRUSTED]};
    FILE *pem = test_pem_open(f->directory, "trust.pem", f->trust_path, PATH_SIZE);
    for (size_t i = 0; i < ARRAY_LEN(trusted); i++) {
        PEM_write_X509(pem, trusted[i]->certificate);
    }
    fclose(pem);
}

static void crl_file_write(Fixture *f, long revoked_serial)
{
    X509_CRL *crl = test_crl_new(&f->ca, revoked_serial);
    test_pem_crl(f->directory, "crl.pem", crl, f->crl_path, PATH_SIZE);
    X509_CRL_free(crl);
}

static TestCertificate authority(const char *name)
{
    return test_certificate_new(
        &(TestCertificateSpec){name, NULL, true, -DAY, 365 * DAY, 1, false});
}

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new();
    snprintf(f->directory, sizeof f->directory, "/tmp/test-tls-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->ca = authority("Region CA");
    f->ca_without_crl = authority("Vendor CA");
    f->foreign_ca = authority("Region CA"); /* same name, other key */
    const TestCertificateSpec specs[WHO_COUNT] = {
        [GOOD] = {"gateway-a", &f->ca, false, -DAY, DAY, 2, false},
        [EXPIRED] = {"old", &f->ca, false, -2 * DAY, -DAY, 3, false},
        [NOT_YET_VALID] = {"early", &f->ca, false, DAY, 2 * DAY, 4, false},
        [REVOKED] = {"revoked", &f->ca, false, -DAY, DAY, REVOKED_SERIAL, false},
        [SELF_SIGNED_TRUSTED] = {"appliance", NULL, false, -DAY, DAY, 6, false},
        [SELF_SIGNED_UNKNOWN] = {"stranger", NULL, false, -DAY, DAY, 7, false},
        [FOREIGN] = {"gateway-a", &f->foreign_ca, false, -DAY, DAY, 2, false},
        [ISSUED_BY_LEAF] = {"forged", &f->who[GOOD], false, -DAY, DAY, 8, false},
        [BELOW_CA_WITHOUT_CRL] = {"vendor", &f->ca_without_crl, false, -DAY, DAY, REVOKED_SERIAL,
                                  false},
    };
    for (size_t i = 0; i < WHO_COUNT; i++) {
        char file[32];
        f->who[i] = test_certificate_new(&specs[i]);
        snprintf(file, sizeof file, "%zu.pem", i);
        test_pem_certificate(f->directory, file, &f->who[i], f->certificate_path[i], PATH_SIZE);
        snprintf(file, sizeof file, "%zu.key", i);
        test_pem_key(f->directory, file, &f->who[i], f->key_path[i], PATH_SIZE);
    }
    f->server =
        test_certificate_new(&(TestCertificateSpec){"registry", &f->ca, false, -DAY, DAY, 9, true});
    test_pem_certificate(f->directory, "server.pem", &f->server, f->server_certificate_path,
                         PATH_SIZE);
    test_pem_key(f->directory, "server.key", &f->server, f->server_key_path, PATH_SIZE);
    trust_file_write(f);
    crl_file_write(f, REVOKED_SERIAL);
    f->store = tls_store_new(f->trust_path, f->crl_path, f->problem, sizeof f->problem);
    assert_non_null(f->store);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    TestCertificate *all[] = {&f->ca, &f->ca_without_crl, &f->foreign_ca, &f->server};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        test_certificate_done(all[i]);
    }
    for (size_t i = 0; i < WHO_COUNT; i++) {
        test_certificate_done(&f->who[i]);
    }
    tls_store_free(f->store);
    test_directory_remove(f->directory);
    arena_free(f->arena);
    free(f);
    return 0;
}

/** The chain as this peer would send it: with its issuer where that is no trusted CA. */
static bool is_accepted(Fixture *f, Who who)
{
    Str chain[2] = {test_certificate_der(f->arena, &f->who[who])};
    size_t count = 1;
    if (who == ISSUED_BY_LEAF) {
        chain[count++] = test_certificate_der(f->arena, &f->who[GOOD]);
    }
    TlsProblem problem = {0};
    bool is_good = tls_store_verify_der(f->store, chain, count, &problem);
    snprintf(f->problem, sizeof f->problem, "%s: %s", tls_refusal_word(problem.refusal),
             problem.text);
    return is_good;
}

/* ITI TF-2 3.19.6.1: chain to a CA, or direct trust; expired, revoked, foreign are refused. */
static const struct {
    Who who;
    bool is_accepted;
    const char *problem;
} verdicts[] = {
    {GOOD, true, ""},
    {EXPIRED, false, "expired: "},
    {NOT_YET_VALID, false, "not-yet-valid: "},
    {REVOKED, false, "revoked: "},
    {SELF_SIGNED_TRUSTED, true, ""},
    {SELF_SIGNED_UNKNOWN, false, "other-authority: "},
    {FOREIGN, false, "other-authority: "},
    {ISSUED_BY_LEAF, false, "bad-certificate: "},
    {BELOW_CA_WITHOUT_CRL, true, ""},
};

static void test_store_accepts_only_trusted_valid_unrevoked_chains(void **state)
{
    Fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
        f->problem[0] = '\0';
        if (is_accepted(f, verdicts[i].who) != verdicts[i].is_accepted ||
            strstr(f->problem, verdicts[i].problem) == NULL) {
            fail_msg("case %zu: %s", i, f->problem);
        }
    }
}

static void test_chain_that_is_empty_too_long_or_garbage_is_refused(void **state)
{
    Fixture *f = *state;
    Str chain[20];
    for (size_t i = 0; i < ARRAY_LEN(chain); i++) {
        chain[i] = test_certificate_der(f->arena, &f->who[GOOD]);
    }
    TlsProblem problem;
    assert_false(tls_store_verify_der(f->store, chain, 0, &problem));
    assert_int_equal(problem.refusal, TLS_REFUSED_NO_CERTIFICATE);
    assert_false(tls_store_verify_der(f->store, chain, 20, &problem));
    chain[0] = STR("no certificate at all");
    assert_false(tls_store_verify_der(f->store, chain, 1, &problem));
    assert_int_equal(problem.refusal, TLS_REFUSED_BAD_CERTIFICATE);
    assert_non_null(strstr(problem.text, "malformed"));
}

static void test_changed_crl_is_in_force_after_refresh(void **state)
{
    Fixture *f = *state;
    assert_true(is_accepted(f, GOOD));
    crl_file_write(f, 2);
    assert_true(tls_store_refresh(f->store, f->problem, sizeof f->problem));
    assert_false(is_accepted(f, GOOD));
    assert_true(is_accepted(f, REVOKED));
}

/* A list that came late revokes what it revokes, and cuts nobody else off. */
static void test_crl_past_its_next_update_stays_in_force(void **state)
{
    Fixture *f = *state;
    TlsExpiry *expiries = NULL;
    X509_CRL *crl = test_crl_lasting(&f->ca, REVOKED_SERIAL, -60);
    test_pem_crl(f->directory, "crl.pem", crl, f->crl_path, PATH_SIZE);
    X509_CRL_free(crl);
    assert_true(tls_store_refresh(f->store, f->problem, sizeof f->problem));
    assert_true(is_accepted(f, GOOD));
    assert_false(is_accepted(f, REVOKED));
    assert_int_equal(tls_store_crl_expiries(f->store, f->arena, &expiries), 1);
    assert_true(str_equal(expiries[0].name, STR("CN=Region CA")));
    assert_true(expiries[0].at_us < clock_utc_us());
}

/* ITI TF-2 3.19.6.1: a registered certificate needs no authority, but its time still counts, and so
 * does the CRL of an authority that is trusted. */
static void test_registered_certificates_are_trusted_directly(void **state)
{
    Fixture *f = *state;
    const struct {
        Who who;
        bool is_accepted;
    } cases[] = {{SELF_SIGNED_UNKNOWN, true},
                 {FOREIGN, true},
                 {GOOD, true},
                 {REVOKED, false},
                 {EXPIRED, false}};
    Str fingerprints[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        TlsCertificate certificate;
        assert_true(tls_certificate_from_file(f->arena, f->certificate_path[cases[i].who],
                                              &certificate, f->problem, sizeof f->problem));
        fingerprints[i] = certificate.fingerprint;
    }
    assert_false(is_accepted(f, SELF_SIGNED_UNKNOWN));
    tls_store_trust_directly(f->store, fingerprints, ARRAY_LEN(fingerprints));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (is_accepted(f, cases[i].who) != cases[i].is_accepted) {
            fail_msg("case %zu: %s", i, f->problem);
        }
    }
    tls_store_trust_directly(f->store, NULL, 0);
    assert_false(is_accepted(f, SELF_SIGNED_UNKNOWN));
    assert_true(is_accepted(f, GOOD));
}

static void test_unreadable_new_crl_leaves_the_old_one_in_force(void **state)
{
    Fixture *f = *state;
    FILE *pem = fopen(f->crl_path, "w");
    fputs("half a file", pem);
    fclose(pem);
    assert_false(tls_store_refresh(f->store, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, f->crl_path));
    assert_false(is_accepted(f, REVOKED));
    assert_true(is_accepted(f, GOOD));
}

static TlsSettings server_settings(const Fixture *f, TlsPreset preset)
{
    return (TlsSettings){f->server_certificate_path, f->server_key_path, f->trust_path, f->crl_path,
                         preset};
}

static Tls *tls_or_fail(Fixture *f, const TlsSettings *settings)
{
    Tls *tls = tls_new(settings, f->problem, sizeof f->problem);
    if (tls == NULL) {
        fail_msg("%s", f->problem);
    }
    return tls;
}

static SSL_CTX *server_of(Fixture *f, Tls *tls)
{
    SSL_CTX *ctx = tls_server_context(tls, f->problem, sizeof f->problem);
    assert_non_null(ctx);
    return ctx;
}

static void test_missing_files_are_named(void **state)
{
    Fixture *f = *state;
    TlsSettings swapped = server_settings(f, TLS_PRESET_BCP195);
    swapped.key = f->key_path[GOOD];
    assert_null(tls_store_new("/nonexistent/ca.pem", NULL, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, "/nonexistent/ca.pem"));
    assert_null(tls_new(&swapped, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, f->key_path[GOOD]));
}

static void test_certificate_is_described_for_the_node_table(void **state)
{
    Fixture *f = *state;
    TlsCertificate from_der;
    TlsCertificate from_file;
    assert_true(tls_certificate_from_der(f->arena, test_certificate_der(f->arena, &f->who[GOOD]),
                                         &from_der));
    assert_true(tls_certificate_from_file(f->arena, f->certificate_path[GOOD], &from_file,
                                          f->problem, sizeof f->problem));
    assert_true(str_equal(from_der.subject, STR("CN=gateway-a")));
    assert_int_equal(from_der.fingerprint.len, 64);
    assert_true(str_equal(from_der.fingerprint, from_file.fingerprint));
    int64_t in_a_day_us = ((int64_t)time(NULL) + DAY) * 1000000;
    assert_in_range(from_der.not_after_us, in_a_day_us - 600000000, in_a_day_us);
    assert_false(tls_certificate_from_der(f->arena, STR("garbage"), &from_der));
}

/* Handshakes over a socket pair: the client is OpenSSL in a thread. */

typedef struct Client {
    int fd;
    SSL_CTX *ctx;
    const TlsPeer *peer;   /* NULL: whoever it is */
    SSL_SESSION *resume;   /* or NULL */
    SSL_SESSION *received; /* ticket, to be freed */
    bool is_connected;     /* handshake done and first byte received */
    bool is_resumed;
    char server_name[64]; /* subject of the server's certificate */
} Client;

static void *client_run(void *ctx)
{
    Client *client = ctx;
    SSL *ssl = client->peer != NULL ? tls_client_session(client->ctx, client->peer, client->fd)
                                    : SSL_new(client->ctx);
    char byte = 0;
    SSL_set_fd(ssl, client->fd);
    if (client->resume != NULL) {
        SSL_set_session(ssl, client->resume);
    }
    client->is_connected = SSL_connect(ssl) == 1 && SSL_read(ssl, &byte, 1) == 1;
    client->is_resumed = client->is_connected && SSL_session_reused(ssl) == 1;
    client->received = client->is_connected ? SSL_get1_session(ssl) : NULL;
    if (client->is_connected) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(ssl)),
                                  NID_commonName, client->server_name, sizeof client->server_name);
    }
    SSL_shutdown(ssl);
    SSL_free(ssl);
    shutdown(client->fd, SHUT_RDWR);
    return NULL;
}

/** A client that sends the certificate of who, or none (WHO_COUNT), and accepts any server. */
static SSL_CTX *client_context(Fixture *f, Who who)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (who != WHO_COUNT) {
        assert_int_equal(
            SSL_CTX_use_certificate_file(ctx, f->certificate_path[who], SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, f->key_path[who], SSL_FILETYPE_PEM), 1);
    }
    return ctx;
}

/** One OpenSSL server handshake; true if both sides are content. */
static bool openssl_meets_client(SSL_CTX *server, Client *client)
{
    int pair[2];
    pthread_t thread;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    client->fd = pair[1];
    pthread_create(&thread, NULL, client_run, client);
    SSL *ssl = SSL_new(server);
    SSL_set_fd(ssl, pair[0]);
    bool ok = SSL_accept(ssl) == 1 && SSL_write(ssl, "x", 1) == 1;
    SSL_free(ssl);
    shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    SSL_SESSION_free(client->received);
    client->received = NULL;
    close(pair[0]);
    close(pair[1]);
    ERR_clear_error();
    return ok && client->is_connected;
}

static bool openssl_meets(SSL_CTX *server, SSL_CTX *client_ctx)
{
    Client client = {.ctx = client_ctx};
    return openssl_meets_client(server, &client);
}

static void test_openssl_listener_requires_a_trusted_certificate(void **state)
{
    Fixture *f = *state;
    const TlsSettings settings = server_settings(f, TLS_PRESET_HIGH_SECURITY);
    Tls *tls = tls_or_fail(f, &settings);
    const struct {
        Who who;
        bool is_accepted;
    } cases[] = {{GOOD, true},       {SELF_SIGNED_TRUSTED, true},
                 {WHO_COUNT, false}, {REVOKED, false},
                 {FOREIGN, false},   {EXPIRED, false}};
    SSL_CTX *server = server_of(f, tls);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        SSL_CTX *client = client_context(f, cases[i].who);
        if (openssl_meets(server, client) != cases[i].is_accepted) {
            fail_msg("case %zu", i);
        }
        SSL_CTX_free(client);
    }
    SSL_CTX_free(server);
    tls_free(tls);
}

/* RFC 8996, BCP 195; the four suites of "STX: TLS 1.2 Floor using BCP195" (TF-1 9.2.6). */
static const struct {
    int version;
    const char *ciphers;
    bool is_accepted[TLS_PRESET_COUNT]; /* high-security, bcp195 */
} offers[] = {
    {TLS1_3_VERSION, NULL, {true, true}},
    {TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", {true, true}},
    {TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", {true, true}},
    {TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", {false, true}},
    {TLS1_2_VERSION, "DHE-RSA-AES256-GCM-SHA384", {false, true}},
    {TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256", {false, false}},
    {TLS1_2_VERSION, "AES128-GCM-SHA256", {false, false}},
    {TLS1_1_VERSION, "ALL:@SECLEVEL=0", {false, false}},
};

static SSL_CTX *client_offering(Fixture *f, size_t offer)
{
    SSL_CTX *client = client_context(f, GOOD);
    SSL_CTX_set_min_proto_version(client, offers[offer].version);
    SSL_CTX_set_max_proto_version(client, offers[offer].version);
    if (offers[offer].ciphers != NULL) {
        SSL_CTX_set_cipher_list(client, offers[offer].ciphers);
    }
    return client;
}

static void test_openssl_listener_refuses_old_versions_and_cbc(void **state)
{
    Fixture *f = *state;
    for (TlsPreset preset = 0; preset < TLS_PRESET_COUNT; preset++) {
        const TlsSettings settings = server_settings(f, preset);
        Tls *tls = tls_or_fail(f, &settings);
        SSL_CTX *server = server_of(f, tls);
        for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
            SSL_CTX *client = client_offering(f, i);
            if (openssl_meets(server, client) != offers[i].is_accepted[preset]) {
                fail_msg("preset %d offer %zu", (int)preset, i);
            }
            SSL_CTX_free(client);
        }
        SSL_CTX_free(server);
        tls_free(tls);
    }
}

static void test_client_refuses_a_server_of_a_foreign_authority(void **state)
{
    Fixture *f = *state;
    const TlsSettings settings[] = {
        server_settings(f, TLS_PRESET_BCP195),
        {f->certificate_path[FOREIGN], f->key_path[FOREIGN], f->trust_path, NULL,
         TLS_PRESET_BCP195},
        {f->certificate_path[GOOD], f->key_path[GOOD], f->trust_path, NULL, TLS_PRESET_BCP195},
    };
    Tls *tls[ARRAY_LEN(settings)];
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        tls[i] = tls_or_fail(f, &settings[i]);
    }
    SSL_CTX *server = server_of(f, tls[0]);
    SSL_CTX *impostor = server_of(f, tls[1]);
    SSL_CTX *client = tls_client_context(tls[2], f->problem, sizeof f->problem);
    assert_true(openssl_meets(server, client));
    assert_false(openssl_meets(impostor, client));
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    SSL_CTX_free(impostor);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        tls_free(tls[i]);
    }
}

/* RFC 9525: what we call is in subjectAltName, not in the CN; else a fingerprint is configured. */
static void test_client_holds_the_server_to_its_name_or_fingerprint(void **state)
{
    Fixture *f = *state;
    const TlsSettings settings = server_settings(f, TLS_PRESET_HIGH_SECURITY);
    Tls *tls = tls_or_fail(f, &settings);
    SSL_CTX *server = server_of(f, tls);
    SSL_CTX *ctx = tls_client_context(tls, f->problem, sizeof f->problem);
    TlsCertificate certificate;
    assert_true(tls_certificate_from_file(f->arena, f->server_certificate_path, &certificate,
                                          f->problem, sizeof f->problem));
    const char *right = str_cstr(f->arena, certificate.fingerprint);
    const char *wrong = "0000000000000000000000000000000000000000000000000000000000000000";
    const struct {
        TlsPeer peer;
        bool is_accepted;
    } cases[] = {
        {{"localhost", NULL}, true},     {{"LOCALHOST", ""}, true},
        {{"127.0.0.1", NULL}, true},     {{"127.0.0.2", NULL}, false},
        {{"::1", NULL}, false},          {{"registry", NULL}, false},
        {{"host.example", NULL}, false}, {{"host.example", right}, true},
        {{"localhost", wrong}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Client client = {.ctx = ctx, .peer = &cases[i].peer};
        if (openssl_meets_client(server, &client) != cases[i].is_accepted) {
            fail_msg("case %zu", i);
        }
    }
    SSL_CTX_free(ctx);
    SSL_CTX_free(server);
    tls_free(tls);
}

typedef struct GnutlsServer {
    Tls *tls;
    GnutlsPeerPolicy *policy;
    gnutls_certificate_credentials_t credentials;
    gnutls_dh_params_t dh_parameters;
    TlsPreset preset;
    bool is_identified; /* gnutls_peer_identity() was content */
    TlsCertificate peer;
    TlsProblem problem; /* unless it was */
} GnutlsServer;

static GnutlsServer gnutls_server_new(Fixture *f, TlsPreset preset)
{
    GnutlsServer server = {.preset = preset};
    const TlsSettings settings = server_settings(f, preset);
    server.tls = tls_or_fail(f, &settings);
    server.policy = gnutls_peer_policy_new(server.tls, f->problem, sizeof f->problem);
    assert_non_null(server.policy);
    const char *dh_pem = gnutls_peer_dh_parameters(server.policy);
    gnutls_datum_t pem = {(unsigned char *)strdup(dh_pem), (unsigned)strlen(dh_pem)};
    gnutls_dh_params_init(&server.dh_parameters);
    assert_int_equal(gnutls_dh_params_import_pkcs3(server.dh_parameters, &pem, GNUTLS_X509_FMT_PEM),
                     0);
    free(pem.data);
    gnutls_certificate_allocate_credentials(&server.credentials);
    gnutls_certificate_set_dh_params(server.credentials, server.dh_parameters);
    gnutls_certificate_set_retrieve_function2(server.credentials, gnutls_peer_certificate);
    return server;
}

static void gnutls_server_done(GnutlsServer *server)
{
    gnutls_certificate_free_credentials(server->credentials);
    gnutls_dh_params_deinit(server->dh_parameters);
    gnutls_peer_policy_free(server->policy);
    tls_free(server->tls);
}

/** As libmicrohttpd does it: start, handshake, identity; then one byte so that the client is sure.
 */
static void gnutls_meets(Fixture *f, GnutlsServer *server, Client *client)
{
    int pair[2];
    pthread_t thread;
    gnutls_session_t session;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    client->fd = pair[1];
    pthread_create(&thread, NULL, client_run, client);
    gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
    assert_int_equal(
        gnutls_priority_set_direct(session, gnutls_peer_priorities(server->preset), NULL), 0);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, server->credentials);
    gnutls_transport_set_int(session, pair[0]);
    GnutlsPeer peer = {0};
    TlsChain chain;
    assert_true(gnutls_peer_start(&peer, server->policy, session));
    int rc = gnutls_handshake(session);
    server->is_identified =
        rc == 0 && gnutls_peer_identity(&peer, session, f->arena, &server->peer, &chain);
    if (server->is_identified) {
        gnutls_record_send(session, "x", 1);
    }
    shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    gnutls_deinit(session);
    if (gnutls_peer_problem(&peer, &server->problem) == server->is_identified) {
        fail_msg("identified %d, but: %s", server->is_identified, server->problem.text);
    }
    close(pair[0]);
    close(pair[1]);
    ERR_clear_error();
}

static void test_gnutls_listener_requires_a_trusted_certificate(void **state)
{
    Fixture *f = *state;
    const struct {
        Who who;
        bool is_accepted;
        TlsRefusal refusal;
    } cases[] = {{GOOD, true, 0},
                 {SELF_SIGNED_TRUSTED, true, 0},
                 {WHO_COUNT, false, TLS_REFUSED_NO_CERTIFICATE},
                 {REVOKED, false, TLS_REFUSED_REVOKED},
                 {FOREIGN, false, TLS_REFUSED_OTHER_AUTHORITY},
                 {EXPIRED, false, TLS_REFUSED_EXPIRED},
                 {NOT_YET_VALID, false, TLS_REFUSED_NOT_YET_VALID}};
    GnutlsServer server = gnutls_server_new(f, TLS_PRESET_HIGH_SECURITY);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Client client = {.ctx = client_context(f, cases[i].who)};
        gnutls_meets(f, &server, &client);
        if (server.is_identified != cases[i].is_accepted ||
            client.is_connected != cases[i].is_accepted ||
            (!cases[i].is_accepted && server.problem.refusal != cases[i].refusal)) {
            fail_msg("case %zu: %s", i, server.problem.text);
        }
        SSL_SESSION_free(client.received);
        SSL_CTX_free(client.ctx);
    }
    gnutls_server_done(&server);
}

static void test_gnutls_listener_refuses_old_versions_and_cbc(void **state)
{
    Fixture *f = *state;
    for (TlsPreset preset = 0; preset < TLS_PRESET_COUNT; preset++) {
        GnutlsServer server = gnutls_server_new(f, preset);
        for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
            Client client = {.ctx = client_offering(f, i)};
            gnutls_meets(f, &server, &client);
            if (server.is_identified != offers[i].is_accepted[preset]) {
                fail_msg("preset %d offer %zu", (int)preset, i);
            }
            TlsRefusal expected = offers[i].version < TLS1_2_VERSION ? TLS_REFUSED_OLD_VERSION
                                                                     : TLS_REFUSED_NO_COMMON_CIPHER;
            if (!offers[i].is_accepted[preset] && server.problem.refusal != expected) {
                fail_msg("preset %d offer %zu: %s", (int)preset, i, server.problem.text);
            }
            SSL_SESSION_free(client.received);
            SSL_CTX_free(client.ctx);
        }
        gnutls_server_done(&server);
    }
}

/* The handshake of a resumed session skips the chain: the identity is judged again. */
static void test_resumed_gnutls_session_is_judged_again(void **state)
{
    Fixture *f = *state;
    GnutlsServer server = gnutls_server_new(f, TLS_PRESET_HIGH_SECURITY);
    SSL_CTX *ctx = client_context(f, GOOD);
    Client first = {.ctx = ctx};
    gnutls_meets(f, &server, &first);
    assert_true(server.is_identified);
    assert_true(str_equal(server.peer.subject, STR("CN=gateway-a")));

    Client second = {.ctx = ctx, .resume = first.received};
    gnutls_meets(f, &server, &second);
    assert_true(server.is_identified);
    assert_true(second.is_resumed);
    assert_true(str_equal(server.peer.subject, STR("CN=gateway-a")));

    crl_file_write(f, 2);
    StrBuf changes = {0};
    assert_true(tls_reload(server.tls, &changes, f->problem, sizeof f->problem));
    assert_true(str_equal(strbuf_str(&changes), STR(" tls_crl")));
    strbuf_done(&changes);
    Client third = {.ctx = ctx, .resume = second.received};
    gnutls_meets(f, &server, &third);
    assert_false(server.is_identified);
    assert_false(third.is_connected);

    SSL_SESSION_free(first.received);
    SSL_SESSION_free(second.received);
    SSL_SESSION_free(third.received);
    SSL_CTX_free(ctx);
    gnutls_server_done(&server);
}

static void server_files_write(Fixture *f, const char *name)
{
    TestCertificate made =
        test_certificate_new(&(TestCertificateSpec){name, &f->ca, false, -DAY, DAY, 77, true});
    test_pem_certificate(f->directory, "server.pem", &made, f->server_certificate_path, PATH_SIZE);
    test_pem_key(f->directory, "server.key", &made, f->server_key_path, PATH_SIZE);
    test_certificate_done(&made);
}

/** What both kinds of listeners show. */
static void assert_server_is(Fixture *f, SSL_CTX *openssl, GnutlsServer *gnutls, const char *name)
{
    SSL_CTX *ctx = client_context(f, GOOD);
    Client client = {.ctx = ctx};
    assert_true(openssl_meets_client(openssl, &client));
    assert_string_equal(client.server_name, name);
    Client other = {.ctx = ctx};
    gnutls_meets(f, gnutls, &other);
    assert_string_equal(other.server_name, name);
    SSL_SESSION_free(other.received);
    SSL_CTX_free(ctx);
}

static void test_reload_shows_the_new_certificate_and_keeps_the_old_one_on_failure(void **state)
{
    Fixture *f = *state;
    _cleanup_(strbuf_done) StrBuf changes = {0};
    GnutlsServer gnutls = gnutls_server_new(f, TLS_PRESET_HIGH_SECURITY);
    SSL_CTX *openssl = server_of(f, gnutls.tls);
    assert_server_is(f, openssl, &gnutls, "registry");

    server_files_write(f, "renewed");
    assert_server_is(f, openssl, &gnutls, "registry");
    assert_true(tls_reload(gnutls.tls, &changes, f->problem, sizeof f->problem));
    assert_true(str_equal(strbuf_str(&changes), STR(" tls_certificate tls_key")));
    assert_server_is(f, openssl, &gnutls, "renewed");

    strbuf_clear(&changes);
    assert_true(tls_reload(gnutls.tls, &changes, f->problem, sizeof f->problem));
    assert_int_equal(changes.len, 0);

    server_files_write(f, "never in force");
    FILE *pem = fopen(f->server_key_path, "w");
    fputs("half a key", pem);
    fclose(pem);
    assert_false(tls_reload(gnutls.tls, &changes, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, f->server_key_path));
    assert_int_equal(changes.len, 0);
    assert_server_is(f, openssl, &gnutls, "renewed");

    unlink(f->server_key_path);
    assert_false(tls_reload(gnutls.tls, &changes, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, f->server_key_path));
    SSL_CTX_free(openssl);
    gnutls_server_done(&gnutls);
}

static void test_fingerprints_are_read_as_people_write_them(void **state)
{
    Fixture *f = *state;
    Str found;
    TlsCertificate certificate;
    assert_true(tls_certificate_from_file(f->arena, f->server_certificate_path, &certificate,
                                          f->problem, sizeof f->problem));
    StrBuf colons = {0};
    for (size_t i = 0; i < certificate.fingerprint.len; i += 2) {
        strbuf_printf(&colons, "%s%.*s", i > 0 ? ":" : "",
                      STR_ARG(str_slice(certificate.fingerprint, i, 2)));
    }
    assert_true(tls_fingerprint_parse(f->arena, certificate.fingerprint, &found));
    assert_true(tls_fingerprint_parse(f->arena, strbuf_str(&colons), &found));
    assert_true(str_equal(found, certificate.fingerprint));
    assert_false(tls_fingerprint_parse(f->arena, STR("12:34"), &found));
    assert_false(tls_fingerprint_parse(f->arena, STR_EMPTY, &found));
    strbuf_done(&colons);
}

int main(void)
{
#define WITH_CERTIFICATES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_CERTIFICATES(test_store_accepts_only_trusted_valid_unrevoked_chains),
        WITH_CERTIFICATES(test_chain_that_is_empty_too_long_or_garbage_is_refused),
        WITH_CERTIFICATES(test_changed_crl_is_in_force_after_refresh),
        WITH_CERTIFICATES(test_crl_past_its_next_update_stays_in_force),
        WITH_CERTIFICATES(test_registered_certificates_are_trusted_directly),
        WITH_CERTIFICATES(test_unreadable_new_crl_leaves_the_old_one_in_force),
        WITH_CERTIFICATES(test_missing_files_are_named),
        WITH_CERTIFICATES(test_certificate_is_described_for_the_node_table),
        WITH_CERTIFICATES(test_openssl_listener_requires_a_trusted_certificate),
        WITH_CERTIFICATES(test_openssl_listener_refuses_old_versions_and_cbc),
        WITH_CERTIFICATES(test_client_refuses_a_server_of_a_foreign_authority),
        WITH_CERTIFICATES(test_gnutls_listener_requires_a_trusted_certificate),
        WITH_CERTIFICATES(test_gnutls_listener_refuses_old_versions_and_cbc),
        WITH_CERTIFICATES(test_resumed_gnutls_session_is_judged_again),
        WITH_CERTIFICATES(test_client_holds_the_server_to_its_name_or_fingerprint),
        WITH_CERTIFICATES(test_reload_shows_the_new_certificate_and_keeps_the_old_one_on_failure),
        WITH_CERTIFICATES(test_fingerprints_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
