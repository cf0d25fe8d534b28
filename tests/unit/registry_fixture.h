#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/base/crc32c.h"
#include "lib/base/uuid.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "lib/xml/write.h"
#include "registry/registration.h"

/* A Registry over a schema of its own in the database of MUSUBI_TEST_CONNINFO, two patients, and
 * submissions as XML. */

#define PATIENT_A "A^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
#define PATIENT_B "B^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
#define PATIENT_MERGED "M^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO" /* subsumed by A */
#define PATIENT_UNKNOWN "X^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
#define SOURCE_PATIENT "LOCAL-1^^^&1.2.392.200270.1&ISO"
#define SHA1_A "0123456789012345678901234567890123456789"
#define SHA1_B "9876543210987654321098765432109876543210"

enum { ID_A = 1, ID_B = 2, ID_MERGED = 3 };

typedef struct RegistryFixture {
    char schema[64];
    char *conninfo;
    DbPool *pool;
    PatientDirectory patients;
    Registry *registry;
} RegistryFixture;

/* ---- patients ---- */

/** Patient whose number every sourcePatientId is; 0: unknown. */
static int64_t fixture_source_owner;

static inline int fixture_queue_lock(void *ctx, Request *req, DbConn *conn,
                                     const PatientQuestion *question, size_t *ret_statements)
{
    static const DbStatement nothing = {"fixture_nothing", "SELECT 1"};
    (void)ctx;
    (void)question;
    *ret_statements = 2;
    int rc = db_queue(conn, req, &nothing, NULL);
    return rc < 0 ? rc : db_queue(conn, req, &nothing, NULL);
}

static inline void fixture_locked(void *ctx, Request *req, const DbResult *result,
                                  const PatientQuestion *question, Patient *ret_patients,
                                  int64_t *ret_owners)
{
    (void)ctx;
    (void)req;
    (void)result;
    for (size_t i = 0; i < question->count; i++) {
        Str identifier = question->patient_ids[i];
        ret_patients[i] = (Patient){0};
        if (str_equal(identifier, STR(PATIENT_A))) {
            ret_patients[i] = (Patient){ID_A, ID_A, true, true};
        } else if (str_equal(identifier, STR(PATIENT_B))) {
            ret_patients[i] = (Patient){ID_B, ID_B, true, true};
        } else if (str_equal(identifier, STR(PATIENT_MERGED))) {
            ret_patients[i] = (Patient){ID_MERGED, ID_A, true, false};
        }
    }
    for (size_t i = 0; i < question->source_count; i++) {
        ret_owners[i] = fixture_source_owner;
    }
}

/** Of ID_A is what was merged into it, too. */
static inline int fixture_ids(void *ctx, Request *req, DbConn *conn, const Str *identifiers,
                              size_t count, int64_t **ret_ids, size_t *ret_count)
{
    (void)ctx;
    (void)conn;
    *ret_ids = ARENA_ARRAY(req->arena, int64_t, 2 * count);
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (str_equal(identifiers[i], STR(PATIENT_A))) {
            (*ret_ids)[(*ret_count)++] = ID_A;
            (*ret_ids)[(*ret_count)++] = ID_MERGED;
        } else if (str_equal(identifiers[i], STR(PATIENT_B))) {
            (*ret_ids)[(*ret_count)++] = ID_B;
        }
    }
    return 0;
}

static inline int fixture_identifiers(void *ctx, Request *req, DbConn *conn, const int64_t *ids,
                                      size_t count, Str *ret_identifiers, int64_t *ret_survivors)
{
    (void)ctx;
    (void)req;
    (void)conn;
    for (size_t i = 0; i < count; i++) {
        ret_survivors[i] = ids[i] == ID_MERGED ? ID_A : ids[i];
        ret_identifiers[i] = ret_survivors[i] == ID_A ? STR(PATIENT_A) : STR(PATIENT_B);
    }
    return 0;
}

/** Every number is of no facility in particular. */
static inline bool fixture_facility_of(void *ctx, Request *req, Str identifier,
                                       int32_t *ret_facility)
{
    (void)ctx;
    (void)req;
    (void)identifier;
    *ret_facility = 0;
    return true;
}

