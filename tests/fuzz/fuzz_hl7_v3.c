/* HL7 v3 messages: reading, checking, and the answers made of them, which must themselves be
 * messages that can be read. Names that were read are the same after another round. */

#include "lib/hl7/v3_person.h"
#include "lib/xml/read.h"
#include "lib/xml/write.h"

#include "tests/fuzz/fuzz.h"

static XmlNode *read_again(Request *req, const StrBuf *buf)
{
    XmlNode *root = NULL;
    error_list_init(&req->errors, req->arena);
    FUZZ_CHECK(xml_read(req, strbuf_str(buf), &root) == 0);
    return root;
}

/** What is written of a person is read the same. */
static void check_person(Request *req, const XmlNode *patient)
{
    Demographics fed;
    Demographics again;
    StrBuf buf = {0};
    v3_person_read(req->arena, patient, false, &fed);
    for (size_t i = 0; i < DEMOGRAPHIC_COUNT; i++) {
        FUZZ_CHECK(str_is_utf8(fed.fields[i]));
    }
    strbuf_literal(&buf, "<patient xmlns=\"" NS_HL7_V3 "\"><patientPerson>");
    v3_person_append(&buf, req->arena, &fed);
    v3_person_append_relations(&buf, req->arena, &fed);
    strbuf_literal(&buf, "</patientPerson></patient>");
    v3_person_read(req->arena, read_again(req, &buf), false, &again);
    FUZZ_CHECK(str_equal(fed.fields[DEMOGRAPHIC_name], again.fields[DEMOGRAPHIC_name]));
    FUZZ_CHECK(str_equal(fed.fields[DEMOGRAPHIC_address], again.fields[DEMOGRAPHIC_address]));
    strbuf_done(&buf);
}

static void check_query(Request *req, const XmlNode *query)
{
    StrBuf buf = {0};
    StrBuf second = {0};
    int rc = v3_check(req, query, V3_PIX_QUERY);
    rc |= v3_check(req, query, V3_PDQ_QUERY);
    (void)rc;
    xml_append_tree(&buf, query, "");
    xml_append_tree(&second, read_again(req, &buf), "");
    FUZZ_CHECK(str_equal(strbuf_str(&buf), strbuf_str(&second)));
    strbuf_done(&buf);
    strbuf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const V3Reply replies[] = {{"MCCI_IN000002UV01", true}, {"PRPA_IN201310UV02", false}};
    static bool is_ready;
    if (!is_ready) {
        xml_init();
        is_ready = true;
    }
    Request *req = request_new(60000);
    XmlNode *root = NULL;
    V3Message message;
    if (xml_read(req, (Str){(const char *)bytes, len}, &root) == 0) {
        int rc = v3_message_read(req, root, "PRPA_IN201301UV02", &message);
        (void)rc;
        for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
            StrBuf buf = {0};
            ErrorList errors = req->errors;
            v3_reply_begin(&buf, req, &message, &replies[i]);
            v3_reply_end(&buf, &replies[i]);
            (void)read_again(req, &buf);
            req->errors = errors;
            strbuf_done(&buf);
        }
        const XmlNode *patient = v3_at(message.act, "subject/registrationEvent/subject1/patient");
        const XmlNode *query = v3_child(message.act, "queryByParameter");
        if (v3_child(patient, "patientPerson")) {
            check_person(req, patient);
        }
        if (query) {
            check_query(req, query);
        }
    }
    request_free(req);
    return 0;
}
