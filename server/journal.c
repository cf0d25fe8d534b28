#include "server/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/db/db.h"

#define FLUSH_EVERY_NS 5000000000LL
#define ACTIVITY_MAX 4096
#define LOG_MAX_BYTES (256L * 1024 * 1024)
#define FILE_NAME "requests.log"
#define OLD_FILE_NAME "requests.log.1"

/** What one node did with one transaction since the last flush. */
typedef struct Activity {
    int32_t node_id;
    const char *transaction; /* a literal of a table */
    int64_t success_count;
    int64_t error_count;
    int64_t received_bytes;
    int64_t sent_bytes;
    int64_t last_success_us; /* 0: none */
    int64_t last_error_us;
    const char *last_error_code;
} Activity;

struct Journal {
    pthread_mutex_t lock;
    Worker flusher;
    int fd;
    char *path;
    char *old_path;
    DbPool *pool;
    Activity activity[ACTIVITY_MAX];
    size_t activity_count;
};

static const DbStatement add_activity = {
    "journal_add_activity",
    "INSERT INTO node_activity AS a (node, transaction, success_count, error_count, received_bytes,"
    " sent_bytes, last_success, last_error, last_error_code)"
    " VALUES ($1::int4, $2::text, $3::int8, $4::int8, $5::int8, $6::int8, $7::timestamptz,"
    " $8::timestamptz, $9::text)"
    " ON CONFLICT (node, transaction) DO UPDATE SET"
    " success_count = a.success_count + EXCLUDED.success_count,"
    " error_count = a.error_count + EXCLUDED.error_count,"
    " received_bytes = a.received_bytes + EXCLUDED.received_bytes,"
    " sent_bytes = a.sent_bytes + EXCLUDED.sent_bytes,"
    " last_success = coalesce(EXCLUDED.last_success, a.last_success),"
    " last_error = coalesce(EXCLUDED.last_error, a.last_error),"
    " last_error_code = coalesce(EXCLUDED.last_error_code, a.last_error_code)"};

static void param_time(DbParams *params, int64_t utc_us)
{
    if (utc_us) {
        db_param_timestamp(params, utc_us);
    } else {
        db_param_null(params);
    }
}

static int write_activity(DbConn *conn, Request *req, const Activity *activity, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Activity *a = &activity[i];
        DbParams params;
        db_params_init(&params, req->arena);
        db_param_i32(&params, a->node_id);
        db_param_text(&params, str_from(a->transaction));
        db_param_i64(&params, a->success_count);
        db_param_i64(&params, a->error_count);
        db_param_i64(&params, a->received_bytes);
        db_param_i64(&params, a->sent_bytes);
        param_time(&params, a->last_success_us);
        param_time(&params, a->last_error_us);
        db_param_text_or_null(&params, str_from(a->last_error_code));
        int rc = db_exec(conn, req, &add_activity, &params, NULL);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/** Takes what gathered and writes it; what cannot be written now is lost to the table, not to the
 * log. */
static void flush_activity(Journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    size_t count = journal->activity_count;
    Activity *taken = count ? malloc(count * sizeof(*taken)) : NULL;
    if (taken) {
        memcpy(taken, journal->activity, count * sizeof(*taken));
        journal->activity_count = 0;
    }
    pthread_mutex_unlock(&journal->lock);
    if (!taken) {
        return;
    }
    Request *req = request_new(10000);
    DbConn *conn = NULL;
    if (db_acquire(journal->pool, req, &conn) || write_activity(conn, req, taken, count)) {
        log_warn("msg=\"node activity not written\" rows=%zu detail=%s", count,
                 log_quote(req->arena, str_from(db_last_failure())));
    }
    db_release(conn);
    request_free(req);
    free(taken);
}

/** Keeps the log bounded: one older file. */
static void rotate(Journal *journal)
{
    struct stat st;
    if (fstat(journal->fd, &st) != 0 || st.st_size < LOG_MAX_BYTES) {
        return;
    }
    (void)rename(journal->path, journal->old_path);
    int fd = open(journal->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        dup3(fd, journal->fd, O_CLOEXEC);
        close(fd);
    }
}

static void *run(void *argument)
{
    Journal *journal = argument;
    while (worker_rest_until(&journal->flusher, clock_now_ns() + FLUSH_EVERY_NS)) {
        rotate(journal);
        flush_activity(journal);
    }
    return NULL;
}

static char *join(const char *directory, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0) {
        abort();
    }
    return path;
}

Journal *journal_new(const char *log_directory, struct DbPool *pool, char *ret_problem,
                     size_t problem_size)
{
    char *path = join(log_directory, FILE_NAME);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)snprintf(ret_problem, problem_size, "cannot write %s: %s", path, strerror(errno));
        free(path);
        return NULL;
    }
    Journal *journal = HEAP_NEW(Journal);
    journal->fd = fd;
    journal->path = path;
    journal->old_path = join(log_directory, OLD_FILE_NAME);
    journal->pool = pool;
    pthread_mutex_init(&journal->lock, NULL);
    if (worker_start(&journal->flusher, run, journal) != 0) {
        abort();
    }
    return journal;
}

void journal_free(Journal *journal)
{
    if (!journal) {
        return;
    }
    worker_stop(&journal->flusher);
    flush_activity(journal);
    pthread_mutex_destroy(&journal->lock);
    close(journal->fd);
    free(journal->path);
    free(journal->old_path);
    free(journal);
}

