#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/hl7/cx.h"
#include "lib/hl7/er7.h"
#include "pix/subscribers/subscribers_private.h"

const NotificationRow notification_rows[NOTIFICATION_KIND_COUNT] = {
#define NOTIFICATION(name, kind, transaction, protocol, audit, audit_of_second)                    \
    {STR_INIT(kind), transaction, PROTOCOL_##protocol, AUDIT_##audit, AUDIT_##audit_of_second},
#include "pix/subscribers/notifications.def"
#undef NOTIFICATION
};

static void append_field(StrBuf *buf, Str text)
{
    strbuf_append_char(buf, '|');
    er7_append_text(buf, text);
}

/** MSH-3: a system with an OID where the message asks for one (TF-2 3.64.4.1.2.1). */
static void append_sender(const NotificationRoute *route, NotificationKind kind, StrBuf *buf)
{
    if (kind == NOTIFICATION_MOVE) {
        strbuf_printf(buf, "|^%s^ISO", route->config->manager_oid);
    } else {
        append_field(buf, str_from(route->config->sending_application));
    }
    append_field(buf, str_from(route->config->sending_facility));
}

Str notification_append_header(const NotificationRoute *route, const NotificationHeader *header,
                               StrBuf *buf)
{
    unsigned char bytes[10];
    random_bytes(bytes, sizeof(bytes));
    Str control_id = str_hex(route->arena, bytes, sizeof(bytes)); /* at most 20 characters */
    Str now = clock_dtm(route->arena, clock_utc_us());
    strbuf_literal(buf, "MSH|^~\\&");
    append_sender(route, header->kind, buf);
    append_field(buf, route->subscriber->receiving_application);
    append_field(buf, route->subscriber->receiving_facility);
    strbuf_printf(buf, "|%.*s+0000||%s|%.*s|P|%s||||||UNICODE UTF-8", STR_ARG(now), header->type,
                  STR_ARG(control_id), header->version);
    if (header->profile[0] != '\0') {
        strbuf_printf(buf, "|||%s", header->profile);
    }
    strbuf_printf(buf, "\rEVN||%.*s+0000\r", STR_ARG(now));
    return control_id;
}

const Str *notification_cxs(Arena *arena, const FoundIdentifier *identifiers, size_t count)
{
    Str *cxs = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        cxs[i] = authority_format_cx(arena, identifiers[i].authority, identifiers[i].value);
    }
    return cxs;
}

const Str *notification_patients(Arena *arena, const FoundIdentifier *identifiers, size_t count)
{
    Str *patients = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        patients[i] = hl7_cx_format(arena, identifiers[i].value, identifiers[i].authority->oid);
    }
    return patients;
}

Notification notification_take(const NotificationRoute *route, NotificationKind kind,
                               Str message_id, StrBuf *buf, const Str *patients,
                               size_t patient_count)
{
    Str content = str_dup(route->arena, strbuf_str(buf));
    strbuf_done(buf);
    return (Notification){kind, message_id, content, patients, patient_count};
}
