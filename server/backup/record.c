#include <stdlib.h>
#include <unistd.h>

#include "atna/atna.h"
#include "server/backup/backup.h"

#define HOST_NAME_BYTES 256
#define SERIOUS_FAILURE 8 /* EventOutcomeIndicator */

int backup_record(const CommandContext *context, bool is_restore, const BackupStore *store,
                  const char *generation, const char *failure)
{
    Request *req = context->req;
    char *absolute = realpath(backup_store_folder(store), NULL);
    const AuditObject object = {
        .kind = AUDIT_OBJECT_BACKUP,
        .id = str_printf(context->arena, "file://%s/%s",
                         absolute ? absolute : backup_store_folder(store), generation),
        .name = str_from(generation),
    };
    free(absolute);
    const AuditEvent event = {
        .type = is_restore ? AUDIT_RESTORE : AUDIT_BACKUP,
        .outcome = failure ? SERIOUS_FAILURE : 0,
        .outcome_text = str_from(failure),
        .objects = &object,
        .object_count = 1,
    };
    char *host_name = arena_calloc(context->arena, HOST_NAME_BYTES, 1);
    (void)gethostname(host_name, HOST_NAME_BYTES - 1);
    const AuditConfig config = {.source_id = context->config->audit.source_id,
                                .host_name = host_name};
    Audit *audit = audit_new_outbox(&config, context->pool);
    req->reply_to = command_account(context->arena);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : audit_queue_event(audit, context->conn, req, &event);
    audit_free(audit);
    return rc < 0 ? rc : db_commit(context->conn, req, NULL);
}
