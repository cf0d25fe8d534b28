#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/access/access.h"

#include "tests/unit/registry_fixture.h"

/* Stored queries over a real PostgreSQL (MUSUBI_TEST_CONNINFO); without one the tests are skipped.
 */

#define APPROVED "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
#define DEPRECATED "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
#define HAS_MEMBER "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
#define RPLC "urn:ihe:iti:2007:AssociationType:RPLC"
#define SCHEME "1.2.392.200270.9"

#define FIND_DOCUMENTS "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
#define FIND_DOCUMENTS_OF_MANY "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
#define FIND_FOLDERS_OF_MANY "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df"
#define FIND_SUBMISSION_SETS "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
#define FIND_FOLDERS "urn:uuid:958f3006-baad-4929-a4de-ff1114824431"
#define GET_ALL "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
#define GET_DOCUMENTS "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
#define GET_FOLDERS "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4"
#define GET_ASSOCIATIONS "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
#define GET_DOCUMENTS_AND_ASSOCIATIONS "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
#define GET_SUBMISSION_SETS "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
#define GET_SUBMISSION_SET_AND_CONTENTS "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
#define GET_FOLDER_AND_CONTENTS "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7"
#define GET_FOLDERS_FOR_DOCUMENT "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578"
#define GET_RELATED_DOCUMENTS "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"
#define FIND_BY_REFERENCE_ID "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"

/* Registered in setup(): for patient A a set with DOC1 in the folder; a set in which DOC2 replaces
 * it; for patient B a set with DOC3; for a patient that was merged into A, a set with DOC4, which
 * is On-Demand. */
#define DOC1 "urn:uuid:00000000-0000-4000-8000-000000000001"
#define DOC2 "urn:uuid:00000000-0000-4000-8000-000000000002"
#define DOC3 "urn:uuid:00000000-0000-4000-8000-000000000003"
#define DOC4 "urn:uuid:00000000-0000-4000-8000-000000000004"
#define FOLDER "urn:uuid:00000000-0000-4000-8000-00000000000f"
#define NOBODY "urn:uuid:00000000-0000-4000-8000-0000000000ff"

#define MANY_DOCUMENTS 20000

typedef struct Fixture {
    RegistryFixture *base;
    Audit *audit;
    char directory[64];
} Fixture;

static Fixture fixture;
static const Principal everybody = {.may_do_everything = true};

static int register_one(const char *set, const char *patient, const char *document,
                        const char *unique_id, const char *more)
{
    const SubmissionSpec spec = {
        .unique_id = set,
        .patient_id = patient,
        .title = "Discharge",
        .documents = {{document, unique_id, SHA1_A, 100, NULL}},
        .more = more,
    };
    Request *req = request_new(600000);
    int rc = fixture_register(fixture.base, req, &spec, NULL, NULL);
    if (rc < 0) {
        fprintf(stderr, "%.*s\n", STR_ARG(req->errors.first->context));
    }
    request_free(req);
    return rc;
}

#define UUID_DOCUMENT_AUTHOR "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
#define UUID_SUBMISSION_SET_AUTHOR "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"

static void put_author(StrBuf *xml, const char *object, const char *scheme, const char *person)
{
    strbuf_printf(xml,
                  "<rim:Classification id='author%zu' classificationScheme='%s'"
                  " classifiedObject='%s' nodeRepresentation=''>",
                  xml->len, scheme, object);
    put_slot(xml, "authorInstitution", "Minato");
    put_slot(xml, "authorPerson", person);
    strbuf_literal(xml, "</rim:Classification>");
}

static int register_all(void)
{
    StrBuf folder = {0};
    StrBuf replacement = {0};
    put_folder(&folder, FOLDER, "1.5.9", PATIENT_A);
    strbuf_literal(&folder, "<rim:Association id='member' associationType='" HAS_MEMBER
                            "' sourceObject='" FOLDER "' targetObject='" DOC1 "'/>");
    put_association(&folder, HAS_MEMBER, "set", "member", NULL);
    put_association(&replacement, RPLC, DOC2, DOC1, NULL);
    put_author(&replacement, DOC2, UUID_DOCUMENT_AUTHOR, "^Welby^Marcus");
    put_author(&replacement, DOC2, UUID_DOCUMENT_AUTHOR, "^O'Hara\\\\%^S");
    put_author(&folder, "set", UUID_SUBMISSION_SET_AUTHOR, "^Dopplemeyer^Sherry");
    int rc = register_one("1.1.1", PATIENT_A, DOC1, "1.5.1", folder.data);
    rc = rc < 0 ? rc : register_one("1.1.2", PATIENT_A, DOC2, "1.5.2", replacement.data);
    rc = rc < 0 ? rc : register_one("1.1.3", PATIENT_B, DOC3, "1.5.3", NULL);
    rc = rc < 0 ? rc : register_one("1.1.4", PATIENT_B, DOC4, "1.5.4", NULL);
    strbuf_done(&folder);
    strbuf_done(&replacement);
    return rc;
}

