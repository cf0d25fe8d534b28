/** ITI-10 PIX Update Notification (ITI TF-2 3.10.4.1.2): MSH EVN PID PV1. */
#include "pix/subscribers/subscribers_private.h"

Notification iti10_notify_v2_make(const NotificationRoute *route,
                                  const FoundIdentifier *identifiers, size_t count)
{
    const NotificationHeader header = {NOTIFICATION_UPDATE_V2, "ADT^A31^ADT_A05", "2.5",
                                       "ITI-10^IHE"};
    StrBuf buf = {0};
    Str message_id = notification_append_header(route, &header, &buf);
    const Str *cxs = notification_cxs(route->arena, identifiers, count);
    strbuf_literal(&buf, "PID|||");
    for (size_t i = 0; i < count; i++) {
        strbuf_append(&buf, i == 0 ? STR_EMPTY : STR("~"));
        strbuf_append(&buf, cxs[i]);
    }
    strbuf_literal(&buf, "|| \rPV1||N\r"); /* PID-5 is one blank: 3.10.4.1.2.3 */
    return notification_take(route, header.kind, message_id, &buf,
                             notification_patients(route->arena, identifiers, count), count);
}
