#include "atna/syslog_frame.h"

/** MSG-LEN of at most this many digits. */
#define LENGTH_DIGITS_MAX 7

void syslog_framer_done(SyslogFramer *framer)
{
    strbuf_done(&framer->bytes);
    framer->begin = 0;
}

char *syslog_framer_reserve(SyslogFramer *framer, size_t size)
{
    size_t rest = framer->bytes.len - framer->begin;
    if (framer->begin > 0) {
        memmove(framer->bytes.data, framer->bytes.data + framer->begin, rest);
        strbuf_truncate(&framer->bytes, rest);
        framer->begin = 0;
    }
    return strbuf_reserve(&framer->bytes, size);
}

void syslog_framer_add(SyslogFramer *framer, size_t len)
{
    framer->bytes.len += len;
}

bool syslog_framer_is_in_frame(const SyslogFramer *framer)
{
    return framer->bytes.len > framer->begin;
}

static SyslogFrameResult broken(const char *problem, const char **ret_problem)
{
    *ret_problem = problem;
    return SYSLOG_FRAME_BROKEN;
}

/** Some senders end octet-counted frames with a line end that they do not count. It is a defect of
 * the frame that follows, since that one may be far. */
static void skip_line_ends(SyslogFramer *framer)
{
    while (framer->begin < framer->bytes.len && (framer->bytes.data[framer->begin] == '\n' ||
                                                 framer->bytes.data[framer->begin] == '\r')) {
        framer->begin++;
        framer->has_line_end = true;
    }
}

/** Hands the message out, and goes behind its frame. */
static SyslogFrameResult cut(SyslogFramer *framer, size_t frame_len, uint64_t defects,
                             uint64_t *ret_defects)
{
    *ret_defects =
        defects | (framer->has_line_end ? AUDIT_DEFECT_BIT(AUDIT_DEFECT_TRAILING_LF) : 0);
    framer->has_line_end = false;
    framer->begin += frame_len;
    return SYSLOG_FRAME_MESSAGE;
}

static SyslogFrameResult next_line(SyslogFramer *framer, Str rest, Str *ret_message,
                                   uint64_t *ret_defects, const char **ret_problem)
{
    size_t end = str_find_char(rest, '\n');
    if (MIN(end, rest.len) > AUDIT_MESSAGE_MAX_BYTES) {
        return broken("a message without octet count is longer than the limit", ret_problem);
    }
    if (end == SIZE_MAX) {
        return SYSLOG_FRAME_MORE;
    }
    *ret_message = str_slice(rest, 0, end);
    return cut(framer, end + 1, AUDIT_DEFECT_BIT(AUDIT_DEFECT_LF_FRAME), ret_defects);
}

/** MSG-LEN = NONZERO-DIGIT *DIGIT, and SP. @return its bytes with the SP, 0: more are needed */
static size_t read_length(Str rest, size_t *ret_length, const char **ret_problem)
{
    size_t digits = 0;
    size_t length = 0;
    while (digits < rest.len && rest.data[digits] >= '0' && rest.data[digits] <= '9') {
        if (digits == LENGTH_DIGITS_MAX) {
            *ret_problem = "MSG-LEN has more than 7 digits";
            return 0;
        }
        length = length * 10 + (size_t)(rest.data[digits++] - '0');
    }
    if (digits > 0 && rest.data[0] == '0') {
        *ret_problem = "MSG-LEN begins with 0";
    } else if (digits < rest.len && (digits == 0 || rest.data[digits] != ' ')) {
        *ret_problem = "a frame does not begin with MSG-LEN SP";
    } else if (length > AUDIT_MESSAGE_MAX_BYTES) {
        *ret_problem = "MSG-LEN exceeds the limit of 1048576";
    } else if (digits < rest.len) {
        *ret_length = length;
        return digits + 1;
    }
    return 0;
}

SyslogFrameResult syslog_framer_next(SyslogFramer *framer, Str *ret_message, uint64_t *ret_defects,
                                     const char **ret_problem)
{
    skip_line_ends(framer);
    Str rest = str_from_offset(strbuf_str(&framer->bytes), framer->begin);
    size_t length = 0;
    const char *problem = NULL;
    if (str_is_empty(rest)) {
        return SYSLOG_FRAME_MORE;
    }
    if (rest.data[0] == '<') {
        return next_line(framer, rest, ret_message, ret_defects, ret_problem);
    }
    size_t prefix = read_length(rest, &length, &problem);
    if (problem) {
        return broken(problem, ret_problem);
    }
    if (prefix == 0 || rest.len - prefix < length) {
        return SYSLOG_FRAME_MORE;
    }
    *ret_message = str_slice(rest, prefix, length);
    bool has_line_end = str_ends_with(*ret_message, STR("\n"));
    return cut(framer, prefix + length,
               has_line_end ? AUDIT_DEFECT_BIT(AUDIT_DEFECT_TRAILING_LF) : 0, ret_defects);
}
