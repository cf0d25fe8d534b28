/* Checks on a submission that need no database (ITI TF-2 3.42.4.1.3, TF-3 4.2, Table 4.3.1-3). */
#include "tests/unit/ebrim_fixture.h"

#define META ERR_XDS_REGISTRY_METADATA_ERROR
#define SLOT(name, value)                                                                          \
    "<rim:Slot name=\"" name "\"><rim:ValueList><rim:Value>" value                                 \
    "</rim:Value></rim:ValueList></rim:Slot>"
#define CODE(id, scheme, owner, code, coding_scheme, display)                                      \
    "      <rim:Classification id=\"" id "\" classificationScheme=\"" scheme                       \
    "\" classifiedObject=\"" owner "\" nodeRepresentation=\"" code "\">\n        " SLOT(           \
        "codingScheme", coding_scheme) "\n        <rim:Name><rim:LocalizedString value=\"" display \
                                       "\"/></rim:Name>\n"                                         \
                                       "      </rim:Classification>"
#define ASSOCIATION(id, type, source, target)                                                      \
    "<rim:Association id=\"" id "\" associationType=\"" type "\" sourceObject=\"" source           \
    "\" targetObject=\"" target "\"/>"
#define HAS_MEMBER "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
#define RPLC "urn:ihe:iti:2007:AssociationType:RPLC"
#define APND "urn:ihe:iti:2007:AssociationType:APND"
#define SNAPSHOT "urn:ihe:iti:2010:AssociationType:IsSnapshotOf"
#define REGISTERED "urn:uuid:11111111-2222-4333-8444-555555555555"
#define STABLE "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
#define ON_DEMAND "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
#define LIST_END "  </rim:RegistryObjectList>"
#define PATIENT_ID "S-1001^^^&amp;1.2.392.200270.9.1&amp;ISO"

/** One change of the valid message, and what must be said about it. */
typedef struct Case {
    const char *name;
    Change changes[CHANGES_MAX];
    ErrorCode code;   /* ERR_NONE: must be accepted */
    const char *text; /* part of the error text */
} Case;

static bool has_error(const Request *req, ErrorCode code, const char *text)
{
    for (const Error *e = req->errors.first; e; e = e->next) {
        if (e->code == code && str_contains(e->context, str_from(text))) {
            return true;
        }
    }
    return false;
}

static void print_errors(const Request *req)
{
    for (const Error *e = req->errors.first; e; e = e->next) {
        print_message("  %s [%.*s] %.*s\n", error_info(e->code)->ihe_code, STR_ARG(e->location),
                      STR_ARG(e->context));
    }
}

static void run_case(const Case *c, SubmissionKind kind, const CodeSets *codes)
{
    Request *req = request_new(600000);
    Submission *submission = fixture_submission(req, c->changes);
    int r = submission_check(req, submission, kind, codes);
    bool is_good = c->code == ERR_NONE ? r == 0 && req->errors.count == 0
                                       : r < 0 && has_error(req, c->code, c->text);
    if (!is_good) {
        print_errors(req);
        fail_msg("%s", c->name);
    }
    request_free(req);
}

static void run_cases(const Case *cases, size_t count, SubmissionKind kind)
{
    CodeSets *codes = fixture_codes();
    for (size_t i = 0; i < count; i++) {
        run_case(&cases[i], kind, codes);
    }
    code_sets_free(codes);
}

#define RUN(kind, ...)                                                                             \
    do {                                                                                           \
        static const Case cases[] = {__VA_ARGS__};                                                 \
        run_cases(cases, ARRAY_LEN(cases), kind);                                                  \
    } while (0)

static void test_the_valid_message_is_accepted(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42, {.name = "as it is"});
    RUN(SUBMISSION_ITI41, {.name = "as it is"});
}

/** Schema validity; only inside a Classification the order is free (TF-3 4.2.3.1.2). */
static void test_elements_that_the_schema_does_not_know_are_refused(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"unknown object", {{LIST_END, "<rim:Service id=\"s\"/>" LIST_END}}, META, "Service"},
        {"unknown child", {{"<rim:Description>", "<rim:Frame/><rim:Description>"}}, META, "Frame"},
        {"other namespace",
         {{"<rim:Description>", "<x:Name xmlns:x=\"urn:x\"/><rim:Description>"}},
         META,
         "{urn:x}Name"},
        {"two lists of values",
         {{"<rim:Value>D12^山田^一^^^^^^&amp;1.2.392.200270.9.3&amp;ISO</rim:Value></"
           "rim:ValueList>",
           "<rim:Value>A^B</rim:Value></rim:ValueList><rim:ValueList/>"}},
         META,
         "element rim:ValueList occurs more than once"},
        {"two lists of values in a Classification",
         {{"<rim:Value>主治医</rim:Value></rim:ValueList>",
           "<rim:Value>主治医</rim:Value></rim:ValueList><rim:ValueList/>"}},
         META,
         "element rim:ValueList occurs more than once"},
        {"element among values",
         {{"<rim:Value>summary", "<rim:Val/><rim:Value>summary"}},
         META,
         "Val "},
        {"element in a text", {{"<rim:Description>", "<rim:Description><rim:P/>"}}, META, "}P is"},
        {"two names", {{"<rim:Description>", "<rim:Name/><rim:Description>"}}, META, "rim:Name"},
        {"out of order",
         {{"</rim:Description>", "</rim:Description>" SLOT("urn:example:late", "1")}},
         META,
         "element rim:Slot stands behind rim:Description; send Slot, Name"},
        {"order of the schema",
         {{"<rim:Description>", "<rim:VersionInfo/><rim:Description>"}},
         META,
         "rim:Description stands behind rim:VersionInfo"},
        {"nested Classification",
         {{"<rim:Name><rim:LocalizedString value=\"報告書\"/></rim:Name>",
           "<rim:Name><rim:LocalizedString value=\"報告書\"/></rim:Name><rim:Classification/>"}},
         META,
         "Classification"},
        {.name = "name before Slot in a Classification",
         .changes =
             {{CODE("c02", "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "doc", "REPORT",
                    "1.2.392.200270.4.1", "報告書"),
               "<rim:Classification id=\"c02\" classificationScheme=\"urn:uuid:41a5887f-8865-"
               "4c09-adf7-e362475b143a\" classifiedObject=\"doc\" "
               "nodeRepresentation=\"REPORT\">"
               "<rim:Name><rim:LocalizedString value=\"報告書\"/></rim:Name>" SLOT(
                   "codingScheme", "1.2.392.200270.4.1") "</rim:Classification>"}}},
        {.name = "version and ObjectRef are known",
         .changes = {{"</rim:Description>", "</rim:Description><rim:VersionInfo/>"},
                     {LIST_END, "<rim:ObjectRef id=\"x\"/>" LIST_END}}});
}

