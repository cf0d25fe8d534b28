/*
 * Floors: how fast the parts of an operation are when one program does nothing else (README.md).
 * The parts that need no network run for --seconds in --threads threads and print one line of
 * JSON (measure.h):
 *
 *   floor sax     --input FILE          libxml2's SAX2 parser over the file
 *   floor xmlsec  --input FILE --cert FILE  an assertion verified by xmlsec with this certificate
 *   floor sha     --bytes N             SHA-1 and SHA-256
 *   floor crc     --bytes N             CRC-32C of each 64 KiB
 *   floor segment --bytes N --dir DIR   append to one file, one fdatasync for all that wait
 *   floor audit   --bytes N --dir DIR   the same, for audit records
 *   floor file    --bytes N --dir DIR   temporary name, fsync, rename, fsync of the folder
 *
 * The others are HTTPS servers for the load generator, and run until they are ended:
 *
 *   floor http     --port P --cert --key --ca --bytes N   reads requests, answers with N bytes
 *   floor syslog   --port P --cert --key --ca --dir DIR   appends frames of RFC 5425 to a file
 *   floor composed --port P --cert --key --ca --bytes N --dir DIR --script FILE --conninfo TEXT
 * [--own-files] ITI-41 in one program: also SAX of the metadata, hashes and durable bytes of the
 * document (a segment, or with --own-files a file each), and the transaction of the script
 * (transaction.h)
 */
#include <fcntl.h>
#include <getopt.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/bench/https_floor.h"
#include "tests/bench/measure.h"
#include "tests/bench/parts.h"
#include "tests/bench/syslog_floor.h"
#include "tests/bench/transaction.h"

typedef struct Settings {
    const char *part;
    unsigned threads;
    double seconds;
    size_t bytes;
    const char *input;
    const char *dir;
    const char *script;
    const char *conninfo;
    bool has_own_files;
    HttpsFloor https;
} Settings;

/** What the threads of a part share. */
typedef struct Shared {
    const Settings *settings;
    char *bytes;
    size_t len;
    GroupFile group;
    int directory;
    _Atomic uint64_t next_number;
    TransactionScript *script;
} Shared;

typedef struct Worker {
    Shared *shared;
    void (*run)(Shared *shared);
    int64_t deadline_ns;
    Sampler sampler;
} Worker;

/* Parts that need no network */

static void run_sax(Shared *shared)
{
    if (!part_sax(shared->bytes, shared->len)) {
        die("floor: the input is not well-formed");
    }
}

static void run_xmlsec(Shared *shared)
{
    if (!part_xmlsec(shared->bytes, shared->len)) {
        die("floor: the assertion is not signed by this certificate");
    }
}

static void run_sha(Shared *shared)
{
    part_sha(shared->bytes, shared->len);
}

static void run_crc(Shared *shared)
{
    static _Atomic uint32_t sink; /* keeps the compiler from leaving it out */
    atomic_fetch_xor(&sink, part_crc(shared->bytes, shared->len));
}

static void run_group(Shared *shared)
{
    group_file_append(&shared->group, shared->bytes, shared->len);
}

static void run_file(Shared *shared)
{
    part_file(shared->directory, atomic_fetch_add(&shared->next_number, 1), shared->bytes,
              shared->len);
}

static const struct {
    const char *name;
    void (*run)(Shared *shared);
} PARTS[] = {
    {"sax", run_sax},     {"xmlsec", run_xmlsec}, {"sha", run_sha},   {"crc", run_crc},
    {"audit", run_group}, {"segment", run_group}, {"file", run_file},
};

static void *run_worker(void *argument)
{
    Worker *w = argument;
    for (;;) {
        int64_t began = now_ns();
        if (began >= w->deadline_ns) {
            return NULL;
        }
        w->run(w->shared);
        sampler_add(&w->sampler, began);
    }
}

