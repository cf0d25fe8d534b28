#include "server/command/node_test.h"

#include <stdio.h>
#include <string.h>

#include "lib/access/nodes.h"
#include "lib/base/clock.h"
#include "server/command/json.h"
#include "server/command/node_certificates.h"
#include "server/language.h"

static const DbStatement select_facts = {
    "node_test_facts",
    "SELECT node.revoked_at IS NOT NULL, facility.name, array_to_string(node.sources, ', '), "
    "array_to_string(node.source_ids, ', '), "
    "(SELECT count(*) FROM assigning_authority AS a WHERE a.facility = ANY (node.facilities || "
    "node.facility)), "
    "(SELECT count(*) FROM disclosure AS d WHERE d.is_permit AND (d.reader_facility IS NULL OR "
    "d.reader_facility = node.facility)), node.may_submit, node.id, "
    "array_to_string(ARRAY(SELECT ae_title FROM imaging_ae WHERE imaging_ae.node = node.id "
    "UNION SELECT unnest(node.ae_titles) ORDER BY 1), ', ') "
    "FROM node JOIN facility ON facility.id = node.facility WHERE node.name = $1::text",
};

/* What a node of documents uses, and one of images. */
static const char *const document_rights[] = {"ITI-8", "ITI-9", "ITI-41", "ITI-18", "ITI-43"};
static const char *const document_reading[] = {"ITI-18", "ITI-43"};
static const char *const storing_rights[] = {"RAD-8", "RAD-108"};
static const char *const reading_rights[] = {"RAD-14", "RAD-16",  "RAD-55",
                                             "RAD-69", "RAD-107", "RAD-129"};
static const char *const dicom_rights[] = {"RAD-8", "RAD-10", "RAD-14", "RAD-16"};

static const DbStatement select_activity = {
    "node_test_activity",
    "SELECT transaction, last_success, last_error, last_error_code FROM node_activity "
    "WHERE node = $1::integer ORDER BY transaction",
};

enum {
    FACT_REVOKED,
    FACT_FACILITY,
    FACT_SOURCES,
    FACT_SOURCE_IDS,
    FACT_AUTHORITIES,
    FACT_DISCLOSURES,
    FACT_MAY_SUBMIT,
    FACT_ID,
    FACT_AE_TITLES
};

typedef struct NodeTest {
    CommandContext *context;
    const char *name;
    const DbResult *facts;
    const Principal *principal; /* NULL: revoked */
    json_t *list;               /* NULL: text */
    bool has_fault;
} NodeTest;

/** @param word  what the line begins with; of NOTE nothing is wrong: remedy says what changes it */
static void tell_as(const NodeTest *test, const char *word, const char *check, Str found,
                    const char *remedy)
{
    if (test->list) {
        json_array_append_new(test->list, json_pack("{s:s, s:b, s:o, s:s}", "check", check, "ok",
                                                    strcmp(word, "BAD") != 0, "found",
                                                    json_text(found), "remedy", remedy));
        return;
    }
    printf("%-4s ", word);
    command_print_cell(tr(check), 16);
    printf("%.*s%s%s\n", STR_ARG(found), remedy[0] ? "; " : "", remedy[0] ? tr(remedy) : "");
}

/** @param remedy  "": it is well */
static void tell(NodeTest *test, const char *check, Str found, const char *remedy)
{
    test->has_fault |= remedy[0] != '\0';
    tell_as(test, remedy[0] ? "BAD" : "OK", check, found, remedy);
}

/* ---- its certificates ---- */

/** As a listener would judge it: by tls_ca and tls_crl, or because it is registered. */
static void test_certificate(NodeTest *test, TlsStore *store, const NodeCertificateRow *row)
{
    Arena *arena = test->context->arena;
    const char *start =
        str_printf(arena, "%.8s \"%.*s\"", row->fingerprint.data, STR_ARG(row->subject)).data;
    TlsProblem problem;
    if (row->revoked_us != INT64_MAX) {
        return; /* said of the node, if it has no other */
    }
    if (row->der.len == 0) {
        tell(test, "certificate",
             str_printf(arena,
                        "%.8s, of which only the fingerprint is known: its authority and "
                        "its end cannot be tested",
                        row->fingerprint.data),
             "");
        return;
    }
    if (!tls_store_verify_der(store, &row->der, 1, &problem)) {
        tell(test, "certificate", str_printf(arena, "%s: %s", start, problem.text),
             "give the node a certificate that is valid: musubi node certificate add");
        return;
    }
    tls_store_trust_directly(store, NULL, 0);
    bool has_authority = tls_store_verify_der(store, &row->der, 1, &problem);
    tls_store_trust_directly(store, &row->fingerprint, 1);
    long long days = (long long)certificate_days_left(row->not_after_us);
    tell(test, "certificate",
         str_printf(arena, "%s, %lld days left, %s", start, days,
                    has_authority ? "of an authority in tls_ca"
                                  : "trusted because it is registered"),
         days < CERTIFICATE_WARNING_DAYS
             ? "let the hospital renew it, then: musubi node certificate add"
             : "");
}