/** TF-3 4.2.1.2, 4.2.1.3: packages and their markers. */
static void test_there_is_one_submission_set_and_every_package_is_marked(void **state)
{
    (void)state;
    static const char marker[] = "<rim:Classification id=\"c17\" classifiedObject=\"set\" "
                                 "classificationNode=\"urn:uuid:a54d6aa5-d40d-43f9-88c5-"
                                 "b4633d873bdd\"/>";
    static const Case cases[] = {
        {"no marker", {{marker, ""}}, META, "neither SubmissionSet nor Folder"},
        {"no SubmissionSet", {{marker, ""}}, META, "0 SubmissionSets found"},
        {"marker of nothing",
         {{"classifiedObject=\"set\" classificationNode",
           "classifiedObject=\"nothing\" classificationNode"}},
         META,
         "\"nothing\" of a Classification is no object"},
        {"two markers",
         {{marker, "<rim:Classification id=\"m\" classifiedObject=\"folder\" "
                   "classificationNode=\"urn:uuid:a54d6aa5-d40d-43f9-88c5-"
                   "b4633d873bdd\"/>"}},
         META,
         "both as SubmissionSet and as Folder"},
        {"two SubmissionSets",
         {{"urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2",
           "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"}},
         META,
         "2 SubmissionSets found"},
    };
    run_cases(cases, ARRAY_LEN(cases), SUBMISSION_ITI42);
}

/** TF-3 Table 4.3.1-3, column of the repository. */
static void test_required_attributes_must_be_there(void **state)
{
    (void)state;
#define WITHOUT_SLOT(name, value)                                                                  \
    {name, {{SLOT(name, value), ""}}, META, name " is missing, ITI-42 requires it"}
#define WITHOUT_CODE(name, ...)                                                                    \
    {                                                                                              \
        name, {{CODE(__VA_ARGS__), ""}}, META, name " is missing"                                  \
    }
    RUN(SUBMISSION_ITI42, WITHOUT_SLOT("creationTime", "20260401003000"),
        WITHOUT_SLOT("languageCode", "ja-JP"),
        WITHOUT_SLOT("hash", "0123456789abcdef0123456789abcdef01234567"),
        WITHOUT_SLOT("size", "10240"), WITHOUT_SLOT("repositoryUniqueId", "1.2.392.200270.9.7"),
        WITHOUT_SLOT("sourcePatientId", "0004711^^^&amp;1.2.392.200270.9.2&amp;ISO"),
        WITHOUT_SLOT("submissionTime", "20260401003001"),
        WITHOUT_CODE("classCode", "c02", "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "doc",
                     "REPORT", "1.2.392.200270.4.1", "報告書"),
        WITHOUT_CODE("formatCode", "c06", "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d", "doc",
                     "urn:ihe:pcc:xds-ms:2007", "1.3.6.1.4.1.19376.1.2.3", "Medical summary"),
        WITHOUT_CODE("healthcareFacilityTypeCode", "c07",
                     "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", "doc", "HOSP",
                     "1.2.392.200270.4.2", "病院"),
        WITHOUT_CODE("practiceSettingCode", "c08", "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
                     "doc", "IM", "1.2.392.200270.4.3", "内科"),
        WITHOUT_CODE("typeCode", "c09", "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983", "doc",
                     "18842-5", "2.16.840.1.113883.6.1", "Discharge summary"),
        WITHOUT_CODE("contentTypeCode", "c13", "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500",
                     "set", "DISCHARGE", "1.2.392.200270.4.4", "退院"),
        WITHOUT_CODE("codeList", "c19", "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5", "folder",
                     "STAY", "1.2.392.200270.4.5", "入院"),
        {"confidentialityCode",
         {{"urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f",
           "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"}},
         META,
         "confidentialityCode is missing"},
        {"uniqueId",
         {{"urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", "urn:uuid:x"}},
         META,
         "uniqueId is missing"},
        {"patientId",
         {{"urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446", "urn:uuid:x"}},
         META,
         "patientId is missing"},
        {"sourceId",
         {{"urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832", "urn:uuid:x"}},
         META,
         "sourceId is missing"},
        {"mimeType", {{" mimeType=\"text/xml\"", ""}}, META, "mimeType is missing"},
        {"objectType", {{"objectType=\"" STABLE "\" ", ""}}, META, "objectType is missing"},
        {"title of a Folder",
         {{"<rim:Name><rim:LocalizedString value=\"2026\"/></rim:Name>", ""}},
         META,
         "title is missing"});
    /* what the repository adds need not come from the source */
    RUN(SUBMISSION_ITI41,
        {.name = "no hash",
         .changes = {{SLOT("hash", "0123456789abcdef0123456789abcdef01234567"), ""},
                     {SLOT("size", "10240"), ""},
                     {SLOT("repositoryUniqueId", "1.2.392.200270.9.7"), ""}}});
}