/** What the submissions of the fixture cannot say. */
static const char ADJUSTMENTS[] =
    "UPDATE document_entry SET patient = 3, is_on_demand = true, creation_time = NULL"
    " WHERE unique_id = '1.5.4';"
    "UPDATE submission_set SET patient = 3 WHERE unique_id = '1.1.4';"
    "INSERT INTO code (scheme, code) VALUES ('1.9', 'e1'), ('1.9', 'e2'), ('1.9', 'unused');"
    "UPDATE document_entry SET service_start_time = '2005-06-01Z',"
    " reference_id_list = '{urn:acc:1,urn:acc:2}',"
    " event_code_list = (SELECT array_agg(id) FROM code WHERE code IN ('e1', 'e2'))"
    " WHERE unique_id = '1.5.2';";

static int setup(void **state)
{
    (void)state;
    fixture.base = fixture_new(2);
    if (fixture.base == NULL) {
        return -1;
    }
    snprintf(fixture.directory, sizeof(fixture.directory), "/tmp/musubi_iti18_XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    const AuditConfig audit = {.directory = fixture.directory,
                               .repository = "local",
                               .source_id = "test",
                               .host_name = "localhost"};
    char problem[256];
    fixture.audit = audit_new(&audit, NULL, problem, sizeof(problem));
    if (fixture.audit == NULL) {
        fprintf(stderr, "%s\n", problem);
        return -1;
    }
    RegistryConfig *config = &fixture.base->registry->config;
    config->audit = fixture.audit;
    config->spill_directory = fixture.directory;
    config->home_community_id = "";
    int rc = register_all();
    return rc < 0 ? rc : fixture_run(fixture.base->pool, ADJUSTMENTS);
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    audit_free(fixture.audit);
    fixture_free(fixture.base);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture.directory);
    return system(command);
}

/* ---- asking ---- */

#define VALUE(text) "<Value>" text "</Value>"
#define SLOT(name, values) "<Slot name=\"" name "\"><ValueList>" values "</ValueList></Slot>"
#define ONE(name, text) SLOT(name, VALUE("'" text "'"))
#define LIST(name, text) SLOT(name, VALUE("('" text "')"))
#define PATIENT_VALUE(id) "'" id "^^^&amp;1.3.6.1.4.1.21367.2005.13.20.1000&amp;ISO'"
#define BOTH_STATUSES VALUE("('" APPROVED "')") VALUE("('" DEPRECATED "')")
#define BOTH_TYPES LIST("$XDSDocumentEntryType", UUID_STABLE_DOCUMENT "','" UUID_ON_DEMAND_DOCUMENT)

typedef struct Reply {
    Request *req;
    SoapExchange exchange;
    SoapMessage message;
} Reply;

static void ask(Reply *reply, const Principal *principal, const char *return_type,
                const char *query, const char *slots)
{
    *reply = (Reply){.req = request_new(600000)};
    Request *req = reply->req;
    req->principal = principal;
    req->transaction = "ITI-18";
    Str text =
        str_printf(req->arena,
                   "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY "\"><query:ResponseOption "
                   "returnComposedObjects=\"true\" returnType=\"%s\"/><AdhocQuery xmlns=\"" NS_RIM
                   "\" id=\"%s\">%s</AdhocQuery></query:AdhocQueryRequest>",
                   return_type, query, slots);
    assert_int_equal(xml_read(req, text, &reply->message.body), 0);
    reply->exchange = (SoapExchange){.req = req, .message = &reply->message};
    const bool is_of_many =
        strcmp(query, FIND_DOCUMENTS_OF_MANY) == 0 || strcmp(query, FIND_FOLDERS_OF_MANY) == 0;
    SoapHandler handler =
        is_of_many ? registry_iti51_multi_patient_query : registry_iti18_stored_query;
    assert_int_equal(handler(fixture.base->registry, &reply->exchange), 0);
}

static void reply_done(Reply *reply)
{
    if (reply->exchange.reply_source.done != NULL) {
        reply->exchange.reply_source.done(reply->exchange.reply_source.ctx);
    }
    strbuf_done(&reply->exchange.reply_xml);
    request_free(reply->req);
}

static size_t occurrences(Str text, const char *needle)
{
    size_t count = 0;
    Str word = str_from(needle);
    for (size_t at = str_find(text, word); at != SIZE_MAX; at = str_find(text, word)) {
        text = str_from_offset(text, at + word.len);
        count++;
    }
    return count;
}

