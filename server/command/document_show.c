#include "server/command/document_show.h"

#include <stdio.h>

#include "server/command/json.h"
#include "server/language.h"

/* The patient of a DocumentEntry is the one that its identifier is merged into. */
static const DbStatement select_entries = {
    "document_show_entries",
    "SELECT d.entry_uuid, d.version, d.is_latest, d.status, f.name, c.code || '^^' || c.scheme,"
    " d.patient FROM document_entry d LEFT JOIN facility f ON f.id = d.source_facility"
    " JOIN code c ON c.id = d.class_code"
    " WHERE hashtext(d.unique_id) = hashtext($1::text) AND d.unique_id = $1::text"
    " ORDER BY coalesce(d.lid, d.entry_uuid), d.version"};
enum { ENTRY_UUID, VERSION, IS_LATEST, STATUS, FACILITY, CLASS, PATIENT };

static const DbStatement select_stored = {
    "document_show_stored",
    "SELECT d.state, d.size_bytes, encode(d.sha256, 'hex'), d.stored_at,"
    " d.patient_id_number || k.patient_id_authority FROM repository_document d"
    " JOIN repository_document_kind k ON k.id = d.kind WHERE d.digest = $1::uuid"};
enum { STATE, STORED_SIZE, STORED_SHA256, STORED_AT, STORED_PATIENT };

static const DbStatement select_removals = {
    "document_show_removals",
    "SELECT removed_at, is_bytes, node, user_id, patient_id, entry_uuid, size_bytes,"
    " encode(sha256, 'hex') FROM removal WHERE hashtext(unique_id) = hashtext($1::text)"
    " AND unique_id = $1::text ORDER BY id"};
enum {
    REMOVED_AT,
    IS_BYTES,
    NODE,
    USER_ID,
    REMOVED_PATIENT,
    REMOVED_ENTRY,
    REMOVED_SIZE,
    REMOVED_SHA256
};

static const char *const state_names[] = {"pending", "registered", "quarantined", "removed"};
static const char *const status_names[] = {"Approved", "Deprecated"};

typedef struct Shown {
    Arena *arena;
    DbResult *entries;
    DbResult *stored;
    DbResult *removals;
    Str *entry_patients; /* CX, of entries */
    Str *patients;       /* each once, for the audit trail */
    size_t patient_count;
} Shown;

/* ---- reading ---- */

static int read_rows(const IdentityCommand *command, Str unique_id, Shown *shown)
{
    const CommandContext *context = command->context;
    DbParams text;
    DbParams digest;
    db_params_init(&text, command->arena);
    db_param_text(&text, unique_id);
    db_params_init(&digest, command->arena);
    db_param_uuid(&digest, uuid_digest(unique_id));
    int rc = db_exec(context->conn, context->req, &select_entries, &text, &shown->entries);
    rc =
        rc < 0 ? rc : db_exec(context->conn, context->req, &select_stored, &digest, &shown->stored);
    return rc < 0 ? rc
                  : db_exec(context->conn, context->req, &select_removals, &text, &shown->removals);
}

static void add_patient(Shown *shown, Str patient)
{
    for (size_t i = 0; i < shown->patient_count; i++) {
        if (str_equal(shown->patients[i], patient)) {
            return;
        }
    }
    shown->patients[shown->patient_count++] = patient;
}

static int read_patients(const IdentityCommand *command, Shown *shown)
{
    const CommandContext *context = command->context;
    size_t entries = (size_t)db_rows(shown->entries);
    int rc = 0;
    shown->entry_patients = ARENA_ARRAY(command->arena, Str, entries);
    shown->patients =
        ARENA_ARRAY(command->arena, Str, entries + 1 + (size_t)db_rows(shown->removals));
    for (size_t i = 0; rc == 0 && i < entries; i++) {
        rc = person_view_cx(context->conn, context->req, db_i64(shown->entries, (int)i, PATIENT),
                            &shown->entry_patients[i]);
        add_patient(shown, shown->entry_patients[i]);
    }
    if (db_rows(shown->stored) > 0) {
        add_patient(shown, db_text(shown->stored, 0, STORED_PATIENT));
    }
    for (int row = 0; row < db_rows(shown->removals); row++) {
        add_patient(shown, db_text(shown->removals, row, REMOVED_PATIENT));
    }
    return rc;
}

/* ---- JSON ---- */

static json_t *entry_json(const Shown *shown, int row)
{
    const DbResult *rows = shown->entries;
    return json_pack(
        "{s:o, s:I, s:b, s:s, s:o, s:o, s:o}", "entry_uuid",
        json_text(uuid_urn(shown->arena, db_uuid(rows, row, ENTRY_UUID))), "version",
        (json_int_t)db_i32(rows, row, VERSION), "is_latest", db_bool(rows, row, IS_LATEST),
        "status", status_names[db_i16(rows, row, STATUS) != 0], "facility",
        identity_text_json(rows, row, FACILITY), "class", json_text(db_text(rows, row, CLASS)),
        "patient", json_text(shown->entry_patients[row]));
}

