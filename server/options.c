#include "server/options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"
#include "server/language.h"

static const Command commands[] = {
#define COMMAND(name, handler, arguments, help) {name, handler, arguments, help},
#include "server/command/commands.def"
#undef COMMAND
};

/** An option's name and the field of Options that it sets. */
typedef struct OptionRow {
    const char *name;
    const char *value; /* NULL: the field is a bool */
    size_t offset;
    const char *commands; /* those that take it, with spaces between; NULL: all */
    const char *help;
} OptionRow;

#define TEXT_OPTION(name, field, value, commands, help)                                            \
    {                                                                                              \
        name, value, offsetof(Options, field), commands, help                                      \
    }
#define FLAG_OPTION(name, field, commands, help)                                                   \
    {                                                                                              \
        name, NULL, offsetof(Options, field), commands, help                                       \
    }

/** An option that means another thing to another command has a row for each, with the same field.
 */
static const OptionRow option_rows[] = {
    TEXT_OPTION("config", config, "FILE", NULL, "configuration file, otherwise " DEFAULT_CONFIG),
    FLAG_OPTION("json", json, NULL, "print JSON"),
    TEXT_OPTION("lang", lang, "LANGUAGE", NULL, "language of texts for operators, en or ja"),
    FLAG_OPTION("all", all, "print-config", "defaults and descriptions as well"),
    FLAG_OPTION("all", all, "disclosure", "list: also what was revoked or has ended"),
    FLAG_OPTION("markdown", markdown, "print-config", "the reference page of all keys"),
    FLAG_OPTION("dry-run", dry_run, "node facility authority patient disclosure",
                "import: check everything, change nothing"),
    TEXT_OPTION("facility", facility, "NAME", "node authority", "the facility it belongs to"),
    TEXT_OPTION("certificate", certificate, "FILE", "node", "its certificate, PEM"),
    TEXT_OPTION("fingerprint", fingerprint, "HEX", "node",
                "SHA-256 of its certificate instead; endpoint: of the server at the URL"),
    TEXT_OPTION("certificate", certificate, "FILE", "idp",
                "add: the certificate that signs its assertions, PEM"),
    TEXT_OPTION("fingerprint", fingerprint, "HEX", "idp",
                "revoke: only the certificate with this SHA-256"),
    TEXT_OPTION("fingerprint", fingerprint, "HEX", "subscriber",
                "add: SHA-256 of its certificate, where that does not name the host"),
    TEXT_OPTION("transactions", transactions, "LIST", "node",
                "what it may use, e.g. ITI-41,ITI-18, or * for all but ITI-81"),
    TEXT_OPTION("source", source, "LIST", "node",
                "MSH-3|MSH-4 that it may send as, e.g. 'HIS|HOSPITAL'; * stands for any"),
    TEXT_OPTION("source-id", source_id, "LIST", "node",
                "SubmissionSet.sourceId that it may submit with; without, any"),
    TEXT_OPTION("ae-title", ae_title, "LIST", "node", "its DICOM application entity titles"),
    FLAG_OPTION("operator", is_operator, "node", "may use the admin listener"),
    TEXT_OPTION(
        "role", role, "LIST", "node",
        "roles of its requests without a user, as musubi role list has them; without, node"),
    FLAG_OPTION("no-submit", submits_nothing, "node", "it submits nothing, whatever it may use"),
    TEXT_OPTION("also-for", also_for, "LIST", "node",
                "facilities besides its own for which it submits"),
    TEXT_OPTION("level", level, "LEVEL", "role", "add: the most it gets: none, view or download"),
    FLAG_OPTION("break-glass", breaks_glass, "role",
                "add: may see without a disclosure in an emergency that it declares"),
    TEXT_OPTION("name", name, "TEXT", "consent-policy", "add: its name"),
    TEXT_OPTION("decision", decision, "DECISION", "consent-policy",
                "add: what who acknowledges it decides, enroll or withdraw"),
    TEXT_OPTION("namespace", namespace_id, "NAMESPACE", "authority",
                "add: its name in messages (CX-4.1)"),
    TEXT_OPTION("kind", kind, "KIND", "authority",
                "add: the system that numbers its patients: emr (otherwise), pacs, department, "
                "other"),
    TEXT_OPTION("source", source, "APPLICATION|FACILITY", "authority",
                "add: MSH-3|MSH-4 of the one system that feeds it; * stands for any"),
    TEXT_OPTION("node", node, "NAME", "authority",
                "add: the registered node that alone may feed it"),
    TEXT_OPTION("valid-from", valid_from, "YYYY-MM-DD", "authority", "add: the first day of feeds"),
    TEXT_OPTION("valid-to", valid_to, "YYYY-MM-DD", "authority", "add: the last day of feeds"),
    TEXT_OPTION("derive", derive, "OID,RULE", "authority",
                "add: its numbers follow from those of another: pad=10, strip-zeros or "
                "prefix=TEXT"),
    TEXT_OPTION("node", node, "NAME", "ae", "the registered node that it belongs to"),
    TEXT_OPTION("authority", authority, "OID|NAMESPACE", "ae",
                "add: who assigns its PatientIDs; without, the only PACS domain of its facility, "
                "else its only domain"),
    TEXT_OPTION("issuers", issuers, "LIST", "ae",
                "add: authorities that its IssuerOfPatientID may name"),
    TEXT_OPTION("institutions", institutions, "LIST", "ae",
                "add: InstitutionNames of its own images, with semicolons; all others are foreign"),
    TEXT_OPTION("manifest", manifest, "WHO", "ae",
                "add: who makes manifests of its studies: auto (this server) or source (RAD-68)"),
    TEXT_OPTION("address", address, "HOST:PORT", "ae",
                "add: where it takes images (C-MOVE) and storage commitment reports"),
    FLAG_OPTION("plain", is_plain, "ae", "add: its address takes no TLS; loopback only"),
    TEXT_OPTION("fingerprint", fingerprint, "HEX", "ae",
                "add: SHA-256 of its certificate, where that does not name the host"),
    TEXT_OPTION("authority", authority, "OID|NAMESPACE", "authority",
                "test: only as a number of this authority"),
    TEXT_OPTION("kind", kind, "KIND", "subscriber",
                "add: consumer-v2 (ITI-10), consumer-v3 (ITI-46) or registry (ITI-8, ITI-64)"),
    TEXT_OPTION("url", url, "URL", "subscriber",
                "add: mllps://HOST:PORT, or https://HOST:PORT/PATH of a consumer-v3"),
    TEXT_OPTION("receiver", receiver, "APPLICATION|FACILITY", "subscriber",
                "add: MSH-5|MSH-6, or the OID of a consumer-v3"),
    TEXT_OPTION("authorities", authorities, "LIST", "subscriber",
                "add: its domains of interest, OIDs or namespaces; without, all"),
    TEXT_OPTION("url", url, "URL", "community",
                "add: of its Responding Gateway: ITI-38, and what has no address of its own"),
    TEXT_OPTION("retrieve-url", retrieve_url, "URL", "community", "add: of ITI-39"),
    TEXT_OPTION("imaging-url", imaging_url, "URL", "community", "add: of RAD-75"),
    TEXT_OPTION("discovery-url", discovery_url, "URL", "community", "add: of ITI-55"),
    TEXT_OPTION("name", name, "TEXT", "community", "add: its name, for operators"),
    TEXT_OPTION("fingerprint", fingerprint, "HEX", "community",
                "add: SHA-256 of its certificate, where that does not name the host"),
    TEXT_OPTION("timeout", timeout, "TIME", "community",
                "add: within which it has to answer, e.g. 500ms or 10s (otherwise)"),
    FLAG_OPTION("disabled", is_disabled, "community", "add: it is not asked"),
    TEXT_OPTION("limit", limit, "N", "study", "at most N, otherwise 100"),
    TEXT_OPTION("limit", limit, "N", "patient", "review, waiting: at most N, otherwise 100"),
    TEXT_OPTION("form", form, "NUMBER", "patient", "enroll, withdraw: number of the signed form"),
    TEXT_OPTION("document", document, "UNIQUEID", "patient",
                "enroll, withdraw: the consent document that says so"),
    TEXT_OPTION("patient", patient, "ID|*", "disclosure",
                "any number of the patient; * for every patient"),
    TEXT_OPTION("source", source, "FACILITY|*", "disclosure consent-policy",
                "whose documents; * for any"),
    TEXT_OPTION("reader", reader, "FACILITY|*", "disclosure consent-policy",
                "who may see them; * for any"),
    TEXT_OPTION("classes", classes, "LIST", "disclosure consent-policy",
                "classCodes as CODE^^SCHEME; without, all"),
    FLAG_OPTION("permit", permits, "disclosure consent-policy", "they are shown"),
    FLAG_OPTION("deny", denies, "disclosure consent-policy",
                "they are not shown, whatever else permits it"),
    TEXT_OPTION("level", level, "LEVEL", "disclosure consent-policy",
                "view (otherwise) or download: a permission reaches up to it, a denial from it on"),
    TEXT_OPTION("from", from, "YYYY-MM-DD", "disclosure",
                "the first day of documents (serviceStartTime, else creationTime)"),
    TEXT_OPTION("to", to, "YYYY-MM-DD", "disclosure", "the last day of documents"),
    TEXT_OPTION("valid-from", valid_from, "YYYY-MM-DD", "disclosure",
                "the first day on which the rule counts"),
    TEXT_OPTION("valid-to", valid_to, "YYYY-MM-DD", "disclosure",
                "the last day on which the rule counts"),
    TEXT_OPTION("reason", reason, "TEXT", "disclosure", "add: why, for whoever reads the list"),
    TEXT_OPTION("acknowledge", acknowledge, "N", "disclosure",
                "notices: somebody has looked at it"),
    FLAG_OPTION("all", all, "disclosure", "notices: also those that are acknowledged"),
    TEXT_OPTION("patient", patient, "ID", "document",
                "history: any number of the patient; of the affinity domain, as it was then"),
    TEXT_OPTION("at", at, "TIME", "document",
                "history: as of this time, \"YYYY-MM-DD hh:mm:ss\" local time, or with a zone"),
    TEXT_OPTION("node", node, "NAME", "document",
                "history: what this node was answered; without, whatever there was"),
    TEXT_OPTION("status", status, "STATUS", "document",
                "history: Approved (otherwise), Deprecated or all"),
    TEXT_OPTION("classes", classes, "LIST", "document",
                "history: classCodes as CODE^^SCHEME; without, all"),
    TEXT_OPTION("types", types, "LIST", "document",
                "history: typeCodes as CODE^^SCHEME; without, all"),
    TEXT_OPTION("node", node, "NAME", "why", "the node that asks"),
    TEXT_OPTION("user", user, "ID", "why document", "the person of an assertion (XUA)"),
    TEXT_OPTION("role", role, "CODE^^SYSTEM", "why document", "a role of that person"),
    TEXT_OPTION("purpose", purpose, "CODE^^SYSTEM", "why document",
                "the PurposeOfUse, e.g. BTG^^2.16.840.1.113883.5.8; --reason is its text"),
    TEXT_OPTION("reason", reason, "TEXT", "why document", "the reason of an emergency"),
    TEXT_OPTION("document", document, "UNIQUEID", "why", "the document"),
    TEXT_OPTION("study", study, "UID", "why", "the study of images (Study Instance UID)"),
    TEXT_OPTION("patient", patient, "ID", "why", "any number of the patient"),
    TEXT_OPTION("facility", facility, "NAME", "why", "whose documents of that patient"),
    TEXT_OPTION("node", node, "NAME", "submission", "import: the registered node that submits"),
    TEXT_OPTION("threads", threads, "N", "submission",
                "import: submissions in work at a time, otherwise two for each processor"),
    TEXT_OPTION("batch", batch, "N", "submission",
                "import: submissions in one transaction, otherwise 256"),
    TEXT_OPTION("years", years, "N", "retention",
                "add: from the later of creationTime and registration on"),
    TEXT_OPTION("days", days, "N", "retention", "add: the same in days"),
    TEXT_OPTION("facility", facility, "NAME", "retention", "add: whose documents; without, any"),
    TEXT_OPTION("classes", classes, "LIST", "retention",
                "add: classCodes as CODE^^SCHEME, a rule for each; without, all"),
    TEXT_OPTION("patient", patient, "ID", "hold", "add: any number of the patient"),
    TEXT_OPTION("document", document, "UNIQUEID", "hold", "add: only this document"),
    TEXT_OPTION("reason", reason, "TEXT", "retention hold", "add: why, for whoever reads the list"),
    FLAG_OPTION("all", all, "retention hold", "list: also what counts no more"),
    TEXT_OPTION("head", head, "FILE", "audit", "verify: signed heads that a third party has kept"),
    TEXT_OPTION("listener", listener, "NAME", "check-tls",
                "only this one: https, mllp, admin, syslog or dicom"),
    TEXT_OPTION("rate", rate, "BYTES", "scrub backup", "most bytes per second, e.g. 50MiB"),
    FLAG_OPTION("full", full, "backup",
                "read everything again, also what did not change, and mend damaged pieces"),
    FLAG_OPTION("without-keys", without_keys, "backup", "leave the private TLS key out"),
    TEXT_OPTION("keep", keep, "N", "backup", "remove all backups but the newest N"),
    TEXT_OPTION("generation", generation, "TIME", "backup restore",
                "this backup, as list names it; without, the newest (verify: all)"),
    FLAG_OPTION("csv", csv, "audit", "print CSV for a spreadsheet"),
    FLAG_OPTION("all", all, "audit", "search: every record of the repository"),
    TEXT_OPTION("patient", patient, "ID", "audit",
                "search: about this patient, under any number of the person"),
    TEXT_OPTION("user", user, "NAME", "audit", "search: of this user: UserID, or user@issuer"),
    TEXT_OPTION("node", node, "NAME", "audit",
                "search: of this node: its name, address or AE title"),
    TEXT_OPTION("object", object, "ID", "audit",
                "search: about this document, submission set, study or other object"),
    TEXT_OPTION("event", event, "LIST", "audit", "search: of these events, e.g. ITI-18,110114"),
    TEXT_OPTION("action", action, "LIST", "audit", "search: of C, R, U, D, E, with commas"),
    TEXT_OPTION("outcome", outcome, "OUTCOME", "audit", "search: success or failure"),
    TEXT_OPTION("source", source, "ID", "audit", "search: reported by this AuditSourceID"),
    TEXT_OPTION("sender", sender, "NAME", "audit",
                "search: handed over by this node, or from this address"),
    TEXT_OPTION("from", from, "TIME", "audit",
                "from this day, or \"YYYY-MM-DD hh:mm\", local time"),
    TEXT_OPTION("to", to, "TIME", "audit", "to the end of this day, or before this local time"),
    TEXT_OPTION("limit", limit, "N", "audit", "search: the first N records"),
};

