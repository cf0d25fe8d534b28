#include "lib/base/zone.h"
#include "server/command/csv.h"
#include "server/command/json.h"
#include "server/command/patient.h"
#include "server/language.h"

/* musubi patient import: the numbers and demographics that a hospital hands over as CSV, fed as if
 * its system had sent them. Every row is checked before the first is fed. */

#define FEED_TIMEOUT_MS 60000
#define MAX_FIELD_LEN 1000
#define CSV_LOCATION "patient import"

enum {
    CSV_AUTHORITY,
    CSV_IDENTIFIER,
    CSV_FAMILY,
    CSV_GIVEN,
    CSV_FAMILY_KANA,
    CSV_GIVEN_KANA,
    CSV_FAMILY_ALPHABETIC,
    CSV_GIVEN_ALPHABETIC,
    CSV_BIRTH_DATE,
    CSV_SEX,
    CSV_POSTAL_CODE,
    CSV_ADDRESS,
    CSV_PHONE,
    CSV_COUNT
};

static const char *const csv_columns[CSV_COUNT] = {
    [CSV_AUTHORITY] = "authority",
    [CSV_IDENTIFIER] = "identifier",
    [CSV_FAMILY] = "family",
    [CSV_GIVEN] = "given",
    [CSV_FAMILY_KANA] = "family_kana",
    [CSV_GIVEN_KANA] = "given_kana",
    [CSV_FAMILY_ALPHABETIC] = "family_alphabetic",
    [CSV_GIVEN_ALPHABETIC] = "given_alphabetic",
    [CSV_BIRTH_DATE] = "birth_date",
    [CSV_SEX] = "sex",
    [CSV_POSTAL_CODE] = "postal_code",
    [CSV_ADDRESS] = "address",
    [CSV_PHONE] = "phone",
};

/** A row that may be fed. */
typedef struct PatientRow {
    const CsvRow *csv;
    Identifier identifier;
    Str birth_date; /* YYYYMMDD, or empty */
} PatientRow;

static void fault(const IdentityCommand *command, const PatientRow *row, const char *text)
{
    (void)error_add(&command->context->req->errors, ERR_CONFIGURATION, row->identifier.location,
                    "%s", text);
}

static void check_texts(const IdentityCommand *command, const PatientRow *row)
{
    for (size_t i = 0; i < CSV_COUNT; i++) {
        Str field = row->csv->fields[i];
        bool is_good = field.len <= MAX_FIELD_LEN;
        for (size_t at = 0; at < field.len && is_good; at++) {
            is_good = (unsigned char)field.data[at] >= ' ';
        }
        if (!is_good) {
            Str text =
                str_printf(command->arena, "column %s holds a line end, or more than %d bytes",
                           csv_columns[i], MAX_FIELD_LEN);
            fault(command, row, text.data);
        }
    }
}

static void check_demographics(const IdentityCommand *command, PatientRow *row)
{
    Str birth_date = row->csv->fields[CSV_BIRTH_DATE];
    Str sex = row->csv->fields[CSV_SEX];
    struct tm day;

    if (birth_date.len > 0 && !zone_parse_day(birth_date, &day)) {
        fault(command, row, "write the birth date as YYYY-MM-DD or YYYYMMDD, or leave it empty");
    } else if (birth_date.len > 0) {
        row->birth_date = str_printf(command->arena, "%04d%02d%02d", day.tm_year + 1900,
                                     day.tm_mon + 1, day.tm_mday);
    }
    if (sex.len > 1 || (sex.len == 1 && !strchr("FMOUAN", sex.data[0]))) {
        fault(command, row, "write the sex as F, M, O, U, A or N, or leave it empty");
    }
}

static void check_row(const IdentityCommand *command, const CsvFile *file, const CsvRow *csv,
                      PatientRow *row)
{
    const char *location = csv_location(command->arena, file, csv);
    Str authority = csv->fields[CSV_AUTHORITY];

    *row = (PatientRow){.csv = csv,
                        .identifier = {.value = csv->fields[CSV_IDENTIFIER],
                                       .location = location,
                                       .authority_location = location}};
    row->identifier.authority = authorities_by_oid(command->authorities, authority);
    if (!row->identifier.authority) {
        row->identifier.authority = authorities_by_namespace(command->authorities, authority);
    }
    if (!row->identifier.authority) {
        fault(command, row,
              "authority: write the OID or the namespace of one that musubi authority list shows");
    }
    (void)!identity_check_value(&command->context->req->errors, &row->identifier);
    check_texts(command, row);
    check_demographics(command, row);
}

static int compare_rows(const void *a, const void *b)
{
    const PatientRow *one = *(const PatientRow *const *)a;
    const PatientRow *other = *(const PatientRow *const *)b;
    const AssigningAuthority *one_authority = one->identifier.authority;
    const AssigningAuthority *other_authority = other->identifier.authority;

    if (one_authority != other_authority) {
        return one_authority < other_authority ? -1 : 1;
    }
    const int order = str_compare(one->identifier.value, other->identifier.value);
    return order != 0 ? order
                      : (one->csv->line > other->csv->line) - (one->csv->line < other->csv->line);
}

/** A number stands in one row only: two rows may be two patients. */
static void check_twice(const IdentityCommand *command, const PatientRow *rows, size_t count)
{
    const PatientRow **sorted = ARENA_ARRAY(command->arena, const PatientRow *, count);

    for (size_t i = 0; i < count; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, count, sizeof(*sorted), compare_rows);
    for (size_t i = 1; i < count; i++) {
        if (sorted[i]->identifier.authority == sorted[i - 1]->identifier.authority &&
            str_equal(sorted[i]->identifier.value, sorted[i - 1]->identifier.value)) {
            fault(command, sorted[i], "this identifier stands above already");
        }
    }
}

