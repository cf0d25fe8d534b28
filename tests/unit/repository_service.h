#pragma once

/* A Repository over a schema of its own in the database of MUSUBI_TEST_CONNINFO, with a registry
 * that answers as told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/access/access.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/receive.h"
#include "lib/xml/read.h"
#include "repository/document_rows.h"
#include "repository/repository_private.h"

#define REPOSITORY_ID "1.3.6.1.4.1.21367.2011.2.3.7"
#define PATIENT "A^^^&amp;1.3.6.1.4.1.21367.2005.13.20.1000&amp;ISO"

/** What the registry behind the repository does with the next submission. */
typedef struct FakeRegistry {
    RegistryClient client;
    DbPool *pool;
    int answer;     /* 0, or the negative ErrorCode that it refuses with */
    int registered; /* what is_registered() says */
    unsigned call_count;
    int64_t visible_rows; /* rows that others saw while the submission was under way */
} FakeRegistry;

typedef struct Service {
    char directory[64];
    char blobs[96];
    char locator[96];
    char audit_directory[96];
    char schema[64];
    char conninfo[512];
    DbPool *pool;
    Audit *audit;
    FakeRegistry registry;
    Repository *repository;
    Principal principal;
    unsigned used_ms; /* of the 600 s of a request, before its handler is called */
} Service;

static inline void service_run(DbPool *pool, const char *sql)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    if (db_acquire(pool, req, &conn) < 0 || db_run_script(conn, req, sql) < 0) {
        fail_msg("%s", db_last_failure());
    }
    db_release(conn);
    request_free(req);
}

static inline int64_t service_number(DbPool *pool, const char *name, const char *sql)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    DbParams none;
    DbResult *result = NULL;
    const DbStatement statement = {name, sql};
    db_params_init(&none, req->arena);
    if (db_acquire(pool, req, &conn) < 0 || db_exec(conn, req, &statement, &none, &result) < 0) {
        fail_msg("%s", db_last_failure());
    }
    int64_t number = db_i64(result, 0, 0);
    db_release(conn);
    request_free(req);
    return number;
}

static inline int64_t service_rows(const Service *service, DocumentState state)
{
    static const char *const NAMES[] = {"rows_pending", "rows_registered", "rows_quarantined",
                                        "rows_removed"};
    static const char *const QUERIES[] = {
        "SELECT count(*) FROM repository_document WHERE state = 0",
        "SELECT count(*) FROM repository_document WHERE state = 1",
        "SELECT count(*) FROM repository_document WHERE state = 2",
        "SELECT count(*) FROM repository_document WHERE state = 3",
    };
    return service_number(service->pool, NAMES[state], QUERIES[state]);
}

static inline int fake_register(void *ctx, Request *req, UNUSED Submission *submission,
                                int (*in_transaction)(void *caller, Request *req, DbConn *conn),
                                void *caller)
{
    FakeRegistry *fake = ctx;
    fake->call_count++;
    fake->visible_rows = service_number(fake->pool, "visible",
                                        "SELECT count(*) FROM repository_document WHERE state < 2");
    if (fake->answer < 0) {
        return error_add(&req->errors, (ErrorCode)-fake->answer, NULL, "as told");
    }
    if (!in_transaction) {
        return 0;
    }
    DbConn *conn = NULL;
    int rc = db_acquire(fake->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : in_transaction(caller, req, conn);
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    db_release(conn);
    return rc;
}

static inline int fake_is_registered(void *ctx, UNUSED Request *req, UNUSED Str unique_id,
                                     UNUSED Str hash)
{
    return ((FakeRegistry *)ctx)->registered;
}

static inline void service_load(Service *service, const char *migration)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/migrations/%s", getenv("MUSUBI_SOURCE"), migration);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    service_run(service->pool, text);
    free(text);
}