static void test_optional_attributes_may_be_absent(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {.name = "no optional slots",
         .changes = {{SLOT("serviceStartTime", "202603300800"), ""},
                     {SLOT("serviceStopTime", "20260331"), ""},
                     {SLOT("URI", "summary.xml"), ""},
                     {"<rim:Description><rim:LocalizedString value=\"with attachments\"/>"
                      "</rim:Description>",
                      ""},
                     {"<rim:Name><rim:LocalizedString value=\"退院\"/></rim:Name>\n      "
                      "<rim:Classification id=\"c12\"",
                      "<rim:Classification id=\"c12\""}}},
        {.name = "empty Description",
         .changes = {{"<rim:LocalizedString value=\"with attachments\"/>", ""}}});
}

static void test_single_attributes_occur_once(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"two values",
         {{"<rim:Value>ja-JP</rim:Value>",
           "<rim:Value>ja-JP</rim:Value><rim:Value>en</rim:Value>"}},
         META,
         "languageCode has 2 values"},
        {"no value", {{"<rim:Value>ja-JP</rim:Value>", ""}}, META, "languageCode has no rim:Value"},
        {"two class codes",
         {{"urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
           "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"}},
         META,
         "classCode occurs 2 times"},
        {"two uniqueIds",
         {{"urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427",
           "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"}},
         META,
         "uniqueId occurs 2 times"},
        {"same Slot twice",
         {{SLOT("URI", "summary.xml"), SLOT("URI", "summary.xml") SLOT("URI", "b")}},
         META,
         "Slot \"URI\" occurs twice"},
        {"two persons in one author",
         {{"<rim:Slot name=\"authorRole\"", "<rim:Slot name=\"authorPerson\""}},
         META,
         "Slot \"authorPerson\" occurs twice"});
}

static void test_schemes_must_belong_to_the_object(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"classification of a Folder on a document",
         {{"urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
           "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"}},
         META,
         "is not an attribute of a DocumentEntry"},
        {"unknown identifier",
         {{"urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "urn:uuid:x"}},
         META,
         "identificationScheme \"urn:uuid:x\" is not an attribute of a DocumentEntry"},
        {"no scheme",
         {{"classificationScheme=\"urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4\" ", ""}},
         META,
         "classificationScheme \"\""},
        {"unknown node",
         {{"classificationScheme=\"urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4\"",
           "classificationNode=\"urn:uuid:x\""}},
         META,
         "classificationNode \"urn:uuid:x\""},
        {"scheme and node",
         {{"nodeRepresentation=\"REPORT\"",
           "nodeRepresentation=\"REPORT\" classificationNode=\"urn:uuid:x\""}},
         META,
         "classCode has classificationScheme"});
}

/* 260 characters, 4 more than a LongName */
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
#define LONG_CODE FIFTY FIFTY FIFTY FIFTY FIFTY TEN

/** TF-3 4.2.3.1.2, 4.2.3.1.3 */
static void test_parts_are_complete_and_point_to_their_object(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"classifiedObject",
         {{"classifiedObject=\"doc\" nodeRepresentation=\"REPORT\"",
           "classifiedObject=\"set\" nodeRepresentation=\"REPORT\""}},
         META,
         "classifiedObject of classCode is \"set\"; send \"doc\""},
        {"registryObject",
         {{"registryObject=\"folder\"", "registryObject=\"doc\""}},
         META,
         "registryObject of patientId is \"doc\"; send \"folder\""},
        {"no code", {{"nodeRepresentation=\"REPORT\"", ""}}, META, "classCode has no code"},
        {"empty code",
         {{"nodeRepresentation=\"REPORT\"", "nodeRepresentation=\"\""}},
         META,
         "classCode has no code"},
        {"no scheme",
         {{SLOT("codingScheme", "1.2.392.200270.4.1"), ""}},
         META,
         "classCode \"REPORT\" has no coding scheme"},
        {"empty scheme",
         {{"<rim:Value>1.2.392.200270.4.1<", "<rim:Value> <"}},
         META,
         "codingScheme"},
        {"no display name",
         {{"<rim:Name><rim:LocalizedString value=\"報告書\"/></rim:Name>", ""}},
         META,
         "classCode \"REPORT\" has no display name"},
        {"long code",
         {{"nodeRepresentation=\"REPORT\"", "nodeRepresentation=\"" LONG_CODE "\""}},
         META,
         "send 1 to 256 characters"},
        {"empty display name",
         {{"<rim:LocalizedString value=\"報告書\"/>", "<rim:LocalizedString value=\"\"/>"}},
         META,
         "has no display name"},
        {"name of an identifier",
         {{"XDSFolder.uniqueId", "XDSFolder.uid"}},
         META,
         "is \"XDSFolder.uid\"; send \"XDSFolder.uniqueId\""},
        {.name = "any display name", .changes = {{"value=\"報告書\"", "value=\"anything\""}}});
}

/** TF-3 4.2.3.1.4 */
static void test_an_author_is_identified(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"nobody",
         {{SLOT("authorInstitution", "みなと病院"), SLOT("authorRole", "x")}},
         META,
         "neither authorPerson, authorInstitution nor"},
        {"nodeRepresentation",
         {{"classifiedObject=\"set\" nodeRepresentation=\"\"",
           "classifiedObject=\"set\" nodeRepresentation=\"x\""}},
         META,
         "nodeRepresentation of author is \"x\"; send the empty string"},
        {"unknown slot",
         {{"\"authorSpecialty\"", "\"authorSpeciality\""}},
         META,
         "Slot name \"authorSpeciality\" is not defined"},
        {.name = "several roles",
         .changes = {{"<rim:Value>主治医</rim:Value>",
                      "<rim:Value>主治医</rim:Value><rim:Value>Attending</rim:Value>"}}});
}

