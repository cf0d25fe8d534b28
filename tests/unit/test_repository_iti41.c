#include <signal.h>
#include <sys/resource.h>

#include "repository/hold.h"
#include "repository/sweep.h"

#include "tests/unit/repository_service.h"

/* "hello" and its SHA-1 */
#define HELLO "aGVsbG8="
#define HELLO_SHA1 "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
#define WORLD "d29ybGQ="

/* Enough for the audit spool, not for the document below. */
#define ROOM_BYTES ((rlim_t)4 << 20)
#define LARGE_BASE64_BYTES ((size_t)8 << 20)

static bool holds(const StrBuf *reply, const char *text)
{
    return str_contains(strbuf_str(reply), str_from(text));
}

static void test_document_is_stored_registered_and_audited_in_one_transaction(void **state)
{
    Service *service = *state;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    assert_int_equal(done.rc, 0);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_SUCCESS));
    exchanged_free(&done);
    assert_int_equal(service->registry.visible_rows,
                     0); /* C2: nothing before the registry's commit */
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 1);
    assert_int_equal(service_number(service->pool, "outbox", "SELECT count(*) FROM audit_outbox"),
                     1);
}

/** TF-2 3.41.4.1.2: the submission may contain documents. */
static void test_submission_without_documents_is_passed_on(void **state)
{
    Service *service = *state;
    assert_provided(service, PROVIDE("", ""));
    assert_int_equal(service->registry.call_count, 1);
}

/** TF-2 3.41.4.1.2, 3.41.4.1.3; TF-3 Table 4.2.4.1-2 */
static void test_faulty_submission_is_refused_and_nothing_is_registered(void **state)
{
    Service *service = *state;
    const struct {
        const char *body;
        const char *code;
        const char *named;
    } cases[] = {
        {PROVIDE(ENTRY("d1", "1.2.3", ""), ""), "XDSMissingDocument", "d1"},
        {PROVIDE("", DOCUMENT("d9", HELLO)), "XDSMissingDocumentMetadata", "d9"},
        {PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO) DOCUMENT("d2", WORLD)),
         "XDSMissingDocumentMetadata", "d2"},
        {PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO) DOCUMENT("d1", WORLD)),
         "XDSRepositoryMetadataError", "d1"},
        {PROVIDE(ENTRY("d1", "1.2.3", SLOT("hash", "0000000000000000000000000000000000000000")),
                 DOCUMENT("d1", HELLO)),
         "XDSRepositoryMetadataError", HELLO_SHA1},
        {PROVIDE(ENTRY("d1", "1.2.3", SLOT("size", "6")), DOCUMENT("d1", HELLO)),
         "XDSRepositoryMetadataError", "5 bytes"},
        {PROVIDE(ENTRY("d1", "1.2.3", "") ENTRY("d2", "1.2.3", ""),
                 DOCUMENT("d1", HELLO) DOCUMENT("d2", HELLO)),
         "XDSRepositoryDuplicateUniqueIdInMessage", "1.2.3"},
        {PROVIDE(ENTRY("d1", "", ""), DOCUMENT("d1", HELLO)), "XDSRepositoryMetadataError",
         "uniqueId"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Exchanged done = service_provide(service, cases[i].body);
        assert_int_equal(done.rc, 0);
        if (!holds(&done.exchange.reply_xml, cases[i].code) ||
            !holds(&done.exchange.reply_xml, cases[i].named) ||
            !holds(&done.exchange.reply_xml, URN_RESPONSE_FAILURE)) {
            fail_msg("case %zu: %s", i, done.exchange.reply_xml.data);
        }
        exchanged_free(&done);
    }
    assert_int_equal(service->registry.call_count, 0);
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 0);
    assert_int_equal(service_audit_count(service, "ITI-41"), sizeof(cases) / sizeof(cases[0]));
}

/** TF-3 Table 4.2.4.1-2: what the storage cannot take is said in the response, with its code. */
static void test_document_that_cannot_be_stored_is_an_error_of_the_submission(void **state)
{
    Service *service = *state;
    StrBuf body = {0};
    char *large = malloc(LARGE_BASE64_BYTES + 1);
    assert_non_null(large);
    memset(large, 'A', LARGE_BASE64_BYTES);
    large[LARGE_BASE64_BYTES] = '\0';
    strbuf_printf(&body, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", "%s")), large);
    free(large);

    struct rlimit room;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ROOM_BYTES, room.rlim_max}), 0);
    Exchanged done = service_provide(service, body.data);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(done.rc, 0);
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_FAILURE));
    assert_true(holds(&done.exchange.reply_xml, "XDSRepositoryError"));
    exchanged_free(&done);
    strbuf_done(&body);
    assert_int_equal(service->registry.call_count, 0);
    assert_int_equal(service_audit_count(service, "ITI-41"), 1);
}

