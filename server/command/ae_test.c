#include "server/command/ae_test.h"

#include <stdio.h>

#include "repository/imaging/imaging.h"
#include "server/command/json.h"
#include "server/language.h"
#include "server/services.h"

/* musubi ae test: whether images and reports reach an application entity. */

#define PROBLEM_BYTES 512

static const DbStatement select_ae = {
    "ae_test_select",
    "SELECT e.ae_title, e.host, e.port, e.is_tls, e.fingerprint, n.name FROM imaging_ae e "
    "JOIN node n ON n.id = e.node WHERE e.ae_title = $1::text AND n.revoked_at IS NULL "
    "AND ($2::text = '' OR n.name = $2::text) ORDER BY n.name",
};

static int echo(CommandContext *context, DicomWorkers *workers, const ImagingPeer *peer)
{
    const Config *config = context->config;
    char problem[PROBLEM_BYTES];
    Tls *tls = services_tls(config, problem, sizeof(problem));
    int rc = problem[0] ? error_add(&context->req->errors, ERR_CONFIGURATION, "ae", "%s", problem)
                        : imaging_echo(workers, tls, config->imaging.ae_title, context->req, peer);
    tls_free(tls);
    return rc;
}

/** One AE. @return whether it answers */
static bool test(CommandContext *context, DicomWorkers *workers, const DbResult *rows, int row,
                 json_t *list)
{
    Request *req = context->req;
    const ImagingPeer peer = {
        .ae_title = db_text(rows, row, 0),
        .host = db_text(rows, row, 1),
        .port = db_i32(rows, row, 2),
        .is_tls = db_bool(rows, row, 3),
        .fingerprint = db_text(rows, row, 4),
    };
    bool is_good = echo(context, workers, &peer) == 0;
    Str found = is_good             ? str_printf(context->arena, tr("%.*s:%d answers C-ECHO"),
                                                 STR_ARG(peer.host), (int)peer.port)
                : req->errors.first ? req->errors.first->context
                                    : STR_EMPTY;
    if (list) {
        json_array_append_new(list, json_pack("{s:o, s:o, s:b, s:o}", "ae_title",
                                              json_text(peer.ae_title), "node",
                                              json_text(db_text(rows, row, 5)), "ok", is_good,
                                              "found", json_text(found)));
    } else {
        printf("%-4s %.*s  %.*s  %.*s\n", is_good ? "OK" : "BAD", STR_ARG(peer.ae_title),
               STR_ARG(db_text(rows, row, 5)), STR_ARG(found));
    }
    error_list_init(&req->errors, req->arena); /* told above */
    return is_good;
}

static int test_all(const Options *options, CommandContext *context, const DbResult *rows)
{
    char problem[PROBLEM_BYTES];
    DicomWorkers *workers = dicom_workers_start(problem, sizeof(problem));
    if (!workers) {
        return command_usage("%s", problem);
    }
    json_t *list = options->json ? json_array() : NULL;
    int failed = 0;
    for (int i = 0; i < db_rows(rows); i++) {
        failed += !test(context, workers, rows, i, list);
    }
    dicom_workers_stop(workers);
    if (list) {
        json_print(list);
    }
    return failed ? EXIT_FOUND : EXIT_GOOD;
}

int ae_test_command(const Options *options, CommandContext *context)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, str_trim(str_from(options->arguments[1])));
    db_param_text(&params, str_from(options->node ? options->node : ""));
    if (db_exec(context->conn, context->req, &select_ae, &params, &rows) < 0) {
        return EXIT_FAILED;
    }
    if (db_rows(rows) == 0) {
        return command_usage(tr("there is no such AE; musubi ae list shows them"));
    }
    return test_all(options, context, rows);
}
