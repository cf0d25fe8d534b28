#include "server/command_subscriber.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "pix/subscribers/subscribers.h"
#include "server/audited_change.h"
#include "server/command_json.h"
#include "server/language.h"
#include "server/services.h"

/* musubi subscriber: who is told of changes of patients' identifiers. */

#define MAX_NAME_LEN 64
#define MAX_RECEIVER_LEN 180 /* HD (HL7 v2.3.1 2.8.18) */
/** Each has a thread and a database connection of its own. */
#define MAX_SUBSCRIBERS 50
/** Every running server has read its tables again. */
#define REFRESHED_S 3

static const DbStatement count_subscribers = {
    "subscriber_count",
    "SELECT count(*) FROM identity_subscriber WHERE removed_at IS NULL AND name <> $1::text"};

/* A name keeps its kind while it is in use: its queue holds messages of that kind. */
static const DbStatement upsert_subscriber = {
    "subscriber_upsert",
    "INSERT INTO identity_subscriber (name, kind, url, fingerprint, receiving_application,"
    " receiving_facility, authorities)"
    " VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::integer[])"
    " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, url = excluded.url,"
    " fingerprint = excluded.fingerprint, receiving_application = excluded.receiving_application,"
    " receiving_facility = excluded.receiving_facility, authorities = excluded.authorities,"
    " removed_at = NULL"
    " WHERE identity_subscriber.kind = excluded.kind OR identity_subscriber.removed_at IS NOT NULL"
    " RETURNING xmax = 0 OR NOT EXISTS (SELECT FROM identity_subscriber old"
    " WHERE old.name = $1::text AND old.removed_at IS NULL)"};

static const DbStatement select_authorities = {
    "subscriber_authorities",
    "SELECT id, oid, namespace FROM assigning_authority WHERE (is_configured OR oid = $1::text)"
    " AND (oid = ANY ($2::text[]) OR namespace = ANY ($2::text[]))"};

static const DbStatement select_subscribers = {
    "subscriber_list",
    "SELECT s.name, s.kind, s.url, s.receiving_application, s.receiving_facility,"
    " ARRAY(SELECT coalesce(nullif(namespace, ''), oid) FROM assigning_authority"
    "  WHERE id = ANY (s.authorities) ORDER BY 1),"
    " q.queued, q.refused, q.oldest, q.failure"
    " FROM identity_subscriber s CROSS JOIN LATERAL ("
    "SELECT count(*) FILTER (WHERE refused_at IS NULL) AS queued,"
    " count(*) FILTER (WHERE refused_at IS NOT NULL) AS refused,"
    " min(queued_at) FILTER (WHERE refused_at IS NULL) AS oldest,"
    " coalesce((array_agg(last_failure ORDER BY attempts DESC, id DESC)"
    "  FILTER (WHERE last_failure <> ''))[1], '') AS failure"
    " FROM identity_notification WHERE subscriber = s.id) q"
    " WHERE s.removed_at IS NULL ORDER BY s.name"};

/* Whoever is queueing for it has committed then, and whoever comes later sees that it is gone. */
static const DbStatement lock_subscriber = {
    "subscriber_lock",
    "SELECT id FROM identity_subscriber WHERE name = $1::text AND removed_at IS NULL FOR UPDATE"};

static const DbStatement remove_subscriber = {
    "subscriber_remove",
    "UPDATE identity_subscriber SET removed_at = now() WHERE id = $1::integer"};

static const DbStatement lock_announced = {
    "subscriber_lock_announced",
    "SELECT i.id FROM patient_identifier i WHERE i.id IN (SELECT xad_pid FROM"
    " identity_notification WHERE subscriber = $1::integer) ORDER BY i.id FOR NO KEY UPDATE"};

static const DbStatement delete_queue = {
    "subscriber_delete_queue", "DELETE FROM identity_notification WHERE subscriber = $1::integer"};

static const DbStatement delete_told = {"subscriber_delete_told",
                                        "DELETE FROM identity_told WHERE subscriber = $1::integer"};

/* Nobody else is waited for. */
static const DbStatement update_announced = {
    "subscriber_update_announced",
    "UPDATE patient_identifier i SET is_announced = true WHERE i.id = ANY ($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM identity_notification n WHERE n.xad_pid = i.id)"};

/* What a consumer refused and what is superseded since then must not be told after what is newer.
 */