#define OPTION_COUNT ARRAY_LEN(option_rows)
/** Values of struct option are row numbers behind this, clear of characters. */
#define FIRST_VALUE 256
#define HELP_VALUE (FIRST_VALUE + (int)OPTION_COUNT)

static const Command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static void print_forms(const Command *command, FILE *out)
{
    Str rest = str_from(command->arguments);
    Str form = STR_EMPTY;
    bool has_form = str_split_next(&rest, '\n', &form);
    do {
        fprintf(out, "  musubi %s%s%.*s\n", command->name, form.len > 0 ? " " : "", STR_ARG(form));
        has_form = has_form && str_split_next(&rest, '\n', &form);
    } while (has_form);
}

/** @param command  NULL: the options that every command takes */
static void print_options(const Command *command)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (!row->commands ||
            (command && str_has_word(str_from(row->commands), str_from(command->name)))) {
            char text[32];
            (void)snprintf(text, sizeof(text), "%s%s%s", row->name, row->value ? "=" : "",
                           row->value ? row->value : "");
            printf("  --%-19s %s\n", text, tr(row->help));
        }
    }
}

static void print_command_help(const Command *command)
{
    printf("musubi %s: %s\n\n", command->name, tr(command->help));
    print_forms(command, stdout);
    (void)fputs(tr("\noptions:\n"), stdout);
    print_options(command);
}

