/* MLLP listeners: ITI TF-2 C.2.1 (framing, connections), 3.19 (mutual TLS). */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/tls/tls.h"
#include "server/listener_mllp.h"

#include "tests/unit/certificates.h"
#include "tests/unit/pix_fixture.h"

#define FEED(id)                                                                                   \
    "\x0bMSH|^~\\&|A|B|C|D|2026||ADT^A04|C" id "|P|2.5\rPID|||" id "^^^&" FIXTURE_OID "&ISO\r\x1c" \
    "\r"

/** What the listener reported. */
typedef struct Seen {
    pthread_mutex_t lock;
    char outcomes[256]; /* each followed by a blank */
    unsigned rejections[TLS_REFUSAL_COUNT];
} Seen;

static Seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_finished(void *ctx, Request *req, const char *outcome)
{
    Seen *log = ctx;
    (void)req;
    pthread_mutex_lock(&log->lock);
    size_t used = strlen(log->outcomes);
    snprintf(log->outcomes + used, sizeof(log->outcomes) - used, "%s ", outcome);
    pthread_mutex_unlock(&log->lock);
}

static void on_rejected(void *ctx, const char *endpoint, const char *address,
                        const TlsProblem *problem)
{
    Seen *log = ctx;
    assert_string_equal(endpoint, "127.0.0.1:0");
    assert_string_equal(address, "127.0.0.1");
    pthread_mutex_lock(&log->lock);
    log->rejections[problem->refusal]++;
    pthread_mutex_unlock(&log->lock);
}

static MllpListenerConfig listener_config(Fixture *fixture)
{
    seen.outcomes[0] = '\0';
    memset(seen.rejections, 0, sizeof(seen.rejections));
    return (MllpListenerConfig){
        .stream = {.address = "127.0.0.1:0",
                   .nodes = fixture->nodes,
                   .rejected_ctx = &seen,
                   .rejected = on_rejected},
        .pix = fixture->pix,
        .ctx = &seen,
        .finished = on_finished,
    };
}

static MllpListener *start(const MllpListenerConfig *config)
{
    char problem[256] = "";
    MllpListener *listener = mllp_listener_bind(config, problem, sizeof(problem));
    if (!listener || !mllp_listener_start(listener, problem, sizeof(problem))) {
        fail_msg("%s", problem);
    }
    return listener;
}

static int connect_to(const MllpListener *listener)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)mllp_listener_port(listener)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    const struct timeval limit = {.tv_sec = 90};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/** Reads until count acknowledgements with this code are here. */
static void expect_acks(int fd, const char *code, int count)
{
    char buffer[16384];
    size_t len = 0;
    char wanted[32];
    snprintf(wanted, sizeof(wanted), "\rMSA|%s|", code);
    for (int found = 0; found < count;) {
        ssize_t got = recv(fd, buffer + len, sizeof(buffer) - len, 0);
        if (got <= 0) {
            fail_msg("closed after %d acknowledgements", found);
        }
        len += (size_t)got;
        found = 0;
        for (size_t i = 0; i < len; i++) {
            found += buffer[i] == 0x1c;
        }
    }
    assert_true(str_contains((Str){buffer, len}, str_from(wanted)));
}

static void expect_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    if (got > 0 || (got < 0 && errno == EAGAIN)) {
        fail_msg("the connection is still open");
    }
    close(fd);
}

static void test_messages_are_answered_on_the_same_connection(void **state)
{
    Fixture *fixture = *state;
    MllpListenerConfig config = listener_config(fixture);
    MllpListener *listener = start(&config);
    int fd = connect_to(listener);
    send_text(fd, FEED("1"));
    expect_acks(fd, "AA", 1);
    send_text(fd, FEED("2") FEED("3")); /* a sender that does not wait is answered in order */
    expect_acks(fd, "AA", 2);
    send_text(fd, "\x0bMSH|^~\\&|A|B|C|D|2026||ORU^R01|C4|P|2.5\r\x1c\r");
    expect_acks(fd, "AR", 1);
    close(fd);
    mllp_listener_free(listener);
    assert_string_equal(seen.outcomes, "AA AA AA AR ");
}