/** What a query returns: as LeafClass by kind, and as ObjectRef all of them. */
typedef struct Expected {
    const char *query;
    const char *slots;
    size_t documents;
    size_t submission_sets;
    size_t folders;
    size_t associations;
} Expected;

static void expect_success(size_t i, Str xml)
{
    if (!str_contains(xml, STR("status=\"" URN_RESPONSE_SUCCESS "\""))) {
        fail_msg("case %zu: %.*s", i, STR_ARG(xml));
    }
}

static void expect_leaf_class(size_t i, const Expected *expected)
{
    Reply reply;
    ask(&reply, &everybody, "LeafClass", expected->query, expected->slots);
    Str xml = strbuf_str(&reply.exchange.reply_xml);
    expect_success(i, xml);
    XmlNode *root;
    assert_int_equal(xml_read(reply.req, xml, &root), 0);
    size_t documents = occurrences(xml, "<rim:ExtrinsicObject ");
    size_t folders = occurrences(xml, "classificationNode=\"" UUID_FOLDER_NODE "\"");
    size_t sets = occurrences(xml, "classificationNode=\"" UUID_SUBMISSION_SET_NODE "\"");
    size_t associations = occurrences(xml, "<rim:Association ");
    if (documents != expected->documents || folders != expected->folders ||
        sets != expected->submission_sets || associations != expected->associations) {
        fail_msg("case %zu: %zu documents, %zu sets, %zu folders, %zu associations", i, documents,
                 sets, folders, associations);
    }
    reply_done(&reply);
}

static void expect_references(size_t i, const Expected *expected)
{
    Reply reply;
    ask(&reply, &everybody, "ObjectRef", expected->query, expected->slots);
    Str xml = strbuf_str(&reply.exchange.reply_xml);
    expect_success(i, xml);
    size_t all = expected->documents + expected->submission_sets + expected->folders +
                 expected->associations;
    if (occurrences(xml, "<rim:ObjectRef ") != all) {
        fail_msg("case %zu: %zu instead of %zu references", i, occurrences(xml, "<rim:ObjectRef "),
                 all);
    }
    reply_done(&reply);
}

static void expect_all(const Expected *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect_leaf_class(i, &cases[i]);
        expect_references(i, &cases[i]);
    }
}

/* ---- the queries ---- */

