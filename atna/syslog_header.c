/* The header of a syslog message as a receiver reads it: RFC 5424 6, leniently. */

#include "atna/syslog_header.h"

#include "lib/base/instant.h"

#define VERSION_LEN 1
#define PRIORITY_MAX 191
#define TIMESTAMP_FRACTION_MAX 6

/** The fields behind the TIMESTAMP, RFC 5424 6: HOSTNAME, APP-NAME, PROCID, MSGID. */
static const struct {
    size_t offset;
    size_t max_len;
} text_fields[] = {
    {offsetof(SyslogHeader, host_name), 255},
    {offsetof(SyslogHeader, application), 48},
    {offsetof(SyslogHeader, process_id), 128},
    {offsetof(SyslogHeader, message_id), 32},
};

/** PRI = "<" 1*3DIGIT ">". */
static bool take_priority(Str *rest, unsigned *ret_priority)
{
    uint64_t priority = 0;
    size_t end = str_find_char(str_slice(*rest, 0, 5), '>');
    if (rest->len < 3 || rest->data[0] != '<' || end == SIZE_MAX ||
        !str_to_u64(str_slice(*rest, 1, end - 1), &priority) || priority > PRIORITY_MAX) {
        return false;
    }
    *ret_priority = (unsigned)priority;
    *rest = str_from_offset(*rest, end + 1);
    return true;
}

/** The characters up to the next space, which goes too; "-" becomes empty. */
static Str take_field(Str *rest)
{
    size_t len = MIN(str_find_char(*rest, ' '), rest->len);
    Str field = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len + 1);
    return field;
}

static Str unless_nil(Str field)
{
    return str_equal(field, STR("-")) ? STR_EMPTY : field;
}

/** PRINTUSASCII = %d33-126. */
static bool is_printable(Str field)
{
    for (size_t i = 0; i < field.len; i++) {
        if (field.data[i] < '!' || field.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static void check_timestamp(Str field, uint64_t *defects)
{
    Instant instant = {0};
    bool is_good = instant_parse(field, &instant) && instant.has_zone &&
                   instant.fraction_digits <= TIMESTAMP_FRACTION_MAX;
    if (!is_good && !str_equal(field, STR("-"))) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_HEADER_TIMESTAMP);
    }
}

/**
 * STRUCTURED-DATA = "-" / 1*( "[" SD-ID *(SP SD-PARAM) "]" ); in a quoted value, "\" takes the next
 * character along.
 *
 * @return its length; SIZE_MAX if it does not end
 */
static size_t measure_structured_data(Str rest)
{
    size_t at = 0;
    bool is_quoted = false;
    bool is_open = false;
    for (; at < rest.len; at++) {
        char c = rest.data[at];
        if (is_quoted) {
            at += c == '\\' ? 1 : 0;
            is_quoted = c != '"';
        } else if (is_open) {
            is_quoted = c == '"';
            is_open = c != ']';
        } else if (c == '[') {
            is_open = true;
        } else {
            break;
        }
    }
    return is_open || is_quoted || at > rest.len ? SIZE_MAX : at;
}

static void take_structured_data(Str *rest, SyslogHeader *header, uint64_t *defects)
{
    bool is_nil = str_starts_with(*rest, STR("-"));
    size_t len = is_nil ? 1 : measure_structured_data(*rest);
    bool is_good = len != SIZE_MAX && len > 0 && (len == rest->len || rest->data[len] == ' ');
    if (!is_good) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_STRUCTURED_DATA);
        return; /* what is there may be the message */
    }
    header->structured_data = is_nil ? STR_EMPTY : str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len + 1);
}

static void take_text_fields(Str *rest, SyslogHeader *header, uint64_t *defects)
{
    for (size_t i = 0; i < ARRAY_LEN(text_fields); i++) {
        Str field = take_field(rest);
        if (str_is_empty(field) || field.len > text_fields[i].max_len || !is_printable(field)) {
            *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_HEADER_FIELD);
        }
        *(Str *)(void *)((char *)header + text_fields[i].offset) = unless_nil(field);
    }
}

/** ITI TF-2 3.20.4.1: 85 or 84, and IHE's or DICOM's MSGID. */
static void check_values(const SyslogHeader *header, uint64_t *defects)
{
    if (header->priority != 85 && header->priority != 84) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_HEADER_PRI);
    }
    if (!str_equal(header->message_id, STR("IHE+RFC-3881")) &&
        !str_equal(header->message_id, STR("DICOM+RFC3881"))) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_HEADER_MSGID);
    }
}

bool syslog_header_read(Str raw, SyslogHeader *ret_header, Str *ret_text, uint64_t *defects)
{
    SyslogHeader header = {0};
    Str rest = raw;
    *ret_header = header;
    *ret_text = raw;
    if (!take_priority(&rest, &header.priority)) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_NO_HEADER);
        return false;
    }
    if (!str_starts_with(rest, STR("1 "))) {
        *defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_BSD_HEADER);
        ret_header->priority = header.priority;
        *ret_text = rest;
        return true;
    }
    rest = str_from_offset(rest, VERSION_LEN + 1);
    Str timestamp = take_field(&rest);
    check_timestamp(timestamp, defects);
    header.timestamp = unless_nil(timestamp);
    take_text_fields(&rest, &header, defects);
    take_structured_data(&rest, &header, defects);
    check_values(&header, defects);
    *ret_header = header;
    *ret_text = rest;
    return true;
}