static const DbStatement delete_superseded = {
    "subscriber_delete_superseded",
    "DELETE FROM identity_notification n USING identity_told t WHERE n.subscriber = $1::integer"
    " AND n.refused_at IS NOT NULL AND t.subscriber = n.subscriber AND t.person = n.person"
    " AND t.notification <> n.id"};

static const DbStatement retry_subscriber = {
    "subscriber_retry",
    "UPDATE identity_notification SET refused_at = NULL, next_at = now() WHERE subscriber ="
    " $1::integer"};

/* ---- add ---- */

typedef struct SubscriberInput {
    Str name;
    SubscriberKind kind;
    Str kind_name;
    Str url;
    Str fingerprint;
    Str application;
    Str facility;
    int32_t *authorities;
    size_t authority_count;
} SubscriberInput;

static int fault(const CommandContext *context, const char *text, Str value)
{
    return error_add(&context->req->errors, ERR_CONFIGURATION, "subscriber add", "%s%s%.*s", text,
                     value.len > 0 ? ": " : "", STR_ARG(value));
}

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

static bool is_named(const DbResult *rows, Str name)
{
    for (int row = 0; row < db_rows(rows); row++) {
        if (str_equal(name, db_text(rows, row, 1)) || str_equal(name, db_text(rows, row, 2))) {
            return true;
        }
    }
    return false;
}

/** --authorities: OIDs or namespaces, separated by commas. */
static int read_authorities(const CommandContext *context, Str list, SubscriberInput *input)
{
    Str *names = ARENA_ARRAY(context->arena, Str, list.len + 1);
    size_t count = 0;
    Str item;
    DbResult *rows = NULL;
    DbParams params;
    while (str_split_next(&list, ',', &item)) {
        item = str_trim(item);
        if (!str_is_empty(item)) {
            names[count++] = item;
        }
    }
    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(context->config->affinity_domain.patient_id_authority));
    db_param_text_array(&params, names, count);
    int rc = db_exec(context->conn, context->req, &select_authorities, &params, &rows);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!is_named(rows, names[i])) {
            (void)fault(context, "no such authority; musubi authority list shows them", names[i]);
        }
    }
    if (rc == 0) {
        input->authority_count = (size_t)db_rows(rows);
        input->authorities = ARENA_ARRAY(context->arena, int32_t, input->authority_count);
        for (int row = 0; row < db_rows(rows); row++) {
            input->authorities[row] = db_i32(rows, row, 0);
        }
    }
    return rc;
}

static void check_receiver(const CommandContext *context, const Options *options,
                           SubscriberInput *input)
{
    Str receiver = str_from(options->receiver);
    const size_t bar = str_find_char(receiver, '|');
    input->application = str_trim(str_slice(receiver, 0, bar));
    input->facility = bar == SIZE_MAX ? STR_EMPTY : str_trim(str_from_offset(receiver, bar + 1));
    if (receiver.len > MAX_RECEIVER_LEN || !str_is_utf8(receiver)) {
        (void)fault(context, "the receiver is too long", STR_EMPTY);
    }
    if (input->kind == SUBSCRIBER_CONSUMER_V3 && !str_is_empty(receiver) &&
        !oid_is_valid(receiver)) {
        (void)fault(context, "the receiver of a consumer-v3 is the OID of its device", receiver);
    }
}

/** Adds every fault of what the operator wrote. */
static void read_input(const CommandContext *context, const Options *options,
                       SubscriberInput *input)
{
    *input = (SubscriberInput){.name = str_from(options->arguments[1]),
                               .kind_name = str_from(options->kind),
                               .url = str_from(options->url),
                               .fingerprint = STR_EMPTY};
    Str fingerprint = str_from(options->fingerprint);
    if (!is_name(input->name)) {
        (void)fault(context, "a subscriber's name has up to 64 letters, digits and . _ -",
                    input->name);
    }
    if (!subscriber_kind_parse(input->kind_name, &input->kind)) {
        (void)fault(context, "say --kind consumer-v2, consumer-v3 or registry", input->kind_name);
        return;
    }
    if (!subscriber_url_is_good(input->kind, input->url)) {
        const char *text =
            str_printf(context->arena, "write --url as %s", subscriber_url_forms(input->kind)).data;
        (void)fault(context, text, input->url);
    }
    if (!str_is_empty(fingerprint) &&
        !tls_fingerprint_parse(context->arena, fingerprint, &input->fingerprint)) {
        (void)fault(context, "a fingerprint is SHA-256, 64 hexadecimal digits", fingerprint);
    }
    if (input->kind == SUBSCRIBER_REGISTRY && options->authorities) {
        (void)fault(context, "a registry is told of the affinity domain: leave --authorities out",
                    STR_EMPTY);
    }
    check_receiver(context, options, input);
}

