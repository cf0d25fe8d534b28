#include "tests/bench/transaction.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/measure.h"

#define PARAMS_MAX 64
#define STATEMENTS_MAX 64
#define RANDOMS ('m' - 'a' + 1)
#define RANDOM_LEN 32
#define TIME_LEN 12
#define NUMBER_LEN 12
#define NUMBER_LIMIT 1000000000000ULL
#define TOKEN_SIZE 32
#define NAME_SIZE 16

typedef struct Statement {
    const char *sql;
    const char *params[PARAMS_MAX]; /* NULL: SQL NULL */
    int param_count;
    bool ends_batch;
} Statement;

struct TransactionScript {
    json_t *json; /* owns the texts */
    Statement statements[STATEMENTS_MAX];
    size_t count;
    uint64_t modulo;
    uint64_t patient_offset;
};

struct TransactionRunner {
    const TransactionScript *script;
    PGconn *pg;
    char *expanded[PARAMS_MAX];
    char number[NUMBER_LEN + 1];
    char remainder[NUMBER_LEN + 1];
    char patient[TOKEN_SIZE];
    char randoms[RANDOMS][RANDOM_LEN + 1];
    char ordered[RANDOMS][RANDOM_LEN + 1];
};

static void add_statement(TransactionScript *script, const json_t *json, bool ends_batch)
{
    const json_t *params = json_object_get(json, "params");
    if (script->count == STATEMENTS_MAX || json_array_size(params) > PARAMS_MAX) {
        die("floor: the script has too many statements or parameters");
    }
    Statement *statement = &script->statements[script->count++];
    statement->sql = json_string_value(json_object_get(json, "sql"));
    statement->param_count = (int)json_array_size(params);
    statement->ends_batch = ends_batch;
    for (int i = 0; i < statement->param_count; i++) {
        statement->params[i] = json_string_value(json_array_get(params, (size_t)i));
    }
}

TransactionScript *transaction_script_read(const char *path)
{
    TransactionScript *script = allocate(1, sizeof(*script));
    json_error_t error = {0};
    script->json = json_load_file(path, 0, &error);
    const json_t *batches = json_object_get(script->json, "batches");
    if (!json_is_array(batches)) {
        (void)fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        die("floor: cannot read the script");
    }
    script->modulo = (uint64_t)json_integer_value(json_object_get(script->json, "modulo"));
    script->patient_offset =
        (uint64_t)json_integer_value(json_object_get(script->json, "patient_offset"));
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        for (size_t k = 0; k < json_array_size(batch); k++) {
            add_statement(script, json_array_get(batch, k), k + 1 == json_array_size(batch));
        }
    }
    return script;
}

static void statement_name(size_t index, char *ret_name)
{
    (void)snprintf(ret_name, NAME_SIZE, "s%zu", index);
}

static void check(const TransactionRunner *runner, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC) {
        (void)fprintf(stderr, "%s%s", PQerrorMessage(runner->pg), PQresultErrorMessage(result));
        die("floor: a statement failed");
    }
    PQclear(result);
}

TransactionRunner *transaction_runner_new(const TransactionScript *script, const char *conninfo)
{
    char name[NAME_SIZE];
    TransactionRunner *runner = allocate(1, sizeof(*runner));
    runner->script = script;
    runner->pg = PQconnectdb(conninfo);
    for (size_t i = 0; i < script->count; i++) {
        statement_name(i, name);
        check(runner, PQprepare(runner->pg, name, script->statements[i].sql, 0, NULL));
    }
    if (!PQenterPipelineMode(runner->pg)) {
        die("floor: no pipeline");
    }
    return runner;
}

void transaction_runner_free(TransactionRunner *runner)
{
    PQfinish(runner->pg);
    for (size_t i = 0; i < PARAMS_MAX; i++) {
        free(runner->expanded[i]);
    }
    free(runner);
}

static void draw_numbers(TransactionRunner *runner, uint64_t number)
{
    uint64_t remainder = number % runner->script->modulo;
    (void)snprintf(runner->number, sizeof(runner->number), "%012llu",
                   (unsigned long long)(number % NUMBER_LIMIT));
    (void)snprintf(runner->remainder, sizeof(runner->remainder), "%012llu",
                   (unsigned long long)(remainder % NUMBER_LIMIT));
    (void)snprintf(runner->patient, sizeof(runner->patient), "%llu",
                   (unsigned long long)(runner->script->patient_offset + remainder));
}

static void draw_randoms(TransactionRunner *runner)
{
    unsigned char bytes[RANDOMS][RANDOM_LEN / 2];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    RAND_bytes(&bytes[0][0], sizeof(bytes));
    for (size_t i = 0; i < RANDOMS; i++) {
        char *to = runner->randoms[i];
        for (size_t k = 0; k < RANDOM_LEN; k++) {
            unsigned nibble = (bytes[i][k / 2] >> (k % 2 ? 0 : 4)) & 15;
            to[k] = "0123456789abcdef"[nibble];
        }
        (void)snprintf(runner->ordered[i], sizeof(runner->ordered[i]), "%012llx%s",
                       (unsigned long long)(now_ms & 0xffffffffffffULL), to + TIME_LEN);
    }
}

/** What a letter behind "@" stands for. */
static const char *token(const TransactionRunner *runner, char letter)
{
    switch (letter) {
    case 'n':
        return runner->number;
    case 'p':
        return runner->remainder;
    case 'q':
        return runner->patient;
    default:
        break;
    }
    if (letter >= 'A' && letter <= 'M') {
        return runner->ordered[letter - 'A'];
    }
    return letter >= 'a' && letter <= 'm' ? runner->randoms[letter - 'a'] : "@";
}

static char *expand(const TransactionRunner *runner, const char *param, char *to)
{
    to = realloc(to, strlen(param) * RANDOM_LEN / 2 + 1); /* "@a" becomes 32 bytes */
    if (!to) {
        die("floor: out of memory");
    }
    char *out = to;
    for (const char *at = param; *at; at++) {
        if (at[0] == '@' && at[1]) {
            out = stpcpy(out, token(runner, *++at));
        } else {
            *out++ = *at;
        }
    }
    *out = '\0';
    return to;
}

static void send_statement(TransactionRunner *runner, size_t index)
{
    const Statement *statement = &runner->script->statements[index];
    const char *values[PARAMS_MAX];
    char name[NAME_SIZE];
    for (int i = 0; i < statement->param_count; i++) {
        const char *param = statement->params[i];
        bool has_token = param && strchr(param, '@');
        values[i] =
            has_token ? (runner->expanded[i] = expand(runner, param, runner->expanded[i])) : param;
    }
    statement_name(index, name);
    if (!PQsendQueryPrepared(runner->pg, name, statement->param_count, values, NULL, NULL, 1)) {
        die("floor: cannot send a statement");
    }
}

/** Takes the results of so many statements, and the one of the sync behind them. */
static void receive(const TransactionRunner *runner, size_t statements)
{
    for (size_t i = 0; i <= statements; i++) {
        check(runner, PQgetResult(runner->pg));
        if (i < statements) {
            PQclear(PQgetResult(runner->pg)); /* the NULL behind a statement's result */
        }
    }
}

void transaction_run(TransactionRunner *runner, uint64_t number)
{
    size_t queued = 0;
    draw_numbers(runner, number);
    draw_randoms(runner);
    for (size_t i = 0; i < runner->script->count; i++) {
        send_statement(runner, i);
        queued++;
        if (runner->script->statements[i].ends_batch) {
            PQpipelineSync(runner->pg);
            receive(runner, queued);
            queued = 0;
        }
    }
}
