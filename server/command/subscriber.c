#include "server/command/subscriber.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "pix/authority_table.h"
#include "pix/subscribers/subscribers.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"
#include "server/services.h"

/* musubi subscriber: who is told of changes of patients' identifiers. */

#define MAX_NAME_LEN 64
#define MAX_RECEIVER_LEN 180 /* HD (HL7 v2.3.1 2.8.18) */
/** Each has a thread and a database connection of its own. */
#define MAX_SUBSCRIBERS 50
/** Every running server has read its tables again. */
#define REFRESHED_S 3

/* ---- add ---- */

typedef struct SubscriberInput {
    SubscriberRow row;
    SubscriberKind kind;
} SubscriberInput;

static bool is_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.';
        if (!is_good) {
            return false;
        }
    }
    return name.len > 0 && name.len <= MAX_NAME_LEN;
}

/** --authorities: OIDs or namespaces, separated by commas. */
static int read_authorities(const CommandContext *context, Str list, SubscriberRow *row)
{
    Str *names = ARENA_ARRAY(context->arena, Str, list.len + 1);
    size_t count = 0;
    Str item;
    int32_t *ids = NULL;
    size_t id_count = 0;
    while (str_split_next(&list, ',', &item)) {
        item = str_trim(item);
        if (!str_is_empty(item)) {
            names[count++] = item;
        }
    }
    bool *is_known = ARENA_ARRAY(context->arena, bool, count);
    int rc = authority_table_find(context->conn, context->req,
                                  str_from(context->config->affinity_domain.patient_id_authority),
                                  names, count, is_known, &ids, &id_count);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_known[i]) {
            (void)command_fault(&context->req->errors, "subscriber add",
                                "no such authority; musubi authority list shows them", names[i]);
        }
    }
    row->authorities = ids;
    row->authority_count = id_count;
    return 0;
}

static void check_receiver(const CommandContext *context, const Options *options,
                           SubscriberInput *input)
{
    Str receiver = str_from(options->receiver);
    const size_t bar = str_find_char(receiver, '|');
    input->row.application = str_trim(str_slice(receiver, 0, bar));
    input->row.facility =
        bar == SIZE_MAX ? STR_EMPTY : str_trim(str_from_offset(receiver, bar + 1));
    if (receiver.len > MAX_RECEIVER_LEN || !str_is_utf8(receiver)) {
        (void)command_fault(&context->req->errors, "subscriber add", "the receiver is too long",
                            STR_EMPTY);
    }
    if (input->kind == SUBSCRIBER_CONSUMER_V3 && !str_is_empty(receiver) &&
        !oid_is_valid(receiver)) {
        (void)command_fault(&context->req->errors, "subscriber add",
                            "the receiver of a consumer-v3 is the OID of its device", receiver);
    }
}

/** Adds every fault of what the operator wrote. */
static void read_input(const CommandContext *context, const Options *options,
                       SubscriberInput *input)
{
    SubscriberRow *row = &input->row;
    *row = (SubscriberRow){.name = str_from(options->arguments[1]),
                           .kind = str_from(options->kind),
                           .url = str_from(options->url),
                           .fingerprint = STR_EMPTY};
    Str fingerprint = str_from(options->fingerprint);
    if (!is_name(row->name)) {
        (void)command_fault(&context->req->errors, "subscriber add",
                            "a subscriber's name has up to 64 letters, digits and . _ -",
                            row->name);
    }
    if (!subscriber_kind_parse(row->kind, &input->kind)) {
        (void)command_fault(&context->req->errors, "subscriber add",
                            "say --kind consumer-v2, consumer-v3 or registry", row->kind);
        return;
    }
    if (!subscriber_url_is_good(input->kind, row->url)) {
        const char *text =
            str_printf(context->arena, "write --url as %s", subscriber_url_forms(input->kind)).data;
        (void)command_fault(&context->req->errors, "subscriber add", text, row->url);
    }
    if (!str_is_empty(fingerprint) &&
        !tls_fingerprint_parse(context->arena, fingerprint, &row->fingerprint)) {
        (void)command_fault(&context->req->errors, "subscriber add",
                            "a fingerprint is SHA-256, 64 hexadecimal digits", fingerprint);
    }
    if (input->kind == SUBSCRIBER_REGISTRY && options->authorities) {
        (void)command_fault(&context->req->errors, "subscriber add",
                            "a registry is told of the affinity domain: leave --authorities out",
                            STR_EMPTY);
    }
    check_receiver(context, options, input);
}

static int check_count(const CommandContext *context, const SubscriberRow *row)
{
    int64_t count = 0;
    int rc = subscriber_table_count_others(context->conn, context->req, row->name, &count);
    if (rc == 0 && count >= MAX_SUBSCRIBERS) {
        rc = command_fault(&context->req->errors, "subscriber add",
                           "there are 50 subscribers already, the most that there may be",
                           STR_EMPTY);
    }
    return rc;
}

static int store(const CommandContext *context, const SubscriberRow *row,
                 SubscriberStored *ret_stored)
{
    int rc = subscriber_table_store(context->conn, context->req, row, ret_stored);
    if (rc == 0 && *ret_stored == SUBSCRIBER_OF_OTHER_KIND) {
        rc =
            command_fault(&context->req->errors, "subscriber add",
                          "it is of another kind; remove it first, or use another name", row->name);
    }
    const AuditedChange change = {
        .kind = CHANGED_SUBSCRIBER, .name = row->name, .action = "set", .detail = row->url};
    return rc < 0 ? rc : audited_change_record(context, &change);
}

