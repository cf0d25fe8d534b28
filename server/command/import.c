#include "server/command/import.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "server/command/command.h"
#include "server/command/document_stream.h"
#include "server/command/json.h"
#include "server/services.h"

/* Several threads take turns in reading the next batch, and register what they have read at the
 * same time. Submissions that depend on earlier ones are registered when all earlier batches are
 * done. */

#define MAX_THREADS 64
#define DEFAULT_BATCH 256
#define MAX_BATCH 4096
/** A batch ends earlier with this much XML, so that memory is bounded. */
#define MAX_BATCH_BYTES ((size_t)16 * 1024 * 1024)
#define BATCH_TIMEOUT_MS 120000
#define NO_BATCH UINT64_MAX
#define PROBLEM_BYTES 512

/** The documents of all files and folders of the command line, in order. */
typedef struct Input {
    FTS *tree;        /* NULL: standard input */
    const char *name; /* of the open file; owned by tree */
    int fd;           /* of the open file, or -1 */
    DocumentStream stream;
    uint64_t number; /* of the last document in the file, from 1 */
    bool has_ended;
} Input;

/** One document of a batch. */
typedef struct Document {
    const char *file;
    uint64_t number; /* in the file, from 1 */
    Str bytes;
    bool is_too_large;
} Document;

/** What one thread reads and registers at a time. */
typedef struct Batch {
    uint64_t number;
    Arena *arena; /* documents, items */
    Document *documents;
    ImportItem *items;
    size_t count;
} Batch;

typedef struct Counts {
    uint64_t stored;
    uint64_t documents; /* DocumentEntries of those stored */
    uint64_t present;
    uint64_t refused;
    uint64_t failed;
} Counts;

typedef struct Import {
    const Options *options;
    Registry *registry;
    const Principal *principal;
    size_t batch_size;

    pthread_mutex_t input_lock;
    Input input;
    uint64_t next_number;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t active[MAX_THREADS]; /* batch in work of each thread, or NO_BATCH */
    unsigned thread_count;
    Counts counts;
    bool is_stopping; /* the database fails, or the input cannot be read */
} Import;

typedef struct Worker {
    Import *import;
    unsigned index;
} Worker;

/* ------------------------------------------------------------------ input */

static int compare_names(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool input_open(Input *input, const Options *options)
{
    char *paths[OPTIONS_MAX_ARGUMENTS + 1] = {NULL};
    *input = (Input){.fd = -1};
    if (strcmp(options->arguments[1], "-") == 0) {
        input->name = "-";
        input->fd = STDIN_FILENO;
        document_stream_init(&input->stream, input->fd, PRESCAN_LIMITS.xml_bytes);
        return true;
    }
    for (int i = 1; i < options->argument_count; i++) {
        paths[i - 1] = strdup(options->arguments[i]);
    }
    input->tree = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, compare_names);
    for (int i = 0; paths[i]; i++) {
        free(paths[i]);
    }
    return input->tree != NULL;
}

static void input_close_file(Input *input)
{
    document_stream_done(&input->stream);
    if (input->fd >= 0 && input->tree) {
        close(input->fd);
    }
    input->fd = -1;
}

static void input_close(Input *input)
{
    input_close_file(input);
    if (input->tree) {
        fts_close(input->tree);
    }
}

static bool cannot_read(const char *path, int error)
{
    (void)fprintf(stderr, "musubi: cannot read %s: %s\n", path, strerror(error));
    return false;
}

/** Opens the next file. @return false: a path cannot be read */
static bool input_next_file(Input *input)
{
    const FTSENT *entry = NULL;
    input_close_file(input);
    while (input->tree && (errno = 0, entry = fts_read(input->tree))) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
            return cannot_read(entry->fts_path, entry->fts_errno);
        }
        if (entry->fts_info == FTS_F) {
            break;
        }
    }
    if (!entry) {
        input->has_ended = true;
        return true;
    }
    input->name = entry->fts_path;
    input->number = 0;
    input->fd = open(entry->fts_accpath, O_RDONLY | O_CLOEXEC);
    document_stream_init(&input->stream, input->fd, PRESCAN_LIMITS.xml_bytes);
    return input->fd >= 0 || cannot_read(entry->fts_path, errno);
}

