#include "server/command/identity_command.h"

#include "lib/base/clock.h"
#include "lib/xml/read.h"
#include "server/command/json.h"
#include "server/language.h"

#define CONNECTIONS 4
#define DEFAULT_LIMIT 100
#define MAX_LIMIT 1000000

/* Life */

static int open_command(const Options *options, CommandContext *context,
                        IdentityCommand *ret_command)
{
    const Config *config = context->config;
    char problem[512] = "";
    IdentityCommand *command = ret_command; /* services point into themselves: never copied */

    *command = (IdentityCommand){.options = options, .context = context};

    xml_init();
    if (!services_open_identity(&command->services, config, command_service_conninfo(context),
                                CONNECTIONS, problem, sizeof(problem))) {
        (void)error_add(&context->req->errors, ERR_CONFIGURATION, NULL, "%s", problem);
        return EXIT_FAILED;
    }
    if (authority_directory_open(command->services.pool, context->req,
                                 str_from(config->affinity_domain.patient_id_authority),
                                 str_from(config->affinity_domain.patient_id_namespace),
                                 &command->directory) < 0) {
        services_close(&command->services);
        return EXIT_FAILED;
    }
    command->arena = arena_new();
    command->authorities = authority_directory_hold(command->directory, command->arena);
    command->account = command_account(context->arena);
    context->req->peer_address = STR("127.0.0.1");
    context->req->reply_to = command->account;
    return EXIT_GOOD;
}

static int close_command(IdentityCommand *command, int status)
{
    arena_free(command->arena);
    authority_directory_free(command->directory);
    services_close(&command->services);
    return status;
}

int identity_command_run(const Options *options, CommandContext *context,
                         int (*run)(IdentityCommand *command))
{
    IdentityCommand command;
    int status = open_command(options, context, &command);

    return status == EXIT_GOOD ? close_command(&command, run(&command)) : status;
}

int identity_command_list(const IdentityCommand *command, const DbStatement *statement,
                          RowJsonFn json_of, RowPrintFn print_row)
{
    const CommandContext *context = command->context;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, command->arena);
    db_param_bool(&params, command->options->all);
    int rc = db_exec(context->conn, context->req, statement, &params, &rows);
    if (rc == 0) {
        command_list_rows(command->options, context, rows, json_of, print_row);
    }
    return command_status_of(rc);
}

int identity_command_status(int rc)
{
    static const ErrorCode of_input[] = {ERR_CONFIGURATION, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                                         ERR_HL7_DUPLICATE_KEY_IDENTIFIER, ERR_HL7_DATA_TYPE};

    for (size_t i = 0; i < ARRAY_LEN(of_input); i++) {
        if (rc == -(int)of_input[i]) {
            return EXIT_USAGE;
        }
    }
    return rc == 0 ? EXIT_GOOD : EXIT_FAILED;
}

/* What operators write */

static int fault(const IdentityCommand *command, const char *text, const char *problem)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, text, "%s", problem);
}

static int parse_cx(const IdentityCommand *command, Identifier *identifier)
{
    const Hl7Cx cx =
        hl7_cx_parse(command->arena, &er7_standard_delimiters, HL7_UTF_8, identifier->value);
    AuthorityFault authority_fault;

    identifier->value = cx.id;
    identifier->authority = authorities_find(command->authorities, &cx, &authority_fault);
    if (!identifier->authority) {
        Str problem = authority_fault_text(command->arena, authority_fault, &cx);
        return fault(command, identifier->location, str_cstr(command->arena, problem));
    }
    return 0;
}

static const AssigningAuthority *find_authority(const IdentityCommand *command, Str name)
{
    const AssigningAuthority *authority = authorities_by_oid(command->authorities, name);

    return authority ? authority : authorities_by_namespace(command->authorities, name);
}

/** "OID:123", "urn:oid:OID:123", "namespace:123": at the first colon behind an authority. */
static void parse_pair(const IdentityCommand *command, Identifier *identifier)
{
    Str text = identifier->value;

    if (str_starts_with(text, STR("urn:oid:"))) {
        text = str_from_offset(text, sizeof("urn:oid:") - 1);
    }
    for (size_t i = 0; i < text.len && !identifier->authority; i++) {
        if (text.data[i] == ':') {
            identifier->authority = find_authority(command, str_slice(text, 0, i));
            identifier->value =
                identifier->authority ? str_from_offset(text, i + 1) : identifier->value;
        }
    }
}

