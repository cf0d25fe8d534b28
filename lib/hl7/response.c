#include "lib/hl7/response.h"

#include "lib/hl7/reply.h"

#define QPD_QUERY_TAG 2

Str hl7_response_segment(const Er7Message *message, const Er7Segment *segment)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    Str rest = segment->text;
    Str field;
    while (str_split_next(&rest, message->delimiters.field, &field)) {
        if (buf.len > 0) {
            strbuf_append_char(&buf, '|');
        }
        strbuf_append(&buf, er7_standardize(message, field));
    }
    return str_dup(message->arena, strbuf_str(&buf));
}

void hl7_response_write(const Request *req, const Er7Message *request, const char *type, Str found,
                        StrBuf *reply)
{
    _cleanup_(strbuf_done) StrBuf segments = {0};
    const Er7Segment *qpd = er7_segment(request, STR("QPD"), 1);
    bool has_errors = error_list_has_errors(&req->errors);
    const char *status = has_errors            ? hl7_reply_code(&req->errors)
                         : str_is_empty(found) ? "NF"
                                               : "OK";
    Str tag = er7_standardize(request, er7_field(request, qpd, QPD_QUERY_TAG));
    strbuf_printf(&segments, "QAK|%.*s|%s\r", STR_ARG(tag), status);
    if (qpd) {
        strbuf_append(&segments, hl7_response_segment(request, qpd));
        strbuf_append_char(&segments, '\r');
    }
    if (!has_errors) {
        strbuf_append(&segments, found);
    }
    const Hl7Reply content = {.type = str_from(type), .segments = strbuf_str(&segments)};
    hl7_reply_write(req, request, &content, reply);
}