/** @return false: it cannot be read; at the end input->has_ended is set */
static bool input_next(Input *input, Arena *arena, Document *ret_document)
{
    while (!input->has_ended) {
        Str bytes = STR_EMPTY;
        DocumentStreamEvent event =
            input->fd >= 0 ? document_stream_next(&input->stream, &bytes) : DOCUMENT_STREAM_END;
        if (event == DOCUMENT_STREAM_FAILED) {
            return cannot_read(input->name, errno);
        }
        if (event != DOCUMENT_STREAM_END) {
            *ret_document = (Document){
                .file = input->name,
                .number = ++input->number,
                .bytes = str_dup(arena, bytes),
                .is_too_large = event == DOCUMENT_STREAM_TOO_LARGE,
            };
            return true;
        }
        if (!input_next_file(input)) {
            return false;
        }
    }
    return true;
}

/** Reads the next batch. @return false: the input cannot be read */
static bool read_batch(Import *import, Batch *batch)
{
    Input *input = &import->input;
    size_t size_bytes = 0;
    const char *file = NULL; /* the tree's own name lives until the next file is opened */
    const char *kept = NULL;
    while (batch->count < import->batch_size && size_bytes < MAX_BATCH_BYTES) {
        Document document;
        if (!input_next(input, batch->arena, &document)) {
            return false;
        }
        if (input->has_ended) {
            return true;
        }
        if (document.file != file || document.number == 1 || !kept) {
            file = document.file;
            kept = str_cstr(batch->arena, str_from(file));
        }
        document.file = kept;
        size_bytes += document.bytes.len;
        batch->documents[batch->count++] = document;
    }
    return true;
}

/* ------------------------------------------------------------------ batches */

static void stop(Import *import)
{
    pthread_mutex_lock(&import->lock);
    import->is_stopping = true;
    pthread_cond_broadcast(&import->changed);
    pthread_mutex_unlock(&import->lock);
}

/** Takes the number of the next batch: in the order in which batches are read. */
static bool begin_batch(Worker *worker, Batch *batch)
{
    Import *import = worker->import;
    pthread_mutex_lock(&import->lock);
    batch->number = import->next_number++;
    import->active[worker->index] = batch->number;
    bool may_go_on = !import->is_stopping;
    pthread_mutex_unlock(&import->lock);
    return may_go_on;
}

static void end_batch(Worker *worker)
{
    Import *import = worker->import;
    pthread_mutex_lock(&import->lock);
    import->active[worker->index] = NO_BATCH;
    pthread_cond_broadcast(&import->changed);
    pthread_mutex_unlock(&import->lock);
}

static bool is_first(const Import *import, uint64_t number)
{
    for (unsigned i = 0; i < import->thread_count; i++) {
        if (import->active[i] < number) {
            return false;
        }
    }
    return true;
}

/** Waits until all earlier batches are done. @return false: the import stops */
static bool wait_for_turn(Import *import, const Batch *batch)
{
    pthread_mutex_lock(&import->lock);
    while (!import->is_stopping && !is_first(import, batch->number)) {
        pthread_cond_wait(&import->changed, &import->lock);
    }
    bool may_go_on = !import->is_stopping;
    pthread_mutex_unlock(&import->lock);
    return may_go_on;
}

static Request *request_for(const Import *import)
{
    Request *req = request_new(BATCH_TIMEOUT_MS);
    req->transaction = "ITI-42";
    req->principal = import->principal;
    req->reply_to = STR("musubi submission import");
    req->peer_address = STR("127.0.0.1");
    return req;
}

/** The lcm:SubmitObjectsRequest: the document itself, or the body of its SOAP envelope. */
static const XmlNode *find_request(const XmlNode *root)
{
    const XmlNode *node = root;
    if (xml_is(root, NS_SOAP12, "Envelope")) {
        const XmlNode *body = xml_child(root, NS_SOAP12, "Body");
        node = body ? body->first_child : NULL;
    }
    return node && xml_is(node, NS_LCM, "SubmitObjectsRequest") ? node : NULL;
}

static void parse(Request *req, const Document *document, ImportItem *item)
{
    XmlNode *root = NULL;
    item->req = req;
    if (document->is_too_large) {
        (void)error_add(&req->errors, ERR_TOO_LARGE, NULL,
                        "the document has more than %zu bytes; split the submission",
                        PRESCAN_LIMITS.xml_bytes);
    } else if (xml_read(req, document->bytes, &root) == 0) {
        item->submit_objects_request = find_request(root);
        if (!item->submit_objects_request) {
            (void)error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, NULL,
                            "neither an lcm:SubmitObjectsRequest nor a SOAP 1.2 envelope with one "
                            "as its body (ITI-42)");
        }
    }
}

/* ------------------------------------------------------------------ report */

