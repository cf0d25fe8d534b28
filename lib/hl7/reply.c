#include "lib/hl7/reply.h"

#include <inttypes.h>

#include "lib/base/clock.h"
#include "lib/hl7/msh.h"

/* HL7 table 0357 */
static const struct {
    const char *text;
    int code;
    bool is_rejection; /* AR: not a fault of the content (HL7 v2.5 2.9.2.2; ITI TF-2 C.2.3) */
} conditions[] = {
    {"Segment sequence error", 100, false},   {"Required field missing", 101, false},
    {"Data type error", 102, false},          {"Table value not found", 103, false},
    {"Unsupported message type", 200, true},  {"Unsupported event code", 201, true},
    {"Unsupported processing id", 202, true}, {"Unsupported version id", 203, true},
    {"Unknown key identifier", 204, false},   {"Duplicate key identifier", 205, false},
    {"Application record locked", 206, true}, {"Application internal error", 207, true},
};

/** Index of the row of conditions; what has no row is an internal error. */
static size_t condition_of(ErrorCode code)
{
    int wanted = error_info(code)->hl7_code;
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(conditions) && conditions[i].code != wanted) {
        i++;
    }
    return i;
}

const char *hl7_reply_code(const ErrorList *errors)
{
    if (!error_list_has_errors(errors)) {
        return "AA";
    }
    for (const Error *error = errors->first; error; error = error->next) {
        if (error->severity == SEVERITY_ERROR &&
            conditions[condition_of(error->code)].is_rejection) {
            return "AR";
        }
    }
    return "AE";
}

/** Appends a field of the request's MSH as it was received. */
static void append_received(StrBuf *buf, const Er7Message *request, size_t field)
{
    if (request) {
        strbuf_append(buf, er7_standardize(request, er7_field(request, request->segments, field)));
    }
}

static void append_received_and_separator(StrBuf *buf, const Er7Message *request, size_t field)
{
    append_received(buf, request, field);
    strbuf_append_char(buf, '|');
}

bool hl7_reply_is_before_2_5(const Er7Message *request)
{
    Str version = request ? er7_value(request, request->segments, MSH_VERSION, 1) : STR_EMPTY;
    return str_starts_with(version, STR("2.")) && str_compare(version, STR("2.5")) < 0;
}

/** The request's set, if its MSH-18 can be echoed: it cannot when text that is undecodable, or that
 * swallows delimiters, stands before it. */
static Hl7Charset reply_charset(const Er7Message *request)
{
    if (!request) {
        return HL7_ASCII;
    }
    Str field = er7_field(request, request->segments, MSH_CHARSET);
    Hl7Charset echoed = HL7_ASCII;
    bool is_echoed = hl7_charset_parse(field, request->delimiters.repetition, &echoed) &&
                     echoed == request->charset;
    return is_echoed ? echoed : HL7_ASCII;
}

/** MSH-18 as received but for its repetition separator; names of the closed list need no escape. */
static void append_charset(StrBuf *buf, const Er7Message *request)
{
    Str rest = er7_field(request, request->segments, MSH_CHARSET);
    Str name;
    while (str_split_next(&rest, request->delimiters.repetition, &name)) {
        strbuf_append(buf, name);
        strbuf_append(buf, rest.data ? STR("~") : STR("|"));
    }
}

/** @param in_utf8  the reply leaves the request's character set */
static void append_msh(StrBuf *buf, const Request *req, const Er7Message *request, Str type,
                       bool in_utf8)
{
    int64_t now_us = clock_utc_us();
    strbuf_literal(buf, "MSH|^~\\&|");
    append_received_and_separator(buf, request, MSH_RECEIVING_APPLICATION);
    append_received_and_separator(buf, request, MSH_RECEIVING_FACILITY);
    append_received_and_separator(buf, request, MSH_SENDING_APPLICATION);
    append_received_and_separator(buf, request, MSH_SENDING_FACILITY);
    strbuf_printf(buf, "%.*s+0000||", STR_ARG(clock_dtm(req->arena, now_us)));
    strbuf_append(buf, type);
    /* MSH-10 in at most 20 characters: the ref and the time make it unique */
    strbuf_printf(buf, "|%s%" PRIx64 "|", req->ref, (uint64_t)now_us);
    append_received_and_separator(buf, request, MSH_PROCESSING_ID);
    append_received(buf, request, MSH_VERSION);
    if (in_utf8) {
        strbuf_literal(buf, "||||||UNICODE UTF-8");
    } else if (reply_charset(request) != HL7_ASCII) {
        strbuf_literal(buf, "||||||");
        append_charset(buf, request);
        strbuf_append_char(buf, '|');
        append_received(buf, request, MSH_CHARSET_SCHEME);
    }
    strbuf_append_char(buf, '\r');
}

/** ERR-1 of versions before 2.5: the first three parts of the ERR-2 path, then the code. */
static void append_err_1(StrBuf *buf, Str location, int code, const char *text)
{
    Str rest = location;
    for (int part = 0; part < 3; part++) {
        Str item = STR_EMPTY;
        if (str_split_next(&rest, '^', &item)) {
            strbuf_append(buf, item);
        }
        strbuf_append_char(buf, '^');
    }
    strbuf_printf(buf, "%d&%s&HL70357", code, text);
}

/** ERR as ITI TF-2 C.2.3 has it (HL7 v2.5); peers of older versions get their ERR-1 too. */
static void append_err(StrBuf *buf, const Request *req, const Er7Message *request,
                       const Error *error)
{
    size_t condition = condition_of(error->code);
    int code = conditions[condition].code;
    const char *text = conditions[condition].text;
    strbuf_literal(buf, "ERR|");
    if (hl7_reply_is_before_2_5(request)) {
        append_err_1(buf, error->location, code, text);
    }
    strbuf_printf(buf, "|%.*s|%d^%s^HL70357|%s||||", STR_ARG(error->location), code, text,
                  error->severity == SEVERITY_ERROR ? "E" : "W");
    er7_append_text(buf, error->context);
    strbuf_printf(buf, " [ref %s]\r", req->ref);
}

static void append_reply(StrBuf *buf, const Request *req, const Er7Message *request,
                         const Hl7Reply *content, bool in_utf8)
{
    append_msh(buf, req, request, content->type, in_utf8);
    strbuf_printf(buf, "MSA|%s|", hl7_reply_code(&req->errors));
    append_received(buf, request, MSH_CONTROL_ID);
    strbuf_append_char(buf, '\r');
    for (const Error *error = req->errors.first; error; error = error->next) {
        append_err(buf, req, request, error);
    }
    strbuf_append(buf, content->segments);
}

void hl7_reply_write(const Request *req, const Er7Message *request, const Hl7Reply *content,
                     StrBuf *reply)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    append_reply(&text, req, request, content, false);
    if (!hl7_charset_encode(reply_charset(request), strbuf_str(&text), reply)) {
        append_reply(reply, req, request, content, true);
    }
}
