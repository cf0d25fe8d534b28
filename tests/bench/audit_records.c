/*
 * Fills the Audit Record Repository with invented messages (audit_messages.h), read, chained,
 * signed and stored as the server's loader does it: the chain of --directory is then the chain of a
 * server with that data_dir/audit. No such server may run.
 *
 *   audit_records --conninfo TEXT --directory data_dir/audit --patients N --first N --count N
 *                 --days N
 *
 * The records were received at even intervals over the days before now.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "atna/chain_files.h"
#include "atna/chain_store.h"
#include "lib/base/clock.h"

#include "tests/bench/audit_messages.h"
#include "tests/bench/measure.h"

#define STORE_TIMEOUT_MS 300000
#define US_PER_DAY INT64_C(86400000000)
/** As often as a busy server. */
#define HEAD_EVERY_RECORDS 100000
#define SENDER STR("tls:gateway@192.0.2.7")

typedef struct Settings {
    const char *conninfo;
    const char *directory;
    uint64_t patients;
    uint64_t first;
    uint64_t count;
    uint64_t days;
} Settings;

typedef struct Target {
    DbPool *pool;
    HeadKey *key;
    Uuid chain;
    ChainRow row;
} Target;

static void check(int rc)
{
    if (rc < 0) {
        die(db_last_failure()[0] ? db_last_failure() : "audit_records: the database refused");
    }
}

static Target open_target(const Settings *settings)
{
    Target target = {.pool = db_pool_new(settings->conninfo, 1)};
    Request *req = request_new(STORE_TIMEOUT_MS);
    char problem[256] = "";
    Str path = str_printf(req->arena, "%s/" CHAIN_KEY_FILE, settings->directory);
    target.key = head_key_open(path.data, true, problem, sizeof(problem));
    if (!target.key) {
        die(problem);
    }
    if (chain_files_open(settings->directory, &target.chain) < 0) {
        die("audit_records: cannot open the chain of the directory");
    }
    check(chain_store_open(target.pool, req, target.chain, target.key, &target.row));
    request_free(req);
    return target;
}

static void store_batch(Target *target, Batch *batch)
{
    Request *req = request_new(STORE_TIMEOUT_MS);
    Head head = {.chain = target->chain,
                 .purpose = HEAD_STATE,
                 .sequence = batch->end.sequence,
                 .hash = batch->end.hash};
    uint64_t heads_before = target->row.end.sequence / HEAD_EVERY_RECORDS;
    head_sign(&head, target->key);
    check(chain_store_batch(target->pool, req, batch, &head, target->row.loaded));
    if (head.sequence / HEAD_EVERY_RECORDS > heads_before) {
        check(chain_store_head(target->pool, req, target->row.id, &head));
    }
    target->row.end = batch->end;
    request_free(req);
}

static void fill(const Settings *settings, Target *target)
{
    const AuditInvention invention = {.patients = settings->patients, .arena = arena_new()};
    int64_t span_us = (int64_t)settings->days * US_PER_DAY;
    int64_t begin_us = clock_utc_us() - span_us;
    StrBuf message = {0};
    Batch batch;
    batch_init(&batch);
    for (uint64_t i = 0; i < settings->count;) {
        batch_begin(&batch, target->row.id, &target->row.end);
        for (; i < settings->count && !batch_is_full(&batch); i++) {
            int64_t received_us =
                begin_us + (int64_t)((double)span_us * (double)i / (double)settings->count);
            strbuf_clear(&message);
            audit_message_invent(&invention, settings->first + i, received_us, &message);
            batch_add(&batch, received_us, SENDER, 0, strbuf_str(&message));
        }
        store_batch(target, &batch);
    }
    batch_done(&batch);
    strbuf_done(&message);
    arena_free(invention.arena);
}

static Settings read_settings(int argc, char **argv)
{
    static const struct option options[] = {{"conninfo", 1, 0, 'c'},
                                            {"directory", 1, 0, 'd'},
                                            {"patients", 1, 0, 'p'},
                                            {"first", 1, 0, 'f'},
                                            {"count", 1, 0, 'n'},
                                            {"days", 1, 0, 'D'},
                                            {0, 0, 0, 0}};
    Settings s = {.patients = 1, .days = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            s.conninfo = optarg;
            break;
        case 'd':
            s.directory = optarg;
            break;
        case 'p':
            s.patients = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            s.first = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            s.count = strtoull(optarg, NULL, 10);
            break;
        case 'D':
            s.days = strtoull(optarg, NULL, 10);
            break;
        default:
            die("audit_records: unknown option");
        }
    }
    if (!s.conninfo || !s.directory || !s.patients || !s.days) {
        die("audit_records: need --conninfo, --directory, --patients, --count and --days");
    }
    return s;
}

int main(int argc, char **argv)
{
    Settings settings = read_settings(argc, argv);
    Target target = open_target(&settings);
    fill(&settings, &target);
    head_key_free(target.key);
    db_pool_free(target.pool);
    return 0;
}