/** 3.18.4.1.2.3.7.1, .14 and the coding rules of 3.18.4.1.2.3.3 to .6. */
static void test_find_documents_applies_every_parameter(void **state)
{
    (void)state;
#define OF_A SLOT("$XDSDocumentEntryPatientId", VALUE(PATIENT_VALUE("A")))
#define IS_APPROVED LIST("$XDSDocumentEntryStatus", APPROVED)
#define FIND(slots, documents)                                                                     \
    {                                                                                              \
        FIND_DOCUMENTS, OF_A IS_APPROVED slots, documents, 0, 0, 0                                 \
    }
#define EVENTS(codes) LIST("$XDSDocumentEntryEventCodeList", codes)
#define REFERENCE(slots, documents)                                                                \
    {                                                                                              \
        FIND_BY_REFERENCE_ID, OF_A IS_APPROVED slots, documents, 0, 0, 0                           \
    }
#define REFERENCES(ids) LIST("$XDSDocumentEntryReferenceIdList", ids)
    static const Expected cases[] = {
        FIND("", 1),
        {FIND_DOCUMENTS, OF_A SLOT("$XDSDocumentEntryStatus", BOTH_STATUSES), 2, 0, 0, 0},
        {FIND_DOCUMENTS, OF_A LIST("$XDSDocumentEntryStatus", DEPRECATED), 1, 0, 0, 0},
        {FIND_DOCUMENTS, SLOT("$XDSDocumentEntryPatientId", VALUE(PATIENT_VALUE("M"))) IS_APPROVED,
         0, 0, 0, 0},
        {FIND_DOCUMENTS, SLOT("$XDSDocumentEntryPatientId", VALUE(PATIENT_VALUE("X"))) IS_APPROVED,
         0, 0, 0, 0},
        /* objectType: Stable unless asked for */
        FIND(BOTH_TYPES, 2),
        FIND(LIST("$XDSDocumentEntryType", UUID_ON_DEMAND_DOCUMENT), 1),
        /* codes match with their scheme */
        FIND(LIST("$XDSDocumentEntryClassCode", "class^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryClassCode", "class^^1.9"), 0),
        FIND(LIST("$XDSDocumentEntryClassCode", "unknown^^1.9','class^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryClassCode", "unused^^1.9"), 0),
        FIND(LIST("$XDSDocumentEntryTypeCode", "type^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryTypeCode", "class^^" SCHEME), 0),
        FIND(LIST("$XDSDocumentEntryPracticeSettingCode", "practice^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryPracticeSettingCode", "type^^" SCHEME), 0),
        FIND(LIST("$XDSDocumentEntryHealthcareFacilityTypeCode", "hospital^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryHealthcareFacilityTypeCode", "type^^" SCHEME), 0),
        FIND(LIST("$XDSDocumentEntryFormatCode", "format^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryFormatCode", "type^^" SCHEME), 0),
        FIND(LIST("$XDSDocumentEntryConfidentialityCode", "N^^" SCHEME), 1),
        FIND(LIST("$XDSDocumentEntryConfidentialityCode", "R^^" SCHEME), 0),
        /* alternatives in a Slot, conjunction of Slots */
        FIND(EVENTS("e1^^1.9"), 1),
        FIND(EVENTS("unused^^1.9','e2^^1.9"), 1),
        FIND(EVENTS("e1^^1.9") EVENTS("e2^^1.9"), 1),
        FIND(EVENTS("e1^^1.9") EVENTS("unused^^1.9"), 0),
        FIND(EVENTS("e1^^1.9") EVENTS("unknown^^1.9"), 0),
        /* an entry without the attribute does not match */
        FIND(LIST("$XDSDocumentEntryType", UUID_ON_DEMAND_DOCUMENT) EVENTS("e1^^1.9"), 0),
        /* times: From inclusive, To exclusive */
        FIND(ONE("$XDSDocumentEntryCreationTimeFrom", "20260401003000"), 1),
        FIND(ONE("$XDSDocumentEntryCreationTimeFrom", "20260401003001"), 0),
        FIND(ONE("$XDSDocumentEntryCreationTimeTo", "20260401003000"), 0),
        FIND(ONE("$XDSDocumentEntryCreationTimeTo", "20260401003001"), 1),
        FIND(SLOT("$XDSDocumentEntryServiceStartTimeFrom", VALUE("2005"))
                 SLOT("$XDSDocumentEntryServiceStartTimeTo", VALUE("2006")),
             1),
        FIND(SLOT("$XDSDocumentEntryServiceStartTimeFrom", VALUE("2006")), 0),
        /* an absent service time matches; creationTime does not count for On-Demand entries */
        FIND(SLOT("$XDSDocumentEntryServiceStopTimeFrom", VALUE("2030")), 1),
        FIND(LIST("$XDSDocumentEntryType", UUID_ON_DEMAND_DOCUMENT)
                 SLOT("$XDSDocumentEntryCreationTimeFrom", VALUE("2030")),
             1),
        /* LIKE; a backslash is an ordinary character */
        FIND(LIST("$XDSDocumentEntryAuthorPerson", "%Welby%"), 1),
        FIND(LIST("$XDSDocumentEntryAuthorPerson", "Welby"), 0),
        FIND(LIST("$XDSDocumentEntryAuthorPerson", "none','^Wel_y^%"), 1),
        FIND(LIST("$XDSDocumentEntryAuthorPerson", "%O''Hara\\\\%"), 1),
        REFERENCE(REFERENCES("urn:acc:1"), 1),
        REFERENCE(REFERENCES("urn:acc:3','urn:acc:2"), 1),
        REFERENCE(REFERENCES("urn:acc:1") REFERENCES("urn:acc:2"), 1),
        REFERENCE(REFERENCES("urn:acc:1") REFERENCES("urn:acc:3"), 0),
        REFERENCE(REFERENCES("urn:acc:\"},{\\"), 0),
    };
    expect_all(cases, ARRAY_LEN(cases));
}