static void print_help(void)
{
    (void)fputs(tr("usage: musubi COMMAND [ARGUMENTS] [OPTIONS]\n\ncommands:\n"), stdout);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        printf("  %-13s %s\n", commands[i].name, tr(commands[i].help));
    }
    (void)fputs(tr("\noptions of every command:\n"), stdout);
    print_options(NULL);
    (void)fputs(tr("\nmusubi COMMAND --help shows its arguments and options\n"
                   "exit status: 0 good, 1 found something, 2 usage or configuration, 3 could not "
                   "do it\n"),
                stdout);
}

static void show_help(const Command *command)
{
    if (command) {
        print_command_help(command);
    } else {
        print_help();
    }
}

int options_usage(const char *command)
{
    fprintf(stderr, "musubi: %s\n", tr("write"));
    print_forms(find_command(command), stderr);
    return EXIT_USAGE;
}

static void fill_long_options(struct option *long_options)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        long_options[i] = (struct option){
            .name = option_rows[i].name,
            .has_arg = option_rows[i].value ? required_argument : no_argument,
            .val = FIRST_VALUE + (int)i,
        };
    }
    long_options[OPTION_COUNT] =
        (struct option){.name = "help", .has_arg = no_argument, .val = HELP_VALUE};
}

static void set_option(Options *options, const OptionRow *row, const char *value)
{
    void *field = (char *)options + row->offset;

    if (row->value) {
        *(const char **)field = value;
    } else {
        *(bool *)field = true;
    }
}

