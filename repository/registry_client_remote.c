#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/heap.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/client.h"
#include "lib/xml/write.h"
#include "repository/repository.h"

#define QUERY_GET_DOCUMENTS "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
#define ACTION_REGISTER "urn:ihe:iti:2007:RegisterDocumentSet-b"
#define ACTION_QUERY "urn:ihe:iti:2007:RegistryStoredQuery"

/** The RegistryClient comes first, so that it is what callers hold. */
typedef struct RemoteRegistry {
    RegistryClient client;
    HttpClient *http;
    char *url;
} RemoteRegistry;

/** What came of an ITI-42 is unknown until a reply says so. */
static int unavailable(Request *req, const char *why)
{
    return error_add(&req->errors, ERR_XDS_REGISTRY_NOT_AVAILABLE, NULL,
                     "the registry could not be reached or did not answer (%s); whether it "
                     "registered the documents is "
                     "unknown; send the same message again",
                     why);
}

/** What a Success brings with it can only be warnings (TF-3 4.2.4.1), whatever it is called. */
static Severity severity_of(const XmlNode *error, bool is_success)
{
    bool is_warning = str_equal(xml_attribute(error, "severity"), STR(URN_SEVERITY_WARNING));
    return is_warning || is_success ? SEVERITY_WARNING : SEVERITY_ERROR;
}

/** TF-2 3.41.4.1.3.2: every error and warning of the registry is relayed. @return the first error,
 * negative, or 0 */
static int relay_errors(Request *req, const XmlNode *response, bool is_success)
{
    int rc = 0;
    const XmlNode *list = xml_child(response, NS_RS, "RegistryErrorList");
    for (XmlNode *error = xml_child(list, NS_RS, "RegistryError"); error;
         error = xml_next(error, NS_RS, "RegistryError")) {
        ErrorCode code = error_code_from_ihe(xml_attribute(error, "errorCode"));
        if (code == ERR_NONE) {
            code = ERR_XDS_REGISTRY_ERROR;
        }
        Severity severity = severity_of(error, is_success);
        req->errors.kept_max++; /* also one that says how many the registry left out */
        error_add_str(&req->errors, code, severity, xml_attribute(error, "location"),
                      xml_attribute(error, "codeContext"));
        if (rc == 0 && severity == SEVERITY_ERROR) {
            rc = -(int)code;
        }
    }
    return rc;
}

/** A fault that blames the sender means that nothing was registered; any other leaves it open. */
static int refuse_fault(Request *req, const XmlNode *fault)
{
    Str reason = soap_fault_reason(fault);
    if (!soap_fault_is_of_sender(fault)) {
        return unavailable(req, "it answered with a SOAP fault");
    }
    return error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL,
                     "the registry refused the registration: %.*s", STR_ARG(reason));
}

static int register_submission(void *ctx, Request *req, Submission *submission,
                               UNUSED int (*in_transaction)(void *caller, Request *req,
                                                            DbConn *conn),
                               UNUSED void *caller)
{
    RemoteRegistry *remote = ctx;
    StrBuf envelope = {0};
    Str problem = STR_EMPTY;
    soap_request_open(req->arena, ACTION_REGISTER, str_from(remote->url), &envelope);
    submission_write(submission, &envelope);
    soap_request_close(&envelope);
    const XmlNode *reply =
        soap_call(remote->http, req, ACTION_REGISTER, strbuf_str(&envelope), &problem);
    strbuf_done(&envelope);
    if (!reply) {
        return unavailable(req, str_cstr(req->arena, problem));
    }
    if (xml_is(reply, NS_SOAP12, "Fault")) {
        return refuse_fault(req, reply);
    }
    if (!xml_is(reply, NS_RS, "RegistryResponse")) {
        return unavailable(req, "it answered with something other than rs:RegistryResponse");
    }
    bool is_success = str_equal(xml_attribute(reply, "status"), STR(URN_RESPONSE_SUCCESS));
    int rc = relay_errors(req, reply, is_success);
    if (is_success) {
        return 0;
    }
    return rc < 0 ? rc
                  : error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL,
                              "the registry answered Failure without saying why");
}

