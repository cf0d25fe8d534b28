#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/ebrim/vocabulary.h"
#include "lib/tls/tls.h"
#include "lib/xml/read.h"
#include "repository/repository.h"

#include "tests/unit/certificates.h"

/** What the registry's end of one connection does with each request; NULL ends the connection
 * instead. */
typedef struct Script {
    const char *replies[4];
    size_t count;
} Script;

typedef struct Fixture {
    char directory[64];
    char certificate[128];
    char key[128];
    char url[64];
    Tls *tls;
    SSL_CTX *context;
    int listener;
    Script script;
    StrBuf requests; /* all that came */
    unsigned connection_count;
    pthread_t thread;
    RegistryClient *client;
    Request *req;
} Fixture;

#define SOAP_REPLY(body)                                                                           \
    "<s:Envelope xmlns:s=\"" NS_SOAP12 "\"><s:Body>" body "</s:Body></s:Envelope>"
#define RESPONSE(status, inside)                                                                   \
    SOAP_REPLY("<rs:RegistryResponse xmlns:rs=\"" NS_RS "\" status=\"" status "\">" inside         \
               "</rs:RegistryResponse>")
#define ERROR_LIST(code, severity)                                                                 \
    "<rs:RegistryErrorList><rs:RegistryError errorCode=\"" code                                    \
    "\" codeContext=\"words of the registry\" location=\"d1\" severity=\"" severity                \
    "\"/></rs:RegistryErrorList>"

/** Reads one request; false at the end of the connection. */
static bool serve_one(Fixture *fixture, SSL *ssl)
{
    StrBuf request = {0};
    size_t wanted = SIZE_MAX;
    while (request.len < wanted) {
        char *room = strbuf_reserve(&request, 4096);
        int rc = SSL_read(ssl, room, 4096);
        if (rc <= 0) {
            strbuf_done(&request);
            return false;
        }
        request.len += (size_t)rc;
        size_t end = str_find(strbuf_str(&request), STR("\r\n\r\n"));
        size_t at = str_find(strbuf_str(&request), STR("Content-Length: "));
        if (end != SIZE_MAX && at != SIZE_MAX) {
            wanted = end + 4 + strtoul(request.data + at + 16, NULL, 10);
            room = strbuf_reserve(&request, 1);
            *room = '\0';
        }
    }
    strbuf_append(&fixture->requests, strbuf_str(&request));
    strbuf_done(&request);
    return true;
}

static void *serve(void *ctx)
{
    Fixture *fixture = ctx;
    size_t next = 0;
    while (next < fixture->script.count) {
        int fd = accept(fixture->listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        fixture->connection_count++;
        SSL *ssl = SSL_new(fixture->context);
        SSL_set_fd(ssl, fd);
        bool is_open = SSL_accept(ssl) == 1;
        while (is_open && next < fixture->script.count && serve_one(fixture, ssl)) {
            const char *reply = fixture->script.replies[next++];
            is_open = reply != NULL;
            if (is_open) {
                SSL_write(ssl, reply, (int)strlen(reply));
            }
        }
        SSL_free(ssl);
        close(fd);
    }
    return NULL;
}

static int set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char problem[256] = "";
    strcpy(fixture->directory, "/tmp/musubi-remote-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    const TestCertificateSpec spec = {
        .name = "self", .is_ca = true, .valid_from_s = -60, .valid_to_s = 3600, .serial = 1};
    TestCertificate made = test_certificate_new(&spec);
    test_pem_certificate(fixture->directory, "self.pem", &made, fixture->certificate,
                         sizeof(fixture->certificate));
    test_pem_key(fixture->directory, "self.key", &made, fixture->key, sizeof(fixture->key));
    test_certificate_done(&made);
    const TlsSettings settings = {
        .certificate = fixture->certificate, .key = fixture->key, .ca = fixture->certificate};
    fixture->tls = tls_new(&settings, problem, sizeof(problem));
    assert_non_null(fixture->tls);
    fixture->context = tls_server_context(fixture->tls, problem, sizeof(problem));
    if (!fixture->context) {
        fail_msg("%s", problem);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listener, 4), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&address, &size), 0);
    snprintf(fixture->url, sizeof(fixture->url), "https://127.0.0.1:%u/registry",
             ntohs(address.sin_port));
    RemoteRegistryConfig config = {fixture->url, fixture->tls, NULL};
    fixture->client = registry_client_remote_new(&config, problem, sizeof(problem));
    if (!fixture->client) {
        fail_msg("%s", problem);
    }
    fixture->req = request_new(600000);
    *state = fixture;
    return 0;
}