static int usage_fault(const char *text, const char *what)
{
    fprintf(stderr, tr("musubi: %s%s%s; musubi --help shows commands and options\n"), tr(text),
            what[0] ? " " : "", what);
    return EXIT_USAGE;
}

static int take_arguments(int argc, char **argv, Options *options, const Command **ret_command)
{
    if (optind >= argc) {
        return usage_fault("a command is missing", "");
    }
    const Command *command = find_command(argv[optind]);
    if (!command) {
        return usage_fault("unknown command", argv[optind]);
    }
    options->command = argv[optind++];
    if (argc - optind > OPTIONS_MAX_ARGUMENTS) {
        return usage_fault("too many arguments", "");
    }
    while (optind < argc) {
        options->arguments[options->argument_count++] = argv[optind++];
    }
    *ret_command = command;
    return EXIT_GOOD;
}

int options_parse(int argc, char **argv, Options *ret_options, const Command **ret_command)
{
    struct option long_options[OPTION_COUNT + 2] = {{0}};
    Options options = {.config = DEFAULT_CONFIG};
    bool wants_help = false;
    int value;

    fill_long_options(long_options);
    opterr = 0;
    while ((value = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (value == HELP_VALUE) {
            wants_help = true;
            continue;
        }
        if (value < FIRST_VALUE) {
            return usage_fault("unknown option, or one without its value:", argv[optind - 1]);
        }
        set_option(&options, &option_rows[value - FIRST_VALUE], optarg);
    }
    if (options.lang && !language_set(options.lang)) {
        return usage_fault("unknown language, write en or ja instead of", options.lang);
    }
    if (wants_help) {
        show_help(optind < argc ? find_command(argv[optind]) : NULL);
        *ret_command = NULL;
        return EXIT_GOOD;
    }
    int status = take_arguments(argc, argv, &options, ret_command);
    if (status == EXIT_GOOD) {
        *ret_options = options;
    }
    return status;
}