/** A string of a stored query: in single quotes, which are doubled inside (TF-2 3.18.4.1.2.3.5). */
static void append_quoted(StrBuf *buf, Arena *arena, Str text)
{
    StrBuf quoted = {0};
    for (size_t i = 0; i < text.len; i++) {
        strbuf_append_char(&quoted, text.data[i]);
        if (text.data[i] == '\'') {
            strbuf_append_char(&quoted, '\'');
        }
    }
    Str copy = str_dup(arena, strbuf_str(&quoted));
    strbuf_done(&quoted);
    strbuf_literal(buf, "('");
    xml_append_escaped(buf, copy);
    strbuf_literal(buf, "')");
}

/** Whether one of the entries has this hash. */
static bool has_entry(const XmlNode *objects, Str hash)
{
    for (XmlNode *entry = xml_child(objects, NS_RIM, "ExtrinsicObject"); entry;
         entry = xml_next(entry, NS_RIM, "ExtrinsicObject")) {
        for (XmlNode *slot = xml_child(entry, NS_RIM, "Slot"); slot;
             slot = xml_next(slot, NS_RIM, "Slot")) {
            const XmlNode *values = xml_child(slot, NS_RIM, "ValueList");
            if (str_equal(xml_attribute(slot, "name"), STR("hash")) &&
                str_equal_ci(xml_child_text(values, NS_RIM, "Value"), hash)) {
                return true;
            }
        }
    }
    return false;
}

/** GetDocuments by uniqueId, as LeafClass (TF-2 3.18.4.1.2.3.7.5). */
static int is_registered(void *ctx, Request *req, Str document_unique_id, Str hash)
{
    RemoteRegistry *remote = ctx;
    StrBuf envelope = {0};
    Str problem = STR_EMPTY;
    soap_request_open(req->arena, ACTION_QUERY, str_from(remote->url), &envelope);
    strbuf_literal(
        &envelope,
        "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY "\" xmlns:rim=\"" NS_RIM
        "\"><query:ResponseOption returnComposedObjects=\"true\" returnType=\"LeafClass\"/>"
        "<rim:AdhocQuery id=\"" QUERY_GET_DOCUMENTS
        "\"><rim:Slot name=\"$XDSDocumentEntryUniqueId\"><rim:ValueList><rim:Value>");
    append_quoted(&envelope, req->arena, document_unique_id);
    strbuf_literal(
        &envelope,
        "</rim:Value></rim:ValueList></rim:Slot></rim:AdhocQuery></query:AdhocQueryRequest>");
    soap_request_close(&envelope);
    const XmlNode *reply =
        soap_call(remote->http, req, ACTION_QUERY, strbuf_str(&envelope), &problem);
    strbuf_done(&envelope);
    if (!reply || !xml_is(reply, NS_QUERY, "AdhocQueryResponse") ||
        !str_equal(xml_attribute(reply, "status"), STR(URN_RESPONSE_SUCCESS))) {
        return -ERR_XDS_REGISTRY_NOT_AVAILABLE;
    }
    return has_entry(xml_child(reply, NS_RIM, "RegistryObjectList"), hash);
}

RegistryClient *registry_client_remote_new(const RemoteRegistryConfig *config, char *ret_problem,
                                           size_t problem_size)
{
    RemoteRegistry *remote = HEAP_NEW(RemoteRegistry);
    HttpClientConfig http = {
        .url = config->url, .tls = config->tls, .fingerprint = config->fingerprint};
    remote->http = http_client_new(&http, ret_problem, problem_size);
    if (!remote->http) {
        free(remote);
        return NULL;
    }
    remote->url = heap_text(str_from(config->url));
    remote->client = (RegistryClient){
        .ctx = remote,
        .is_local = false,
        .endpoint = remote->url,
        .register_submission = register_submission,
        .is_registered = is_registered,
    };
    return &remote->client;
}

void registry_client_remote_free(RegistryClient *client)
{
    if (!client) {
        return;
    }
    RemoteRegistry *remote = client->ctx;
    http_client_free(remote->http);
    free(remote->url);
    free(remote);
}