static int test_certificates(NodeTest *test)
{
    const Config *config = test->context->config;
    NodeCertificateRow *rows;
    char problem[512];
    size_t count;
    size_t in_force = 0;
    int rc = node_certificates_select(test->context, test->name, &rows, &count);
    if (rc < 0) {
        return rc;
    }
    TlsStore *store =
        config->server.tls_ca[0]
            ? tls_store_new(config->server.tls_ca, config->server.tls_crl, problem, sizeof(problem))
            : NULL;
    if (!store) {
        tell(test, "TLS", str_from(config->server.tls_ca[0] ? problem : "off"),
             "set tls_certificate, tls_key and tls_ca; see musubi check-config");
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        tls_store_trust_directly(store, &rows[i].fingerprint, 1);
        test_certificate(test, store, &rows[i]);
        in_force += rows[i].revoked_us == INT64_MAX;
    }
    tls_store_free(store);
    if (in_force == 0) {
        tell(test, "certificate", STR("none in force"), "musubi node certificate add");
    }
    return 0;
}

/* ---- what it may do ---- */

/** Only if the node may use it. */
static void test_allowed(NodeTest *test, const char *transaction, const char *remedy)
{
    if (access_may_use(test->principal, transaction)) {
        tell(test, transaction, remedy[0] ? STR("would be refused") : STR("allowed"), remedy);
    }
}

static bool may_use_any(const Principal *principal, const char *const *transactions, size_t count)
{
    bool may = false;
    for (size_t i = 0; i < count; i++) {
        may = may || access_may_use(principal, transactions[i]);
    }
    return may;
}

/** Who associates needs an AE title, and its images the domain of their PatientIDs. */
static void test_images(NodeTest *test)
{
    Str titles = db_text(test->facts, 0, FACT_AE_TITLES);
    bool has_authority = db_i64(test->facts, 0, FACT_AUTHORITIES) > 0;
    for (size_t i = 0; i < ARRAY_LEN(storing_rights); i++) {
        test_allowed(test, storing_rights[i],
                     has_authority || test->principal->may_do_everything
                         ? ""
                         : "its facility has no assigning authority for PatientID: musubi "
                           "authority add --facility");
    }
    for (size_t i = 0; i < ARRAY_LEN(reading_rights); i++) {
        test_allowed(test, reading_rights[i], "");
    }
    if (may_use_any(test->principal, dicom_rights, ARRAY_LEN(dicom_rights))) {
        tell(test, "AE titles", titles.len > 0 ? titles : STR("none"),
             titles.len > 0 || test->principal->may_do_everything
                 ? ""
                 : "name what it calls itself: musubi ae add TITLE --node");
    }
}

/** A right that the node has not is no fault: nobody knows what it is to do. */
static void test_transaction(NodeTest *test, const char *transaction, const char *remedy)
{
    if (!access_may_use(test->principal, transaction)) {
        tell_as(test, "NOTE", transaction, STR("not allowed"),
                "musubi node add --transactions, if the node is to use it");
    } else {
        tell(test, transaction, remedy[0] ? STR("would be refused") : STR("allowed"), remedy);
    }
}

/** The decisions of an ITI-8, an ITI-41, an ITI-18 and an ITI-43 of this node. */
static void test_documents(NodeTest *test)
{
    Str sources = db_text(test->facts, 0, FACT_SOURCES);
    bool has_source = sources.len > 0 || test->principal->may_do_everything;
    bool has_authority = db_i64(test->facts, 0, FACT_AUTHORITIES) > 0;
    test_transaction(test, "ITI-8",
                     has_source ? "" : "name its MSH-3|MSH-4: musubi node add --source");
    test_transaction(test, "ITI-9", "");
    test_transaction(test, "ITI-41",
                     !db_bool(test->facts, 0, FACT_MAY_SUBMIT)
                         ? "the node may not submit: musubi node add without --no-submit"
                     : has_authority || test->principal->may_do_everything
                         ? ""
                         : "its facility has no assigning authority for sourcePatientId: musubi "
                           "authority add --facility");
    test_transaction(test, "ITI-18", "");
    test_transaction(test, "ITI-43", "");
    tell(test, "MSH-3|MSH-4", sources.len > 0 ? sources : STR("none"), "");
    tell(test, "sourceId",
         db_text(test->facts, 0, FACT_SOURCE_IDS).len > 0 ? db_text(test->facts, 0, FACT_SOURCE_IDS)
                                                          : STR("any"),
         "");
}