static int check_count(const CommandContext *context, const SubscriberInput *input)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, input->name);
    int rc = db_exec(context->conn, context->req, &count_subscribers, &params, &rows);
    if (rc == 0 && db_i64(rows, 0, 0) >= MAX_SUBSCRIBERS) {
        rc = fault(context, "there are 50 subscribers already, the most that there may be",
                   STR_EMPTY);
    }
    return rc;
}

static int store(const CommandContext *context, const SubscriberInput *input, bool *ret_is_new)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, input->name);
    db_param_text(&params, input->kind_name);
    db_param_text(&params, input->url);
    db_param_text(&params, input->fingerprint);
    db_param_text(&params, input->application);
    db_param_text(&params, input->facility);
    db_param_i32_array(&params, input->authorities, input->authority_count);
    int rc = db_exec(context->conn, context->req, &upsert_subscriber, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        rc = fault(context, "it is of another kind; remove it first, or use another name",
                   input->name);
    }
    *ret_is_new = rc == 0 && db_bool(rows, 0, 0);
    const AuditedChange change = {
        .kind = CHANGED_SUBSCRIBER, .name = input->name, .action = "set", .detail = input->url};
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
        command_say(options, "%lld patients of the affinity domain are announced to %s",
                    (long long)count, options->arguments[1]);
    }
    return rc;
}

static int subscriber_add(const Options *options, CommandContext *context)
{
    SubscriberInput input;
    bool is_new = false;
    read_input(context, options, &input);
    int rc = read_authorities(context, str_from(options->authorities), &input);
    rc = rc < 0 ? rc : check_count(context, &input);
    if (rc == 0 && context->req->errors.error_count > 0) {
        rc = -ERR_CONFIGURATION;
    }
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : store(context, &input, &is_new);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, "subscriber %s stored; a running server knows it within seconds",
                    options->arguments[1]);
    }
    if (is_new && input.kind == SUBSCRIBER_REGISTRY) {
        rc = announce_known(options, context);
    }
    return command_status_of(rc);
}

/* ---- remove, retry ---- */

/** Locks it in a transaction. @return 1 with its id; 0: there is none, which was said; negative */
static int lock_named(const Options *options, const CommandContext *context, int32_t *ret_id)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(options->arguments[1]));
    int rc = command_begin(context);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &lock_subscriber, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(rows) == 0) {
        command_say(options, "there is no subscriber %s", options->arguments[1]);
        return 0;
    }
    *ret_id = db_i32(rows, 0, 0);
    return 1;
}

static int run_with_id(const CommandContext *context, const DbStatement *statement, int32_t id,
                       DbResult **ret_rows)
{
    DbParams params;
    db_params_init(&params, context->arena);
    db_param_i32(&params, id);
    return db_exec(context->conn, context->req, statement, &params, ret_rows);
}

/** Drops its queue; XAD-PIDs that only it was waited for may be handed out. */
static int forget(const CommandContext *context, int32_t id, int64_t *ret_dropped)
{
    DbResult *locked = NULL;
    DbResult *dropped = NULL;
    DbParams params;
    int rc = run_with_id(context, &lock_announced, id, &locked);
    rc = rc < 0 ? rc : run_with_id(context, &delete_queue, id, &dropped);
    rc = rc < 0 ? rc : run_with_id(context, &delete_told, id, NULL);
    rc = rc < 0 ? rc : run_with_id(context, &remove_subscriber, id, NULL);
    if (rc < 0) {
        return rc;
    }
    int64_t *announced = ARENA_ARRAY(context->arena, int64_t, (size_t)db_rows(locked));
    for (int row = 0; row < db_rows(locked); row++) {
        announced[row] = db_i64(locked, row, 0);
    }
    *ret_dropped = db_affected(dropped);
    db_params_init(&params, context->arena);
    db_param_i64_array(&params, announced, (size_t)db_rows(locked));
    return db_exec(context->conn, context->req, &update_announced, &params, NULL);
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
    rc = rc < 0 ? rc : forget(context, id, &dropped);
    rc = rc < 0 ? rc : audited_change_record(context, &change);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options, "subscriber %s removed, with %lld messages that it had not taken",
                    options->arguments[1], (long long)dropped);
    }
    return command_status_of(rc);
}