/* ---- database ---- */

static inline char *fixture_read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    char *text = calloc(1, 1 << 20);
    size_t len = text != NULL ? fread(text, 1, (1 << 20) - 1, file) : 0;
    fclose(file);
    if (len == 0) {
        free(text);
        return NULL;
    }
    return text;
}

/** Runs SQL text in one transaction. */
static inline int fixture_run(DbPool *pool, const char *sql)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_run_script(conn, req, sql);
    if (rc < 0) {
        fprintf(stderr, "%s\n", db_last_failure());
    }
    db_release(conn);
    request_free(req);
    return rc;
}

/** The one number that a query gives, -1 if it fails. */
static inline int64_t fixture_number(const RegistryFixture *fixture, const char *sql)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    DbParams none;
    db_params_init(&none, req->arena);
    char name[64];
    snprintf(name, sizeof(name), "fixture_%08x", crc32c(0, sql, strlen(sql)));
    const DbStatement statement = {name, sql};
    DbResult *result = NULL;
    int rc = db_acquire(fixture->pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement, &none, &result);
    int64_t number = rc < 0 ? -1 : db_i64(result, 0, 0);
    db_release(conn);
    request_free(req);
    return number;
}

static inline void fixture_free(RegistryFixture *fixture)
{
    registry_free(fixture->registry);
    db_pool_free(fixture->pool);
    DbPool *pool = db_pool_new(getenv("MUSUBI_TEST_CONNINFO"), 1);
    char sql[256];
    snprintf(sql, sizeof(sql), "DROP SCHEMA %s CASCADE; DROP SCHEMA IF EXISTS %s_past CASCADE",
             fixture->schema, fixture->schema);
    fixture_run(pool, sql);
    db_pool_free(pool);
    free(fixture->conninfo);
    free(fixture);
}

static inline int fixture_migrate(RegistryFixture *fixture, const char *conninfo)
{
    static const char *const MIGRATIONS[] = {
        "0001_identity.sql",          "0002_registry.sql",
        "0003_repository.sql",        "0004_operation.sql",
        "0005_identity_manager.sql",  "0006_access.sql",
        "0009_node_certificates.sql", "0015_metadata_update.sql",
        "0021_subscriptions.sql",     "0022_history.sql"};
    char text[256];
    snprintf(text, sizeof(text), "CREATE SCHEMA %s", fixture->schema);
    DbPool *pool = db_pool_new(conninfo, 1);
    int rc = fixture_run(pool, text);
    db_pool_free(pool);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(MIGRATIONS); i++) {
        snprintf(text, sizeof(text), "%s/migrations/%s", getenv("MUSUBI_SOURCE"), MIGRATIONS[i]);
        char *sql = fixture_read_file(text);
        rc = sql != NULL ? fixture_run(fixture->pool, sql) : -1;
        free(sql);
    }
    return rc;
}

/** NULL if the database cannot be prepared; the reason is on stderr. */
static inline RegistryFixture *fixture_new(unsigned connections)
{
    const char *conninfo = getenv("MUSUBI_TEST_CONNINFO");
    RegistryFixture *fixture = calloc(1, sizeof(*fixture));
    if (conninfo == NULL || fixture == NULL) {
        free(fixture);
        return NULL;
    }
    snprintf(fixture->schema, sizeof(fixture->schema), "test_registry_%d", (int)getpid());
    size_t len = strlen(conninfo) + 256;
    fixture->conninfo = calloc(1, len);
    /* options replaces what the pool would ask for, so it is repeated. */
    snprintf(fixture->conninfo, len,
             "%s options='-c search_path=%s -c plan_cache_mode=force_generic_plan"
             " -c enable_seqscan=off -c jit=off -c lock_timeout=10s'",
             conninfo, fixture->schema);
    fixture->pool = db_pool_new(fixture->conninfo, connections);
    fixture->patients = (PatientDirectory){.queue_lock = fixture_queue_lock,
                                           .locked = fixture_locked,
                                           .ids = fixture_ids,
                                           .identifiers = fixture_identifiers,
                                           .facility_of = fixture_facility_of};
    char problem[256] = "the migrations failed";
    if (fixture_migrate(fixture, conninfo) == 0) {
        const RegistryConfig config = {
            .pool = fixture->pool, .patients = &fixture->patients, .code_check = CODE_CHECK_OFF};
        fixture->registry = registry_new(&config, problem, sizeof(problem));
    }
    if (fixture->registry == NULL) {
        fprintf(stderr, "%s\n", problem);
        fixture_free(fixture);
        return NULL;
    }
    return fixture;
}

