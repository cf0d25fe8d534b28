#include <fcntl.h>

#include "tests/unit/repository_service.h"

#define HELLO "aGVsbG8="
#define WORLD "d29ybGQ="

static bool holds(const StrBuf *reply, const char *text)
{
    return str_contains(strbuf_str(reply), str_from(text));
}

static void store_two(Service *service)
{
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", "") ENTRY("d2", "1.2.4", ""),
                                     DOCUMENT("d1", HELLO) DOCUMENT("d2", WORLD)));
}

static void test_documents_come_back_with_their_ids_and_types(void **state)
{
    Service *service = *state;
    StrBuf bytes = {0};
    store_two(service);
    Exchanged done = service_retrieve(service, RETRIEVE(WANT("1.2.4") WANT("1.2.3") WANT("1.2.4")));
    assert_int_equal(done.rc, 0);
    assert_int_equal(done.exchange.part_count, 3);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_SUCCESS));
    assert_true(holds(&done.exchange.reply_xml, "<xds:mimeType>text/plain</xds:mimeType>"));
    assert_false(holds(&done.exchange.reply_xml, "HomeCommunityId"));
    for (size_t i = 0; i < 3; i++) {
        exchanged_part(&done, i, &bytes);
    }
    assert_true(str_equal(strbuf_str(&bytes), STR("worldhelloworld")));
    strbuf_done(&bytes);
    exchanged_free(&done);
    assert_int_equal(service_audit_count(service, "Retrieve Document Set"), 1);
}

/** TF-2 3.43.5, TF-3 Table 4.2.4.1-2: one error for each document that does not come, the others
 * do. */
static void test_each_missing_document_is_one_error(void **state)
{
    Service *service = *state;
    store_two(service);
    Exchanged done = service_retrieve(
        service, RETRIEVE(WANT("9.9.9") WANT("1.2.3") WANT_FROM("1.1.1", "1.2.4")));
    assert_int_equal(done.exchange.part_count, 1);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_PARTIAL));
    assert_true(holds(&done.exchange.reply_xml, "XDSDocumentUniqueIdError"));
    assert_true(holds(&done.exchange.reply_xml, "XDSUnknownRepositoryId"));
    assert_true(holds(&done.exchange.reply_xml, "location=\"9.9.9\""));
    assert_true(done.req->outcome_is_partial);
    exchanged_free(&done);
    /* delivered, failed, and the part that this test did not read */
    assert_int_equal(service_audit_count(service, "Retrieve Document Set"), 3);
}

/** Access: denied = absent, in the same words. */
static void test_denied_document_looks_like_an_unknown_one(void **state)
{
    Service *service = *state;
    store_two(service);
    service->principal = (Principal){0};
    Exchanged denied = service_retrieve(service, RETRIEVE(WANT("1.2.3")));
    Exchanged unknown = service_retrieve(service, RETRIEVE(WANT("9.9.9")));
    assert_int_equal(denied.exchange.part_count, 0);
    assert_int_equal(denied.req->errors.first->code, unknown.req->errors.first->code);
    assert_true(str_equal(denied.req->errors.first->context, unknown.req->errors.first->context));
    exchanged_free(&denied);
    exchanged_free(&unknown);
}