/** Whose things it sees: its own facility's, and what rules add. */
static void test_disclosures(NodeTest *test)
{
    const int64_t count = db_i64(test->facts, 0, FACT_DISCLOSURES);
    if (test->principal->may_do_everything) {
        tell(test, "disclosures", STR("not asked for: [access] mode = open"), "");
    } else if (test->principal->is_operator) {
        tell(test, "disclosures", STR("an operator's node never sees what belongs to a patient"),
             "register another node for reading: musubi node add");
    } else if (count == 0) {
        tell(test, "disclosures",
             STR("none: it sees what its own facility submitted, of patients who take part; for "
                 "more: musubi disclosure add"),
             "");
    } else {
        tell(test, "disclosures",
             str_printf(test->context->arena, "%lld permit something to its facility",
                        (long long)count),
             "");
    }
}

/** Of a node of images alone nothing of documents is expected. */
static void test_rights(NodeTest *test)
{
    const Principal *principal = test->principal;
    bool has_images = config_has_role(test->context->config, ROLE_IMAGING) &&
                      (may_use_any(principal, storing_rights, ARRAY_LEN(storing_rights)) ||
                       may_use_any(principal, reading_rights, ARRAY_LEN(reading_rights)) ||
                       may_use_any(principal, dicom_rights, ARRAY_LEN(dicom_rights)));
    if (!has_images || may_use_any(principal, document_rights, ARRAY_LEN(document_rights))) {
        test_documents(test);
    }
    if (has_images) {
        test_images(test);
    }
    if (may_use_any(principal, reading_rights, ARRAY_LEN(reading_rights)) ||
        may_use_any(principal, document_reading, ARRAY_LEN(document_reading))) {
        test_disclosures(test);
    }
}

/** What it did so far: the last error is told, a success since then makes it well. */
static int test_activity(NodeTest *test)
{
    Arena *arena = test->context->arena;
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, arena);
    db_param_i32(&params, db_i32(test->facts, 0, FACT_ID));
    int rc = db_exec(test->context->conn, test->context->req, &select_activity, &params, &rows);
    for (int i = 0; !rc && i < db_rows(rows); i++) {
        int64_t success_us = db_is_null(rows, i, 1) ? INT64_MIN : db_timestamp(rows, i, 1);
        int64_t error_us = db_is_null(rows, i, 2) ? INT64_MIN : db_timestamp(rows, i, 2);
        bool is_well = success_us >= error_us;
        Str found =
            str_printf(arena, "last %s %.*s%s%.*s", is_well ? "success" : "error",
                       STR_ARG(clock_iso8601(arena, is_well ? success_us : error_us)),
                       is_well ? "" : " ", STR_ARG(is_well ? STR_EMPTY : db_text(rows, i, 3)));
        tell(test, str_cstr(arena, db_text(rows, i, 0)), found,
             is_well ? "" : "see musubi trace with the reference that the node was given");
    }
    return rc;
}

static int run(NodeTest *test)
{
    NodeDirectory *nodes =
        node_directory_new(test->context->pool, (AccessMode)test->context->config->access.mode);
    int rc = node_directory_refresh(nodes, test->context->req);
    if (!rc) {
        test->principal =
            node_directory_find_name(nodes, test->context->arena, str_from(test->name));
        tell(test, "node",
             str_printf(test->context->arena, "%s of %.*s",
                        test->principal ? "registered" : "revoked",
                        STR_ARG(db_text(test->facts, 0, FACT_FACILITY))),
             test->principal ? "" : "musubi node add registers it again");
        rc = test_certificates(test);
    }
    if (!rc && test->principal) {
        test_rights(test);
        rc = test_activity(test);
    }
    node_directory_free(nodes);
    return rc;
}

int node_test_command(const Options *options, CommandContext *context)
{
    NodeTest test = {.context = context, .name = options->arguments[1]};
    DbParams params;
    DbResult *facts = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(test.name));
    if (db_exec(context->conn, context->req, &select_facts, &params, &facts) < 0) {
        return EXIT_FAILED;
    }
    if (db_rows(facts) == 0) {
        return command_usage(tr("there is no node %s; musubi node list shows them"), test.name);
    }
    test.facts = facts;
    test.list = options->json ? json_array() : NULL;
    int rc = run(&test);
    if (test.list) {
        json_print(test.list);
    }
    return rc < 0 ? EXIT_FAILED : test.has_fault ? EXIT_FOUND : EXIT_GOOD;
}
