/* FHIR input: resources in JSON and XML, and query strings. What is accepted must survive writing
 * and reading in both formats, and a Patient the way through demographics. The first byte says what
 * the rest is. */

#include "lib/fhir/outcome.h"
#include "lib/fhir/parameters.h"
#include "lib/fhir/patient.h"
#include "lib/fhir/read.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

/** XML leaves out what JSON may hold and FHIR does not: names that are no names of elements. */
static bool is_writable_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return true;
}

static const FhirNode *next_node(const FhirNode *node)
{
    if (node->first_child) {
        return node->first_child;
    }
    while (node && !node->next) {
        node = node->parent;
    }
    return node ? node->next : NULL;
}

/** XML may put other elements between those of one name; nobody who writes a resource does. */
static bool comes_again(const FhirNode *node)
{
    const FhirNode *next = node->next;
    while (next && str_equal(next->name, node->name)) {
        next = next->next;
    }
    while (next && !str_equal(next->name, node->name)) {
        next = next->next;
    }
    return next != NULL;
}

/** What JSON and XML can both say: no element that says nothing, none with a value and children. */
static bool is_plain(const FhirNode *root)
{
    for (const FhirNode *node = root; node; node = next_node(node)) {
        if (comes_again(node)) {
            return false;
        }
        bool is_lower = node == root || (node->name.len && node->name.data[0] >= 'a');
        if (!is_lower || !is_writable_name(node->name) || !is_writable_name(node->type) ||
            (node->type.len && node->type.data[0] >= 'a') ||
            (node->kind == FHIR_STRUCTURE && !node->first_child && !node->type.len) ||
            (node->kind != FHIR_STRUCTURE && (node->first_child || node->type.len))) {
            return false;
        }
    }
    return true;
}

static void write_again(Request *req, FhirFormat format, const FhirNode *node, StrBuf *ret_text)
{
    const FhirNode *again = NULL;
    StrBuf first = {0};
    fhir_write(&first, format, node);
    FUZZ_CHECK(fhir_read(req, format, str_dup(req->arena, strbuf_str(&first)), &again) == 0);
    fhir_write(ret_text, format, again);
    FUZZ_CHECK(str_equal(strbuf_str(&first), strbuf_str(ret_text)));
    strbuf_done(&first);
}

static void read_patient(Request *req, const FhirNode *node)
{
    Demographics demographics;
    if (fhir_patient_read(req, node, "Patient", &demographics) != 0) {
        FUZZ_CHECK(error_list_has_errors(&req->errors));
        return;
    }
    fhir_patient_mark_absent(&demographics);
    FhirNode *patient = fhir_resource_new(req->arena, "Patient");
    fhir_patient_write(req->arena, patient,
                       &(FhirPatient){.id = STR("1"), .demographics = &demographics});
    StrBuf json = {0};
    StrBuf xml = {0};
    write_again(req, FHIR_JSON, patient, &json);
    write_again(req, FHIR_XML, patient, &xml);
    strbuf_done(&json);
    strbuf_done(&xml);
}

static void read_resource(Request *req, FhirFormat format, Str bytes)
{
    const FhirNode *node = NULL;
    if (fhir_read(req, format, bytes, &node) != 0) {
        FUZZ_CHECK(error_list_has_errors(&req->errors));
        StrBuf outcome = {0};
        fhir_write(&outcome, FHIR_JSON, fhir_outcome_of_errors(req));
        FUZZ_CHECK(str_is_utf8(strbuf_str(&outcome)));
        strbuf_done(&outcome);
        return;
    }
    StrBuf text = {0};
    if (format == FHIR_JSON || is_plain(node)) {
        write_again(req, FHIR_JSON, node, &text);
        strbuf_clear(&text);
    }
    if (is_plain(node)) {
        write_again(req, FHIR_XML, node, &text);
    }
    strbuf_done(&text);
    read_patient(req, node);
}

static void read_query(Request *req, Str bytes)
{
    FhirParameters parameters = {0};
    if (fhir_parameters_read(req, &parameters, bytes) != 0) {
        FUZZ_CHECK(error_list_has_errors(&req->errors));
        return;
    }
    for (size_t i = 0; i < parameters.count; i++) {
        FhirDate date;
        Str rest = parameters.items[i].value;
        Str item;
        parameters.items[i].is_used = true;
        while (fhir_value_next(&rest, &item)) {
            FhirToken token = fhir_token_parse(req->arena, item);
            FUZZ_CHECK(token.system.len + token.code.len <= item.len);
            if (fhir_date_parse(item, &date)) {
                FhirDate back = fhir_date_step(fhir_date_step(date, 1), -1);
                FUZZ_CHECK(str_equal(fhir_date_digits(req->arena, back),
                                     fhir_date_digits(req->arena, date)));
            }
        }
    }
    StrBuf written = {0};
    FhirParameters again = {0};
    fhir_parameters_write_used(&written, &parameters, NULL);
    FUZZ_CHECK(fhir_parameters_read(req, &again, strbuf_str(&written)) == 0);
    FUZZ_CHECK(again.count == parameters.count);
    for (size_t i = 0; i < again.count; i++) {
        FUZZ_CHECK(str_equal(again.items[i].name, parameters.items[i].name));
        FUZZ_CHECK(str_equal(again.items[i].value, parameters.items[i].value));
    }
    strbuf_done(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    xml_init();
    if (len == 0) {
        return 0;
    }
    Request *req = request_new(1000);
    Str rest = {(const char *)bytes + 1, len - 1};
    switch (bytes[0]) {
    case 'j':
        read_resource(req, FHIR_JSON, rest);
        break;
    case 'x':
        read_resource(req, FHIR_XML, rest);
        break;
    default:
        read_query(req, rest);
        break;
    }
    request_free(req);
    return 0;
}