/** TF-2 3.43.4.1.2: HomeCommunityId, RepositoryUniqueId, DocumentUniqueId, in this order. */
static void test_request_out_of_order_is_refused_with_the_element_named(void **state)
{
    Service *service = *state;
    const struct {
        const char *body;
        const char *named;
    } cases[] = {
        {RETRIEVE("<xds:DocumentRequest><xds:DocumentUniqueId>1.2.3</"
                  "xds:DocumentUniqueId><xds:RepositoryUniqueId>"
                  "1</xds:RepositoryUniqueId></xds:DocumentRequest>"),
         "misplaced RepositoryUniqueId"},
        {RETRIEVE("<xds:DocumentRequest><xds:RepositoryUniqueId>1</xds:RepositoryUniqueId></"
                  "xds:DocumentRequest>"),
         "missing DocumentUniqueId"},
        {RETRIEVE("<xds:DocumentRequest><xds:RepositoryUniqueId>1</"
                  "xds:RepositoryUniqueId><xds:DocumentUniqueId/>"
                  "</xds:DocumentRequest>"),
         "missing DocumentUniqueId"},
        {RETRIEVE("<xds:Other/>"), "unexpected Other"},
        {RETRIEVE(""), "no xds:DocumentRequest"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Exchanged done = service_retrieve(service, cases[i].body);
        if (!holds(&done.exchange.reply_xml, "XDSRepositoryMetadataError") ||
            !holds(&done.exchange.reply_xml, cases[i].named)) {
            fail_msg("case %zu: %s", i, done.exchange.reply_xml.data);
        }
        exchanged_free(&done);
    }
}

static void test_home_community_is_echoed_if_it_was_sent(void **state)
{
    Service *service = *state;
    store_two(service);
    Exchanged done = service_retrieve(
        service,
        RETRIEVE("<xds:DocumentRequest><xds:HomeCommunityId>urn:oid:1.2</xds:HomeCommunityId>"
                 "<xds:RepositoryUniqueId>" REPOSITORY_ID "</xds:RepositoryUniqueId>"
                 "<xds:DocumentUniqueId>1.2.3</xds:DocumentUniqueId></xds:DocumentRequest>"));
    assert_true(
        holds(&done.exchange.reply_xml, "<xds:HomeCommunityId>urn:oid:1.2</xds:HomeCommunityId>"));
    exchanged_free(&done);
}

/** Changes a byte of the stored document "hello". */
static void damage_hello(const Service *service)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/segments/0000000001.seg", service->blobs);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    char page[8192];
    assert_int_equal(pread(fd, page, sizeof(page), 4096), sizeof(page));
    char *hello = memmem(page, sizeof(page), "hello", 5);
    assert_non_null(hello);
    assert_int_equal(pwrite(fd, "j", 1, 4096 + (hello - page)), 1);
    close(fd);
}

/** Contract C5: damage of a small document is found before the reply, and the others still arrive.
 */
static void test_damaged_document_is_an_error_and_the_others_arrive(void **state)
{
    Service *service = *state;
    store_two(service);
    damage_hello(service);
    Exchanged done = service_retrieve(service, RETRIEVE(WANT("1.2.3") WANT("1.2.4")));
    assert_int_equal(done.exchange.part_count, 1);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_PARTIAL));
    assert_true(holds(&done.exchange.reply_xml, "XDSRepositoryError"));
    exchanged_free(&done);
}

/** Bytes that this process has read from files and sockets. */
static uint64_t bytes_read(void)
{
    char text[512] = "";
    unsigned long long count = 0;
    FILE *file = fopen("/proc/self/io", "re");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    assert_int_equal(sscanf(text, "rchar: %llu", &count), 1);
    return count;
}

