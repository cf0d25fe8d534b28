#include "server/command/patient_history.h"

#include <stdio.h>

#include "server/command/json.h"
#include "server/language.h"

/** "L12"; JSON null for none. */
static json_t *number_json(Arena *arena, char kind, int64_t number)
{
    return number == 0 ? json_null()
                       : json_text(str_printf(arena, "%c%lld", kind, (long long)number));
}

static json_t *person_json(int64_t person)
{
    return person == 0 ? json_null() : json_integer(person);
}

static json_t *cx_json(const IdentityCommand *command, const PersonNumber *number)
{
    return number->authority == 0 ? json_null() : json_text(identity_command_cx(command, number));
}

static json_t *link_json(const IdentityCommand *command, const LinkRecord *link)
{
    Arena *arena = command->arena;
    json_t *json = json_object();

    json_object_set_new(json, "id", number_json(arena, 'L', link->id));
    json_object_set_new(json, "at", identity_at_json(arena, link->at_us));
    json_object_set_new(json, "identifier", cx_json(command, &link->number));
    json_object_set_new(json, "from_person", person_json(link->from_person));
    json_object_set_new(json, "to_person", person_json(link->to_person));
    json_object_set_new(json, "reason", json_text(link->reason));
    json_object_set_new(json, "text", json_string(identity_reason_text(link->reason)));
    json_object_set_new(json, "score", identity_score_json(link->score));
    json_object_set_new(json, "with", cx_json(command, &link->other));
    json_object_set_new(json, "by", json_text(link->source));
    json_object_set_new(json, "message_id", json_text(link->message_id));
    json_object_set_new(json, "undone_at", identity_at_json(arena, link->undone_us));
    json_object_set_new(json, "undoes", number_json(arena, 'L', link->undoes));
    json_object_set_new(json, "merge", number_json(arena, 'M', link->merge));
    return json;
}

static json_t *merge_json(const IdentityCommand *command, const MergeRecord *merge)
{
    Arena *arena = command->arena;
    json_t *json = json_object();

    json_object_set_new(json, "id", number_json(arena, 'M', merge->id));
    json_object_set_new(json, "at", identity_at_json(arena, merge->at_us));
    json_object_set_new(json, "subsumed", cx_json(command, &merge->subsumed));
    json_object_set_new(json, "survivor", cx_json(command, &merge->survivor));
    json_object_set_new(json, "by", json_text(merge->source));
    json_object_set_new(json, "message_id", json_text(merge->message_id));
    json_object_set_new(json, "undone_at", identity_at_json(arena, merge->undone_us));
    return json;
}

int patient_history_add(const IdentityCommand *command, const int64_t *identifiers, size_t count,
                        int64_t person, json_t *object)
{
    const CommandContext *context = command->context;
    LinkRecord *links = NULL;
    MergeRecord *merges = NULL;
    size_t link_count = 0;
    size_t merge_count = 0;
    int rc = link_view_links(context->conn, context->req, identifiers, count, person, &links,
                             &link_count);

    rc = rc < 0 ? rc
                : link_view_merges(context->conn, context->req, identifiers, count, &merges,
                                   &merge_count);
    if (rc < 0) {
        return rc;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < link_count; i++) {
        json_array_append_new(list, link_json(command, &links[i]));
    }
    json_object_set_new(object, "links", list);
    list = json_array();
    for (size_t i = 0; i < merge_count; i++) {
        json_array_append_new(list, merge_json(command, &merges[i]));
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
