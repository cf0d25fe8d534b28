/* The values of a stored query's parameters: one input is the text of one Value, read as every form
 * and every number of values that queries.def has. Whatever the bytes are, reading ends with a
 * typed value or an error for the sender; what is read lies within the input, apart from doubled
 * quotes and CX, which only get shorter. */

#include "lib/base/request.h"
#include "lib/ebrim/vocabulary.h"
#include "registry/query_parameters.h"

#include "tests/fuzz/fuzz.h"

static XmlNode element(const char *ns, const char *name)
{
    return (XmlNode){.ns = str_from(ns), .name = str_from(name)};
}

static void add_child(XmlNode *parent, XmlNode *child)
{
    child->parent = parent;
    if (parent->last_child != NULL) {
        parent->last_child->next = child;
    } else {
        parent->first_child = child;
    }
    parent->last_child = child;
}

static void check_value(const QueryValue *value, size_t input_len)
{
    if (value->parameter == NULL) {
        return;
    }
    size_t groups_end = 0;
    for (size_t i = 0; i < value->group_count; i++) {
        FUZZ_CHECK(value->group_ends[i] >= groups_end && value->group_ends[i] <= value->count);
        groups_end = value->group_ends[i];
    }
    QueryForm form = value->parameter->form;
    for (size_t i = 0; i < value->count; i++) {
        if (form == FORM_TEXT || form == FORM_PATTERN || form == FORM_PATIENT) {
            FUZZ_CHECK(value->texts[i].len <= input_len);
        } else if (form == FORM_CODE) {
            FUZZ_CHECK(value->codes[i].code.len > 0 && value->codes[i].scheme.len > 0);
            FUZZ_CHECK(value->codes[i].code.len + value->codes[i].scheme.len < input_len);
        }
    }
}

/** One query with one Slot that holds the text. */
static void read_as(const Query *query, const QueryParameter *parameter, Str text)
{
    Request *req = request_new(10000);
    XmlAttribute return_type = {.name = STR("returnType"), .value = STR("LeafClass")};
    XmlAttribute id = {.name = STR("id"), .value = query->id};
    XmlAttribute name = {.name = STR("name"), .value = parameter->name};
    XmlNode root = element(NS_QUERY, "AdhocQueryRequest");
    XmlNode option = element(NS_QUERY, "ResponseOption");
    XmlNode adhoc_query = element(NS_RIM, "AdhocQuery");
    XmlNode slot = element(NS_RIM, "Slot");
    XmlNode list = element(NS_RIM, "ValueList");
    XmlNode value = element(NS_RIM, "Value");
    option.attributes = &return_type;
    adhoc_query.attributes = &id;
    slot.attributes = &name;
    option.attribute_count = adhoc_query.attribute_count = slot.attribute_count = 1;
    value.text = text;
    add_child(&root, &option);
    add_child(&root, &adhoc_query);
    add_child(&adhoc_query, &slot);
    add_child(&slot, &list);
    add_child(&list, &value);
    QueryRequest *request;
    int r = query_request_read(req, &root, query->patients == QUERY_MANY_PATIENTS, &request);
    FUZZ_CHECK((r < 0) == error_list_has_errors(&req->errors));
    for (size_t i = 0; i < QUERY_FIELD_COUNT; i++) {
        check_value(&request->values[i], text.len);
    }
    request_free(req);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const ids[] = {
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", /* FindDocuments */
        "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6", /* GetRelatedDocuments */
        "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492", /* FindDocumentsByReferenceId */
        "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f", /* FindDocumentsForMultiplePatients */
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const Query *query = query_find(str_from(ids[i]));
        for (const QueryParameter *p = query->parameters; p->name.len > 0; p++) {
            read_as(query, p, (Str){(const char *)bytes, len});
        }
    }
    return 0;
}
