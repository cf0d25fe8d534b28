/** ITI-64 Notify XAD-PID Link Change, to other registries (ITI TF-2 3.64.4.1.2): MSH EVN PID MRG.
 */
#include "pix/subscribers/subscribers_private.h"

Notification iti64_send_make(const NotificationRoute *route, const FoundIdentifier *from,
                             const FoundIdentifier *to, Str local, Str subsumed)
{
    const NotificationHeader header = {NOTIFICATION_MOVE, "ADT^A43^ADT_A43", "2.5", "ITI-64^IHE"};
    StrBuf buf = {0};
    Str message_id = notification_append_header(route, &header, &buf);
    const FoundIdentifier both[] = {*to, *from};
    const Str *cxs = notification_cxs(route->arena, both, ARRAY_LEN(both));
    const Str *xad_pids = notification_patients(route->arena, both, ARRAY_LEN(both));
    strbuf_printf(&buf, "PID|||%.*s~%.*s|| \rMRG|%.*s", STR_ARG(cxs[0]), STR_ARG(local),
                  STR_ARG(cxs[1]));
    if (!str_is_empty(subsumed)) {
        strbuf_printf(&buf, "~%.*s", STR_ARG(subsumed));
    }
    strbuf_append_char(&buf, '\r');
    Str *patients = ARENA_ARRAY(route->arena, Str, 4);
    size_t count = 0;
    patients[count++] = local;
    if (!str_is_empty(subsumed)) {
        patients[count++] = subsumed;
    }
    patients[count++] = xad_pids[0];
    patients[count++] = xad_pids[1];
    return notification_take(route, header.kind, message_id, &buf, patients, count);
}