/** TF-3 Table 4.2.3.1.7-2; each type by one attribute, all forms in test_ebrim_datatypes. */
static void test_bad_values_are_named_with_what_to_send(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"CX",
         {{PATIENT_ID "\">\n        <rim:Name><rim:LocalizedString value=\"XDSDocumentEntry",
           "S-1001\">\n        <rim:Name><rim:LocalizedString value=\"XDSDocumentEntry"}},
         META,
         "patientId is \"S-1001\"; send Id^^^&OID&ISO"},
        {"CX in a Slot",
         {{SLOT("sourcePatientId", "0004711^^^&amp;1.2.392.200270.9.2&amp;ISO"),
           SLOT("sourcePatientId", "0004711")}},
         META,
         "sourcePatientId is \"0004711\""},
        {"CXi",
         {{"^urn:ihe:iti:xds:2013:accession", ""}},
         META,
         "referenceIdList is \"A77^^^&1.2.392.200270.9.4&ISO\""},
        {"DTM",
         {{"20260401003000", "2026-04-01"}},
         META,
         "creationTime is \"2026-04-01\"; send YYYY"},
        {"DTM of the set", {{"20260401003001", "x"}}, META, "submissionTime is \"x\""},
        {"OID",
         {{"<rim:Value>1.2.392.200270.9.7<", "<rim:Value>urn:oid:1.2<"}},
         META,
         "repositoryUniqueId is \"urn:oid:1.2\"; send an OID"},
        {"uniqueId of a set",
         {{"value=\"1.2.392.200270.9.7.200\"", "value=\"set-1\""}},
         META,
         "uniqueId is \"set-1\"; send an OID"},
        {"uniqueId of a Folder",
         {{"value=\"1.2.392.200270.9.7.300\"", "value=\"f\""}},
         META,
         "uniqueId is \"f\"; send an OID"},
        {"sourceId",
         {{"value=\"1.2.392.200270.9\"", "value=\"3670984664\""}},
         META,
         "sourceId is \"3670984664\""},
        {"hash",
         {{"0123456789abcdef0123456789abcdef01234567", "ZuFYdA+BgNxQyzdwXOdi8qKqb5o="}},
         META,
         "40 hexadecimal digits"},
        {"size", {{"<rim:Value>10240<", "<rim:Value>10 KB<"}}, META, "size is \"10 KB\""},
        {"language",
         {{"<rim:Value>ja-JP<", "<rim:Value>ja_JP<"}},
         META,
         "languageCode is \"ja_JP\"; send an RFC 5646 tag"},
        {"mimeType",
         {{"mimeType=\"text/xml\"", "mimeType=\"xml\""}},
         META,
         "mimeType is \"xml\"; send type/subtype"},
        {"XCN",
         {{"D12^山田^一^^^^^^&amp;1.2.392.200270.9.3&amp;ISO", "^^一"}},
         META,
         "authorPerson is \"^^一\"; send Id^Last"},
        {"XON",
         {{"みなと病院^^^^^&amp;1.2.392.200270.9&amp;ISO^^^^0012", "A^B"}},
         META,
         "authorInstitution is \"A^B\""},
        {"XTN",
         {{"^^Internet^yamada@minato.example.org", "^^Internet"}},
         META,
         "authorTelecommunication"},
        {"recipient",
         {{"|^佐々木^純|^^Internet^sasaki@minato.example.org", "|^^純|"}},
         META,
         "intendedRecipient"},
        {"patient info", {{"PID-8|F", "sex F"}}, META, "sourcePatientInfo is \"sex F\""},
        {"empty value", {{"<rim:Value>summary.xml<", "<rim:Value><"}}, META, "URI is \"\""},
        {"home",
         {{"id=\"doc\" ", "id=\"doc\" home=\"1.2.3\" "}},
         META,
         "homeCommunityId is \"1.2.3\"; send urn:oid:"},
        {"objectType",
         {{"id=\"doc\" objectType=\"" STABLE, "id=\"doc\" objectType=\"urn:uuid:x"}},
         META,
         "objectType is \"urn:uuid:x\"; send " STABLE},
        {"long title",
         {{"value=\"退院時サマリー\"",
           "value=\"1234567890123456789012345678901234567890123456789012345678901234567890123456"
           "78901234567890123456789012345678901234567890123456789\""}},
         META,
         "title is"},
        {.name = "white space around a value",
         .changes = {{"<rim:Value>ja-JP<", "<rim:Value>\n  ja-JP\n  <"}}},
        {.name = "home", .changes = {{"id=\"doc\" ", "id=\"doc\" home=\"urn:oid:1.2.3\" "}}},
        {.name = "names without identifier",
         .changes = {{"D12^山田^一^^^^^^&amp;1.2.392.200270.9.3&amp;ISO", "^Smitty^Gerald^^^"}}});
}

/** TF-2 3.42.4.1.3.3.6 */
static void test_a_service_does_not_stop_before_it_starts(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"stop before start",
         {{"<rim:Value>20260331<", "<rim:Value>20260329<"}},
         META,
         "serviceStartTime 202603300800 is later than serviceStopTime 20260329"},
        {.name = "same day, less precise",
         .changes = {{"<rim:Value>20260331<", "<rim:Value>20260330<"}}},
        {.name = "point in time",
         .changes = {{"<rim:Value>20260331<", "<rim:Value>202603300800<"}}});
}