static void test_a_wrong_frame_ends_the_connection_without_acknowledgement(void **state)
{
    Fixture *fixture = *state;
    static const char *const streams[] = {
        "\x0bMSH|0123456789012345678901234567890123456789\x1c\r", /* above the limit of 32 */
        "\x0bMSH\x0bMSH\x1c\r",
    };
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        MllpListenerConfig config = listener_config(fixture);
        config.max_frame_bytes = 32;
        MllpListener *listener = start(&config);
        int fd = connect_to(listener);
        send_text(fd, streams[i]);
        expect_closed(fd);
        mllp_listener_free(listener);
        assert_string_equal(seen.outcomes, "closed ");
    }
}

static void test_slow_frames_and_idle_connections_are_ended(void **state)
{
    Fixture *fixture = *state;
    MllpListenerConfig config = listener_config(fixture);
    config.frame_timeout_ms = 200;
    config.idle_timeout_ms = 400;
    MllpListener *listener = start(&config);
    int slow = connect_to(listener);
    int idle = connect_to(listener);
    send_text(slow, "\x0bMSH|");
    send_text(idle, "noise"); /* octets outside a frame do not keep a connection */
    expect_closed(slow);
    expect_closed(idle);
    mllp_listener_free(listener);
    assert_string_equal(seen.outcomes, "closed ");
}

static void test_connections_beyond_the_limit_are_sent_away(void **state)
{
    Fixture *fixture = *state;
    MllpListenerConfig config = listener_config(fixture);
    config.stream.max_connections = 2;
    MllpListener *listener = start(&config);
    int first = connect_to(listener);
    int second = connect_to(listener);
    send_text(first, FEED("1"));
    expect_acks(first, "AA", 1);
    send_text(second, FEED("2"));
    expect_acks(second, "AA", 1);
    expect_closed(connect_to(listener));
    close(first);
    close(second);
    mllp_listener_free(listener);
    assert_int_equal(seen.rejections[TLS_REFUSED_CROWD], 1);
}

static void test_a_stop_closes_what_is_not_at_work(void **state)
{
    Fixture *fixture = *state;
    MllpListenerConfig config = listener_config(fixture);
    MllpListener *listener = start(&config);
    int idle = connect_to(listener);
    int half = connect_to(listener);
    send_text(idle, FEED("1"));
    expect_acks(idle, "AA", 1);
    send_text(half, FEED("2") "\x0bMSH|");
    expect_acks(half, "AA", 1);
    int64_t began_ns = clock_now_ns();
    mllp_listener_free(listener);
    assert_true(clock_now_ns() - began_ns < INT64_C(60000000000));
    expect_closed(idle);
    expect_closed(half);
    assert_string_equal(seen.outcomes, "AA AA ");
}

static void test_plain_listeners_stay_on_loopback(void **state)
{
    Fixture *fixture = *state;
    char problem[256] = "";
    MllpListenerConfig config = listener_config(fixture);
    config.stream.address = "0.0.0.0:0";
    assert_null(mllp_listener_bind(&config, problem, sizeof(problem)));
    assert_non_null(strstr(problem, "loopback"));
}

/* ---- TLS ---- */

typedef struct Party {
    TestCertificate made;
    char certificate[160];
    char key[160];
} Party;

static void make_party(const char *directory, const char *name, const TestCertificate *issuer,
                       Party *ret_party)
{
    char file[64];
    const TestCertificateSpec spec = {.name = name,
                                      .issuer = issuer,
                                      .is_ca = !issuer,
                                      .valid_from_s = -60,
                                      .valid_to_s = 3600,
                                      .serial = 1 + (long)strlen(name)};
    ret_party->made = test_certificate_new(&spec);
    snprintf(file, sizeof(file), "%s.pem", name);
    test_pem_certificate(directory, file, &ret_party->made, ret_party->certificate,
                         sizeof(ret_party->certificate));
    snprintf(file, sizeof(file), "%s.key", name);
    test_pem_key(directory, file, &ret_party->made, ret_party->key, sizeof(ret_party->key));
}