static Activity *activity_row(Journal *journal, int32_t node_id, const char *transaction)
{
    for (size_t i = 0; i < journal->activity_count; i++) {
        Activity *a = &journal->activity[i];
        if (a->node_id == node_id && strcmp(a->transaction, transaction) == 0) {
            return a;
        }
    }
    if (journal->activity_count == ACTIVITY_MAX) {
        return NULL;
    }
    Activity *a = &journal->activity[journal->activity_count++];
    *a = (Activity){.node_id = node_id, .transaction = transaction};
    return a;
}

static const char *first_error(const Request *req)
{
    return req->errors.first ? error_ihe_code(req->errors.first->code, req->is_repository) : "";
}

/** What the database said, for the operator; it holds no values. */
static const char *database_detail(const Request *req, Arena *arena)
{
    ErrorCode code = req->errors.first ? req->errors.first->code : ERR_NONE;
    bool is_database = code == ERR_DATABASE || code == ERR_DATABASE_BUSY;
    return is_database
               ? str_printf(arena, " detail=%s", log_quote(arena, str_from(db_last_failure()))).data
               : "";
}

static void add_to_activity(Journal *journal, const Request *req, Outcome outcome)
{
    pthread_mutex_lock(&journal->lock);
    Activity *a =
        activity_row(journal, req->principal ? req->principal->node_id : 0, req->transaction);
    if (a) {
        bool is_good = outcome == OUTCOME_SUCCESS || outcome == OUTCOME_PARTIAL_SUCCESS;
        int64_t now_us = clock_utc_us();
        a->success_count += is_good;
        a->error_count += !is_good;
        a->received_bytes += (int64_t)req->received_bytes;
        a->sent_bytes += (int64_t)req->sent_bytes;
        *(is_good ? &a->last_success_us : &a->last_error_us) = now_us;
        if (!is_good) {
            a->last_error_code = first_error(req);
        }
    }
    pthread_mutex_unlock(&journal->lock);
}

void journal_note(Journal *journal, Str line)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    log_info("%.*s", STR_ARG(line));
    Str entry = str_printf(arena, "ts=%.*s %.*s\n", STR_ARG(clock_iso8601(arena, clock_utc_us())),
                           STR_ARG(line));
    ssize_t written UNUSED = write(journal->fd, entry.data, entry.len);
}

void journal_finish(Journal *journal, const Request *req, Outcome outcome)
{
    int64_t duration_ns = clock_now_ns() - req->started_ns;
    metrics_count(req->transaction, outcome, duration_ns, req->received_bytes, req->sent_bytes);
    add_to_activity(journal, req, outcome);
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str node = req->principal ? req->principal->node_name : STR("-");
    Str line = str_printf(
        arena,
        "ref=%s tx=%s peer=%.*s node=%s ms=%.1f in=%lu out=%lu outcome=%s error=%s%s%s "
        "id=%s subject=%s%s",
        req->ref, req->transaction[0] ? req->transaction : "-", STR_ARG(req->peer_address),
        log_quote(arena, node), (double)duration_ns / 1e6, req->received_bytes, req->sent_bytes,
        outcome_name(outcome), first_error(req), req->refusal ? " check=" : "",
        req->refusal ? req->refusal : "", log_quote(arena, req->message_id),
        log_quote(arena, req->subject), database_detail(req, arena));
    journal_note(journal, line);
}

static long trace_file(const char *path, Str key, JournalLineFn found, void *ctx)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        return errno == ENOENT ? 0 : -1;
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    long count = 0;
    while ((len = getline(&line, &cap, file)) > 0) {
        Str text = str_trim((Str){line, (size_t)len});
        if (str_contains(text, key)) {
            found(ctx, text);
            count++;
        }
    }
    free(line);
    (void)fclose(file);
    return count;
}

long journal_trace(const char *log_directory, Str key, JournalLineFn found, void *ctx)
{
    char *path = join(log_directory, FILE_NAME);
    char *old_path = join(log_directory, OLD_FILE_NAME);
    long old_lines = trace_file(old_path, key, found, ctx);
    long lines = trace_file(path, key, found, ctx);
    free(path);
    free(old_path);
    return old_lines < 0 || lines < 0 ? -1 : old_lines + lines;
}

/** The value up to its closing quote; only the quote and the backslash are undone, "\xHH" stays. */
static Str unquote(Arena *arena, Str *rest)
{
    char *value = arena_alloc(arena, rest->len + 1);
    size_t len = 0;
    size_t i = 0;
    while (i < rest->len && rest->data[i] != '"') {
        if (rest->data[i] == '\\' && i + 1 < rest->len && rest->data[i + 1] != 'x') {
            i++;
        }
        value[len++] = rest->data[i++];
    }
    *rest = str_from_offset(*rest, i + 1);
    return (Str){value, len};
}

bool journal_field_next(Arena *arena, Str *rest, Str *ret_key, Str *ret_value)
{
    *rest = str_trim(*rest);
    size_t equals = str_find_char(*rest, '=');
    if (equals == SIZE_MAX) {
        return false;
    }
    *ret_key = str_slice(*rest, 0, equals);
    *rest = str_from_offset(*rest, equals + 1);
    if (str_starts_with(*rest, STR("\""))) {
        *rest = str_from_offset(*rest, 1);
        *ret_value = unquote(arena, rest);
        return true;
    }
    *ret_value = str_slice(*rest, 0, MIN(str_find_char(*rest, ' '), rest->len));
    *rest = str_from_offset(*rest, ret_value->len);
    return true;
}