/** TF-2 3.42.4.1.3.3.3, 3.42.4.1.3.3.4 */
static void test_codes_of_the_affinity_domain_are_required_and_proposed(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"unknown code",
         {{"nodeRepresentation=\"REPORT\"", "nodeRepresentation=\"REPORTS\""}},
         META,
         "classCode \"REPORTS\" of codingScheme \"1.2.392.200270.4.1\" is not in the affinity "
         "domain; send a code of the affinity domain, such as REPORT^^1.2.392.200270.4.1 (報告書)"},
        {"other scheme",
         {{SLOT("codingScheme", "2.16.840.1.113883.6.1"), SLOT("codingScheme", "LOINC")}},
         META,
         "typeCode \"18842-5\" of codingScheme \"LOINC\""},
        {"second code of several",
         {{"nodeRepresentation=\"R\"", "nodeRepresentation=\"Q\""}},
         META,
         "confidentialityCode \"Q\""},
        {"Folder",
         {{"nodeRepresentation=\"STAY\"", "nodeRepresentation=\"x\""}},
         META,
         "codeList \"x\""},
        {"mimeType",
         {{"mimeType=\"text/xml\"", "mimeType=\"image/x-foo\""}},
         META,
         "mimeType \"image/x-foo\" is not in the affinity domain; send a code of the affinity "
         "domain, such as "},
        {.name = "another code of the set",
         .changes = {{"nodeRepresentation=\"REPORT\"", "nodeRepresentation=\"IMAGE\""},
                     {"mimeType=\"text/xml\"", "mimeType=\"application/pdf\""}}});
}

static void test_unknown_codes_can_be_warnings_or_unchecked(void **state)
{
    Request *req = *state;
    static const Change changes[] = {
        {"nodeRepresentation=\"REPORT\"", "nodeRepresentation=\"REPORTS\""}, {NULL, NULL}};
    CodeSets *codes = fixture_codes();
    Submission *submission = fixture_submission(req, changes);
    assert_int_equal(submission_check(req, submission, SUBMISSION_ITI42, NULL), 0);
    submission_check_codes(req, submission, codes, SEVERITY_WARNING);
    assert_int_equal(req->errors.error_count, 0);
    assert_int_equal(req->errors.count, 1);
    assert_true(str_contains(req->errors.first->location, STR("ExtrinsicObject")));
    code_sets_free(codes);
}

/** TF-3 Table 4.2.4.1-2 */
static void test_one_submission_is_about_one_patient(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"other patient of the document",
         {{PATIENT_ID "\">\n        <rim:Name><rim:LocalizedString value=\"XDSDocumentEntry",
           "T-1^^^&amp;1.2.3&amp;ISO\">\n        <rim:Name><rim:LocalizedString "
           "value=\"XDSDocumentEntry"}},
         ERR_XDS_PATIENT_ID_DOES_NOT_MATCH,
         "patientId \"T-1^^^&1.2.3&ISO\" differs from \"S-1001^^^&1.2.392.200270.9.1&ISO\""},
        {"other patient of the Folder",
         {{PATIENT_ID "\">\n        <rim:Name><rim:LocalizedString value=\"XDSFolder",
           "T-1^^^&amp;1.2.3&amp;ISO\">\n        <rim:Name><rim:LocalizedString "
           "value=\"XDSFolder"}},
         ERR_XDS_PATIENT_ID_DOES_NOT_MATCH,
         "Folder 1.2.392.200270.9.7.300 (id folder): patientId"});
}

static void test_unique_ids_are_unique_in_the_message(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"set and Folder",
         {{"value=\"1.2.392.200270.9.7.300\"", "value=\"1.2.392.200270.9.7.200\""}},
         ERR_XDS_REGISTRY_DUPLICATE_UNIQUE_ID_IN_MESSAGE,
         "uniqueId \"1.2.392.200270.9.7.200\" is also that of"},
        {"document and set",
         {{"value=\"1.2.392.200270.9.7.100^A\"", "value=\"1.2.392.200270.9.7.200\""}},
         ERR_XDS_REGISTRY_DUPLICATE_UNIQUE_ID_IN_MESSAGE,
         "uniqueId \"1.2.392.200270.9.7.200\" is also that of"});
}

/** TF-3 4.2.3.1.5 */
static void test_ids_are_uuids_or_symbolic_and_unique(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"upper case",
         {{"\"doc\"", "\"urn:uuid:AAAAAAAA-2222-4333-8444-555555555555\""}},
         META,
         "lower-case"},
        {"upper case of a part",
         {{"id=\"c02\"", "id=\"urn:uuid:AAAAAAAA-2222-4333-8444-555555555555\""}},
         META,
         "is not a UUID"},
        {"object twice",
         {{"id=\"set_folder\"", "id=\"set_doc\""}},
         META,
         "id \"set_doc\" is used twice"},
        {"part and object",
         {{"id=\"c02\"", "id=\"set_doc\""}},
         META,
         "id \"set_doc\" is used twice"},
        {"UUID of two parts",
         {{"id=\"c02\"", "id=\"" REGISTERED "\""}, {"id=\"c03\"", "id=\"" REGISTERED "\""}},
         META,
         "is used twice"},
        {"no id", {{"id=\"set_folder\" ", ""}}, META, "id is missing"},
        {.name = "symbolic id of two parts", .changes = {{"id=\"c02\"", "id=\"c03\""}}},
        {.name = "UUIDs", .changes = {{"\"doc\"", "\"" REGISTERED "\""}}});
}