static void print_errors(const Document *document, const ErrorList *errors)
{
    for (const Error *e = errors->first; e; e = e->next) {
        if (e->severity == SEVERITY_ERROR) {
            printf("%s:%llu: %s: %.*s%s%.*s\n", document->file,
                   (unsigned long long)document->number, error_info(e->code)->ihe_code,
                   STR_ARG(e->context), e->location.len > 0 ? " at " : "", STR_ARG(e->location));
        }
    }
}

static json_t *errors_json(const ErrorList *errors)
{
    json_t *list = json_array();
    for (const Error *e = errors->first; e; e = e->next) {
        if (e->severity == SEVERITY_ERROR) {
            json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "error",
                                                  error_info(e->code)->ihe_code, "context",
                                                  json_text(e->context), "location",
                                                  json_text(e->location)));
        }
    }
    return list;
}

static void report_fault(const Options *options, const Document *document, const ImportItem *item)
{
    if (!options->json) {
        print_errors(document, &item->req->errors);
        return;
    }
    json_print_line(json_pack("{s:o, s:I, s:s, s:o}", "file", json_text(str_from(document->file)),
                              "number", (json_int_t)document->number, "outcome",
                              item->outcome == IMPORT_REFUSED ? "refused" : "failed", "errors",
                              errors_json(&item->req->errors)));
}

/** Counts and reports; what the database could not do ends the import. */
static void report(Import *import, const Batch *batch)
{
    Counts *counts = &import->counts;
    pthread_mutex_lock(&import->lock);
    for (size_t i = 0; i < batch->count; i++) {
        const ImportItem *item = &batch->items[i];
        counts->stored += item->outcome == IMPORT_STORED;
        counts->documents += item->outcome == IMPORT_STORED ? item->submission->document_count : 0;
        counts->present += item->outcome == IMPORT_PRESENT;
        counts->refused += item->outcome == IMPORT_REFUSED;
        counts->failed += item->outcome == IMPORT_FAILED;
        if (item->outcome == IMPORT_REFUSED || item->outcome == IMPORT_FAILED) {
            report_fault(import->options, &batch->documents[i], item);
        }
    }
    import->is_stopping = import->is_stopping || counts->failed > 0;
    pthread_mutex_unlock(&import->lock);
}

/** One line with the counts and the rate. */
static void print_summary(const Import *import, int64_t started_ns)
{
    const Counts *counts = &import->counts;
    double seconds = (double)(clock_now_ns() - started_ns) / 1e9;
    double rate = seconds > 0 ? (double)counts->stored / seconds : 0;
    if (import->options->json) {
        json_print_line(
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "stored", (json_int_t)counts->stored,
                      "document_entries", (json_int_t)counts->documents, "already_registered",
                      (json_int_t)counts->present, "refused", (json_int_t)counts->refused, "failed",
                      (json_int_t)counts->failed, "seconds", seconds, "stored_per_second", rate));
        return;
    }
    printf("%llu submissions stored (%llu DocumentEntries), %llu already registered, %llu refused, "
           "%llu failed in %.1f s (%.0f/s)\n",
           (unsigned long long)counts->stored, (unsigned long long)counts->documents,
           (unsigned long long)counts->present, (unsigned long long)counts->refused,
           (unsigned long long)counts->failed, seconds, rate);
}

/* ------------------------------------------------------------------ threads */

static void register_waiting(Import *import, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        ImportItem *item = &batch->items[i];
        if (item->outcome == IMPORT_WAITS && wait_for_turn(import, batch)) {
            registry_import_one(import->registry, item);
        }
    }
}

static void register_batch(Import *import, Batch *batch)
{
    Request *req = request_for(import);
    batch->items = ARENA_ARRAY(batch->arena, ImportItem, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        parse(request_for(import), &batch->documents[i], &batch->items[i]);
    }
    registry_import_batch(import->registry, req, batch->items, batch->count);
    register_waiting(import, batch);
    report(import, batch);
    for (size_t i = 0; i < batch->count; i++) {
        request_free(batch->items[i].req);
    }
    request_free(req);
}

/** Reads one batch and registers it. @return false: there is nothing more to do */
static bool run_batch(Worker *worker)
{
    Import *import = worker->import;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Batch batch = {.arena = arena};
    batch.documents = ARENA_ARRAY(arena, Document, import->batch_size);

    pthread_mutex_lock(&import->input_lock);
    bool is_good = begin_batch(worker, &batch);
    bool is_read = is_good && read_batch(import, &batch);
    pthread_mutex_unlock(&import->input_lock);

    if (is_good && !is_read) {
        pthread_mutex_lock(&import->lock);
        import->counts.failed++;
        pthread_mutex_unlock(&import->lock);
        stop(import);
    }
    if (batch.count > 0) {
        register_batch(import, &batch);
    }
    end_batch(worker);
    return is_read && batch.count > 0;
}

