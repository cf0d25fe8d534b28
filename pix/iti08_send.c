/** ITI-8 as the Patient Identity Source of the affinity domain, to other registries (ITI TF-2
 * 3.8.4.1.2, 3.8.4.2.2). */
#include "pix/subscribers/subscribers_private.h"

#define PID_NAME 5
#define PID_BUSINESS_PHONE 14

/** PID-3 to PID-5, and further fields to last; PID-5 is required. */
static void append_pid(StrBuf *buf, Str cx, const Demographics *demographics, size_t last)
{
    Demographics shown = *demographics;
    if (str_is_empty(shown.fields[DEMOGRAPHIC_name])) {
        shown.fields[DEMOGRAPHIC_name] = STR(" ");
    }
    strbuf_printf(buf, "PID|||%.*s|", STR_ARG(cx));
    demographics_append_pid(buf, &shown, PID_NAME, last);
    strbuf_append_char(buf, '\r');
}

Notification iti08_send_announcement_make(const NotificationRoute *route,
                                          const FoundIdentifier *xad_pid,
                                          const Demographics *demographics)
{
    const NotificationHeader header = {NOTIFICATION_ANNOUNCEMENT, "ADT^A04^ADT_A01", "2.3.1", ""};
    StrBuf buf = {0};
    Str message_id = notification_append_header(route, &header, &buf);
    const Str *cxs = notification_cxs(route->arena, xad_pid, 1);
    append_pid(&buf, cxs[0], demographics, PID_BUSINESS_PHONE);
    strbuf_literal(&buf, "PV1||O\r");
    return notification_take(route, header.kind, message_id, &buf,
                             notification_patients(route->arena, xad_pid, 1), 1);
}

Notification iti08_send_merge_make(const NotificationRoute *route, const FoundIdentifier *survivor,
                                   const FoundIdentifier *subsumed,
                                   const Demographics *demographics)
{
    const NotificationHeader header = {NOTIFICATION_MERGE, "ADT^A40^ADT_A39", "2.3.1", ""};
    StrBuf buf = {0};
    Str message_id = notification_append_header(route, &header, &buf);
    const FoundIdentifier both[] = {*survivor, *subsumed};
    const Str *cxs = notification_cxs(route->arena, both, ARRAY_LEN(both));
    append_pid(&buf, cxs[0], demographics, PID_NAME);
    strbuf_printf(&buf, "MRG|%.*s\r", STR_ARG(cxs[1]));
    return notification_take(route, header.kind, message_id, &buf,
                             notification_patients(route->arena, both, ARRAY_LEN(both)),
                             ARRAY_LEN(both));
}