/** TF-2 3.42.4.1.3.5 */
static void test_references_must_lead_somewhere(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"symbolic target",
         {{"targetObject=\"folder_doc\"", "targetObject=\"nothing\""}},
         ERR_UNRESOLVED_REFERENCE,
         "targetObject \"nothing\" is no object of the submission"},
        {"symbolic source",
         {{"sourceObject=\"folder\"", "sourceObject=\"nothing\""}},
         ERR_UNRESOLVED_REFERENCE,
         "sourceObject \"nothing\""},
        {"bad UUID",
         {{"targetObject=\"folder_doc\"", "targetObject=\"urn:uuid:1\""}},
         META,
         "targetObject \"urn:uuid:1\" is not a UUID"},
        {"missing", {{" targetObject=\"folder_doc\"", ""}}, META, "targetObject is missing"},
        {"itself",
         {{"sourceObject=\"set\" targetObject=\"folder\"",
           "sourceObject=\"set\" targetObject=\"set\""}},
         META,
         "not three different objects"},
        {"its own id",
         {{"sourceObject=\"set\" targetObject=\"folder_doc\"",
           "sourceObject=\"set\" targetObject=\"set_folder_doc\""}},
         META,
         "not three different objects"});
}

/** TF-3 4.2.2.2, TF-2 3.42.4.1.3.5 */
static void test_relationships_go_from_a_new_document_to_a_registered_one(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"source outside",
         {{LIST_END, ASSOCIATION("r", RPLC, REGISTERED, "doc") LIST_END}},
         ERR_UNRESOLVED_REFERENCE,
         "source of a relationship is not a DocumentEntry"},
        {"source a Folder",
         {{LIST_END, ASSOCIATION("r", RPLC, "folder", REGISTERED) LIST_END}},
         ERR_UNRESOLVED_REFERENCE,
         "source of a relationship is not a DocumentEntry"},
        {"replaces what it brings",
         {{LIST_END, ASSOCIATION("r", RPLC, "doc", "doc") LIST_END}},
         ERR_UNRESOLVED_REFERENCE,
         "must be registered already"},
        {"target a Folder",
         {{LIST_END, ASSOCIATION("r", APND, "doc", "folder") LIST_END}},
         META,
         "target of a relationship is not a DocumentEntry"},
        {.name = "replacement",
         .changes = {{LIST_END, ASSOCIATION("r", RPLC, "doc", REGISTERED) LIST_END}}},
        {.name = "snapshot of a registered entry",
         .changes = {{LIST_END, ASSOCIATION("r", SNAPSHOT, "doc", REGISTERED) LIST_END}}});
}

#define ON_DEMAND_CHANGES                                                                          \
    {"objectType=\"" STABLE, "objectType=\"" ON_DEMAND},                                           \
        {SLOT("creationTime", "20260401003000"), ""}, {SLOT("size", "10240"), ""},                 \
    {                                                                                              \
        SLOT("hash", "0123456789abcdef0123456789abcdef01234567"), ""                               \
    }

/** TF-2 3.42.4.1.2, 3.61.4.1.2, 3.61.4.2.2 */
static void test_on_demand_entries_are_for_iti_61_only(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42, {"On-Demand in ITI-42",
                           {{"objectType=\"" STABLE, "objectType=\"" ON_DEMAND}},
                           META,
                           "ITI-42 registers Stable entries"});
    RUN(SUBMISSION_ITI61,
        {"Stable in ITI-61",
         {{SLOT("creationTime", "20260401003000"), ""}, {SLOT("size", "10240"), ""}},
         META,
         "ITI-61 registers On-Demand entries"},
        {"creationTime",
         {{"objectType=\"" STABLE, "objectType=\"" ON_DEMAND}},
         META,
         "creationTime is not allowed in ITI-61"},
        {"hash",
         {{"objectType=\"" STABLE, "objectType=\"" ON_DEMAND}},
         META,
         "hash is not allowed in ITI-61"},
        {"size",
         {{"objectType=\"" STABLE, "objectType=\"" ON_DEMAND}},
         META,
         "size is not allowed in ITI-61"},
        {"snapshot from an On-Demand entry",
         {ON_DEMAND_CHANGES, {LIST_END, ASSOCIATION("r", SNAPSHOT, "doc", REGISTERED) LIST_END}},
         META,
         "source of IsSnapshotOf is On-Demand"},
        {.name = "On-Demand entry", .changes = {ON_DEMAND_CHANGES}});
}

#define STATUS SLOT("SubmissionSetStatus", "Original")
#define SET_DOC                                                                                    \
    "<rim:Association id=\"set_doc\" associationType=\"" HAS_MEMBER                                \
    "\" sourceObject=\"set\" targetObject=\"doc\">\n      " STATUS "\n    </rim:Association>"

