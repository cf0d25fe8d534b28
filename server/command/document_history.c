#include "server/command/document_history.h"

#include <stdio.h>

#include "atna/repository.h"
#include "registry/history.h"
#include "server/command/audit_report.h"
#include "server/command/json.h"
#include "server/language.h"

/** A history on its way to the operator. */
typedef struct DocumentHistory {
    IdentityCommand *command;
    History history;
    json_t *accesses; /* what the audit trail has */
} DocumentHistory;

/* ---- the audit trail ---- */

/** Everything that records may name the document by, with the SubmissionSets that changed it. */
static KeySet audit_keys(Arena *arena, const History *history)
{
    const size_t capacity = 4 * history->version_count + history->change_count;
    int64_t *keys = ARENA_ARRAY(arena, int64_t, capacity);
    size_t count = 0;
    for (size_t i = 0; i < history->version_count; i++) {
        const HistoryVersion *version = &history->versions[i];
        const Str names[] = {version->unique_id, version->submission_set,
                             uuid_urn(arena, version->entry_uuid), uuid_urn(arena, version->lid)};
        for (size_t n = 0; n < ARRAY_LEN(names); n++) {
            keys[count++] = audit_key(AUDIT_KEY_OBJECT, names[n]);
        }
    }
    for (size_t i = 0; i < history->change_count; i++) {
        keys[count++] = audit_key(AUDIT_KEY_OBJECT, history->changes[i].submission_set);
    }
    return (KeySet){keys, count};
}

static int take_record(void *ctx, Request *req, const FoundRecord *record)
{
    static const AuditColumn columns[] = {
        AUDIT_COLUMN_operation, AUDIT_COLUMN_event,   AUDIT_COLUMN_user,  AUDIT_COLUMN_node,
        AUDIT_COLUMN_purpose,   AUDIT_COLUMN_outcome, AUDIT_COLUMN_record};
    static const char *const names[] = {"operation", "event",   "user",  "node",
                                        "purpose",   "outcome", "record"};
    DocumentHistory *document = ctx;
    AuditRow row;
    audit_row_read(req->arena, record, &row);
    json_t *json = json_pack("{s:o}", "at", identity_at_json(req->arena, row.time_us));
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        json_object_set_new(json, names[i], identity_value_json(row.texts[columns[i]]));
    }
    json_array_append_new(document->accesses, json);
    return 0;
}

static int read_accesses(DocumentHistory *document)
{
    CommandContext *context = document->command->context;
    RecordSearch search = record_search_of(INT64_MIN, INT64_MAX);
    RecordBounds bounds = {0};
    const KeySet keys = audit_keys(context->arena, &document->history);
    (void)!record_search_add(&search, AUDIT_KEY_OBJECT, keys); /* the only one */
    int rc = record_search_bounds(context->conn, context->req, &bounds);
    return rc < 0 ? rc
                  : record_search_each(context->conn, context->req, &search, &bounds, take_record,
                                       document);
}

/* ---- JSON ---- */

static const char *status_name(int16_t status)
{
    return status == 0 ? "Approved" : "Deprecated";
}

static json_t *removed_json(Arena *arena, int64_t removed_us)
{
    return identity_at_json(arena, removed_us == INT64_MAX ? INT64_MIN : removed_us);
}

static json_t *version_json(Arena *arena, const HistoryVersion *version)
{
    return json_pack(
        "{s:o, s:o, s:o, s:i, s:o, s:o, s:s, s:s, s:o, s:o, s:o}", "entry_uuid",
        json_text(uuid_urn(arena, version->entry_uuid)), "lid",
        json_text(uuid_urn(arena, version->lid)), "unique_id", json_text(version->unique_id),
        "version", (int)version->version, "registered_at",
        identity_at_json(arena, version->came_us), "removed_at",
        removed_json(arena, version->removed_us), "status", status_name(version->status),
        "availability", version->is_offline ? "Offline" : "Online", "patient",
        json_text(version->patient), "facility", identity_value_json(version->facility),
        "submission_set", identity_value_json(version->submission_set));
}