static int parse(const IdentityCommand *command, Str text, const char *location,
                 Identifier *ret_identifier)
{
    Identifier identifier = {
        .value = str_trim(text), .location = location, .authority_location = location};
    int rc = 0;

    if (str_find_char(identifier.value, '^') != SIZE_MAX) {
        rc = parse_cx(command, &identifier);
    } else {
        parse_pair(command, &identifier);
    }
    if (rc == 0 && identity_check_value(&command->context->req->errors, &identifier) < 0) {
        rc = -ERR_CONFIGURATION;
    }
    if (rc == 0) {
        *ret_identifier = identifier;
    }
    return rc;
}

int identity_command_parse(const IdentityCommand *command, const char *text,
                           Identifier *ret_identifier)
{
    return parse(command, str_from(text), text, ret_identifier);
}

int identity_command_parse_one(const IdentityCommand *command, const char *text,
                               Identifier *ret_identifier)
{
    return identity_command_parse_at(command, str_from(text), text, ret_identifier);
}

int identity_command_parse_at(const IdentityCommand *command, Str text, const char *location,
                              Identifier *ret_identifier)
{
    int rc = parse(command, text, location, ret_identifier);

    if (rc == 0 && !ret_identifier->authority) {
        ret_identifier->authority = command->authorities->affinity_domain;
    }
    return rc;
}

const AssigningAuthority *identity_command_authority(const IdentityCommand *command, Str name)
{
    const AssigningAuthority *authority = find_authority(command, name);

    if (!authority) {
        (void)error_add(&command->context->req->errors, ERR_CONFIGURATION, NULL,
                        "no authority %.*s is configured; musubi authority list shows them",
                        STR_ARG(name));
    }
    return authority;
}

int identity_command_limit(const Options *options, int64_t *ret_limit)
{
    uint64_t limit = DEFAULT_LIMIT;

    if (options->limit &&
        (!str_to_u64(str_from(options->limit), &limit) || limit == 0 || limit > MAX_LIMIT)) {
        return command_usage("--limit is a number from 1 to %d", MAX_LIMIT);
    }
    *ret_limit = (int64_t)limit;
    return EXIT_GOOD;
}

/** The event about these identifiers; objects are in the arena. */
static AuditEvent event_of(Arena *arena, AuditEventType type, const Str *patients, size_t count)
{
    AuditObject *objects = ARENA_ARRAY(arena, AuditObject, count);

    for (size_t i = 0; i < count; i++) {
        objects[i] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patients[i]};
    }
    return (AuditEvent){.type = type, .objects = objects, .object_count = count};
}

IdentitySource identity_command_source(const IdentityCommand *command, Arena *arena,
                                       AuditEventType type, const Str *patients, size_t count)
{
    AuditEvent *events = ARENA_ARRAY(arena, AuditEvent, count);

    for (size_t i = 0; i < count; i++) {
        events[i] = event_of(arena, type, &patients[i], 1);
    }
    return (IdentitySource){.name = command->account, .events = events, .event_count = count};
}

int identity_command_record_shown(const IdentityCommand *command, const Str *patients, size_t count)
{
    const AuditEvent event = event_of(command->arena, AUDIT_PATIENT_READ, patients, count);

    return audit_record_event(command->services.audit, command->context->req, &event);
}

/* What they read */

Str identity_command_cx(const IdentityCommand *command, const PersonNumber *number)
{
    const AssigningAuthority *found = authorities_by_id(command->authorities, number->authority);

    return found ? authority_format_cx(command->arena, found, number->value) : number->value;
}

Str identity_command_patient(const IdentityCommand *command, const PersonNumber *number)
{
    const AssigningAuthority *found = authorities_by_id(command->authorities, number->authority);

    return found ? hl7_cx_format(command->arena, number->value, found->oid) : number->value;
}