static json_t *stored_json(const Shown *shown)
{
    const DbResult *rows = shown->stored;
    if (db_rows(rows) == 0) {
        return json_null();
    }
    return json_pack("{s:s, s:I, s:o, s:o, s:o}", "state", state_names[db_i16(rows, 0, STATE) & 3],
                     "size", (json_int_t)db_i64(rows, 0, STORED_SIZE), "sha256",
                     json_text(db_text(rows, 0, STORED_SHA256)), "stored_at",
                     identity_instant_json(shown->arena, rows, 0, STORED_AT), "patient",
                     json_text(db_text(rows, 0, STORED_PATIENT)));
}

static json_t *removal_json(const Shown *shown, int row)
{
    const DbResult *rows = shown->removals;
    bool is_bytes = db_bool(rows, row, IS_BYTES);
    json_t *json =
        json_pack("{s:o, s:s, s:o, s:o, s:o}", "removed_at",
                  identity_instant_json(shown->arena, rows, row, REMOVED_AT), "transaction",
                  is_bytes ? "ITI-86" : "ITI-62", "node", json_text(db_text(rows, row, NODE)),
                  "user", identity_value_json(db_text(rows, row, USER_ID)), "patient",
                  json_text(db_text(rows, row, REMOVED_PATIENT)));
    if (is_bytes) {
        json_object_set_new(json, "size", json_integer(db_i64(rows, row, REMOVED_SIZE)));
        json_object_set_new(json, "sha256", json_text(db_text(rows, row, REMOVED_SHA256)));
    } else {
        Str entry = uuid_urn(shown->arena, db_uuid(rows, row, REMOVED_ENTRY));
        json_object_set_new(json, "entry_uuid", json_text(entry));
    }
    return json;
}

static json_t *shown_json(const Shown *shown, Str unique_id)
{
    json_t *entries = json_array();
    json_t *removals = json_array();
    for (int row = 0; row < db_rows(shown->entries); row++) {
        json_array_append_new(entries, entry_json(shown, row));
    }
    for (int row = 0; row < db_rows(shown->removals); row++) {
        json_array_append_new(removals, removal_json(shown, row));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "document", json_text(unique_id), "entries", entries,
                     "stored", stored_json(shown), "removals", removals);
}

/* ---- text ---- */

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "-";
}

static void print_shown(const json_t *shown)
{
    const json_t *stored = json_object_get(shown, "stored");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(shown, "entries"), i, row)
    {
        printf(tr("registered as %s, version %lld, %s, of %s, class %s, patient %s\n"),
               text_of(row, "entry_uuid"),
               (long long)json_integer_value(json_object_get(row, "version")),
               text_of(row, "status"), text_of(row, "facility"), text_of(row, "class"),
               text_of(row, "patient"));
    }
    if (json_is_object(stored)) {
        printf(tr("stored %s: %s, %lld bytes, SHA-256 %s\n"), text_of(stored, "stored_at"),
               tr(text_of(stored, "state")),
               (long long)json_integer_value(json_object_get(stored, "size")),
               text_of(stored, "sha256"));
    }
    json_array_foreach(json_object_get(shown, "removals"), i, row)
    {
        bool is_bytes = json_object_get(row, "sha256") != NULL;
        printf(is_bytes ? tr("%s: document removed by node %s, user %s; SHA-256 %s\n")
                        : tr("%s: metadata removed by node %s, user %s; it was %s\n"),
               text_of(row, "removed_at"), text_of(row, "node"), text_of(row, "user"),
               text_of(row, is_bytes ? "sha256" : "entry_uuid"));
    }
}

int document_show_run(IdentityCommand *command)
{
    Str unique_id = str_trim(str_from(command->options->arguments[1]));
    Shown shown = {.arena = command->arena};
    int rc = read_rows(command, unique_id, &shown);
    rc = rc < 0 ? rc : read_patients(command, &shown);
    if (rc == 0 && shown.patient_count == 0) {
        command_say(command->options, tr("no document has or had the uniqueId %.*s"),
                    STR_ARG(unique_id));
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : identity_command_record_shown(command, shown.patients, shown.patient_count);
    if (rc < 0) {
        return command_status_of(rc);
    }
    json_t *json = shown_json(&shown, unique_id);
    if (command->options->json) {
        json_print(json);
        return EXIT_GOOD;
    }
    print_shown(json);
    json_decref(json);
    return EXIT_GOOD;
}
