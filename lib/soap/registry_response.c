#include "lib/soap/registry_response.h"

#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"

static const char *severity_urn(Severity severity)
{
    return severity == SEVERITY_ERROR ? URN_SEVERITY_ERROR : URN_SEVERITY_WARNING;
}

static void append_error(const Request *req, const Error *error, StrBuf *buf)
{
    strbuf_printf(buf, "<rs:RegistryError errorCode=\"%s\" codeContext=\"",
                  error_ihe_code(error->code, req->is_repository));
    xml_append_escaped(buf, error->context);
    strbuf_printf(buf, " [ref %s]\" severity=\"%s\"", req->ref, severity_urn(error->severity));
    if (!str_is_empty(error->location)) {
        strbuf_literal(buf, " location=\"");
        xml_append_escaped(buf, error->location);
        strbuf_append_char(buf, '"');
    }
    strbuf_literal(buf, "/>");
}

void registry_error_list_write(const Request *req, StrBuf *buf)
{
    if (!req->errors.first) {
        return;
    }
    Severity highest = error_list_has_errors(&req->errors) ? SEVERITY_ERROR : SEVERITY_WARNING;
    strbuf_printf(buf, "<rs:RegistryErrorList xmlns:rs=\"%s\" highestSeverity=\"%s\">", NS_RS,
                  severity_urn(highest));
    for (const Error *error = req->errors.first; error; error = error->next) {
        append_error(req, error, buf);
    }
    strbuf_literal(buf, "</rs:RegistryErrorList>");
}

void registry_response_write(const Request *req, const char *status, StrBuf *buf)
{
    strbuf_printf(buf, "<rs:RegistryResponse xmlns:rs=\"%s\" status=\"%s\">", NS_RS, status);
    registry_error_list_write(req, buf);
    strbuf_literal(buf, "</rs:RegistryResponse>");
}