static void start(Fixture *fixture, Script script)
{
    fixture->script = script;
    assert_int_equal(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    char command[128];
    registry_client_remote_free(fixture->client);
    shutdown(fixture->listener, SHUT_RDWR);
    if (fixture->thread) {
        pthread_join(fixture->thread, NULL);
    }
    close(fixture->listener);
    SSL_CTX_free(fixture->context);
    tls_free(fixture->tls);
    strbuf_done(&fixture->requests);
    request_free(fixture->req);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->directory);
    int rc = system(command);
    free(fixture);
    return rc;
}

static int submit(Fixture *fixture)
{
    Submission *submission;
    XmlNode *root;
    Str xml = STR("<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM
                  "\"><rim:RegistryObjectList><rim:ExtrinsicObject id=\"d1\" "
                  "mimeType=\"text/plain\" objectType=\"" UUID_STABLE_DOCUMENT
                  "\"/></rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
    assert_int_equal(xml_read(fixture->req, xml, &root), 0);
    assert_int_equal(submission_read(fixture->req, root, &submission), 0);
    return fixture->client->register_submission(fixture->client->ctx, fixture->req, submission,
                                                NULL, NULL);
}

static const char *http(Fixture *fixture, const char *body)
{
    return str_cstr(fixture->req->arena,
                    str_printf(fixture->req->arena,
                               "HTTP/1.1 200 OK\r\nContent-Type: "
                               "application/soap+xml\r\ncontent-length: %zu\r\n\r\n%s",
                               strlen(body), body));
}

/** TF-2 3.42: the request as a registry expects it, over one kept connection. */
static void test_success_of_the_registry_is_success(void **state)
{
    Fixture *fixture = *state;
    const char *reply = http(fixture, RESPONSE(URN_RESPONSE_SUCCESS, ""));
    start(fixture, (Script){{reply, reply}, 2});
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(fixture->req->errors.count, 0);
    assert_int_equal(fixture->connection_count, 1);
    Str requests = strbuf_str(&fixture->requests);
    assert_true(str_starts_with(requests, STR("POST /registry HTTP/1.1\r\n")));
    assert_true(str_contains(requests, STR("action=\"urn:ihe:iti:2007:RegisterDocumentSet-b\"")));
    assert_true(str_contains(requests, STR("SubmitObjectsRequest")));
}

/* A registration that was carried out is not answered as Failure. */
static void test_success_stays_one_whatever_comes_with_it(void **state)
{
    Fixture *fixture = *state;
    start(fixture,
          (Script){{http(fixture, RESPONSE(URN_RESPONSE_SUCCESS,
                                           ERROR_LIST("XDSExtraMetadataNotSaved", "urn:other")))},
                   1});
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(fixture->req->errors.count, 1);
    assert_false(error_list_has_errors(&fixture->req->errors));
}

/** TF-2 3.41.4.1.3.2: every error and warning is relayed, also the last of a long list, which says
 * how many more there are. */
static void test_long_lists_are_relayed_whole(void **state)
{
    Fixture *fixture = *state;
    StrBuf list = {0};
    strbuf_literal(&list, "<rs:RegistryErrorList>");
    for (unsigned i = 0; i <= ERROR_LIST_KEPT_MAX; i++) {
        strbuf_printf(&list,
                      "<rs:RegistryError errorCode=\"XDSRegistryMetadataError\" severity=\"%s\" "
                      "codeContext=\"fault %u\"/>",
                      URN_SEVERITY_ERROR, i);
    }
    strbuf_literal(&list, "</rs:RegistryErrorList>");
    Str reply = str_printf(fixture->req->arena, RESPONSE(URN_RESPONSE_FAILURE, "%s"), list.data);
    start(fixture, (Script){{http(fixture, str_cstr(fixture->req->arena, reply))}, 1});
    assert_int_equal(submit(fixture), -ERR_XDS_REGISTRY_METADATA_ERROR);
    assert_int_equal(fixture->req->errors.error_count, ERROR_LIST_KEPT_MAX + 1);
    assert_true(str_equal(fixture->req->errors.last->context,
                          str_printf(fixture->req->arena, "fault %u", ERROR_LIST_KEPT_MAX)));
    strbuf_done(&list);
}

/** TF-2 3.41.4.1.3.2: every error and warning is relayed with its own words. */
static void test_errors_and_warnings_are_relayed(void **state)
{
    Fixture *fixture = *state;
    start(fixture,
          (Script){
              {http(fixture, RESPONSE(URN_RESPONSE_FAILURE,
                                      ERROR_LIST("XDSUnknownPatientId", URN_SEVERITY_ERROR))),
               http(fixture, RESPONSE(URN_RESPONSE_SUCCESS, ERROR_LIST("XDSExtraMetadataNotSaved",
                                                                       URN_SEVERITY_WARNING))),
               http(fixture, RESPONSE(URN_RESPONSE_FAILURE,
                                      ERROR_LIST("SomethingNew", URN_SEVERITY_ERROR)))},
              3});
    assert_int_equal(submit(fixture), -ERR_XDS_UNKNOWN_PATIENT_ID);
    assert_true(str_equal(fixture->req->errors.first->context, STR("words of the registry")));
    assert_true(str_equal(fixture->req->errors.first->location, STR("d1")));
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(fixture->req->errors.last->severity, SEVERITY_WARNING);
    assert_int_equal(submit(fixture), -ERR_XDS_REGISTRY_ERROR);
}

static void test_chunked_reply_is_read(void **state)
{
    Fixture *fixture = *state;
    const char *body = RESPONSE(URN_RESPONSE_SUCCESS, "");
    Str reply = str_printf(fixture->req->arena,
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                           "chunked\r\n\r\n1\r\n%.1s\r\n%zX;x=y\r\n%s\r\n0\r\n\r\n",
                           body, strlen(body) - 1, body + 1);
    start(fixture, (Script){{str_cstr(fixture->req->arena, reply)}, 1});
    assert_int_equal(submit(fixture), 0);
}

/** Contract C3: without an answer the outcome is unknown. */
static void test_reply_that_says_nothing_is_not_an_answer(void **state)
{
    static const char *const REPLIES[] = {
        "HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "nonsense\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(REPLIES) / sizeof(REPLIES[0]); i++) {
        Fixture *fixture = *state;
        start(fixture, (Script){{REPLIES[i]}, 1});
        assert_int_equal(submit(fixture), -ERR_XDS_REGISTRY_NOT_AVAILABLE);
        tear_down(state);
        set_up(state);
    }
}

static void test_kept_connection_that_was_closed_is_replaced(void **state)
{
    Fixture *fixture = *state;
    const char *reply = http(fixture, RESPONSE(URN_RESPONSE_SUCCESS, ""));
    start(fixture, (Script){{reply, NULL, reply}, 3});
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(submit(fixture), 0);
    assert_int_equal(fixture->connection_count, 2);
}

static void test_registry_that_is_away_is_not_available(void **state)
{
    Fixture *fixture = *state;
    shutdown(fixture->listener, SHUT_RDWR);
    assert_int_equal(submit(fixture), -ERR_XDS_REGISTRY_NOT_AVAILABLE);
}

/** RFC 9525: a trusted peer that is not the host of the URL is not spoken to, unless its
 * fingerprint is configured. */
static void test_registry_is_held_to_the_host_of_the_url(void **state)
{
    Fixture *fixture = *state;
    const char *success = http(fixture, RESPONSE(URN_RESPONSE_SUCCESS, ""));
    char problem[256];
    char url[64];
    TlsCertificate certificate;
    Request *req = request_new(600000);
    assert_true(tls_certificate_from_file(req->arena, fixture->certificate, &certificate, problem,
                                          sizeof(problem)));
    /* another name of the same address */
    snprintf(url, sizeof(url), "https://127.1:%s/registry", strrchr(fixture->url, ':') + 1);
    *strrchr(url, '/') = '\0';
    const char *fingerprints[] = {"", str_cstr(req->arena, certificate.fingerprint)};
    start(fixture, (Script){{success}, 1});
    for (size_t i = 0; i < 2; i++) {
        RemoteRegistryConfig config = {url, fixture->tls, fingerprints[i]};
        registry_client_remote_free(fixture->client);
        fixture->client = registry_client_remote_new(&config, problem, sizeof(problem));
        assert_non_null(fixture->client);
        int rc = submit(fixture);
        assert_int_equal(rc, i == 0 ? -(int)ERR_XDS_REGISTRY_NOT_AVAILABLE : 0);
    }
    assert_int_equal(fixture->connection_count, 2);
    request_free(req);
}

/** TF-2 3.18.4.1.2.3.7.5: GetDocuments by uniqueId; only an entry with this hash is this document.
 */
static void test_registered_document_is_recognised_by_its_hash(void **state)
{
    Fixture *fixture = *state;
    const char *reply = http(
        fixture,
        SOAP_REPLY("<q:AdhocQueryResponse xmlns:q=\"" NS_QUERY "\" status=\"" URN_RESPONSE_SUCCESS
                   "\"><r:RegistryObjectList xmlns:r=\"" NS_RIM
                   "\"><r:ExtrinsicObject><r:Slot name=\"hash\">"
                   "<r:ValueList><r:Value>ABCD</r:Value></r:ValueList></r:Slot></r:ExtrinsicObject>"
                   "</r:RegistryObjectList></q:AdhocQueryResponse>"));
    const RegistryClient *client = fixture->client;
    start(fixture, (Script){{reply, reply, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"}, 3});
    assert_int_equal(client->is_registered(client->ctx, fixture->req, STR("1.2'3"), STR("abcd")),
                     1);
    assert_int_equal(client->is_registered(client->ctx, fixture->req, STR("1.2.3"), STR("ffff")),
                     0);
    assert_true(client->is_registered(client->ctx, fixture->req, STR("1.2.3"), STR("abcd")) < 0);
    assert_true(str_contains(strbuf_str(&fixture->requests), STR("('1.2''3')")));
}

static void test_address_that_is_no_https_url_is_refused(void **state)
{
    static const char *const URLS[] = {"http://a/", "https://", "https://a:0/", "https://a:x/",
                                       "https://[::1/"};
    Fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(URLS) / sizeof(URLS[0]); i++) {
        char problem[256] = "";
        RemoteRegistryConfig config = {URLS[i], fixture->tls, NULL};
        assert_null(registry_client_remote_new(&config, problem, sizeof(problem)));
        assert_non_null(strstr(problem, URLS[i]));
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    xml_init();
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        TEST(test_success_of_the_registry_is_success),
        TEST(test_success_stays_one_whatever_comes_with_it),
        TEST(test_long_lists_are_relayed_whole),
        TEST(test_errors_and_warnings_are_relayed),
        TEST(test_chunked_reply_is_read),
        TEST(test_reply_that_says_nothing_is_not_an_answer),
        TEST(test_kept_connection_that_was_closed_is_replaced),
        TEST(test_registry_that_is_away_is_not_available),
        TEST(test_registered_document_is_recognised_by_its_hash),
        TEST(test_registry_is_held_to_the_host_of_the_url),
        TEST(test_address_that_is_no_https_url_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