static void run_threads(Shared *shared, void (*run)(Shared *shared))
{
    unsigned count = shared->settings->threads;
    Worker *workers = allocate(count, sizeof(*workers));
    const Sampler **samplers = allocate(count, sizeof(*samplers));
    pthread_t *threads = allocate(count, sizeof(*threads));
    int64_t began = now_ns();

    for (unsigned i = 0; i < count; i++) {
        workers[i] = (Worker){shared, run, began + (int64_t)(shared->settings->seconds * 1e9), {0}};
        sampler_init(&workers[i].sampler, count);
        samplers[i] = &workers[i].sampler;
        if (pthread_create(&threads[i], NULL, run_worker, &workers[i]) != 0) {
            die("floor: cannot start a thread");
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    measure_report(samplers, count, (double)(now_ns() - began) / 1e9);
}

/* One program that does all parts of ITI-41 */

typedef struct Composed {
    Shared *shared;
    TransactionRunner *runner;
} Composed;

static void *composed_new(void *ctx)
{
    Composed *composed = allocate(1, sizeof(*composed));
    composed->shared = ctx;
    composed->runner =
        transaction_runner_new(composed->shared->script, composed->shared->settings->conninfo);
    return composed;
}

static void composed_free(void *connection)
{
    Composed *composed = connection;
    transaction_runner_free(composed->runner);
    free(composed);
}

/** The content of the next MIME part behind *at; the boundary is the first line of the body. */
static bool next_part(const char *body, size_t len, size_t boundary_len, size_t *at,
                      const char **ret_part, size_t *ret_len)
{
    const char *head_end = memmem(body + *at, len - *at, "\r\n\r\n", 4);
    if (!head_end) {
        return false;
    }
    const char *begin = head_end + 4;
    const char *end = memmem(begin, len - (size_t)(begin - body), body, boundary_len);
    if (!end) {
        return false;
    }
    *ret_part = begin;
    *ret_len = (size_t)(end - begin) - 2;
    *at = (size_t)(end - body);
    return true;
}

static void composed_handle(void *connection, const char *body, size_t len)
{
    const Composed *composed = connection;
    Shared *shared = composed->shared;
    uint64_t number = atomic_fetch_add(&shared->next_number, 1);
    const char *line_end = memmem(body, len, "\r\n", 2);
    size_t boundary_len = line_end ? (size_t)(line_end - body) : 0;
    const char *metadata = NULL;
    const char *document = NULL;
    size_t metadata_len = 0;
    size_t document_len = 0;
    size_t at = 0;

    if (!next_part(body, len, boundary_len, &at, &metadata, &metadata_len) ||
        !next_part(body, len, boundary_len, &at, &document, &document_len) ||
        !part_sax(metadata, metadata_len)) {
        die("floor: the request is not an MTOM message with a document");
    }
    part_sha(document, document_len);
    if (shared->settings->has_own_files) {
        part_file(shared->directory, number, document, document_len);
    } else {
        group_file_append(&shared->group, document, document_len);
    }
    transaction_run(composed->runner, number);
}

static _Noreturn void run_server(const Settings *settings, Shared *shared)
{
    HttpsFloor https = settings->https;
    https.answer_bytes = settings->bytes;
    if (strcmp(settings->part, "syslog") == 0) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/syslog.bin", settings->dir);
        syslog_floor_run(https, path);
    }
    if (strcmp(settings->part, "composed") == 0) {
        shared->script = transaction_script_read(settings->script);
        https.ctx = shared;
        https.connection_new = composed_new;
        https.handle = composed_handle;
        https.connection_free = composed_free;
    }
    https_floor_run(&https);
}

/* Setting up */

static void read_input(Shared *shared)
{
    FILE *file = fopen(shared->settings->input, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0) {
        die("floor: cannot read the input");
    }
    shared->len = (size_t)st.st_size;
    shared->bytes = allocate(shared->len, 1);
    if (fread(shared->bytes, 1, shared->len, file) != shared->len) {
        die("floor: cannot read the input");
    }
    (void)fclose(file);
}

static void make_bytes(Shared *shared)
{
    shared->len = shared->settings->bytes;
    shared->bytes = allocate(shared->len, 1);
    for (size_t i = 0; i < shared->len; i++) {
        shared->bytes[i] = (char)(i * 2654435761U >> 16);
    }
}

static void open_directory(Shared *shared)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s.bin", shared->settings->dir, shared->settings->part);
    group_file_open(&shared->group, path);
    shared->directory = open(shared->settings->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shared->directory < 0) {
        die("floor: cannot open --dir");
    }
}

static size_t read_size(const char *text)
{
    return strtoul(text, NULL, 10);
}

static Settings read_settings(int argc, char **argv)
{
    static const struct option options[] = {{"threads", 1, 0, 't'},
                                            {"seconds", 1, 0, 's'},
                                            {"bytes", 1, 0, 'b'},
                                            {"input", 1, 0, 'i'},
                                            {"dir", 1, 0, 'd'},
                                            {"port", 1, 0, 'p'},
                                            {"cert", 1, 0, 'c'},
                                            {"key", 1, 0, 'k'},
                                            {"ca", 1, 0, 'a'},
                                            {"own-files", 0, 0, 'o'},
                                            {"script", 1, 0, 'S'},
                                            {"conninfo", 1, 0, 'C'},
                                            {0, 0, 0, 0}};
    Settings s = {.threads = 1, .seconds = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't':
            s.threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            s.seconds = strtod(optarg, NULL);
            break;
        case 'b':
            s.bytes = read_size(optarg);
            break;
        case 'i':
            s.input = optarg;
            break;
        case 'd':
            s.dir = optarg;
            break;
        case 'p':
            s.https.port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            s.https.cert = optarg;
            break;
        case 'k':
            s.https.key = optarg;
            break;
        case 'a':
            s.https.ca = optarg;
            break;
        case 'o':
            s.has_own_files = true;
            break;
        case 'S':
            s.script = optarg;
            break;
        case 'C':
            s.conninfo = optarg;
            break;
        default:
            die("floor: unknown option");
        }
    }
    if (optind + 1 != argc || s.threads < 1) {
        die("floor: need one part: sax, xmlsec, sha, crc, segment, audit, file, http, syslog or "
            "composed");
    }
    s.part = argv[optind];
    return s;
}

int main(int argc, char **argv)
{
    Settings settings = read_settings(argc, argv);
    Shared shared = {.settings = &settings, .directory = -1};
    shared.next_number = (uint64_t)now_ns() / 1000; /* another run has others */

    xmlInitParser();
    if (settings.dir) {
        open_directory(&shared);
    }
    if (settings.https.port) {
        run_server(&settings, &shared);
    }
    if (settings.input) {
        read_input(&shared);
    } else {
        make_bytes(&shared);
    }
    if (settings.https.cert) {
        part_xmlsec_init(settings.https.cert);
    }
    for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++) {
        if (strcmp(PARTS[i].name, settings.part) == 0) {
            run_threads(&shared, PARTS[i].run);
            return 0;
        }
    }
    die("floor: no such part");
}