static json_t *state_json(int16_t status, bool is_latest, bool is_offline)
{
    return json_pack("{s:s, s:b, s:s}", "status", status_name(status), "is_latest", is_latest,
                     "availability", is_offline ? "Offline" : "Online");
}

static json_t *change_json(Arena *arena, const HistoryChange *change)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "at", identity_at_json(arena, change->at_us),
                     "transaction", json_text(change->transaction), "entry_uuid",
                     json_text(uuid_urn(arena, change->entry_uuid)), "submission_set",
                     identity_value_json(change->submission_set), "before",
                     state_json(change->old_status, change->was_latest, change->was_offline),
                     "after",
                     state_json(change->new_status, change->is_latest, change->is_offline));
}

static json_t *relation_json(Arena *arena, const HistoryRelation *relation)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "type", json_text(relation->type),
                     "source", json_text(uuid_urn(arena, relation->source)), "source_unique_id",
                     json_text(relation->source_unique_id), "target",
                     json_text(uuid_urn(arena, relation->target)), "target_unique_id",
                     json_text(relation->target_unique_id), "registered_at",
                     identity_at_json(arena, relation->came_us), "removed_at",
                     removed_json(arena, relation->removed_us));
}

static json_t *history_json(const DocumentHistory *document)
{
    const History *history = &document->history;
    Arena *arena = document->command->arena;
    json_t *versions = json_array();
    json_t *changes = json_array();
    json_t *relations = json_array();
    for (size_t i = 0; i < history->version_count; i++) {
        json_array_append_new(versions, version_json(arena, &history->versions[i]));
    }
    for (size_t i = 0; i < history->change_count; i++) {
        json_array_append_new(changes, change_json(arena, &history->changes[i]));
    }
    for (size_t i = 0; i < history->relation_count; i++) {
        json_array_append_new(relations, relation_json(arena, &history->relations[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:O}", "known_since",
                     identity_at_json(arena, history->begin_us), "versions", versions, "changes",
                     changes, "relations", relations, "accesses", document->accesses);
}

/* ---- text ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

static bool is_set(const json_t *object, const char *name)
{
    return json_is_string(json_object_get(object, name));
}

static void print_versions(const json_t *versions)
{
    size_t i;
    json_t *row;
    (void)puts(tr("registered versions"));
    json_array_foreach(versions, i, row)
    {
        printf("%s  %s\n", text_of(row, "registered_at"), text_of(row, "entry_uuid"));
        printf(tr("    version %d, uniqueId %s, patient %s, facility %s, SubmissionSet %s\n"),
               (int)json_integer_value(json_object_get(row, "version")), text_of(row, "unique_id"),
               text_of(row, "patient"), text_of(row, "facility"), text_of(row, "submission_set"));
        if (is_set(row, "removed_at")) {
            printf(tr("    removed %s, when it was %s\n"), text_of(row, "removed_at"),
                   tr(text_of(row, "status")));
        } else {
            printf(tr("    now %s, %s\n"), tr(text_of(row, "status")),
                   tr(text_of(row, "availability")));
        }
    }
}

static void print_state(const json_t *state)
{
    printf("%s%s%s", tr(text_of(state, "status")),
           json_is_true(json_object_get(state, "is_latest")) ? "" : tr(", superseded"),
           text_of(state, "availability")[1] == 'f' ? tr(", Offline") : "");
}

static void print_changes(const json_t *changes)
{
    size_t i;
    json_t *row;
    (void)puts(tr("changes"));
    json_array_foreach(changes, i, row)
    {
        printf("%s  %s\n    ", text_of(row, "at"), text_of(row, "entry_uuid"));
        print_state(json_object_get(row, "before"));
        printf(" -> ");
        print_state(json_object_get(row, "after"));
        printf(tr("; SubmissionSet %s, transaction %s\n"), text_of(row, "submission_set"),
               text_of(row, "transaction"));
    }
}

static void print_relations(const json_t *relations)
{
    size_t i;
    json_t *row;
    (void)puts(tr("relationships"));
    json_array_foreach(relations, i, row)
    {
        printf("%s  %s %s %s", text_of(row, "registered_at"), text_of(row, "source_unique_id"),
               text_of(row, "type"), text_of(row, "target_unique_id"));
        if (is_set(row, "removed_at")) {
            printf(tr(", removed %s"), text_of(row, "removed_at"));
        }
        printf("\n");
    }
}

static void print_accesses(Arena *arena, const json_t *accesses)
{
    static const char *const fields[] = {"operation", "event",   "user",
                                         "node",      "purpose", "outcome"};
    size_t i;
    json_t *row;
    (void)puts(tr("in the audit trail"));
    json_array_foreach(accesses, i, row)
    {
        printf("%s ", text_of(row, "at"));
        for (size_t field = 0; field < ARRAY_LEN(fields); field++) {
            if (is_set(row, fields[field])) {
                printf("%s %.*s", field > 0 ? "," : "",
                       STR_ARG(str_printable(arena, str_from(text_of(row, fields[field])))));
            }
        }
        printf("\n");
    }
}

static void print_history(Arena *arena, const json_t *json)
{
    print_versions(json_object_get(json, "versions"));
    print_changes(json_object_get(json, "changes"));
    print_relations(json_object_get(json, "relations"));
    print_accesses(arena, json_object_get(json, "accesses"));
    printf(tr("changes are known since %s\n"), text_of(json, "known_since"));
}

/* ---- the command ---- */

/** Before anything is shown (contract C4): the audit trail was read, and the patients' data. */
static int record_use(const DocumentHistory *document, Str name)
{
    const IdentityCommand *command = document->command;
    const History *history = &document->history;
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_AUDIT_LOG, .id = STR(AUDIT_LOG_URI)},
        {.kind = AUDIT_OBJECT_QUERY,
         .id = STR("musubi document history"),
         .query = str_printf(command->arena, "musubi document history %.*s", STR_ARG(name))}};
    const AuditEvent event = {
        .type = AUDIT_AUDIT_LOG_USED, .objects = objects, .object_count = ARRAY_LEN(objects)};
    int rc = audit_record_event(command->services.audit, command->context->req, &event);
    Str *patients = ARENA_ARRAY(command->arena, Str, history->version_count);
    size_t count = 0;
    for (size_t i = 0; i < history->version_count; i++) {
        Str patient = hl7_cx_format(command->arena, history->versions[i].patient,
                                    command->authorities->affinity_domain->oid);
        bool is_new = true;
        for (size_t n = 0; n < count; n++) {
            is_new = is_new && !str_equal(patients[n], patient);
        }
        if (is_new) {
            patients[count++] = patient;
        }
    }
    return rc < 0 ? rc : identity_command_record_shown(command, patients, count);
}