/* ---- submissions ---- */

typedef struct DocumentSpec {
    const char *id; /* symbolic, or a UUID; NULL: no document */
    const char *unique_id;
    const char *hash;
    unsigned size;
    const char *source_patient_id; /* NULL: SOURCE_PATIENT */
} DocumentSpec;

typedef struct SubmissionSpec {
    const char *unique_id; /* of the SubmissionSet */
    const char *patient_id;
    const char *title; /* of the SubmissionSet */
    DocumentSpec documents[2];
    const char *more; /* further XML of the RegistryObjectList; NULL none */
} SubmissionSpec;

static inline void put_slot(StrBuf *xml, const char *name, const char *value)
{
    strbuf_printf(xml, "<rim:Slot name='%s'><rim:ValueList><rim:Value>", name);
    xml_append_escaped(xml, str_from(value));
    strbuf_literal(xml, "</rim:Value></rim:ValueList></rim:Slot>");
}

static inline void put_code(StrBuf *xml, const char *object, const char *scheme, const char *code)
{
    static _Thread_local unsigned number;
    strbuf_printf(xml,
                  "<rim:Classification id='c%u' classificationScheme='%s' classifiedObject='%s'"
                  " nodeRepresentation='%s'>",
                  ++number, scheme, object, code);
    put_slot(xml, "codingScheme", "1.2.392.200270.9");
    strbuf_printf(
        xml, "<rim:Name><rim:LocalizedString value='%s'/></rim:Name></rim:Classification>", code);
}

static inline void put_identifier(StrBuf *xml, const char *object, const char *scheme,
                                  const char *name, const char *value)
{
    static _Thread_local unsigned number;
    strbuf_printf(
        xml,
        "<rim:ExternalIdentifier id='e%u' identificationScheme='%s' registryObject='%s' value='",
        ++number, scheme, object);
    xml_append_escaped(xml, str_from(value));
    strbuf_printf(
        xml, "'><rim:Name><rim:LocalizedString value='%s'/></rim:Name></rim:ExternalIdentifier>",
        name);
}

static inline void put_association(StrBuf *xml, const char *type, const char *source,
                                   const char *target, const char *set_status)
{
    static _Thread_local unsigned number;
    strbuf_printf(
        xml, "<rim:Association id='a%u' associationType='%s' sourceObject='%s' targetObject='%s'>",
        ++number, type, source, target);
    if (set_status != NULL) {
        put_slot(xml, "SubmissionSetStatus", set_status);
    }
    strbuf_literal(xml, "</rim:Association>");
}