json_t *identity_authority_json(const AssigningAuthority *authority)
{
    const int64_t now_us = clock_utc_us();

    return json_pack("{s:o, s:o, s:o, s:o, s:b}", "oid", json_text(authority->oid), "namespace",
                     json_text(authority->namespace_id), "facility", json_text(authority->facility),
                     "kind", json_text(authority->kind), "is_valid",
                     authority->valid_from_us <= now_us && now_us < authority->valid_to_us);
}

static json_t *names_json(Arena *arena, const Demographics *demographics)
{
    PersonName *names = NULL;
    const size_t count = demographics_names(arena, demographics, DEMOGRAPHIC_name, &names);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:o, s:o}", "family", json_text(names[i].family), "given",
                            json_text(names[i].given), "type", json_text(names[i].type),
                            "representation", json_text(names[i].representation)));
    }
    return list;
}

static json_t *addresses_json(Arena *arena, const Demographics *demographics)
{
    Address *addresses = NULL;
    const size_t count = demographics_addresses(arena, demographics, &addresses);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        Str text = str_printf(arena, "%.*s%.*s%.*s%.*s", STR_ARG(addresses[i].state),
                              STR_ARG(addresses[i].city), STR_ARG(addresses[i].street),
                              STR_ARG(addresses[i].other));
        json_array_append_new(list, json_pack("{s:o, s:o}", "postal_code",
                                              json_text(addresses[i].postal_code), "address",
                                              json_text(text)));
    }
    return list;
}

static json_t *phones_json(Arena *arena, const Demographics *demographics)
{
    Telecom *telecoms = NULL;
    const size_t count = demographics_telecoms(arena, demographics, &telecoms);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(
            list, json_text(telecoms[i].number.len > 0 ? telecoms[i].number : telecoms[i].email));
    }
    return list;
}

json_t *identity_demographics_json(Arena *arena, const PersonRecord *record)
{
    Demographics demographics;

    if (!record->is_known) {
        return json_null();
    }
    demographics_read(record->text, &demographics);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "names", names_json(arena, &demographics),
                     "birth_date", json_text(demographics_birth_date(arena, &demographics)), "sex",
                     json_text(demographics_value(arena, &demographics, DEMOGRAPHIC_sex)),
                     "addresses", addresses_json(arena, &demographics), "phones",
                     phones_json(arena, &demographics));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

Str identity_demographics_line(Arena *arena, const json_t *demographics)
{
    StrBuf buf = {0};
    size_t i;
    json_t *item;

    if (!json_is_object(demographics)) {
        return STR("-");
    }
    json_array_foreach(json_object_get(demographics, "names"), i, item)
    {
        strbuf_printf(&buf, "%s%s %s", i > 0 ? " / " : "", text_of(item, "family"),
                      text_of(item, "given"));
    }
    strbuf_printf(&buf, "; %s %s", text_of(demographics, "birth_date"),
                  text_of(demographics, "sex"));
    json_array_foreach(json_object_get(demographics, "addresses"), i, item)
    {
        strbuf_printf(&buf, "; %s %s", text_of(item, "postal_code"), text_of(item, "address"));
    }
    json_array_foreach(json_object_get(demographics, "phones"), i, item)
    {
        strbuf_printf(&buf, "; %s", json_string_value(item));
    }
    Str line = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return line;
}

const char *identity_reason_text(Str reason)
{
    static const struct {
        const char *name;
        const char *text;
    } reasons[] = {
#define LINK_REASON(name, text) {#name, text},
#include "pix/link_reasons.def"
#undef LINK_REASON
    };

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (str_equal(reason, str_from(reasons[i].name))) {
            return reasons[i].text;
        }
    }
    return "";
}

json_t *identity_score_json(LinkScore score)
{
    return score.is_known ? json_real(score.weight) : json_null();
}

json_t *identity_at_json(Arena *arena, int64_t at_us)
{
    return at_us == INT64_MIN ? json_null() : json_text(clock_iso8601(arena, at_us));
}

json_t *identity_value_json(Str value)
{
    return str_is_empty(value) ? json_null() : json_text(value);
}

json_t *identity_instant_json(Arena *arena, const DbResult *rows, int row, int column)
{
    return identity_at_json(arena, db_timestamp_or(rows, row, column, INT64_MIN));
}

json_t *identity_text_json(const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column) ? json_null() : json_text(db_text(rows, row, column));
}