/** 3.18.4.1.2.3.7.2, .3 */
static void test_find_submission_sets_and_folders_apply_every_parameter(void **state)
{
    (void)state;
#define SET_OF_A SLOT("$XDSSubmissionSetPatientId", VALUE(PATIENT_VALUE("A")))
#define SETS(slots, count)                                                                         \
    {                                                                                              \
        FIND_SUBMISSION_SETS, SET_OF_A LIST("$XDSSubmissionSetStatus", APPROVED) slots, 0, count,  \
            0, 0                                                                                   \
    }
#define FOLDER_OF_A SLOT("$XDSFolderPatientId", VALUE(PATIENT_VALUE("A")))
#define FOLDERS(slots, count)                                                                      \
    {                                                                                              \
        FIND_FOLDERS, FOLDER_OF_A LIST("$XDSFolderStatus", APPROVED) slots, 0, 0, count, 0         \
    }
    static const Expected cases[] = {
        SETS("", 3),
        {FIND_SUBMISSION_SETS, SET_OF_A LIST("$XDSSubmissionSetStatus", DEPRECATED), 0, 0, 0, 0},
        SETS(LIST("$XDSSubmissionSetSourceId", "1.2.392.200270.5"), 3),
        SETS(LIST("$XDSSubmissionSetSourceId", "1.2.392"), 0),
        SETS(SLOT("$XDSSubmissionSetSubmissionTimeFrom", VALUE("2026")), 3),
        SETS(SLOT("$XDSSubmissionSetSubmissionTimeTo", VALUE("2026")), 0),
        SETS(ONE("$XDSSubmissionSetAuthorPerson", "%Dopplemeyer%"), 1),
        SETS(LIST("$XDSSubmissionSetContentType", "content^^" SCHEME), 3),
        SETS(LIST("$XDSSubmissionSetContentType", "class^^" SCHEME), 0),
        FOLDERS("", 1),
        FOLDERS(SLOT("$XDSFolderLastUpdateTimeFrom", VALUE("2020")), 1),
        FOLDERS(SLOT("$XDSFolderLastUpdateTimeTo", VALUE("2020")), 0),
        FOLDERS(LIST("$XDSFolderCodeList", "episode^^" SCHEME), 1),
        FOLDERS(LIST("$XDSFolderCodeList", "class^^" SCHEME), 0),
    };
    expect_all(cases, ARRAY_LEN(cases));
}

/** TF-2 3.51.4.1.2.1: DOC2 and the On-Demand DOC4 are of A, DOC3 of B. */
static void test_queries_of_many_patients_find_by_patient_or_code(void **state)
{
    (void)state;
#define MANY(slots, documents)                                                                     \
    {                                                                                              \
        FIND_DOCUMENTS_OF_MANY, IS_APPROVED slots, documents, 0, 0, 0                              \
    }
#define OF_MANY(ids) SLOT("$XDSDocumentEntryPatientId", VALUE("(" ids ")"))
#define MANY_FOLDERS(slots, folders)                                                               \
    {                                                                                              \
        FIND_FOLDERS_OF_MANY, LIST("$XDSFolderStatus", APPROVED) slots, 0, 0, folders, 0           \
    }
#define CLASSES LIST("$XDSDocumentEntryClassCode", "class^^" SCHEME)
    static const Expected cases[] = {
        MANY(OF_MANY(PATIENT_VALUE("A")), 1),
        MANY(OF_MANY(PATIENT_VALUE("A") "," PATIENT_VALUE("B")), 2),
        MANY(OF_MANY(PATIENT_VALUE("X") "," PATIENT_VALUE("B")), 1),
        MANY(OF_MANY(PATIENT_VALUE("A") "," PATIENT_VALUE("B")) EVENTS("e1^^1.9"), 1),
        MANY(OF_MANY(PATIENT_VALUE("X")), 0),
        /* without patients */
        MANY(CLASSES, 2),
        MANY(CLASSES BOTH_TYPES, 3),
        MANY(CLASSES EVENTS("e1^^1.9"), 1),
        MANY(EVENTS("e1^^1.9") EVENTS("e2^^1.9"), 1),
        MANY(EVENTS("e1^^1.9") EVENTS("unused^^1.9"), 0),
        MANY(EVENTS("unknown^^1.9"), 0),
        MANY(LIST("$XDSDocumentEntryHealthcareFacilityTypeCode", "hospital^^" SCHEME), 2),
        MANY(CLASSES ONE("$XDSDocumentEntryCreationTimeFrom", "20260401003000"), 2),
        MANY(CLASSES ONE("$XDSDocumentEntryCreationTimeFrom", "20260401003001"), 0),
        MANY(EVENTS("e1^^1.9") ONE("$XDSDocumentEntryCreationTimeTo", "20260401003000"), 0),
        MANY(EVENTS("e1^^1.9") ONE("$XDSDocumentEntryCreationTimeTo", "20260401003001"), 1),
        MANY(CLASSES BOTH_TYPES ONE("$XDSDocumentEntryCreationTimeFrom", "2030"), 1),
        MANY(CLASSES LIST("$XDSDocumentEntryAuthorPerson", "%Welby%"), 1),
        MANY_FOLDERS(SLOT("$XDSFolderPatientId", VALUE("(" PATIENT_VALUE("A") ")")), 1),
        MANY_FOLDERS(SLOT("$XDSFolderPatientId", VALUE("(" PATIENT_VALUE("B") ")")), 0),
        MANY_FOLDERS(LIST("$XDSFolderCodeList", "episode^^" SCHEME), 1),
        MANY_FOLDERS(LIST("$XDSFolderCodeList", "class^^" SCHEME), 0),
    };
    expect_all(cases, ARRAY_LEN(cases));
}

