#include "server/command/audited_change.h"

#include <unistd.h>

#define HOST_NAME_BYTES 256

static const struct {
    const char *noun;
    AuditEventType event;
} rows[CHANGED_COUNT] = {
#define CHANGE(name, noun, event) [CHANGED_##name] = {noun, AUDIT_##event},
#include "server/command/changes.def"
#undef CHANGE
};

/** Unreserved characters stay (RFC 3986 section 2.3). */
static void append_percent_encoded(StrBuf *buf, Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (is_letter || (c >= '0' && c <= '9') || (c && strchr("-._~", c))) {
            strbuf_append_char(buf, c);
        } else {
            strbuf_printf(buf, "%%%02X", (unsigned)(unsigned char)c);
        }
    }
}

/** A node by its name and whose name that is, all else by a URI (DICOM PS3.15 A.5.3.11). */
static Str id_of(const CommandContext *context, const AuditedChange *change)
{
    _cleanup_(strbuf_done) StrBuf uri = {0};
    if (change->kind == CHANGED_NODE) {
        return str_printf(context->arena, "%.*s@%s", STR_ARG(change->name),
                          context->config->audit.source_id);
    }
    strbuf_printf(&uri, "musubi:%s/", rows[change->kind].noun);
    append_percent_encoded(&uri, change->name);
    return str_dup(context->arena, strbuf_str(&uri));
}

static AuditObject object_of(const CommandContext *context, const AuditedChange *change)
{
    bool has_detail = !str_is_empty(change->detail);
    return (AuditObject){
        .kind = change->kind == CHANGED_NODE ? AUDIT_OBJECT_NODE : AUDIT_OBJECT_RULE,
        .id = id_of(context, change),
        .name = change->name,
        .description = str_printf(context->arena, "%s %.*s: %s%s%.*s", rows[change->kind].noun,
                                  STR_ARG(change->name), change->action, has_detail ? ", " : "",
                                  STR_ARG(change->detail)),
    };
}

int audited_event_queue(const CommandContext *context, const AuditEvent *event)
{
    char *host_name = arena_calloc(context->arena, HOST_NAME_BYTES, 1);
    (void)gethostname(host_name, HOST_NAME_BYTES - 1);
    const AuditConfig config = {.source_id = context->config->audit.source_id,
                                .host_name = host_name};
    Audit *audit = audit_new_outbox(&config, context->pool);
    context->req->reply_to = command_account(context->arena);
    int rc = audit_queue_event(audit, context->conn, context->req, event);
    audit_free(audit);
    return rc;
}

int audited_change_record(const CommandContext *context, const AuditedChange *change)
{
    const AuditObject objects[] = {
        object_of(context, change),
        {.kind = AUDIT_OBJECT_PATIENT, .id = change->patient},
    };
    const AuditEvent event = {
        .type = rows[change->kind].event,
        .objects = objects,
        .object_count = str_is_empty(change->patient) ? 1 : 2,
    };
    int rc = audited_event_queue(context, &event);
    return rc < 0 ? rc : db_sync(context->conn, context->req, NULL);
}
