/* What real senders send: the sample messages of a reference folder, named by MUSUBI_REFERENCE. */
#include "lib/ebrim/vocabulary.h"

#include "tests/unit/ebrim_fixture.h"

/** A sample and the faults that it is known to have; none: must be accepted. */
typedef struct Sample {
    const char *path;
    SubmissionKind kind;
    const char *faults[6];
} Sample;

static const Sample samples[] = {
    {"ihe/samples/iti-41/ipf__ProvideAndRegisterDocumentSet.xml", SUBMISSION_ITI41, {NULL}},
    {"ihe/samples/iti-41/nist2__soap-pnr.xml", SUBMISSION_ITI41, {NULL}},
    {"ihe/samples/iti-41/nist2__soap-pnr-element-order.xml",
     SUBMISSION_ITI41,
     {"rim:Slot stands behind rim:Name"}},
    {"ihe/samples/iti-41/openxds__ProvideAndRegisterDocumentSet-bRequest.xml",
     SUBMISSION_ITI41,
     {NULL}},
    {"ihe/samples/iti-41/nist2__pnr-assoc-to-self.xml",
     SUBMISSION_ITI41,
     {"not three different objects"}},
    {"ihe/samples/iti-41/nist2__pnr-bad-uplink.xml",
     SUBMISSION_ITI41,
     {"classifiedObject of author is \"Document011\""}},
    {"ihe/samples/iti-41/nist2__pnr-limited.xml", SUBMISSION_ITI41, {"limitedMetadata"}},
    {"ihe/samples/iti-41/ohimxds__pnr1.xml", SUBMISSION_ITI41, {"differs from"}},
    {"ihe/samples/iti-41/xcasrc__PnR_request.xml",
     SUBMISSION_ITI41,
     {"neither SubmissionSet nor Folder", "homeCommunityId is", "authorPerson is"}},
    {"ihe/samples/iti-42/wxdsb__register_req.xml",
     SUBMISSION_ITI42,
     {"40 hexadecimal digits", "uniqueId is \"2.16.840.1.113883.2.9.2.120.4.3.0000000001\""}},
    {"ihe/samples/iti-42/ipf__SubmitObjectsRequest_ebrs30_update_nonstandard_association.xml",
     SUBMISSION_ITI42,
     {"associationType is \"urn:elga-bes:AssociationType:NonVersioningUpdate\""}},
    {"ihe/samples/iti-42/ohimxds__RegisterDocumentSet-bRequest_SOAP.xml",
     SUBMISSION_ITI42,
     {"hash is missing", "size is missing", "associationType is \"HasMember\""}},
};

static const XmlNode *next_in_document(const XmlNode *node)
{
    if (node->first_child) {
        return node->first_child;
    }
    while (node && !node->next) {
        node = node->parent;
    }
    return node ? node->next : NULL;
}

static void check_sample(const char *reference, const Sample *sample)
{
    Request *req = request_new(600000);
    Str path = str_printf(req->arena, "%s/%s", reference, sample->path);
    Str bytes = fixture_file(req->arena, str_cstr(req->arena, path));
    XmlNode *root = NULL;
    assert_int_equal(xml_read(req, bytes, &root), 0);
    const XmlNode *request = root;
    while (request && !xml_is(request, NS_LCM, "SubmitObjectsRequest")) {
        request = next_in_document(request);
    }
    assert_non_null(request);
    Submission *submission;
    assert_int_equal(submission_read(req, request, &submission), 0);
    int r = submission_check(req, submission, sample->kind, NULL);
    StrBuf found = {0};
    for (const Error *e = req->errors.first; e; e = e->next) {
        strbuf_printf(&found, "%.*s\n", STR_ARG(e->context));
    }
    for (size_t i = 0; i < ARRAY_LEN(sample->faults) && sample->faults[i]; i++) {
        if (!str_contains(strbuf_str(&found), str_from(sample->faults[i]))) {
            fail_msg("%s: expected \"%s\", found:\n%s", sample->path, sample->faults[i],
                     found.len ? found.data : "nothing");
        }
    }
    if ((r == 0) != (sample->faults[0] == NULL)) {
        fail_msg("%s:\n%s", sample->path, found.len ? found.data : "accepted");
    }
    strbuf_done(&found);
    request_free(req);
}

static void test_samples_of_real_senders_have_the_outcome_they_deserve(void **state)
{
    (void)state;
    const char *reference = getenv("MUSUBI_REFERENCE");
    if (!reference) {
        print_message("MUSUBI_REFERENCE is not set: no sample messages to read\n");
        skip();
    }
    xml_init();
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        check_sample(reference, &samples[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_of_real_senders_have_the_outcome_they_deserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