/** TF-3 4.2.2.1.1 */
static void test_submission_set_status_says_where_the_entry_is(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"document without membership",
         {{SET_DOC, ""}},
         META,
         "no HasMember Association from the SubmissionSet"},
        {"missing", {{STATUS, ""}}, META, "with the value Original"},
        {"other value",
         {{STATUS, SLOT("SubmissionSetStatus", "New")}},
         META,
         "the first is \"New\""},
        {"two values",
         {{"<rim:Value>Original</rim:Value>",
           "<rim:Value>Original</rim:Value><rim:Value>Original</rim:Value>"}},
         META,
         "SubmissionSetStatus has 2 values"},
        {"Reference on a new entry",
         {{STATUS, SLOT("SubmissionSetStatus", "Reference")}},
         META,
         "with the value Original"},
        {"Original on a registered entry",
         {{LIST_END, "<rim:Association id=\"x\" associationType=\"" HAS_MEMBER
                     "\" sourceObject=\"set\" targetObject=\"" REGISTERED "\">" STATUS
                     "</rim:Association>" LIST_END}},
         META,
         "target is not in this submission"},
        {"no status on a registered entry",
         {{LIST_END, ASSOCIATION("x", HAS_MEMBER, "set", REGISTERED) LIST_END}},
         META,
         "with the value Reference"},
        {"Original from a Folder",
         {{ASSOCIATION("folder_doc", HAS_MEMBER, "folder", "doc"),
           "<rim:Association id=\"folder_doc\" associationType=\"" HAS_MEMBER
           "\" sourceObject=\"folder\" targetObject=\"doc\">" STATUS "</rim:Association>"}},
         META,
         "source is not the SubmissionSet"},
        {.name = "Reference to a registered entry",
         .changes = {{LIST_END, "<rim:Association id=\"x\" associationType=\"" HAS_MEMBER
                                "\" sourceObject=\"set\" targetObject=\"" REGISTERED
                                "\">" SLOT("SubmissionSetStatus",
                                           "Reference") "</rim:Association>" LIST_END}}},
        {.name = "Original on a Folder",
         .changes = {{ASSOCIATION("set_folder", HAS_MEMBER, "set", "folder"),
                      "<rim:Association id=\"set_folder\" associationType=\"" HAS_MEMBER
                      "\" sourceObject=\"set\" targetObject=\"folder\">" STATUS
                      "</rim:Association>"}}});
}

/** TF-3 4.2.2.1.2 to 4.2.2.1.4, 4.2.1.3 */
static void test_folders_and_their_members_belong_to_the_submission_set(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"Folder alone",
         {{ASSOCIATION("set_folder", HAS_MEMBER, "set", "folder"), ""}},
         META,
         "(id folder): no HasMember Association"},
        {"membership alone",
         {{ASSOCIATION("set_folder_doc", HAS_MEMBER, "set", "folder_doc"), ""}},
         META,
         "is a member of the SubmissionSet 0 times"},
        {"membership twice",
         {{LIST_END, ASSOCIATION("x", HAS_MEMBER, "set", "folder_doc") LIST_END}},
         META,
         "is a member of the SubmissionSet 2 times"},
        {"Folder in a Folder",
         {{"sourceObject=\"folder\" targetObject=\"doc\"",
           "sourceObject=\"folder\" targetObject=\"set_doc\""}},
         META,
         "a Folder holds DocumentEntries only"},
        {"set in a Folder",
         {{"sourceObject=\"folder\" targetObject=\"doc\"",
           "sourceObject=\"folder\" targetObject=\"set\""}},
         META,
         "a SubmissionSet is no member"},
        {"member of a document",
         {{LIST_END, ASSOCIATION("x", HAS_MEMBER, "doc", REGISTERED) LIST_END}},
         META,
         "neither SubmissionSet nor Folder"},
        {"set holds another membership",
         {{LIST_END, ASSOCIATION("x", HAS_MEMBER, "set", "set_doc") LIST_END}},
         META,
         "does not put a DocumentEntry into a Folder"},
        {.name = "document into a registered Folder",
         .changes = {{LIST_END, ASSOCIATION("x", HAS_MEMBER, REGISTERED, "doc")
                                    ASSOCIATION("y", HAS_MEMBER, "set", "x") LIST_END}}},
        {.name = "the first editions' form of a Folder",
         .changes = {{ASSOCIATION("set_folder_doc", HAS_MEMBER, "set", "folder_doc"), ""},
                     {CODE("c19", "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5", "folder", "STAY",
                           "1.2.392.200270.4.5", "入院"),
                      ""}}});
}

#define DOCUMENTED(type, target, body)                                                             \
    "<rim:Association id=\"r\" associationType=\"" type                                            \
    "\" sourceObject=\"doc\" targetObject=\"" target "\">" body "</rim:Association>" LIST_END
#define DOCUMENTATION(owner, code)                                                                 \
    CODE("rc", "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3", owner, code, "1.2.392.200270.4.6", \
         "corrected")

/** TF-3 4.2.2.2; metadata update is ITI-57's (TF-2 3.57). */
static void test_associations_have_known_types_and_parts(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"unknown type",
         {{LIST_END, ASSOCIATION("r", "urn:x", "doc", REGISTERED) LIST_END}},
         META,
         "associationType is \"urn:x\"; send one of urn:oasis:names:tc:ebxml-regrep:"},
        {"short type",
         {{LIST_END, ASSOCIATION("r", "RPLC", "doc", REGISTERED) LIST_END}},
         META,
         "associationType is \"RPLC\""},
        {"update type",
         {{LIST_END, ASSOCIATION("r", "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus",
                                 "doc", REGISTERED) LIST_END}},
         META,
         "send it as ITI-57"},
        {"update Slot",
         {{STATUS, STATUS SLOT("PreviousVersion", "1")}},
         META,
         "Slot PreviousVersion belongs to a metadata update"},
        {"lid",
         {{"id=\"doc\" ", "id=\"doc\" lid=\"" REGISTERED "\" "}},
         META,
         "lid \"" REGISTERED "\" differs from the id"},
        {"documented HasMember",
         {{STATUS, STATUS DOCUMENTATION("set_doc", "CORRECTED")}},
         META,
         "a HasMember Association has a Classification"},
        {"other Classification",
         {{LIST_END, DOCUMENTED(RPLC, REGISTERED,
                                CODE("rc", "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "r",
                                     "REPORT", "1.2.392.200270.4.1", "x"))}},
         META,
         "is not an attribute of an Association"},
        {"unknown documentation",
         {{LIST_END, DOCUMENTED(RPLC, REGISTERED, DOCUMENTATION("r", "x"))}},
         META,
         "documentation \"x\""},
        {"ExternalIdentifier",
         {{LIST_END,
           DOCUMENTED(RPLC, REGISTERED, "<rim:ExternalIdentifier id=\"e\" value=\"1\"/>")}},
         META,
         "an Association has an ExternalIdentifier"},
        {"Slot", {{STATUS, STATUS SLOT("why", "because")}}, META, "Slot name \"why\""},
        {.name = "documented replacement",
         .changes = {{LIST_END, DOCUMENTED(RPLC, REGISTERED, DOCUMENTATION("r", "CORRECTED"))}}},
        {.name = "extra Slot", .changes = {{STATUS, STATUS SLOT("urn:example:why", "because")}}},
        {.name = "lid equal to id", .changes = {{"id=\"doc\" ", "id=\"doc\" lid=\"doc\" "}}});
}