/** Sends one feed over TLS. @return whether it was acknowledged with AA */
static bool feed_over_tls(const MllpListener *listener, SSL_CTX *context)
{
    char reply[4096] = "";
    int fd = connect_to(listener);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    const char *message = FEED("7");
    bool is_accepted = SSL_connect(ssl) == 1 && SSL_write(ssl, message, (int)strlen(message)) > 0 &&
                       SSL_read(ssl, reply, sizeof(reply) - 1) > 0 && strstr(reply, "MSA|AA|");
    SSL_free(ssl);
    close(fd);
    return is_accepted;
}

static void test_only_registered_nodes_may_speak_over_tls(void **state)
{
    Fixture *fixture = *state;
    char problem[256] = "";
    Party ca;
    Party server;
    Party node;
    Party stranger;
    make_party(fixture->directory, "ca", NULL, &ca);
    make_party(fixture->directory, "server", &ca.made, &server);
    make_party(fixture->directory, "gateway", &ca.made, &node);
    make_party(fixture->directory, "unregistered", &ca.made, &stranger);
    Party *parties[] = {&server, &node, &stranger};
    Tls *tls[3];
    SSL_CTX *contexts[3];
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
        const TlsSettings settings = {
            .certificate = parties[i]->certificate, .key = parties[i]->key, .ca = ca.certificate};
        tls[i] = tls_new(&settings, problem, sizeof(problem));
        assert_non_null(tls[i]);
        contexts[i] = i == 0 ? tls_server_context(tls[i], problem, sizeof(problem))
                             : tls_client_context(tls[i], problem, sizeof(problem));
        assert_non_null(contexts[i]);
    }

    Request *req = request_new(600000);
    TlsCertificate certificate;
    char sql[512];
    assert_true(tls_certificate_from_file(req->arena, node.certificate, &certificate, problem,
                                          sizeof(problem)));
    snprintf(sql, sizeof(sql),
             "INSERT INTO facility (name) VALUES ('A');"
             "INSERT INTO node (name, facility, transactions, sources)"
             " VALUES ('gateway', 1, '{ITI-8}', '{A|B}');"
             "INSERT INTO node_certificate VALUES ('%.*s', 1, 'CN=gateway', now());",
             STR_ARG(certificate.fingerprint));
    fixture_run_script(fixture->pool, sql);
    NodeDirectory *nodes = node_directory_new(fixture->pool, ACCESS_ENFORCE);
    assert_int_equal(node_directory_refresh(nodes, req), 0);
    assert_int_equal(node_directory_refresh(fixture->nodes, req), 0); /* the one pix asks */

    MllpListenerConfig config = listener_config(fixture);
    config.stream.tls = contexts[0];
    config.stream.nodes = nodes;
    config.stream.open_peers = open_peers_new(tls[0], nodes, NULL, 100);
    MllpListener *listener = start(&config);
    assert_true(feed_over_tls(listener, contexts[1]));
    assert_false(feed_over_tls(listener, contexts[2]));
    mllp_listener_free(listener);
    config.stream.handshake_timeout_ms = 300;
    listener = start(&config);
    expect_closed(connect_to(listener)); /* no handshake in time */
    mllp_listener_free(listener);
    assert_string_equal(seen.outcomes, "AA ");
    assert_int_equal(seen.rejections[TLS_REFUSED_UNREGISTERED], 1);
    assert_int_equal(seen.rejections[TLS_REFUSED_TOO_SLOW], 1);

    open_peers_free(config.stream.open_peers);
    node_directory_free(nodes);
    request_free(req);
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
        SSL_CTX_free(contexts[i]);
        tls_free(tls[i]);
        test_certificate_done(&parties[i]->made);
    }
    test_certificate_done(&ca.made);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_are_answered_on_the_same_connection),
        TEST(test_a_wrong_frame_ends_the_connection_without_acknowledgement),
        TEST(test_slow_frames_and_idle_connections_are_ended),
        TEST(test_connections_beyond_the_limit_are_sent_away),
        TEST(test_a_stop_closes_what_is_not_at_work),
        TEST(test_plain_listeners_stay_on_loopback),
        TEST(test_only_registered_nodes_may_speak_over_tls),
    };
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    signal(SIGPIPE, SIG_IGN); /* for the clients here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
