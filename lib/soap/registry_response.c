#include "lib/soap/registry_response.h"

#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"

static const char *severity_urn(Severity severity)
{
    return severity == SEVERITY_ERROR ? URN_SEVERITY_ERROR : URN_SEVERITY_WARNING;
}

/** Where the fault is, and of a gateway which one it is (TF-2 3.38.4.1.3, 3.39.4.1.3). */
static void append_location(const Request *req, Str location, StrBuf *buf)
{
    bool has_both = !str_is_empty(location) && !str_is_empty(req->community);
    if (str_is_empty(location) && str_is_empty(req->community)) {
        return;
    }
    strbuf_literal(buf, " location=\"");
    xml_append_escaped(buf, location);
    strbuf_append(buf, has_both ? STR(" ") : STR_EMPTY);
    xml_append_escaped(buf, req->community);
    strbuf_append_char(buf, '"');
}

static void append_error(const Request *req, const Error *error, StrBuf *buf)
{
    strbuf_printf(buf, "<rs:RegistryError errorCode=\"%s\" codeContext=\"",
                  error_ihe_code(error->code, req->is_repository));
    xml_append_escaped(buf, error->context);
    strbuf_printf(buf, " [ref %s]\" severity=\"%s\"", req->ref, severity_urn(error->severity));
    append_location(req, error->location, buf);
    strbuf_literal(buf, "/>");
}

/** Says how many are not in the list: a sender that corrects those alone would be surprised. */
static void append_rest(const Request *req, Severity severity, StrBuf *buf)
{
    unsigned count = error_list_count_of(&req->errors, severity);
    if (count <= req->errors.kept_max) {
        return;
    }
    const char *kind = severity == SEVERITY_ERROR ? "errors" : "warnings";
    const Error rest = {
        .code = req->is_repository ? ERR_XDS_REPOSITORY_ERROR : ERR_XDS_REGISTRY_ERROR,
        .severity = severity,
        .context = str_printf(req->arena,
                              "%u more %s are not listed; correct those that are, then send the "
                              "message again to see the others",
                              count - req->errors.kept_max, kind),
    };
    append_error(req, &rest, buf);
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
    append_rest(req, SEVERITY_ERROR, buf);
    append_rest(req, SEVERITY_WARNING, buf);
    strbuf_literal(buf, "</rs:RegistryErrorList>");
}

void registry_response_write(const Request *req, const char *status, StrBuf *buf)
{
    strbuf_printf(buf, "<rs:RegistryResponse xmlns:rs=\"%s\" status=\"%s\">", NS_RS, status);
    registry_error_list_write(req, buf);
    strbuf_literal(buf, "</rs:RegistryResponse>");
}
