/* Commands that look at what is stored and at what happened: trace, status, fsck, scrub, audit. */

#include <stdio.h>
#include <sys/statvfs.h>

#include "lib/base/clock.h"
#include "lib/xml/read.h"
#include "server/command.h"
#include "server/journal.h"
#include "server/services.h"

int command_trace(const Options *options)
{
    CommandContext context;
    if (options->argument_count != 1) {
        return command_usage("trace needs one reference, MessageID, MSH-10 or uniqueId");
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        long lines = journal_trace(services_path(context.arena, context.config, "log"),
                                   str_from(options->arguments[0]), stdout);
        status = lines < 0 ? EXIT_FAILED : lines == 0 ? EXIT_FOUND : EXIT_GOOD;
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ fsck, scrub */

static void print_finding(void *ctx, const char *line)
{
    (void)ctx;
    (void)puts(line);
}

static int finding_status(int64_t findings)
{
    if (findings >= 0) {
        printf("%lld findings\n", (long long)findings);
    }
    return findings < 0 ? EXIT_FAILED : findings > 0 ? EXIT_FOUND : EXIT_GOOD;
}

int command_fsck(const Options *options)
{
    CommandContext context;
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        RepositoryConfig config =
            services_repository_config(context.arena, context.config, context.pool);
        status = finding_status(repository_fsck(&config, context.req, print_finding, NULL));
    }
    return command_close(&context, status);
}

int command_scrub(const Options *options)
{
    CommandContext context;
    uint64_t rate = 0;
    if (options->rate && !config_parse_size(str_from(options->rate), &rate)) {
        return command_usage("--rate %s is no size, e.g. 50MiB", options->rate);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        RepositoryConfig config =
            services_repository_config(context.arena, context.config, context.pool);
        status = finding_status(repository_scrub(&config, context.req, rate, print_finding, NULL));
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ status */

static const DbStatement count_objects = {
    "status_count_objects",
    "SELECT (SELECT count(*) FROM document_entry), (SELECT count(*) FROM submission_set),"
    " (SELECT count(*) FROM folder), (SELECT count(*) FROM association),"
    " (SELECT count(*) FROM repository_document), (SELECT count(*) FROM audit_outbox),"
    " (SELECT count(*) FROM node WHERE revoked_at IS NULL), pg_database_size(current_database())"};

static const DbStatement silent_nodes = {
    "status_silent_nodes",
    "SELECT n.name, f.name, max(a.last_success) FROM node n JOIN facility f ON f.id = n.facility"
    " LEFT JOIN node_activity a ON a.node = n.id WHERE n.revoked_at IS NULL GROUP BY n.name, f.name"
    " HAVING coalesce(max(a.last_success), 'epoch') < now() - interval '1 day' ORDER BY n.name"};

static void print_disk(const CommandContext *context)
{
    struct statvfs disk;
    if (statvfs(context->config->server.data_dir, &disk) == 0) {
        printf("disk free          %.1f GiB of %.1f GiB (%s)\n",
               (double)disk.f_bavail * (double)disk.f_frsize / (1 << 30),
               (double)disk.f_blocks * (double)disk.f_frsize / (1 << 30),
               context->config->server.data_dir);
    }
}

static int print_counts(CommandContext *context)
{
    static const char *const labels[] = {"DocumentEntries", "SubmissionSets", "Folders",
                                         "Associations",    "documents",      "audit outbox",
                                         "nodes",           "database bytes"};
    DbResult *result = NULL;
    int rc = db_exec(context->conn, context->req, &count_objects, NULL, &result);
    for (size_t i = 0; !rc && i < ARRAY_LEN(labels); i++) {
        printf("%-18s %lld\n", labels[i], (long long)db_i64(result, 0, (int)i));
    }
    return rc;
}

static int print_silent_nodes(CommandContext *context)
{
    DbResult *result = NULL;
    int rc = db_exec(context->conn, context->req, &silent_nodes, NULL, &result);
    for (int row = 0; !rc && row < db_rows(result); row++) {
        bool never = db_is_null(result, row, 2);
        Str since =
            never ? STR("ever") : clock_iso8601(context->arena, db_timestamp(result, row, 2));
        printf("silent node        %.*s (%.*s): no success %s%.*s\n",
               STR_ARG(db_text(result, row, 0)), STR_ARG(db_text(result, row, 1)),
               never ? "" : "since ", STR_ARG(since));
    }
    return rc;
}

int command_status(const Options *options)
{
    CommandContext context;
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        print_disk(&context);
        bool is_good = print_counts(&context) == 0 && print_silent_nodes(&context) == 0;
        status = is_good ? EXIT_GOOD : EXIT_FAILED;
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ audit */

typedef struct AuditPrinter {
    Str wanted; /* empty: all */
    unsigned long found;
} AuditPrinter;

static int print_audit_record(void *ctx, const AuditRecord *record)
{
    AuditPrinter *printer = ctx;
    if (str_contains(record->message, printer->wanted)) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        printf("%.*s %.*s\n", STR_ARG(clock_iso8601(arena, record->recorded_us)),
               STR_ARG(record->message));
        printer->found++;
    }
    return 0;
}

int command_audit(const Options *options)
{
    CommandContext context;
    if (options->argument_count < 1 || options->argument_count > 2 ||
        !str_equal(str_from(options->arguments[0]), STR("search"))) {
        return command_usage(
            "audit search [TEXT]: prints the spooled AuditMessages that hold TEXT");
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        char problem[256];
        unsigned damaged = 0;
        AuditPrinter printer = {
            .wanted = options->argument_count == 2 ? str_from(options->arguments[1]) : STR_EMPTY};
        int rc = audit_spool_read(services_path(context.arena, context.config, "audit"),
                                  print_audit_record, &printer, &damaged, problem, sizeof(problem));
        if (rc) {
            (void)fprintf(stderr, "musubi: %s\n", problem);
        }
        status = rc ? EXIT_FAILED : printer.found == 0 ? EXIT_FOUND : EXIT_GOOD;
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ submission check */

static int read_whole_file(const char *path, StrBuf *buf)
{
    FILE *file = fopen(path, "re");
    char block[65536];
    size_t len;
    if (!file) {
        return -1;
    }
    while ((len = fread(block, 1, sizeof(block), file)) > 0) {
        strbuf_append_bytes(buf, block, len);
    }
    return fclose(file);
}

/** The lcm:SubmitObjectsRequest anywhere in the document: a bare one, or inside ITI-41 or a SOAP
 * envelope. */
static const XmlNode *find_submit_objects(const XmlNode *root)
{
    const XmlNode *node = root;
    while (node) {
        if (str_equal(node->name, STR("SubmitObjectsRequest"))) {
            return node;
        }
        if (node->first_child) {
            node = node->first_child;
            continue;
        }
        while (node && !node->next) {
            node = node == root ? NULL : node->parent;
        }
        node = node && node != root ? node->next : NULL;
    }
    return NULL;
}

static void check_submission(CommandContext *context, Str bytes)
{
    Request *req = context->req;
    XmlNode *root = NULL;
    Submission *submission = NULL;
    char problem[512] = "";
    if (xml_read(req, bytes, &root) != 0) {
        return;
    }
    const XmlNode *request = find_submit_objects(root);
    if (!request) {
        (void)error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, NULL,
                        "the file has no lcm:SubmitObjectsRequest");
        return;
    }
    bool is_provide = request->parent &&
                      str_equal(request->parent->name, STR("ProvideAndRegisterDocumentSetRequest"));
    CodeSets *codes =
        context->config->affinity_domain.codes[0]
            ? code_sets_load(context->config->affinity_domain.codes, problem, sizeof(problem))
            : NULL;
    if (problem[0]) {
        (void)error_add(&req->errors, ERR_CONFIGURATION, NULL, "%s", problem);
    } else if (submission_read(req, request, &submission) == 0) {
        int checked UNUSED = submission_check(
            req, submission, is_provide ? SUBMISSION_ITI41 : SUBMISSION_ITI42, codes);
    }
    code_sets_free(codes);
}

int command_submission(const Options *options)
{
    CommandContext context;
    StrBuf buf = {0};
    if (options->argument_count != 2 || !str_equal(str_from(options->arguments[0]), STR("check"))) {
        return command_usage(
            "submission check FILE: validates an ITI-41 or ITI-42 request without storing it");
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD && read_whole_file(options->arguments[1], &buf) != 0) {
        (void)fprintf(stderr, "musubi: cannot read %s\n", options->arguments[1]);
        status = EXIT_FAILED;
    }
    if (status == EXIT_GOOD) {
        xml_init();
        check_submission(&context, strbuf_str(&buf));
        for (const Error *e = context.req->errors.first; e; e = e->next) {
            printf("%s: %.*s%s%.*s\n", error_info(e->code)->ihe_code, STR_ARG(e->context),
                   e->location.len ? " at " : "", STR_ARG(e->location));
        }
        status = error_list_has_errors(&context.req->errors) ? EXIT_FOUND : EXIT_GOOD;
        error_list_init(&context.req->errors, context.req->arena);
        if (status == EXIT_GOOD) {
            (void)puts("the submission would pass every check that needs no database");
        }
    }
    strbuf_done(&buf);
    return command_close(&context, status);
}