static inline int service_set_up(void **state)
{
    char text[640];
    char problem[256] = "";
    Service *service = calloc(1, sizeof(*service));
    strcpy(service->directory, "/tmp/musubi-repository-XXXXXX");
    assert_non_null(mkdtemp(service->directory));
    snprintf(service->blobs, sizeof(service->blobs), "%s/blobs", service->directory);
    snprintf(service->locator, sizeof(service->locator), "%s/locator", service->directory);
    snprintf(service->audit_directory, sizeof(service->audit_directory), "%s/audit",
             service->directory);
    snprintf(service->schema, sizeof(service->schema), "repository_%ld", (long)getpid());

    DbPool *pool = db_pool_new(getenv("MUSUBI_TEST_CONNINFO"), 1);
    snprintf(text, sizeof(text), "DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s",
             service->schema, service->schema);
    service_run(pool, text);
    db_pool_free(pool);
    snprintf(service->conninfo, sizeof(service->conninfo), "%s options=-csearch_path=%s",
             getenv("MUSUBI_TEST_CONNINFO"), service->schema);
    service->pool = db_pool_new(service->conninfo, 4);
    static const char *const migrations[] = {
        "0001_identity.sql",           "0002_registry.sql",
        "0003_repository.sql",         "0004_operation.sql",
        "0005_identity_manager.sql",   "0006_access.sql",
        "0009_node_certificates.sql",  "0013_imaging.sql",
        "0014_imaging_data_sets.sql",  "0017_imaging_rejections.sql",
        "0023_on_demand_documents.sql"};
    for (size_t i = 0; i < sizeof(migrations) / sizeof(*migrations); i++) {
        service_load(service, migrations[i]);
    }

    AuditConfig audit = {
        .directory = service->audit_directory,
        .repository = "local",
        .source_id = "musubi",
        .host_name = "localhost",
    };
    service->audit = audit_new(&audit, NULL, problem, sizeof(problem));
    if (!service->audit) {
        fail_msg("audit_new: %s", problem);
    }
    service->registry.pool = service->pool;
    service->registry.client = (RegistryClient){
        .ctx = &service->registry,
        .is_local = true,
        .register_submission = fake_register,
        .is_registered = fake_is_registered,
    };
    RepositoryConfig config = {
        .pool = service->pool,
        .audit = service->audit,
        .registry = &service->registry.client,
        .unique_id = REPOSITORY_ID,
        .home_community_id = "",
        .blobs_dir = service->blobs,
        .locator_dir = service->locator,
        .segment_max_document_bytes = 64 << 10,
    };
    service->repository = repository_new(&config, problem, sizeof(problem));
    if (!service->repository) {
        fail_msg("repository_new: %s", problem);
    }
    service->principal = (Principal){.node_id = 1, .facility_id = 1, .may_do_everything = true};
    *state = service;
    return 0;
}

static inline int service_tear_down(void **state)
{
    Service *service = *state;
    char text[640];
    repository_free(service->repository);
    audit_free(service->audit);
    db_pool_free(service->pool);
    DbPool *pool = db_pool_new(getenv("MUSUBI_TEST_CONNINFO"), 1);
    snprintf(text, sizeof(text), "DROP SCHEMA %s CASCADE", service->schema);
    service_run(pool, text);
    db_pool_free(pool);
    snprintf(text, sizeof(text), "rm -rf '%s'", service->directory);
    int rc = system(text);
    free(service);
    return rc;
}

/** A remote registry answers ITI-42 in its own time: rows are pending before. */
static inline void service_make_remote(Service *service)
{
    service->registry.client.is_local = false;
    service->registry.client.endpoint = "https://registry.example/registry";
}

/* ---- messages ---- */

typedef struct Exchanged {
    Request *req;
    SoapReceiver *receiver;
    SoapExchange exchange;
    int rc;
} Exchanged;

static inline Exchanged service_call(Service *service, SoapHandler handler, const char *action,
                                     const char *body)
{
    Exchanged done = {.req = request_new(600000)};
    done.req->principal = &service->principal;
    done.req->is_repository = true; /* as the endpoint of these transactions does */
    done.receiver = soap_receiver_new(done.req, STR("application/soap+xml; charset=UTF-8"),
                                      repository_sink(service->repository));
    assert_non_null(done.receiver);
    Str message = str_printf(
        done.req->arena,
        "<soap:Envelope xmlns:soap=\"" NS_SOAP12 "\" xmlns:wsa=\"" NS_WSA
        "\"><soap:Header><wsa:Action soap:mustUnderstand=\"1\">%s</wsa:Action>"
        "<wsa:MessageID>urn:uuid:1</wsa:MessageID></soap:Header><soap:Body>%s</soap:Body>"
        "</soap:Envelope>",
        action, body);
    SoapMessage *received = NULL;
    if (soap_receiver_push(done.receiver, message.data, message.len) < 0 ||
        soap_receiver_finish(done.receiver, &received) < 0) {
        fail_msg("the test's message is refused: %.*s", STR_ARG(done.req->errors.first->context));
    }
    done.exchange = (SoapExchange){.req = done.req, .message = received, .receiver = done.receiver};
    done.req->started_ns -= (int64_t)service->used_ms * 1000000;
    done.req->deadline_ns -= (int64_t)service->used_ms * 1000000;
    done.rc = handler(service->repository, &done.exchange);
    const BodySource *rest = &done.exchange.reply_source;
    while (rest->next && rest->next(rest->ctx, &done.exchange.reply_xml) > 0) {
    }
    return done;
}

