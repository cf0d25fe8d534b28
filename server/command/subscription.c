#include "server/command/subscription.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi subscription: who is told of new documents (ITI-52), and what waits to be sent (ITI-53).
 */

json_t *subscription_totals_json(const SubscriptionTotals *totals)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)totals->subscriptions,
                     "suspended", (json_int_t)totals->suspended, "events_waiting",
                     (json_int_t)totals->events, "waiting", (json_int_t)totals->waiting, "refused",
                     (json_int_t)totals->refused, "oldest_seconds", (json_int_t)totals->oldest_s);
}

/** Empty for INT64_MIN. */
static Str time_of(const CommandContext *context, int64_t us)
{
    return us == INT64_MIN ? STR_EMPTY : clock_iso8601(context->arena, us);
}

static json_t *time_json(const CommandContext *context, int64_t us)
{
    return us == INT64_MIN ? json_null() : json_text(time_of(context, us));
}

static json_t *state_json(const CommandContext *context, const SubscriptionState *state)
{
    json_t *json =
        json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)state->id, "node",
                  json_text(state->node), "user", json_text(state->user), "consumer",
                  json_text(state->consumer), "topic", json_text(state->topic), "filter",
                  json_text(state->filter), "reference", json_text(state->reference));
    json_object_set_new(json, "created", time_json(context, state->created_us));
    json_object_set_new(json, "ends", time_json(context, state->ends_us));
    json_object_set_new(json, "last_delivered", time_json(context, state->delivered_us));
    json_object_set_new(json, "delivered", json_integer(state->delivered));
    json_object_set_new(json, "waiting", json_integer(state->waiting));
    json_object_set_new(json, "refused", json_integer(state->refused));
    json_object_set_new(json, "oldest", time_json(context, state->oldest_us));
    json_object_set_new(json, "suspended", json_boolean(state->is_suspended));
    json_object_set_new(json, "last_failure", json_text(state->last_failure));
    return json;
}

static void print_state(const CommandContext *context, const SubscriptionState *state)
{
    const char *node = state->node.len > 0 ? str_cstr(context->arena, state->node) : "-";
    printf("%6lld ", (long long)state->id);
    command_print_cell(node, 20);
    command_print_cell(str_cstr(context->arena, state->topic), 26);
    printf(tr("%lld delivered, %lld waiting, %lld refused  %.*s\n"), (long long)state->delivered,
           (long long)state->waiting, (long long)state->refused, STR_ARG(state->consumer));
    if (state->oldest_us != INT64_MIN) {
        printf(tr("  waiting since %.*s\n"), STR_ARG(time_of(context, state->oldest_us)));
    }
    if (state->is_suspended) {
        printf(tr("  suspended: nothing more is queued for it until musubi subscription retry "
                  "%lld\n"),
               (long long)state->id);
    }
    if (!str_is_empty(state->last_failure)) {
        printf(tr("  last failure: %.*s\n"),
               STR_ARG(str_shown(context->arena, state->last_failure)));
    }
}

static void print_whole(const CommandContext *context, const SubscriptionState *state)
{
    print_state(context, state);
    printf(tr("  reference: %.*s\n"), STR_ARG(state->reference));
    printf(tr("  since %.*s\n"), STR_ARG(time_of(context, state->created_us)));
    if (state->ends_us != INT64_MIN) {
        printf(tr("  until %.*s\n"), STR_ARG(time_of(context, state->ends_us)));
    }
    if (!str_is_empty(state->user)) {
        printf(tr("  with the rights of user %.*s\n"), STR_ARG(state->user));
    }
    printf(tr("  filter: %.*s\n"), STR_ARG(str_shown(context->arena, state->filter)));
}

static int subscription_list(const Options *options, CommandContext *context)
{
    SubscriptionState *states = NULL;
    size_t count = 0;
    if (subscription_table_read(context->conn, context->req, 0, &states, &count) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        if (list) {
            json_array_append_new(list, state_json(context, &states[i]));
        } else {
            print_state(context, &states[i]);
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

/** The argument; 0, which none has, if it is no number. */
static int64_t id_of(const Options *options)
{
    int64_t id = 0;
    return str_to_i64(str_from(options->arguments[1]), &id) ? id : 0;
}

static int none(const Options *options)
{
    command_say(options, tr("there is no subscription %s"), options->arguments[1]);
    return EXIT_FOUND;
}

static int subscription_show(const Options *options, CommandContext *context)
{
    SubscriptionState *states = NULL;
    size_t count = 0;
    int64_t id = id_of(options);
    if (id != 0 && subscription_table_read(context->conn, context->req, id, &states, &count) < 0) {
        return EXIT_FAILED;
    }
    if (count == 0) {
        return none(options);
    }
    if (options->json) {
        json_print(state_json(context, &states[0]));
    } else {
        print_whole(context, &states[0]);
    }
    return EXIT_GOOD;
}

typedef int (*ChangeFn)(DbConn *conn, Request *req, int64_t id);

/** @return 0 done; EXIT_FOUND: there is none, which was said; negative */
static int change(const Options *options, CommandContext *context, ChangeFn fn, const char *action)
{
    int rc = command_begin(context);
    rc = rc < 0 ? rc : fn(context->conn, context->req, id_of(options));
    if (rc == 0) {
        return none(options);
    }
    const AuditedChange audited = {
        .kind = CHANGED_SUBSCRIPTION, .name = str_from(options->arguments[1]), .action = action};
    rc = rc < 0 ? rc : audited_change_record(context, &audited);
    return rc < 0 ? rc : command_finish(options, context);
}

static int subscription_remove(const Options *options, CommandContext *context)
{
    int rc = change(options, context, subscription_table_remove, "remove");
    if (rc == 0) {
        command_say(options, tr("subscription %s removed, with what waited for it"),
                    options->arguments[1]);
    }
    return rc > 0 ? rc : command_status_of(rc);
}

static int subscription_retry(const Options *options, CommandContext *context)
{
    int rc = change(options, context, subscription_table_retry, "retry");
    if (rc == 0) {
        command_say(options, tr("what waits for subscription %s is sent at once"),
                    options->arguments[1]);
    }
    return rc > 0 ? rc : command_status_of(rc);
}

int command_subscription(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"list", 0, 0, subscription_list},
        {"show", 1, 1, subscription_show},
        {"remove", 1, 1, subscription_remove},
        {"retry", 1, 1, subscription_retry},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