/** What is deprecated is not, and every patient of the answer has its own patientId. */
static void test_an_answer_of_many_patients_names_each(void **state)
{
    (void)state;
    Reply reply;
    ask(&reply, &everybody, "LeafClass", FIND_DOCUMENTS_OF_MANY,
        IS_APPROVED LIST("$XDSDocumentEntryClassCode", "class^^" SCHEME));
    Str xml = strbuf_str(&reply.exchange.reply_xml);
    expect_success(0, xml);
    assert_true(str_contains(xml, STR("value=\"A^^^&amp;")));
    assert_true(str_contains(xml, STR("value=\"B^^^&amp;")));
    reply_done(&reply);
}

/** 3.18.4.1.2.3.7.4 to .13 */
static void test_get_queries_return_what_their_section_lists(void **state)
{
    (void)state;
#define ALL_OF_A(document_status, more)                                                            \
    SLOT("$patientId", VALUE(PATIENT_VALUE("A")))                                                  \
    SLOT("$XDSDocumentEntryStatus", document_status)                                               \
    LIST("$XDSSubmissionSetStatus", APPROVED) LIST("$XDSFolderStatus", APPROVED) more
#define MEMBERS_AND_RPLC LIST("$AssociationTypes", HAS_MEMBER "','" RPLC)
    static const Expected cases[] = {
        /* SS-DE 1, 2, 4; SS-FD; RPLC; FD-DE 1, 2 and their SS-HM: as submitted, and propagated to
           the replacement */
        {GET_ALL, ALL_OF_A(BOTH_STATUSES, BOTH_TYPES), 3, 3, 1, 9},
        {GET_ALL, ALL_OF_A(VALUE("('" APPROVED "')"), BOTH_TYPES), 2, 3, 1, 9},
        {GET_ALL, ALL_OF_A(BOTH_STATUSES, LIST("$XDSDocumentEntryFormatCode", "none^^" SCHEME)), 0,
         3, 1, 8},
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryEntryUUID", DOC1 "','" DOC2), 2, 0, 0, 0},
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryEntryUUID", DOC4), 1, 0, 0, 0},
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryUniqueId", "1.5.2','1.5.8"), 1, 0, 0, 0},
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryEntryUUID", NOBODY), 0, 0, 0, 0},
        {GET_FOLDERS, LIST("$XDSFolderEntryUUID", FOLDER), 0, 0, 1, 0},
        {GET_FOLDERS, LIST("$XDSFolderUniqueId", "1.5.9"), 0, 0, 1, 0},
        {GET_ASSOCIATIONS, LIST("$uuid", DOC3), 0, 0, 0, 1},
        {GET_ASSOCIATIONS, LIST("$uuid", DOC1), 0, 0, 0, 3},
        {GET_ASSOCIATIONS, LIST("$uuid", DOC1 "','" DOC2), 0, 0, 0, 5},
        {GET_ASSOCIATIONS, LIST("$uuid", NOBODY), 0, 0, 0, 0},
        {GET_DOCUMENTS_AND_ASSOCIATIONS, LIST("$XDSDocumentEntryUniqueId", "1.5.1"), 1, 0, 0, 3},
        {GET_SUBMISSION_SETS, LIST("$uuid", DOC1), 0, 1, 0, 1},
        {GET_SUBMISSION_SETS, LIST("$uuid", DOC1 "','" FOLDER), 0, 1, 0, 2},
        {GET_SUBMISSION_SETS, LIST("$uuid", DOC1 "','" DOC2), 0, 2, 0, 2},
        /* SS-DE, SS-FD, SS-HM, FD-DE */
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "1.1.1"), 1, 1, 1, 4},
        {GET_SUBMISSION_SET_AND_CONTENTS,
         ONE("$XDSSubmissionSetUniqueId", "1.1.1")
             LIST("$XDSDocumentEntryFormatCode", "none^^" SCHEME),
         0, 1, 1, 1},
        /* what the replacement and its Folder membership connect is in no other SubmissionSet's
           contents */
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "1.1.2"), 1, 1, 0, 1},
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "1.1.3"), 1, 1, 0, 1},
        {GET_SUBMISSION_SET_AND_CONTENTS,
         ONE("$XDSSubmissionSetUniqueId", "1.1.3")
             LIST("$XDSDocumentEntryFormatCode", "none^^" SCHEME),
         0, 1, 0, 0},
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "1.1.4") BOTH_TYPES, 1,
         1, 0, 1},
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "1.1.4"), 0, 1, 0, 0},
        {GET_SUBMISSION_SET_AND_CONTENTS, ONE("$XDSSubmissionSetUniqueId", "9"), 0, 0, 0, 0},
        {GET_FOLDER_AND_CONTENTS, ONE("$XDSFolderUniqueId", "1.5.9"), 2, 0, 1, 2},
        {GET_FOLDER_AND_CONTENTS,
         ONE("$XDSFolderEntryUUID", FOLDER)
             LIST("$XDSDocumentEntryConfidentialityCode", "R^^" SCHEME),
         0, 0, 1, 0},
        {GET_FOLDERS_FOR_DOCUMENT, ONE("$XDSDocumentEntryUniqueId", "1.5.2"), 0, 0, 1, 0},
        {GET_FOLDERS_FOR_DOCUMENT, ONE("$XDSDocumentEntryEntryUUID", DOC3), 0, 0, 0, 0},
        {GET_RELATED_DOCUMENTS, ONE("$XDSDocumentEntryEntryUUID", DOC1) MEMBERS_AND_RPLC, 2, 0, 0,
         1},
        {GET_RELATED_DOCUMENTS, ONE("$XDSDocumentEntryUniqueId", "1.5.2") MEMBERS_AND_RPLC, 2, 0, 0,
         1},
        {GET_RELATED_DOCUMENTS, ONE("$XDSDocumentEntryEntryUUID", DOC3) MEMBERS_AND_RPLC, 0, 0, 0,
         0},
        {GET_RELATED_DOCUMENTS,
         ONE("$XDSDocumentEntryEntryUUID", DOC1) LIST("$AssociationTypes", HAS_MEMBER), 0, 0, 0, 0},
    };
    expect_all(cases, ARRAY_LEN(cases));
}