static int read_all(DocumentHistory *document, Str name)
{
    CommandContext *context = document->command->context;
    int rc = db_queue_snapshot(context->conn, context->req);
    rc = rc < 0 ? rc : db_sync(context->conn, context->req, NULL);
    rc = rc < 0 ? rc : registry_history_read(context->conn, context->req, name, &document->history);
    if (rc == 0 && document->history.version_count > 0) {
        rc = read_accesses(document);
        rc = rc < 0 ? rc : record_use(document, name);
    }
    return rc;
}

static int show(DocumentHistory *document, Str name)
{
    IdentityCommand *command = document->command;
    if (read_all(document, name) < 0) {
        return EXIT_FAILED;
    }
    if (document->history.version_count == 0) {
        command_say(command->options, tr("there never was a document %.*s"), STR_ARG(name));
        return EXIT_FOUND;
    }
    json_t *json = history_json(document);
    if (command->options->json) {
        json_print(json);
        return EXIT_GOOD;
    }
    print_history(command->arena, json);
    json_decref(json);
    return EXIT_GOOD;
}

int document_history_run(IdentityCommand *command, Str name)
{
    DocumentHistory document = {.command = command, .accesses = json_array()};
    int status = show(&document, name);
    json_decref(document.accesses);
    return status;
}