static int subscriber_retry(const Options *options, CommandContext *context)
{
    int32_t id = 0;
    DbResult *updated = NULL;
    int rc = lock_named(options, context, &id);
    if (rc == 0) {
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : run_with_id(context, &delete_superseded, id, NULL);
    rc = rc < 0 ? rc : run_with_id(context, &retry_subscriber, id, &updated);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options, "%lld messages for %s are sent at once",
                    (long long)db_affected(updated), options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

enum {
    COLUMN_NAME,
    COLUMN_KIND,
    COLUMN_URL,
    COLUMN_APPLICATION,
    COLUMN_FACILITY,
    COLUMN_AUTHORITIES,
    COLUMN_QUEUED,
    COLUMN_REFUSED,
    COLUMN_OLDEST,
    COLUMN_FAILURE,
};

static Str oldest_of(const CommandContext *context, const DbResult *rows, int row)
{
    return db_is_null(rows, row, COLUMN_OLDEST)
               ? STR_EMPTY
               : clock_iso8601(context->arena, db_timestamp(rows, row, COLUMN_OLDEST));
}

static json_t *row_json(const CommandContext *context, const DbResult *rows, int row)
{
    static const struct {
        const char *name;
        int column;
    } texts[] = {
        {"name", COLUMN_NAME},
        {"kind", COLUMN_KIND},
        {"url", COLUMN_URL},
        {"receiving_application", COLUMN_APPLICATION},
        {"receiving_facility", COLUMN_FACILITY},
        {"last_failure", COLUMN_FAILURE},
    };
    json_t *json = json_object();
    json_t *names = json_array();
    Str *authorities = NULL;
    size_t count = db_text_array(rows, row, COLUMN_AUTHORITIES, context->arena, &authorities);
    Str oldest = oldest_of(context, rows, row);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_object_set_new(json, texts[i].name, json_text(db_text(rows, row, texts[i].column)));
    }
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(names, json_text(authorities[i]));
    }
    json_object_set_new(json, "authorities", names);
    json_object_set_new(json, "queued", json_integer(db_i64(rows, row, COLUMN_QUEUED)));
    json_object_set_new(json, "refused", json_integer(db_i64(rows, row, COLUMN_REFUSED)));
    json_object_set_new(json, "oldest", oldest.len > 0 ? json_text(oldest) : json_null());
    return json;
}

static void print_row(const CommandContext *context, const DbResult *rows, int row)
{
    Str oldest = oldest_of(context, rows, row);
    Str failure = db_text(rows, row, COLUMN_FAILURE);
    command_print_cell(str_cstr(context->arena, db_text(rows, row, COLUMN_NAME)), 20);
    command_print_cell(str_cstr(context->arena, db_text(rows, row, COLUMN_KIND)), 11);
    printf(tr("%lld queued, %lld refused  %.*s\n"), (long long)db_i64(rows, row, COLUMN_QUEUED),
           (long long)db_i64(rows, row, COLUMN_REFUSED), STR_ARG(db_text(rows, row, COLUMN_URL)));
    if (!str_is_empty(oldest)) {
        printf(tr("  waiting since %.*s\n"), STR_ARG(oldest));
    }
    if (!str_is_empty(failure)) {
        printf(tr("  last failure: %.*s\n"), STR_ARG(str_shown(context->arena, failure)));
    }
}

int subscriber_read(const CommandContext *context, DbResult **ret_rows)
{
    return db_exec(context->conn, context->req, &select_subscribers, NULL, ret_rows);
}

json_t *subscriber_json(const CommandContext *context, const DbResult *rows)
{
    json_t *list = json_array();
    for (int row = 0; row < db_rows(rows); row++) {
        json_array_append_new(list, row_json(context, rows, row));
    }
    return list;
}

void subscriber_print(const CommandContext *context, const DbResult *rows)
{
    for (int row = 0; row < db_rows(rows); row++) {
        print_row(context, rows, row);
    }
}

static int subscriber_list(const Options *options, CommandContext *context)
{
    DbResult *rows = NULL;
    if (subscriber_read(context, &rows) < 0) {
        return EXIT_FAILED;
    }
    if (options->json) {
        json_print(subscriber_json(context, rows));
    } else {
        subscriber_print(context, rows);
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