/** 3.18.4.1.2.3.7.5 ff.: LeafClass objects carry one patientId; compared after merges. */
static void test_leaf_class_over_two_patients_is_refused(void **state)
{
    (void)state;
    Reply reply;
    const char *two_patients = LIST("$XDSDocumentEntryEntryUUID", DOC2 "','" DOC3);
    ask(&reply, &everybody, "LeafClass", GET_DOCUMENTS, two_patients);
    Str xml = strbuf_str(&reply.exchange.reply_xml);
    assert_true(str_contains(xml, STR("errorCode=\"XDSResultNotSinglePatient\"")));
    assert_true(str_contains(xml, STR("status=\"" URN_RESPONSE_FAILURE "\"")));
    assert_true(str_contains(xml, STR("<rim:RegistryObjectList></rim:RegistryObjectList>")));
    reply_done(&reply);
    expect_references(0, &(Expected){GET_DOCUMENTS, two_patients, 2, 0, 0, 0});
    expect_leaf_class(1,
                      &(Expected){GET_DOCUMENTS,
                                  LIST("$XDSDocumentEntryEntryUUID", DOC2 "','" DOC4), 2, 0, 0, 0});
}

/** 3.18.4.1.2.3.9: the surviving patientId is shown, by whatever query. */
static void test_answers_show_the_surviving_patient(void **state)
{
    (void)state;
    static const char *const questions[][2] = {
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryUniqueId", "1.5.4")},
        {FIND_DOCUMENTS, OF_A IS_APPROVED LIST("$XDSDocumentEntryType", UUID_ON_DEMAND_DOCUMENT)},
    };
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        Reply reply;
        ask(&reply, &everybody, "LeafClass", questions[i][0], questions[i][1]);
        Str xml = strbuf_str(&reply.exchange.reply_xml);
        assert_int_equal(
            occurrences(xml, "value=\"A^^^&amp;1.3.6.1.4.1.21367.2005.13.20.1000&amp;ISO\""), 1);
        reply_done(&reply);
    }
}

/** Denied = absent: Success and empty, also where an Association would name what may not be known.
 */
static void test_what_may_not_be_known_is_absent(void **state)
{
    (void)state;
    static const Principal stranger = {.node_id = 0};
    static const char *const questions[][2] = {
        {FIND_DOCUMENTS, OF_A IS_APPROVED},
        {GET_ALL, ALL_OF_A(BOTH_STATUSES, BOTH_TYPES)},
        {GET_DOCUMENTS, LIST("$XDSDocumentEntryEntryUUID", DOC2 "','" DOC3)},
        {GET_ASSOCIATIONS, LIST("$uuid", DOC1)},
        {GET_SUBMISSION_SETS, LIST("$uuid", DOC1)},
        {GET_FOLDER_AND_CONTENTS, ONE("$XDSFolderUniqueId", "1.5.9")},
        {GET_RELATED_DOCUMENTS, ONE("$XDSDocumentEntryEntryUUID", DOC1) MEMBERS_AND_RPLC},
    };
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        Reply reply;
        ask(&reply, &stranger, "LeafClass", questions[i][0], questions[i][1]);
        Str xml = strbuf_str(&reply.exchange.reply_xml);
        expect_success(i, xml);
        assert_true(str_contains(xml, STR("<rim:RegistryObjectList></rim:RegistryObjectList>")));
        reply_done(&reply);
    }
}

