#include <stdlib.h>

#include "server/backup/backup.h"
#include "server/command/audited_change.h"

#define SERIOUS_FAILURE 8 /* EventOutcomeIndicator */

int backup_record(const CommandContext *context, bool is_restore, const BackupStore *store,
                  const char *generation, const char *failure)
{
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
    int rc = command_begin(context);
    rc = rc < 0 ? rc : audited_event_queue(context, &event);
    return rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
}
