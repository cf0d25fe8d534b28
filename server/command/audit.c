/* musubi audit: whether the trail is whole, and a signed head to hand out. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "atna/verify.h"
#include "lib/base/clock.h"
#include "server/command/audit_search.h"
#include "server/command/checks.h"
#include "server/command/command.h"
#include "server/command/json.h"
#include "server/language.h"
#include "server/services.h"

/* ------------------------------------------------------------------ verify */

typedef struct VerifyPrinter {
    json_t *list; /* NULL: print each when it is found */
} VerifyPrinter;

static json_t *finding_json(const VerifyFinding *finding)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    return json_pack("{s:o, s:I, s:o}", "chain", json_text(uuid_urn(arena, finding->chain)),
                     "sequence", (json_int_t)finding->sequence, "text",
                     json_text(str_from(finding->text)));
}

static void print_finding(void *ctx, const VerifyFinding *finding)
{
    const VerifyPrinter *printer = ctx;
    if (printer->list) {
        json_array_append_new(printer->list, finding_json(finding));
    } else if (finding->sequence > 0) {
        printf(tr("record %llu %s\n"), (unsigned long long)finding->sequence, finding->text);
    } else {
        printf("%s\n", finding->text);
    }
}

static void print_verify_result(const VerifyPrinter *printer, const VerifyResult *result,
                                double seconds)
{
    const VerifyFinding *first = &result->first_bad;
    if (printer->list) {
        json_print(
            json_pack("{s:I, s:I, s:I, s:I, s:f, s:o, s:o}", "records",
                      (json_int_t)result->record_count, "finding_count",
                      (json_int_t)result->finding_count, "chains", (json_int_t)result->chain_count,
                      "heads", (json_int_t)result->head_count, "seconds", seconds, "findings",
                      printer->list, "first_bad", first->text ? finding_json(first) : json_null()));
        return;
    }
    printf(tr("%llu records of %u chains, %llu heads known, %.1f s: %llu findings\n"),
           (unsigned long long)result->record_count, result->chain_count,
           (unsigned long long)result->head_count, seconds,
           (unsigned long long)result->finding_count);
    if (first->text) {
        printf(tr("the first bad record is %llu: it %s\n"), (unsigned long long)first->sequence,
               first->text);
    }
}

static int run_verify(CommandContext *context, const char *head_file,
                      void (*finding)(void *ctx, const VerifyFinding *finding), void *ctx,
                      VerifyResult *ret_result)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned connections = (unsigned)MIN(MAX(processors, 1), 8);
    const VerifyConfig config = {
        .directory = services_path(context->arena, context->config, "audit"),
        .head_copy = context->config->audit.head_copy,
        .head_file = head_file,
        .pool = db_pool_beside(context->pool, connections),
        .connections = connections,
        .ctx = ctx,
        .finding = finding,
    };
    int rc = audit_verify(&config, context->req, ret_result);
    db_pool_free(config.pool);
    return rc;
}

/** Another command's way to print findings. */
typedef struct LineTaker {
    CheckFindingFn finding;
    void *ctx;
} LineTaker;

static void take_line(void *ctx, const VerifyFinding *finding)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const LineTaker *taker = ctx;
    taker->finding(taker->ctx,
                   finding->sequence == 0
                       ? finding->text
                       : str_printf(arena, "record %llu %s", (unsigned long long)finding->sequence,
                                    finding->text)
                             .data);
}

int64_t command_run_audit_verify(CommandContext *context, CheckFindingFn finding, void *ctx)
{
    LineTaker taker = {finding, ctx};
    VerifyResult result = {0};
    int rc = run_verify(context, NULL, take_line, &taker, &result);
    return rc < 0 ? rc : (int64_t)result.finding_count;
}

static int verify(const Options *options, CommandContext *context)
{
    VerifyPrinter printer = {options->json ? json_array() : NULL};
    VerifyResult result = {0};
    int64_t began_ns = clock_now_ns();
    int rc = run_verify(context, options->head, print_finding, &printer, &result);
    if (rc < 0) {
        json_decref(printer.list);
        return EXIT_FAILED;
    }
    print_verify_result(&printer, &result, (double)(clock_now_ns() - began_ns) / 1e9);
    return result.finding_count > 0 ? EXIT_FOUND : EXIT_GOOD;
}

/* ------------------------------------------------------------------ head */

static int print_head(const Options *options, CommandContext *context)
{
    Head head;
    char line[HEAD_LINE_SIZE];
    int rc = audit_fresh_head(services_path(context->arena, context->config, "audit"),
                              context->pool, context->req, &head);
    if (rc < 0) {
        return EXIT_FAILED;
    }
    head_write(&head, line);
    if (!options->json) {
        (void)puts(line);
        return EXIT_GOOD;
    }
    Arena *arena = context->arena;
    json_print(json_pack(
        "{s:o, s:I, s:o, s:o, s:o}", "chain", json_text(uuid_urn(arena, head.chain)), "sequence",
        (json_int_t)head.sequence, "hash",
        json_text(str_hex(arena, head.hash.bytes, sizeof(head.hash.bytes))), "time",
        json_text(clock_iso8601(arena, head.signed_us)), "head", json_text(str_from(line))));
    return EXIT_GOOD;
}

int command_audit(const Options *options)
{
    static const Subcommand subcommands[] = {{"verify", 0, 0, verify}, {"head", 0, 0, print_head}};

    if (audit_search_is_asked(options)) {
        return audit_search_run(options);
    }
    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