/** TF-2 3.41.4.1.3: the hash is compared without regard to case. */
static void test_true_hash_and_size_are_accepted(void **state)
{
    Service *service = *state;
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3",
                                           SLOT("hash", "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D")
                                               SLOT("size", "5")),
                                     DOCUMENT("d1", HELLO)));
}

static void test_error_of_the_local_registry_leaves_no_row(void **state)
{
    Service *service = *state;
    service->registry.answer = -ERR_XDS_UNKNOWN_PATIENT_ID;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    assert_true(holds(&done.exchange.reply_xml, "XDSUnknownPatientId"));
    exchanged_free(&done);
    assert_int_equal(
        service_number(service->pool, "all", "SELECT count(*) FROM repository_document"), 0);
    assert_int_equal(service_audit_count(service, "ITI-41"), 1);
}

/** TF-2 3.41.4.1.3.2: identical content is no fault; the last line against other content is the
 * table itself. */
static void test_same_unique_id_is_accepted_only_with_the_same_content(void **state)
{
    Service *service = *state;
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", WORLD)));
    assert_true(holds(&done.exchange.reply_xml, URN_RESPONSE_FAILURE));
    exchanged_free(&done);
    assert_int_equal(service_number(service->pool, "sizes",
                                    "SELECT count(*) FROM repository_document WHERE state = 1 AND "
                                    "encode(sha1, 'hex') = '" HELLO_SHA1 "'"),
                     1);
}

static void test_remote_registry_finds_the_documents_retrievable(void **state)
{
    Service *service = *state;
    service_make_remote(service);
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", "") ENTRY("d2", "1.2.4", ""),
                                     DOCUMENT("d1", HELLO) DOCUMENT("d2", WORLD)));
    assert_int_equal(service->registry.visible_rows, 2);
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 2);
    assert_int_equal(service_number(service->pool, "outbox", "SELECT count(*) FROM audit_outbox"),
                     2);
}

static void test_refusal_of_the_remote_registry_removes_only_what_was_pending(void **state)
{
    Service *service = *state;
    service_make_remote(service);
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    service->registry.answer = -ERR_XDS_REGISTRY_METADATA_ERROR;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", "") ENTRY("d2", "1.2.4", ""),
                                         DOCUMENT("d1", HELLO) DOCUMENT("d2", WORLD)));
    assert_true(holds(&done.exchange.reply_xml, "XDSRegistryMetadataError"));
    exchanged_free(&done);
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 1);
    assert_int_equal(service_rows(service, DOCUMENT_REMOVED), 1);
    service->registry.answer = 0;
    assert_provided(service, PROVIDE(ENTRY("d2", "1.2.4", ""), DOCUMENT("d2", WORLD)));
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 2);
}

/** Contract C3: the answer to a message that is sent again may be that it is registered already. */
static void test_refusal_keeps_what_the_remote_registry_has_registered_already(void **state)
{
    Service *service = *state;
    service_make_remote(service);
    service->registry.answer = -ERR_XDS_REGISTRY_NOT_AVAILABLE;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    exchanged_free(&done);
    service->registry.answer = -ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY;
    service->registry.registered = 1;
    done = service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    assert_true(holds(&done.exchange.reply_xml, "XDSDuplicateUniqueIdInRegistry"));
    exchanged_free(&done);
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 1);
}

static void test_other_content_is_refused_before_the_remote_registry_is_asked(void **state)
{
    Service *service = *state;
    service_make_remote(service);
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", "eA==")));
    assert_true(holds(&done.exchange.reply_xml, "XDSNonIdenticalHash"));
    assert_true(holds(&done.exchange.reply_xml, "XDSNonIdenticalSize"));
    exchanged_free(&done);
    assert_int_equal(service->registry.call_count, 1);
}