static inline void exchanged_free(Exchanged *done)
{
    for (size_t i = 0; i < done->exchange.part_count; i++) {
        done->exchange.parts[i].source.done(done->exchange.parts[i].source.ctx);
    }
    strbuf_done(&done->exchange.reply_xml);
    soap_receiver_free(done->receiver);
    request_free(done->req);
}

/** A whole part; fails the test unless it can be read to its end. */
static inline void exchanged_part(Exchanged *done, size_t index, StrBuf *ret_bytes)
{
    int rc;
    do {
        rc = done->exchange.parts[index].source.next(done->exchange.parts[index].source.ctx,
                                                     ret_bytes);
    } while (rc > 0);
    assert_int_equal(rc, 0);
}

#define ENTRY(id, unique_id, slots)                                                                \
    "<rim:ExtrinsicObject id=\"" id                                                                \
    "\" mimeType=\"text/plain\" objectType=\"" UUID_STABLE_DOCUMENT "\">" slots                    \
    "<rim:ExternalIdentifier id=\"p" id "\" registryObject=\"" id                                  \
    "\" identificationScheme=\"urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427\" value=\"" PATIENT   \
    "\"/>"                                                                                         \
    "<rim:ExternalIdentifier id=\"u" id "\" registryObject=\"" id                                  \
    "\" identificationScheme=\"urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab\" value=\"" unique_id \
    "\"/></rim:ExtrinsicObject>"
#define SLOT(name, value)                                                                          \
    "<rim:Slot name=\"" name "\"><rim:ValueList><rim:Value>" value                                 \
    "</rim:Value></rim:ValueList></rim:Slot>"
#define DOCUMENT(id, base64) "<xds:Document id=\"" id "\">" base64 "</xds:Document>"
#define PROVIDE(entries, documents)                                                                \
    "<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds=\"" NS_XDSB                               \
    "\"><lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM                    \
    "\"><rim:RegistryObjectList>" entries                                                          \
    "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>" documents                               \
    "</xds:ProvideAndRegisterDocumentSetRequest>"

static inline Exchanged service_provide(Service *service, const char *body)
{
    return service_call(service, repository_iti41_provide,
                        "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b", body);
}

static inline void assert_provided(Service *service, const char *body)
{
    Exchanged done = service_provide(service, body);
    if (done.rc != 0 || done.req->errors.first) {
        fail_msg("refused: %.*s %s", STR_ARG(done.req->errors.first->context), db_last_failure());
    }
    exchanged_free(&done);
}

#define WANT(unique_id) WANT_FROM(REPOSITORY_ID, unique_id)
#define WANT_FROM(repository_id, unique_id)                                                        \
    "<xds:DocumentRequest><xds:RepositoryUniqueId>" repository_id                                  \
    "</xds:RepositoryUniqueId><xds:DocumentUniqueId>" unique_id                                    \
    "</xds:DocumentUniqueId></xds:DocumentRequest>"
#define RETRIEVE(requests)                                                                         \
    "<xds:RetrieveDocumentSetRequest xmlns:xds=\"" NS_XDSB "\">" requests                          \
    "</xds:RetrieveDocumentSetRequest>"

static inline Exchanged service_retrieve(Service *service, const char *body)
{
    return service_call(service, repository_iti43_retrieve, "urn:ihe:iti:2007:RetrieveDocumentSet",
                        body);
}

/* ---- audit ---- */

typedef struct AuditSearch {
    const char *text;
    unsigned count;
} AuditSearch;

static inline int audit_search_one(void *ctx, const AuditRecord *record)
{
    AuditSearch *search = ctx;
    search->count += str_contains(record->message, str_from(search->text));
    return 0;
}

/** How many spooled events hold this text. */
static inline unsigned service_audit_count(const Service *service, const char *text)
{
    AuditSearch search = {.text = text};
    unsigned damaged;
    char problem[256];
    assert_int_equal(audit_spool_read(service->audit_directory, audit_search_one, &search, &damaged,
                                      problem, sizeof(problem)),
                     0);
    return search.count;
}