/** TF-3 Table 4.3.1-3: the flag belongs to XDR with metadata-limited sources. */
static void test_limited_metadata_is_refused(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"flag of the document",
         {{"<rim:Classification id=\"c01\"",
           "<rim:Classification id=\"m\" classifiedObject=\"doc\" classificationNode=\""
           "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85\"/><rim:Classification id=\"c01\""}},
         META,
         "limitedMetadata is not allowed in ITI-42"});
}

/** TF-3 4.2.3.1.6 */
static void test_extra_metadata_is_named_by_a_urn_of_the_sender(void **state)
{
    (void)state;
    RUN(SUBMISSION_ITI42,
        {"no URN", {{"\"urn:example:ward\"", "\"ward\""}}, META, "Slot name \"ward\""},
        {"IHE's",
         {{"\"urn:example:ward\"", "\"urn:ihe:ward\""}},
         META,
         "Slot name \"urn:ihe:ward\""},
        {"misspelled", {{"\"URI\"", "\"uri\""}}, META, "Slot name \"uri\""},
        {.name = "any URN", .changes = {{"\"urn:example:ward\"", "\"urn:oid:1.2.3\""}}});
}

/** A vendor sees every fault at once, each with its place. */
static void test_all_faults_are_reported_with_object_and_location(void **state)
{
    Request *req = *state;
    static const Change changes[] = {
        {"<rim:Value>ja-JP<", "<rim:Value>ja_JP<"},
        {"<rim:Value>10240<", "<rim:Value>big<"},
        {"nodeRepresentation=\"STAY\"", "nodeRepresentation=\"\""},
        {NULL, NULL},
    };
    int r = submission_check(req, fixture_submission(req, changes), SUBMISSION_ITI42, NULL);
    assert_int_equal(r, -(int)META);
    assert_int_equal(req->errors.error_count, 3);
    const Error *first = req->errors.first;
    assert_str(first->location, "languageCode");
    assert_true(
        str_starts_with(first->context, STR("DocumentEntry 1.2.392.200270.9.7.100^A (id doc): ")));
    assert_true(
        str_contains(first->next->next->location, STR("RegistryPackage[2]/Classification")));
}

/** Beyond what is kept, faults cost next to nothing: no quadratic work on hostile messages. */
static void test_many_faults_are_counted_quickly(void **state)
{
    Request *req = *state;
    StrBuf buf = {0};
    for (unsigned i = 0; i < 20000; i++) {
        strbuf_printf(&buf, ASSOCIATION("a%u", "urn:x", "s%u", "t%u"), i, i, i);
    }
    strbuf_literal(&buf, LIST_END);
    const Change changes[] = {{LIST_END, buf.data}, {NULL, NULL}};
    Str base = fixture_message(req->arena, NULL);
    Submission *submission = fixture_read(req, fixture_changed(req->arena, base, changes[0]));
    strbuf_done(&buf);
    CodeSets *codes = fixture_codes();
    assert_true(submission_check(req, submission, SUBMISSION_ITI42, codes) < 0);
    assert_in_range(req->errors.error_count, 60000, 200000);
    code_sets_free(codes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_valid_message_is_accepted),
        cmocka_unit_test(test_elements_that_the_schema_does_not_know_are_refused),
        cmocka_unit_test(test_there_is_one_submission_set_and_every_package_is_marked),
        cmocka_unit_test(test_required_attributes_must_be_there),
        cmocka_unit_test(test_optional_attributes_may_be_absent),
        cmocka_unit_test(test_single_attributes_occur_once),
        cmocka_unit_test(test_schemes_must_belong_to_the_object),
        cmocka_unit_test(test_parts_are_complete_and_point_to_their_object),
        cmocka_unit_test(test_an_author_is_identified),
        cmocka_unit_test(test_bad_values_are_named_with_what_to_send),
        cmocka_unit_test(test_a_service_does_not_stop_before_it_starts),
        cmocka_unit_test(test_codes_of_the_affinity_domain_are_required_and_proposed),
        EBRIM_TEST(test_unknown_codes_can_be_warnings_or_unchecked),
        cmocka_unit_test(test_one_submission_is_about_one_patient),
        cmocka_unit_test(test_unique_ids_are_unique_in_the_message),
        cmocka_unit_test(test_ids_are_uuids_or_symbolic_and_unique),
        cmocka_unit_test(test_references_must_lead_somewhere),
        cmocka_unit_test(test_relationships_go_from_a_new_document_to_a_registered_one),
        cmocka_unit_test(test_on_demand_entries_are_for_iti_61_only),
        cmocka_unit_test(test_submission_set_status_says_where_the_entry_is),
        cmocka_unit_test(test_folders_and_their_members_belong_to_the_submission_set),
        cmocka_unit_test(test_associations_have_known_types_and_parts),
        cmocka_unit_test(test_limited_metadata_is_refused),
        cmocka_unit_test(test_extra_metadata_is_named_by_a_urn_of_the_sender),
        EBRIM_TEST(test_all_faults_are_reported_with_object_and_location),
        EBRIM_TEST(test_many_faults_are_counted_quickly),
    };
    xml_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