/** Contract C3: an unknown outcome is settled by asking, never guessed. */
static void test_unknown_outcome_stays_pending_until_the_registry_says(void **state)
{
    Service *service = *state;
    service_make_remote(service);
    service->registry.answer = -ERR_XDS_REGISTRY_NOT_AVAILABLE;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    assert_true(holds(&done.exchange.reply_xml, "XDSRegistryNotAvailable"));
    exchanged_free(&done);
    service->registry.registered = -ERR_XDS_REGISTRY_NOT_AVAILABLE;
    assert_true(sweep_settle_pending(service->repository, INT64_MAX / 4) < 0);
    assert_int_equal(service_rows(service, DOCUMENT_PENDING), 1);
    service->registry.registered = 1;
    assert_int_equal(sweep_settle_pending(service->repository, INT64_MAX / 4), 0);
    assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), 1);
}

static void test_sweep_frees_what_no_row_names_and_nothing_else(void **state)
{
    Service *service = *state;
    assert_provided(service, PROVIDE(ENTRY("d1", "1.2.3", ""), DOCUMENT("d1", HELLO)));
    service->registry.answer = -ERR_XDS_UNKNOWN_PATIENT_ID;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d2", "1.2.4", ""), DOCUMENT("d2", WORLD)));
    exchanged_free(&done);
    MarkedBlobs marked = {0};
    assert_int_equal(sweep_mark(service->repository, INT64_MAX, &marked), 0);
    assert_int_equal(marked.count, 1);
    assert_int_equal(sweep_free_marked(service->repository, &marked), 0);
    BlobInfo info;
    assert_false(blob_store_stat(service->repository->blobs, marked.items[0].sha256, &info));
    free(marked.items);
    marked = (MarkedBlobs){0};
    assert_int_equal(sweep_mark(service->repository, INT64_MAX, &marked), 0);
    assert_int_equal(marked.count, 0);
    free(marked.items);
}

/** A backup reads blobs that its snapshot names, although no row names them any more. */
static void test_sweep_frees_nothing_while_a_backup_holds_the_blobs(void **state)
{
    Service *service = *state;
    service->registry.answer = -ERR_XDS_UNKNOWN_PATIENT_ID;
    Exchanged done =
        service_provide(service, PROVIDE(ENTRY("d2", "1.2.4", ""), DOCUMENT("d2", WORLD)));
    exchanged_free(&done);
    DbPool *pool = db_pool_beside(service->repository->config.pool, 1);
    Request *req = request_new(600000);
    DbConn *holder = NULL;
    MarkedBlobs marked = {0};
    BlobInfo info;
    bool was_held = false;
    assert_int_equal(db_acquire(pool, req, &holder), 0);
    assert_int_equal(repository_hold_take(holder, req), 0);
    assert_int_equal(sweep_mark(service->repository, INT64_MAX, &marked), 0);
    assert_int_equal(marked.count, 1);
    assert_int_equal(sweep_free_marked(service->repository, &marked), 0);
    assert_true(blob_store_stat(service->repository->blobs, marked.items[0].sha256, &info));
    assert_int_equal(repository_hold_end(holder, req, &was_held), 0);
    assert_true(was_held);
    free(marked.items);
    marked = (MarkedBlobs){0};
    assert_int_equal(sweep_mark(service->repository, INT64_MAX, &marked), 0);
    assert_int_equal(sweep_free_marked(service->repository, &marked), 0);
    assert_false(blob_store_stat(service->repository->blobs, marked.items[0].sha256, &info));
    assert_int_equal(repository_hold_end(holder, req, &was_held), 0);
    assert_false(was_held); /* what a backup asks at its end */
    free(marked.items);
    db_release(holder);
    db_pool_free(pool);
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
        TEST(test_document_is_stored_registered_and_audited_in_one_transaction),
        TEST(test_submission_without_documents_is_passed_on),
        TEST(test_faulty_submission_is_refused_and_nothing_is_registered),
        TEST(test_document_that_cannot_be_stored_is_an_error_of_the_submission),
        TEST(test_true_hash_and_size_are_accepted),
        TEST(test_error_of_the_local_registry_leaves_no_row),
        TEST(test_same_unique_id_is_accepted_only_with_the_same_content),
        TEST(test_remote_registry_finds_the_documents_retrievable),
        TEST(test_refusal_of_the_remote_registry_removes_only_what_was_pending),
        TEST(test_refusal_keeps_what_the_remote_registry_has_registered_already),
        TEST(test_other_content_is_refused_before_the_remote_registry_is_asked),
        TEST(test_unknown_outcome_stays_pending_until_the_registry_says),
        TEST(test_sweep_frees_what_no_row_names_and_nothing_else),
        TEST(test_sweep_frees_nothing_while_a_backup_holds_the_blobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