static void *worker_run(void *context)
{
    Worker *worker = context;
    while (run_batch(worker)) {
    }
    return NULL;
}

static void run_workers(Import *import, unsigned thread_count)
{
    Worker workers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    unsigned started = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        import->active[i] = NO_BATCH;
        workers[i] = (Worker){import, i};
    }
    import->thread_count = thread_count;
    while (started + 1 < thread_count &&
           pthread_create(&threads[started], NULL, worker_run, &workers[started]) == 0) {
        started++;
    }
    (void)worker_run(&workers[thread_count - 1]);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

static int run_import(Import *import, unsigned thread_count)
{
    int64_t started_ns = clock_now_ns();
    if (!input_open(&import->input, import->options)) {
        (void)cannot_read(import->options->arguments[1], errno);
        return EXIT_FAILED;
    }
    pthread_mutex_init(&import->input_lock, NULL);
    pthread_mutex_init(&import->lock, NULL);
    pthread_cond_init(&import->changed, NULL);
    run_workers(import, thread_count);
    pthread_cond_destroy(&import->changed);
    pthread_mutex_destroy(&import->lock);
    pthread_mutex_destroy(&import->input_lock);
    input_close(&import->input);
    print_summary(import, started_ns);
    if (import->counts.failed > 0) {
        return EXIT_FAILED;
    }
    return import->counts.refused > 0 ? EXIT_FOUND : EXIT_GOOD;
}

/* ------------------------------------------------------------------ command */

/** Who submits: the registered node, or in open mode everybody. */
static const Principal *find_principal(const Options *options, Services *services, Arena *arena)
{
    if (options->node) {
        return node_directory_find_name(services->nodes, arena, str_from(options->node));
    }
    return node_directory_find(services->nodes, arena, STR_EMPTY, STR_EMPTY);
}

static int check_principal(const Options *options, const Principal *principal)
{
    if (!principal && options->node) {
        return command_usage("no registered node is named %s; musubi node list shows them",
                             options->node);
    }
    if (!principal) {
        return command_usage("with [access] mode = enforce, --node NAME has to say which "
                             "registered node submits");
    }
    if (!access_may_use(principal, "ITI-42")) {
        return command_usage("node %.*s may not use ITI-42; musubi node add says what it may",
                             STR_ARG(principal->node_name));
    }
    return EXIT_GOOD;
}

/** A number from 1 to max; absent: otherwise. @return false: it is none */
static bool parse_count(const char *text, unsigned otherwise, unsigned max, unsigned *ret_count)
{
    uint64_t value = otherwise;
    if (text && (!str_to_u64(str_from(text), &value) || value == 0 || value > max)) {
        return false;
    }
    *ret_count = (unsigned)value;
    return true;
}

/** Twice the processors: while one thread waits for the database, another one reads XML. */
static unsigned default_threads(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return (unsigned)MIN(MAX(2 * processors, 2), MAX_THREADS);
}

static int run_with_services(const Options *options, CommandContext *context, unsigned thread_count,
                             unsigned batch_size)
{
    char problem[PROBLEM_BYTES] = "";
    Services services;
    if (!services_open_registry(&services, context->config, command_service_conninfo(context),
                                thread_count, problem, sizeof(problem))) {
        (void)error_add(&context->req->errors, ERR_CONFIGURATION, NULL, "%s", problem);
        return EXIT_FAILED;
    }
    Import import = {
        .options = options,
        .registry = services.registry,
        .principal = find_principal(options, &services, context->arena),
        .batch_size = batch_size,
    };
    int status = check_principal(options, import.principal);
    if (status == EXIT_GOOD) {
        status = run_import(&import, thread_count);
    }
    services_close(&services);
    return status;
}

int command_submission_import(const Options *options)
{
    CommandContext context;
    unsigned thread_count;
    unsigned batch_size;
    if (options->argument_count < 2) {
        return options_usage(options->command);
    }
    if (!parse_count(options->threads, default_threads(), MAX_THREADS, &thread_count)) {
        return command_usage("--threads is a number from 1 to %d", MAX_THREADS);
    }
    if (!parse_count(options->batch, DEFAULT_BATCH, MAX_BATCH, &batch_size)) {
        return command_usage("--batch is a number from 1 to %d", MAX_BATCH);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        xml_init();
        status = run_with_services(options, &context, thread_count, batch_size);
    }
    return command_close(&context, status);
}