/** Every XAD-PID for a new registry, once the running servers announce the new ones themselves. */
static int announce_known(const Options *options, CommandContext *context)
{
    Services services;
    char problem[512];
    int64_t count = 0;
    (void)sleep(REFRESHED_S);
    if (!services_open_identity(&services, context->config, command_service_conninfo(context), 2,
                                problem, sizeof(problem))) {
        return error_add(&context->req->errors, ERR_DATABASE, NULL, "%s", problem);
    }
    int rc =
        pix_announce_known(services.pix, context->req, str_from(options->arguments[1]), &count);
    services_close(&services);
    if (rc == 0) {
        command_say(options, tr("%lld patients of the affinity domain are announced to %s"),
                    (long long)count, options->arguments[1]);
    }
    return rc;
}

static int subscriber_add(const Options *options, CommandContext *context)
{
    SubscriberInput input = {0};
    SubscriberStored stored = SUBSCRIBER_CHANGED;
    read_input(context, options, &input);
    int rc = read_authorities(context, str_from(options->authorities), &input.row);
    rc = rc < 0 ? rc : check_count(context, &input.row);
    if (rc == 0 && context->req->errors.error_count > 0) {
        rc = -ERR_CONFIGURATION;
    }
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : store(context, &input.row, &stored);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("subscriber %s stored; a running server knows it within seconds"),
                    options->arguments[1]);
    }
    if (rc == 0 && stored == SUBSCRIBER_ADDED && input.kind == SUBSCRIBER_REGISTRY) {
        rc = announce_known(options, context);
    }
    return command_status_of(rc);
}

/* ---- remove, retry ---- */

/** Locks it in a transaction. @return 1 with its id; 0: there is none, which was said; negative */
static int lock_named(const Options *options, const CommandContext *context, int32_t *ret_id)
{
    int rc = command_begin(context);
    rc = rc < 0 ? rc
                : subscriber_table_lock(context->conn, context->req,
                                        str_from(options->arguments[1]), ret_id);
    if (rc < 0) {
        return rc;
    }
    if (*ret_id == 0) {
        command_say(options, tr("there is no subscriber %s"), options->arguments[1]);
        return 0;
    }
    return 1;
}

static int subscriber_remove(const Options *options, CommandContext *context)
{
    int32_t id = 0;
    int64_t dropped = 0;
    int rc = lock_named(options, context, &id);
    if (rc == 0) {
        return EXIT_FOUND;
    }
    const AuditedChange change = {
        .kind = CHANGED_SUBSCRIBER, .name = str_from(options->arguments[1]), .action = "remove"};
    rc = rc < 0 ? rc : subscriber_table_remove(context->conn, context->req, id, &dropped);
    rc = rc < 0 ? rc : audited_change_record(context, &change);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options, tr("subscriber %s removed, with %lld messages that it had not taken"),
                    options->arguments[1], (long long)dropped);
    }
    return command_status_of(rc);
}

static int subscriber_retry(const Options *options, CommandContext *context)
{
    int32_t id = 0;
    int64_t count = 0;
    int rc = lock_named(options, context, &id);
    if (rc == 0) {
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : subscriber_table_retry(context->conn, context->req, id, &count);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options, tr("%lld messages for %s are sent at once"), (long long)count,
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

static Str oldest_of(const CommandContext *context, const SubscriberState *state)
{
    return state->oldest_us == INT64_MIN ? STR_EMPTY
                                         : clock_iso8601(context->arena, state->oldest_us);
}

static json_t *state_json(const CommandContext *context, const SubscriberState *state)
{
    json_t *names = json_array();
    Str oldest = oldest_of(context, state);
    for (size_t i = 0; i < state->authority_count; i++) {
        json_array_append_new(names, json_text(state->authorities[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "name",
                     json_text(state->name), "kind", json_text(state->kind), "url",
                     json_text(state->url), "receiving_application", json_text(state->application),
                     "receiving_facility", json_text(state->facility), "last_failure",
                     json_text(state->last_failure), "authorities", names, "queued",
                     (json_int_t)state->queued, "refused", (json_int_t)state->refused, "oldest",
                     oldest.len > 0 ? json_text(oldest) : json_null());
}

static void print_state(const CommandContext *context, const SubscriberState *state)
{
    Str oldest = oldest_of(context, state);
    command_print_cell(str_cstr(context->arena, state->name), 20);
    command_print_cell(str_cstr(context->arena, state->kind), 11);
    printf(tr("%lld queued, %lld refused  %.*s\n"), (long long)state->queued,
           (long long)state->refused, STR_ARG(state->url));
    if (!str_is_empty(oldest)) {
        printf(tr("  waiting since %.*s\n"), STR_ARG(oldest));
    }
    if (!str_is_empty(state->last_failure)) {
        printf(tr("  last failure: %.*s\n"),
               STR_ARG(str_shown(context->arena, state->last_failure)));
    }
}

json_t *subscriber_json(const CommandContext *context, const SubscriberState *states, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, state_json(context, &states[i]));
    }
    return list;
}

void subscriber_print(const CommandContext *context, const SubscriberState *states, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_state(context, &states[i]);
    }
}

static int subscriber_list(const Options *options, CommandContext *context)
{
    SubscriberState *states = NULL;
    size_t count = 0;
    if (subscriber_table_read(context->conn, context->req, &states, &count) < 0) {
        return EXIT_FAILED;
    }
    if (options->json) {
        json_print(subscriber_json(context, states, count));
    } else {
        subscriber_print(context, states, count);
    }
    return EXIT_GOOD;
}

int command_subscriber(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, subscriber_add},
        {"list", 0, 0, subscriber_list},
        {"remove", 1, 1, subscriber_remove},
        {"retry", 1, 1, subscriber_retry},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