/** xds:DocumentRequest of "1.2.N", N from first on; step 0: always the same one. */
static char *make_requests(Request *req, unsigned count, unsigned first, unsigned step)
{
    StrBuf buf = {0};
    strbuf_literal(&buf, "<xds:RetrieveDocumentSetRequest xmlns:xds=\"" NS_XDSB "\">");
    for (unsigned i = 0; i < count; i++) {
        strbuf_printf(&buf, WANT("1.2.%u"), first + i * step);
    }
    strbuf_literal(&buf, "</xds:RetrieveDocumentSetRequest>");
    char *body = str_cstr(req->arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return body;
}

/** The reply is due: what has not been read ahead is checked block by block, as large documents are
 * (contract C5). */
static void test_document_that_no_time_is_left_for_is_checked_as_it_leaves(void **state)
{
    Service *service = *state;
    StrBuf bytes = {0};
    store_two(service);
    damage_hello(service);
    service->used_ms = 400000;
    Exchanged done = service_retrieve(service, RETRIEVE(WANT("1.2.3") WANT("1.2.4")));
    assert_int_equal(done.exchange.part_count, 2);
    BodySource damaged = done.exchange.parts[0].source;
    assert_int_equal(damaged.next(damaged.ctx, &bytes), -ERR_CORRUPT);
    assert_int_equal(bytes.len, 0);
    exchanged_part(&done, 1, &bytes);
    assert_true(str_equal(strbuf_str(&bytes), STR("world")));
    strbuf_done(&bytes);
    exchanged_free(&done);
}

/** A short message must not make the repository read one document over and over. */
static void test_document_asked_for_many_times_is_read_ahead_once(void **state)
{
    enum { TIMES = 300, QUADS = 10000 };
    Service *service = *state;
    Request *req = request_new(600000);
    char *base64 = arena_alloc(req->arena, 4 * QUADS + 1);
    memset(base64, 'A', 4 * QUADS);
    base64[4 * QUADS] = '\0';
    Str provide =
        str_printf(req->arena, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", "%s")), base64);
    assert_provided(service, provide.data);
    const char *body = make_requests(req, TIMES, 3, 0);
    uint64_t before = bytes_read();
    Exchanged done = service_retrieve(service, body);
    assert_true(bytes_read() - before < 10 * 3 * QUADS);
    assert_int_equal(done.exchange.part_count, TIMES);
    exchanged_free(&done);
    request_free(req);
}

/** TF-2 3.43.5: one RegistryError with its DocumentUniqueId for each document that does not come.
 */
static void test_every_one_of_many_missing_documents_is_listed(void **state)
{
    enum { COUNT = 450 };
    Service *service = *state;
    Request *req = request_new(600000);
    Exchanged done = service_retrieve(service, make_requests(req, COUNT, 1000, 1));
    for (unsigned i = 0; i < COUNT; i++) {
        Str location = str_printf(req->arena, "location=\"1.2.%u\"", 1000 + i);
        if (!holds(&done.exchange.reply_xml, location.data)) {
            fail_msg("%s is not in the reply", location.data);
        }
    }
    exchanged_free(&done);
    request_free(req);
}

static void test_removed_document_is_not_served(void **state)
{
    Service *service = *state;
    store_two(service);
    service_run(service->pool,
                "UPDATE repository_document SET state = 3 WHERE unique_id = '1.2.3'; "
                "UPDATE repository_document SET state = 2 WHERE unique_id = '1.2.4'");
    Exchanged done = service_retrieve(service, RETRIEVE(WANT("1.2.3") WANT("1.2.4")));
    assert_int_equal(done.exchange.part_count, 0);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_FAILURE));
    exchanged_free(&done);
}

static void count_line(void *ctx, const char *line)
{
    assert_non_null(strstr(line, "1.2.3"));
    ++*(unsigned *)ctx;
}

static void test_fsck_and_scrub_find_damage_and_name_the_document(void **state)
{
    Service *service = *state;
    char path[256];
    unsigned count = 0;
    store_two(service);
    RepositoryConfig config = service->repository->config;
    repository_free(service->repository);
    service->repository = NULL;
    Request *req = request_new(600000);
    assert_int_equal(repository_fsck(&config, req, count_line, &count), 0);
    assert_int_equal(repository_scrub(&config, req, 0, count_line, &count), 0);
    snprintf(path, sizeof(path), "%s/segments/0000000001.seg", service->blobs);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char page[8192];
    assert_int_equal(pread(fd, page, sizeof(page), 4096), sizeof(page));
    char *hello = memmem(page, sizeof(page), "hello", 5);
    assert_non_null(hello);
    assert_int_equal(pwrite(fd, "j", 1, 4096 + (hello - page)), 1);
    assert_int_equal(repository_fsck(&config, req, count_line, &count),
                     0); /* does not read the bytes */
    assert_int_equal(repository_scrub(&config, req, 1 << 20, count_line, &count), 1);
    assert_int_equal(pwrite(fd, "XXXX", 4, 4096 + ((hello - page) & ~4095)),
                     4); /* its record's magic */
    close(fd);
    assert_int_equal(repository_fsck(&config, req, count_line, &count), 1);
    assert_int_equal(count, 2);
    request_free(req);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    xml_init();
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, service_set_up, service_tear_down)
        TEST(test_documents_come_back_with_their_ids_and_types),
        TEST(test_each_missing_document_is_one_error),
        TEST(test_denied_document_looks_like_an_unknown_one),
        TEST(test_request_out_of_order_is_refused_with_the_element_named),
        TEST(test_home_community_is_echoed_if_it_was_sent),
        TEST(test_damaged_document_is_an_error_and_the_others_arrive),
        TEST(test_document_asked_for_many_times_is_read_ahead_once),
        TEST(test_document_that_no_time_is_left_for_is_checked_as_it_leaves),
        TEST(test_every_one_of_many_missing_documents_is_listed),
        TEST(test_removed_document_is_not_served),
        TEST(test_fsck_and_scrub_find_damage_and_name_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