/* Feed */

static void set_names(Arena *arena, const Str *fields, Demographics *demographics)
{
    static const struct {
        int family;
        const char *representation;
    } scripts[] = {{CSV_FAMILY, "I"}, {CSV_FAMILY_KANA, "P"}, {CSV_FAMILY_ALPHABETIC, "A"}};
    PersonName names[ARRAY_LEN(scripts)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        const PersonName name = {
            .family = fields[scripts[i].family],
            .given = fields[scripts[i].family + 1],
            .type = STR("L"),
            .representation = str_from(scripts[i].representation),
        };
        if (name.family.len + name.given.len > 0) {
            names[count++] = name;
        }
    }
    demographics_set_names(arena, demographics, DEMOGRAPHIC_name, names, count);
}

static Demographics demographics_of(Arena *arena, const PatientRow *row)
{
    const Str *fields = row->csv->fields;
    Demographics demographics = {0};
    const Address address = {
        .street = fields[CSV_ADDRESS], .postal_code = fields[CSV_POSTAL_CODE], .type = STR("H")};
    const Telecom telecom = {
        .number = fields[CSV_PHONE], .use = STR("PRN"), .equipment = STR("PH")};

    set_names(arena, fields, &demographics);
    demographics_set_value(arena, &demographics, DEMOGRAPHIC_birth_time, row->birth_date);
    demographics_set_value(arena, &demographics, DEMOGRAPHIC_sex, fields[CSV_SEX]);
    if (address.street.len + address.postal_code.len > 0) {
        demographics_set_addresses(arena, &demographics, &address, 1);
    }
    if (telecom.number.len > 0) {
        demographics_set_telecoms(arena, &demographics, &telecom, 1);
    }
    return demographics;
}

/** Whether the identifier is known, or was: what the audit record says of the row. */
static int look_up(const IdentityCommand *command, Request *req, const Identifier *identifier,
                   bool *ret_is_known)
{
    CrossReference reference = {0};
    int rc =
        identity_find_all(command->services.pix, req, command->authorities, identifier, &reference);
    *ret_is_known = reference.is_known || reference.subsumed_by.len > 0;
    return rc;
}

/** One transaction. */
static int feed_identifier(const IdentityCommand *command, Request *req, const PatientRow *row,
                           bool *ret_is_new)
{
    const Str patient =
        hl7_cx_format(req->arena, row->identifier.value, row->identifier.authority->oid);
    bool is_known = false;
    int rc = look_up(command, req, &row->identifier, &is_known);
    const IdentityFeed feed = {
        .identifiers = &row->identifier,
        .identifier_count = 1,
        .demographics = demographics_of(req->arena, row),
        .source = identity_command_source(command, req->arena,
                                          is_known ? AUDIT_PATIENT_UPDATE : AUDIT_PATIENT_CREATE,
                                          &patient, 1),
    };

    return rc < 0 ? rc : identity_feed(command->services.pix, req, &feed, ret_is_new);
}

/** What it refuses is told with the line. */
static int feed_row(const IdentityCommand *command, const PatientRow *row, bool *ret_is_new)
{
    Request *req = request_new(FEED_TIMEOUT_MS);

    req->peer_address = command->context->req->peer_address;
    req->reply_to = command->account;
    int rc = feed_identifier(command, req, row, ret_is_new);
    for (const Error *error = req->errors.first; error; error = error->next) {
        error_add_str(&command->context->req->errors, error->code, error->severity,
                      str_from(row->identifier.location), error->context);
    }
    request_free(req);
    return rc;
}

static int feed_rows(const IdentityCommand *command, const PatientRow *rows, size_t count)
{
    size_t new_count = 0;
    size_t fed = 0;
    int rc = 0;

    for (; fed < count && rc == 0; fed++) {
        bool is_new = false;
        rc = feed_row(command, &rows[fed], &is_new);
        new_count += is_new;
    }
    if (rc == 0) {
        command_say(command->options, tr("%zu identifiers imported, %zu of them new"), count,
                    new_count);
    } else {
        (void)error_add(&command->context->req->errors, ERR_CONFIGURATION, CSV_LOCATION,
                        "the rows before this one are in; correct it and import the same file "
                        "again: known rows change nothing");
    }
    return identity_command_status(rc);
}

static int run_import(IdentityCommand *command)
{
    ErrorList *errors = &command->context->req->errors;
    CsvFile file;
    int rc = csv_read(command->arena, errors, command->options->arguments[1], csv_columns,
                      CSV_COUNT, &file);
    if (rc < 0) {
        return command_status_of(rc);
    }
    PatientRow *rows = ARENA_ARRAY(command->arena, PatientRow, file.row_count);
    for (size_t i = 0; i < file.row_count; i++) {
        check_row(command, &file, &file.rows[i], &rows[i]);
    }
    check_twice(command, rows, file.row_count);
    if (error_list_has_errors(errors)) {
        return EXIT_USAGE;
    }
    if (command->options->dry_run) {
        command_say(command->options, tr("%zu identifiers checked, nothing changed"),
                    file.row_count);
        return EXIT_GOOD;
    }
    return feed_rows(command, rows, file.row_count);
}

int patient_import(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_import);
}
