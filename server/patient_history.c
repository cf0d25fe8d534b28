#include "server/patient_history.h"

#include <stdio.h>

#include "server/command_json.h"
#include "server/language.h"

static const DbStatement select_links = {
    "patient_history_links",
    "SELECT l.id, l.linked_at, i.authority, i.value, l.from_person, l.to_person, l.reason,"
    " " IDENTITY_SCORE("l.score") ", other.authority, other.value, l.source, l.message_id,"
                                  " l.undone_at, l.undoes, l.merge FROM patient_link l"
                                  " JOIN patient_identifier i ON i.id = l.identifier"
                                  " LEFT JOIN patient_identifier other ON other.id = l.other"
                                  " WHERE l.identifier = ANY ($1::int8[]) OR l.from_person = "
                                  "$2::int8 OR l.to_person = $2::int8"
                                  " ORDER BY l.id",
};

enum {
    LINK_ID,
    LINK_AT,
    LINK_AUTHORITY,
    LINK_VALUE,
    LINK_FROM,
    LINK_TO,
    LINK_REASON_NAME,
    LINK_SCORE,
    LINK_OTHER_AUTHORITY,
    LINK_OTHER_VALUE,
    LINK_SOURCE,
    LINK_MESSAGE,
    LINK_UNDONE,
    LINK_UNDOES,
    LINK_MERGE,
};

static const DbStatement select_merges = {
    "patient_history_merges",
    "SELECT m.id, m.merged_at, subsumed.authority, subsumed.value, survivor.authority,"
    " survivor.value, m.source, m.message_id, m.undone_at FROM patient_merge m"
    " LEFT JOIN patient_identifier subsumed ON subsumed.id = m.subsumed"
    " LEFT JOIN patient_identifier survivor ON survivor.id = m.survivor"
    " WHERE m.subsumed = ANY ($1::int8[]) OR m.survivor = ANY ($1::int8[]) ORDER BY m.id",
};

/** "L12"; JSON null for the SQL NULL. */
static json_t *number_json(Arena *arena, char kind, const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column)
               ? json_null()
               : json_text(str_printf(arena, "%c%lld", kind, (long long)db_i64(rows, row, column)));
}

static json_t *person_json(const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column) ? json_null() : json_integer(db_i64(rows, row, column));
}

static json_t *cx_json(const IdentityCommand *command, const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column)
               ? json_null()
               : json_text(identity_command_cx(command, db_i32(rows, row, column),
                                               db_text(rows, row, column + 1)));
}

static json_t *link_json(const IdentityCommand *command, const DbResult *rows, int row)
{
    Arena *arena = command->arena;
    Str reason = db_text(rows, row, LINK_REASON_NAME);
    json_t *json = json_object();

    json_object_set_new(json, "id", number_json(arena, 'L', rows, row, LINK_ID));
    json_object_set_new(json, "at", identity_instant_json(arena, rows, row, LINK_AT));
    json_object_set_new(json, "identifier", cx_json(command, rows, row, LINK_AUTHORITY));
    json_object_set_new(json, "from_person", person_json(rows, row, LINK_FROM));
    json_object_set_new(json, "to_person", person_json(rows, row, LINK_TO));
    json_object_set_new(json, "reason", json_text(reason));
    json_object_set_new(json, "text", json_string(identity_reason_text(reason)));
    json_object_set_new(json, "score", identity_score_json(rows, row, LINK_SCORE));
    json_object_set_new(json, "with", cx_json(command, rows, row, LINK_OTHER_AUTHORITY));
    json_object_set_new(json, "by", json_text(db_text(rows, row, LINK_SOURCE)));
    json_object_set_new(json, "message_id", json_text(db_text(rows, row, LINK_MESSAGE)));
    json_object_set_new(json, "undone_at", identity_instant_json(arena, rows, row, LINK_UNDONE));
    json_object_set_new(json, "undoes", number_json(arena, 'L', rows, row, LINK_UNDOES));
    json_object_set_new(json, "merge", number_json(arena, 'M', rows, row, LINK_MERGE));
    return json;
}

static json_t *merge_json(const IdentityCommand *command, const DbResult *rows, int row)
{
    Arena *arena = command->arena;
    json_t *json = json_object();

    json_object_set_new(json, "id", number_json(arena, 'M', rows, row, 0));
    json_object_set_new(json, "at", identity_instant_json(arena, rows, row, 1));
    json_object_set_new(json, "subsumed", cx_json(command, rows, row, 2));
    json_object_set_new(json, "survivor", cx_json(command, rows, row, 4));
    json_object_set_new(json, "by", json_text(db_text(rows, row, 6)));
    json_object_set_new(json, "message_id", json_text(db_text(rows, row, 7)));
    json_object_set_new(json, "undone_at", identity_instant_json(arena, rows, row, 8));
    return json;
}

int patient_history_add(const IdentityCommand *command, const int64_t *identifiers, size_t count,
                        int64_t person, json_t *object)
{
    DbParams links_params;
    DbParams merges_params;
    DbResult *links = NULL;
    DbResult *merges = NULL;
    const CommandContext *context = command->context;

    db_params_init(&links_params, command->arena);
    db_param_i64_array(&links_params, identifiers, count);
    db_param_i64(&links_params, person);
    db_params_init(&merges_params, command->arena);
    db_param_i64_array(&merges_params, identifiers, count);
    int rc = db_exec(context->conn, context->req, &select_links, &links_params, &links);
    rc =
        rc < 0 ? rc : db_exec(context->conn, context->req, &select_merges, &merges_params, &merges);
    if (rc < 0) {
        return rc;
    }
    json_t *list = json_array();
    for (int i = 0; i < db_rows(links); i++) {
        json_array_append_new(list, link_json(command, links, i));
    }
    json_object_set_new(object, "links", list);
    list = json_array();
    for (int i = 0; i < db_rows(merges); i++) {
        json_array_append_new(list, merge_json(command, merges, i));
    }
    json_object_set_new(object, "merges", list);
    return 0;
}

/* Text */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static void print_state(const json_t *row)
{
    if (text_of(row, "undone_at")[0]) {
        printf(tr(", undone at %s"), text_of(row, "undone_at"));
    }
    printf("\n");
}

static void print_link(const json_t *link)
{
    const json_t *score = json_object_get(link, "score");

    printf("%-6s %s  %s: %s", text_of(link, "id"), text_of(link, "at"), text_of(link, "identifier"),
           tr(text_of(link, "text")));
    if (text_of(link, "with")[0]) {
        printf(tr(" (with %s)"), text_of(link, "with"));
    }
    if (json_is_real(score)) {
        printf(tr(", weight %.1f"), json_real_value(score));
    }
    printf(tr(", by %s"), text_of(link, "by"));
    print_state(link);
}

void patient_history_print(const json_t *links, const json_t *merges)
{
    size_t i;
    json_t *row;

    if (json_array_size(links) + json_array_size(merges) > 0) {
        (void)puts(tr("history; musubi patient undo takes back the line that it names:"));
    }
    json_array_foreach(links, i, row)
    {
        print_link(row);
    }
    json_array_foreach(merges, i, row)
    {
        printf(tr("%-6s %s  %s was merged into %s, by %s"), text_of(row, "id"), text_of(row, "at"),
               text_of(row, "subsumed"), text_of(row, "survivor"), text_of(row, "by"));
        print_state(row);
    }
}
