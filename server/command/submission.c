/* submission check: the rules that need no database, with the texts that the server itself would
 * send. */

#include <stdio.h>
#include <string.h>

#include "lib/base/file_io.h"
#include "lib/ebrim/metadata.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"
#include "server/command/command.h"
#include "server/command/import.h"
#include "server/command/json.h"
#include "server/services.h"

#define SUBMISSION_MAX_BYTES ((size_t)1 << 30)

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
    const CodeCheck code_check = (CodeCheck)context->config->affinity_domain.code_check;
    CodeSets *codes =
        code_check != CODE_CHECK_OFF
            ? code_sets_load(context->config->affinity_domain.codes, problem, sizeof(problem))
            : NULL;
    if (problem[0]) {
        (void)error_add(&req->errors, ERR_CONFIGURATION, NULL, "%s", problem);
    } else if (submission_read(req, request, &submission) == 0 &&
               submission_check(req, submission, is_provide ? SUBMISSION_ITI41 : SUBMISSION_ITI42,
                                code_check == CODE_CHECK_STRICT ? codes : NULL) == 0 &&
               code_check == CODE_CHECK_WARN) {
        submission_check_codes(req, submission, codes, SEVERITY_WARNING);
    }
    code_sets_free(codes);
}

static void print_submission_faults(const Options *options, const ErrorList *errors)
{
    for (const Error *e = errors->first; e; e = e->next) {
        const char *code = error_info(e->code)->ihe_code;
        if (options->json) {
            json_print_line(json_pack("{s:s, s:o, s:o}", "error", code, "context",
                                      json_text(e->context), "location", json_text(e->location)));
        } else {
            printf("%s: %.*s%s%.*s\n", code, STR_ARG(e->context), e->location.len ? " at " : "",
                   STR_ARG(e->location));
        }
    }
}

int command_submission(const Options *options)
{
    CommandContext context;
    StrBuf buf = {0};
    if (options->argument_count > 0 && str_equal(str_from(options->arguments[0]), STR("import"))) {
        return command_submission_import(options);
    }
    if (options->argument_count != 2 || !str_equal(str_from(options->arguments[0]), STR("check"))) {
        return options_usage(options->command);
    }
    int status = command_open_config(options, &context);
    int rc = 0;
    if (status == EXIT_GOOD &&
        (rc = io_read_file(options->arguments[1], SUBMISSION_MAX_BYTES, &buf)) < 0) {
        (void)fprintf(stderr, "musubi: cannot read %s: %s\n", options->arguments[1], strerror(-rc));
        status = EXIT_FAILED;
    }
    if (status == EXIT_GOOD) {
        xml_init();
        check_submission(&context, strbuf_str(&buf));
        print_submission_faults(options, &context.req->errors);
        status = error_list_has_errors(&context.req->errors) ? EXIT_FOUND : EXIT_GOOD;
        error_list_init(&context.req->errors, context.req->arena);
        if (status == EXIT_GOOD && !options->json) {
            (void)puts("the submission would pass every check that needs no database");
        }
    }
    strbuf_done(&buf);
    return command_close(&context, status);
}