/* ---- size ---- */

static void add_many_documents(void)
{
    char sql[512];
    snprintf(sql, sizeof(sql),
             "CREATE TABLE many AS SELECT d.* FROM document_entry d, generate_series(1, %d)"
             " WHERE unique_id = '1.5.3';"
             "UPDATE many SET entry_uuid = gen_random_uuid();"
             "INSERT INTO document_entry SELECT * FROM many; DROP TABLE many;",
             MANY_DOCUMENTS);
    assert_int_equal(fixture_run(fixture.base->pool, sql), 0);
}

/** A long answer is rendered while the peer takes it: in pieces, without a database connection. */
static void test_a_long_answer_streams_without_a_connection(void **state)
{
    (void)state;
    add_many_documents();
    Reply reply;
    ask(&reply, &everybody, "LeafClass", FIND_DOCUMENTS,
        SLOT("$XDSDocumentEntryPatientId", VALUE(PATIENT_VALUE("B"))) IS_APPROVED);
    const BodySource *source = &reply.exchange.reply_source;
    assert_non_null(source->next);
    assert_true(reply.exchange.reply_xml.len < 2 * 1024 * 1024);
    assert_true(arena_size_bytes(reply.req->arena) < 4 * 1024 * 1024);
    DbConn *conns[2];
    assert_int_equal(db_acquire(fixture.base->pool, reply.req, &conns[0]), 0);
    assert_int_equal(db_acquire(fixture.base->pool, reply.req, &conns[1]), 0);
    size_t documents = occurrences(strbuf_str(&reply.exchange.reply_xml), "<rim:ExtrinsicObject ");
    StrBuf piece = {0};
    int r = 1;
    while (r == 1) {
        strbuf_clear(&piece);
        r = source->next(source->ctx, &piece);
        assert_true(piece.len < 256 * 1024);
        documents += occurrences(strbuf_str(&piece), "<rim:ExtrinsicObject ");
    }
    assert_int_equal(r, 0);
    assert_true(str_ends_with(strbuf_str(&piece), STR("</query:AdhocQueryResponse>")));
    assert_int_equal(documents, MANY_DOCUMENTS + 1);
    strbuf_done(&piece);
    db_release(conns[0]);
    db_release(conns[1]);
    reply_done(&reply);
}

/* ---- audit ---- */

typedef struct Seen {
    size_t queries;
    size_t cut_off;
} Seen;

static int see_record(void *ctx, const AuditRecord *record)
{
    Seen *seen = ctx;
    if (str_contains(record->message, STR("Registry Stored Query"))) {
        seen->queries++;
        seen->cut_off += str_contains(record->message, STR("EventOutcomeIndicator=\"8\"")) ? 1 : 0;
    }
    return 0;
}

static Seen read_audit(void)
{
    Seen seen = {0};
    unsigned damaged;
    char problem[256];
    assert_int_equal(
        audit_spool_read(fixture.directory, see_record, &seen, &damaged, problem, sizeof(problem)),
        0);
    return seen;
}

/** Contract C4; a reply that fails on its way gets a second event with outcome 8. */
static void test_each_query_is_audited_before_its_reply(void **state)
{
    (void)state;
    const char *slots = SLOT("$XDSDocumentEntryPatientId", VALUE(PATIENT_VALUE("B"))) IS_APPROVED;
    Seen before = read_audit();
    Reply reply;
    ask(&reply, &everybody, "LeafClass", FIND_DOCUMENTS, slots);
    Seen after = read_audit();
    assert_int_equal(after.queries, before.queries + 1);
    assert_int_equal(after.cut_off, before.cut_off);
    reply_done(&reply); /* the peer went away */
    assert_int_equal(read_audit().cut_off, before.cut_off + 1);
}

int main(void)
{
    if (getenv("MUSUBI_TEST_CONNINFO") == NULL) {
        printf("1..0 # SKIP MUSUBI_TEST_CONNINFO is not set\n");
        return 77;
    }
    xml_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_documents_applies_every_parameter),
        cmocka_unit_test(test_find_submission_sets_and_folders_apply_every_parameter),
        cmocka_unit_test(test_get_queries_return_what_their_section_lists),
        cmocka_unit_test(test_queries_of_many_patients_find_by_patient_or_code),
        cmocka_unit_test(test_an_answer_of_many_patients_names_each),
        cmocka_unit_test(test_leaf_class_over_two_patients_is_refused),
        cmocka_unit_test(test_answers_show_the_surviving_patient),
        cmocka_unit_test(test_what_may_not_be_known_is_absent),
        cmocka_unit_test(test_a_long_answer_streams_without_a_connection),
        cmocka_unit_test(test_each_query_is_audited_before_its_reply),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