static inline void put_document(StrBuf *xml, const DocumentSpec *document, const char *patient_id)
{
    char size[16];
    snprintf(size, sizeof(size), "%u", document->size);
    strbuf_printf(xml,
                  "<rim:ExtrinsicObject id='%s' mimeType='text/xml'"
                  " objectType='urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1'>",
                  document->id);
    put_slot(xml, "creationTime", "20260401003000");
    put_slot(xml, "languageCode", "ja-JP");
    put_slot(xml, "sourcePatientId",
             document->source_patient_id != NULL ? document->source_patient_id : SOURCE_PATIENT);
    put_slot(xml, "hash", document->hash);
    put_slot(xml, "size", size);
    put_slot(xml, "repositoryUniqueId", "1.2.392.200270.7");
    strbuf_literal(xml, "<rim:Name><rim:LocalizedString value='Report'/></rim:Name>");
    put_code(xml, document->id, "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "class");
    put_code(xml, document->id, "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f", "N");
    put_code(xml, document->id, "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d", "format");
    put_code(xml, document->id, "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", "hospital");
    put_code(xml, document->id, "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead", "practice");
    put_code(xml, document->id, "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983", "type");
    put_identifier(xml, document->id, "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427",
                   "XDSDocumentEntry.patientId", patient_id);
    put_identifier(xml, document->id, "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab",
                   "XDSDocumentEntry.uniqueId", document->unique_id);
    strbuf_literal(xml, "</rim:ExtrinsicObject>");
    put_association(xml, "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", "set",
                    document->id, "Original");
}

/** A Folder "folder" with its membership in the SubmissionSet. */
static inline void put_folder(StrBuf *xml, const char *id, const char *unique_id,
                              const char *patient_id)
{
    strbuf_printf(
        xml,
        "<rim:RegistryPackage id='%s'><rim:Name><rim:LocalizedString value='Episode'/></rim:Name>",
        id);
    strbuf_printf(xml,
                  "<rim:Classification id='m%s' classifiedObject='%s'"
                  " classificationNode='" UUID_FOLDER_NODE "'/>",
                  id, id);
    put_code(xml, id, "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5", "episode");
    put_identifier(xml, id, "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", "XDSFolder.patientId",
                   patient_id);
    put_identifier(xml, id, "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a", "XDSFolder.uniqueId",
                   unique_id);
    strbuf_literal(xml, "</rim:RegistryPackage>");
    put_association(xml, "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", "set", id,
                    NULL);
}

static inline void put_submission_set(StrBuf *xml, const SubmissionSpec *spec)
{
    strbuf_literal(xml, "<rim:RegistryPackage id='set'>");
    put_slot(xml, "submissionTime", "20260401003000");
    strbuf_printf(xml, "<rim:Name><rim:LocalizedString value='%s'/></rim:Name>", spec->title);
    strbuf_literal(xml, "<rim:Classification id='mset' classifiedObject='set'"
                        " classificationNode='" UUID_SUBMISSION_SET_NODE "'/>");
    put_code(xml, "set", "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500", "content");
    put_identifier(xml, "set", "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446",
                   "XDSSubmissionSet.patientId", spec->patient_id);
    put_identifier(xml, "set", "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832",
                   "XDSSubmissionSet.sourceId", "1.2.392.200270.5");
    put_identifier(xml, "set", "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8",
                   "XDSSubmissionSet.uniqueId", spec->unique_id);
    strbuf_literal(xml, "</rim:RegistryPackage>");
}

static inline void put_submission(StrBuf *xml, const SubmissionSpec *spec)
{
    strbuf_literal(xml, "<lcm:SubmitObjectsRequest xmlns:lcm='" NS_LCM "' xmlns:rim='" NS_RIM "'>"
                        "<rim:RegistryObjectList>");
    put_submission_set(xml, spec);
    for (size_t i = 0; i < ARRAY_LEN(spec->documents) && spec->documents[i].id != NULL; i++) {
        put_document(xml, &spec->documents[i], spec->patient_id);
    }
    if (spec->more != NULL) {
        strbuf_append(xml, str_from(spec->more));
    }
    strbuf_literal(xml, "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
}

/** A registered node; its facility owns what is registered without another principal. */
static const Principal FIXTURE_NODE = {
    .node_id = 1, .node_name = STR_INIT("gateway-a"), .facility_id = 1, .may_submit = true};

/** Reads and registers; errors are in req->errors. */
static inline int fixture_register(RegistryFixture *fixture, Request *req,
                                   const SubmissionSpec *spec, TransactionHook hook,
                                   Submission **ret_submission)
{
    Principal *sender = ARENA_NEW(req->arena, Principal);
    *sender = req->principal != NULL ? *req->principal : FIXTURE_NODE;
    sender->rules = fixture->pool;
    req->principal = sender;
    StrBuf xml = {0};
    put_submission(&xml, spec);
    XmlNode *root;
    Submission *submission = NULL;
    int rc = xml_read(req, str_dup(req->arena, strbuf_str(&xml)), &root);
    strbuf_done(&xml);
    rc = rc < 0 ? rc : submission_read(req, root, &submission);
    rc = rc < 0
             ? rc
             : registration_run(fixture->registry, req, submission, SUBMISSION_ITI42, hook, NULL);
    if (ret_submission != NULL) {
        *ret_submission = submission;
    }
    return rc;
}
