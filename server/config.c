#include "server/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/access/nodes.h"
#include "lib/base/ini.h"
#include "lib/base/oid.h"
#include "lib/base/zone.h"
#include "lib/tls/tls.h"
#include "registry/registry.h"
#include "server/language.h"
#include "server/socket.h"

typedef enum KeyType {
    TYPE_STRING,
    TYPE_PATH,
    TYPE_FLAG,
    TYPE_CHOICE,
    TYPE_SET,
    TYPE_NUMBER,
    TYPE_DURATION,
    TYPE_SIZE,
    TYPE_DECIMAL,
    TYPE_ZONE,
    TYPE_OID,
    TYPE_FINGERPRINT,
    TYPE_HOME,
    TYPE_LISTEN,
    TYPE_LOOPBACK,
    TYPE_DATAGRAM,
    TYPE_NETWORKS,
    TYPE_RETENTION,
    TYPE_RESERVED,
} KeyType;

typedef enum Reload { FIXED, RELOAD } Reload;

typedef struct KeyRow {
    const char *section;
    const char *key;
    const char *full_name;
    const char *fallback;
    const char *range;
    const char *description;
    size_t offset; /* of the field in Config */
    KeyType type;
    Reload reload;
} KeyRow;

static const KeyRow rows[] = {
#define SECTION(section)
/* NOLINTBEGIN(bugprone-macro-parentheses): names of fields take none */
#define KEY(section, key, field, type, fallback, range, reload, description)                       \
    {#section,                                                                                     \
     #key,                                                                                         \
     #section "." #key,                                                                            \
     fallback,                                                                                     \
     range,                                                                                        \
     description,                                                                                  \
     offsetof(Config, section.field),                                                              \
     TYPE_##type,                                                                                  \
     reload},
/* NOLINTEND(bugprone-macro-parentheses) */
#define END_SECTION(section)
#include "server/config.def"
#undef SECTION
#undef KEY
#undef END_SECTION
};

/** One value on its way from text to its field. */
typedef struct Loader {
    Config *config;
    Arena *arena;
    ErrorList *errors;
    const KeyRow *row;
    const char *location;
    Str text;
} Loader;

static void *field_of(const Loader *loader)
{
    return (char *)loader->config + loader->row->offset;
}

static int fault(const Loader *loader, const char *expected)
{
    return error_add(loader->errors, ERR_CONFIGURATION, loader->location, "%s = %.*s: %s",
                     loader->row->key, STR_ARG(loader->text), tr(expected));
}

static int set_text(const Loader *loader)
{
    *(const char **)field_of(loader) = str_cstr(loader->arena, loader->text);
    return 0;
}

/** The folder of the file, with a slash behind it; absolute if the working directory is known. */
static Str folder_of(Arena *arena, const char *file)
{
    char working[PATH_MAX];
    const char *slash = strrchr(file, '/');
    Str folder = {file, slash ? (size_t)(slash + 1 - file) : 0};

    if (file[0] == '/' || !getcwd(working, sizeof(working))) {
        return folder;
    }
    return str_printf(arena, "%s/%.*s", working, STR_ARG(folder));
}

static int set_path(const Loader *loader)
{
    if (str_is_empty(loader->text) || loader->text.data[0] == '/') {
        return set_text(loader);
    }
    Str folder = folder_of(loader->arena, loader->config->file);
    const char *path =
        str_printf(loader->arena, "%.*s%.*s", STR_ARG(folder), STR_ARG(loader->text)).data;
    *(const char **)field_of(loader) = path;
    loader->config->sources[loader->row - rows].text = path; /* means the same in any folder */
    return 0;
}

static int set_flag(const Loader *loader)
{
    bool is_yes = str_equal(loader->text, STR("yes"));
    if (!is_yes && !str_equal(loader->text, STR("no"))) {
        return fault(loader, "write yes or no");
    }
    *(bool *)field_of(loader) = is_yes;
    return 0;
}

/** Position of the choice in "a|b|c", or -1. */
static int find_choice(const char *choices, Str wanted)
{
    Str rest = str_from(choices);
    Str choice;

    for (int i = 0; str_split_next(&rest, '|', &choice); i++) {
        if (str_equal(choice, wanted)) {
            return i;
        }
    }
    return -1;
}

static int fault_choice(const Loader *loader)
{
    return fault(loader, str_printf(loader->arena, tr("write one of %s"), loader->row->range).data);
}

static int set_choice(const Loader *loader)
{
    int position = find_choice(loader->row->range, loader->text);
    if (position < 0) {
        return fault_choice(loader);
    }
    *(unsigned *)field_of(loader) = (unsigned)position;
    return 0;
}

static int set_set(const Loader *loader)
{
    Str rest = loader->text;
    Str item;
    unsigned bits = 0;

    while (str_split_next(&rest, ',', &item)) {
        int position = find_choice(loader->row->range, str_trim(item));
        if (position < 0) {
            return fault_choice(loader);
        }
        bits |= 1U << position;
    }
    *(unsigned *)field_of(loader) = bits;
    return 0;
}

typedef struct Unit {
    const char *name;
    uint64_t factor;
} Unit;

static const Unit no_units[] = {{"", 1}, {NULL, 0}};
static const Unit duration_units[] = {{"ms", 1},      {"s", 1000},     {"min", 60000},
                                      {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const Unit size_units[] = {
    {"", 1}, {"KiB", 1024}, {"MiB", 1024UL * 1024}, {"GiB", 1024UL * 1024 * 1024}, {NULL, 0}};

/** A number with one of the units directly behind it. */
static bool parse_amount(Str text, const Unit *units, uint64_t *ret_value)
{
    size_t digits = 0;
    uint64_t number = 0;

    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    if (!str_to_u64(str_slice(text, 0, digits), &number)) {
        return false;
    }
    for (Str suffix = str_trim(str_from_offset(text, digits)); units->name; units++) {
        if (str_equal(suffix, str_from(units->name))) {
            return !__builtin_mul_overflow(number, units->factor, ret_value);
        }
    }
    return false;
}

bool config_parse_size(Str text, uint64_t *ret_bytes)
{
    return parse_amount(text, size_units, ret_bytes);
}

static int fault_range(const Loader *loader, const char *expected)
{
    return fault(
        loader,
        str_printf(loader->arena, tr("write %s within %s"), tr(expected), loader->row->range).data);
}

/** Reads an amount within the row's "least..most". */
static int parse_in_range(const Loader *loader, const Unit *units, const char *expected,
                          uint64_t *ret_value)
{
    Str range = str_from(loader->row->range);
    size_t dots = str_find(range, STR(".."));
    uint64_t least = 0;
    uint64_t most = 0;
    uint64_t value = 0;

    if (!parse_amount(str_slice(range, 0, dots), units, &least) ||
        !parse_amount(str_from_offset(range, dots + 2), units, &most)) {
        return fault(loader, "this key has no valid range");
    }
    if (!parse_amount(loader->text, units, &value) || value < least || value > most) {
        return fault_range(loader, expected);
    }
    *ret_value = value;
    return 0;
}

static int set_unsigned(const Loader *loader, const Unit *units, const char *expected)
{
    uint64_t value = 0;
    int rc = parse_in_range(loader, units, expected, &value);
    if (rc == 0) {
        *(unsigned *)field_of(loader) = (unsigned)MIN(value, UINT_MAX);
    }
    return rc;
}

static int set_number(const Loader *loader)
{
    return set_unsigned(loader, no_units, "a number");
}

static int set_duration(const Loader *loader)
{
    return set_unsigned(loader, duration_units, "a number with ms, s, min, h or d");
}

static int set_size(const Loader *loader)
{
    return parse_in_range(loader, size_units, "a number of bytes, or one with KiB, MiB or GiB",
                          field_of(loader));
}

/** Digits, and at most three behind a point. */
static bool parse_decimal(Str text, double *ret_value)
{
    size_t point = str_find_char(text, '.');
    Str decimals = point == SIZE_MAX ? STR_EMPTY : str_from_offset(text, point + 1);
    double scale = 1;
    uint64_t whole = 0;
    uint64_t rest = 0;

    if (!str_to_u64(str_slice(text, 0, point), &whole) || decimals.len > 3 ||
        (point != SIZE_MAX && !str_to_u64(decimals, &rest))) {
        return false;
    }
    for (size_t i = 0; i < decimals.len; i++) {
        scale *= 10;
    }
    *ret_value = (double)whole + (double)rest / scale;
    return true;
}

static int set_decimal(const Loader *loader)
{
    Str range = str_from(loader->row->range);
    size_t dots = str_find(range, STR(".."));
    double least = 0;
    double most = 0;
    double value = 0;

    if (!str_is_empty(loader->text) && (!parse_decimal(loader->text, &value) ||
                                        !parse_decimal(str_slice(range, 0, dots), &least) ||
                                        !parse_decimal(str_from_offset(range, dots + 2), &most) ||
                                        value < least || value > most)) {
        return fault_range(loader, "a number with up to three decimals");
    }
    *(double *)field_of(loader) = value;
    return 0;
}

static int set_zone(const Loader *loader)
{
    if (!zone_is_valid(str_cstr(loader->arena, loader->text))) {
        return fault(loader, "write the IANA name of a time zone, e.g. Asia/Tokyo");
    }
    return set_text(loader);
}

static int set_oid(const Loader *loader)
{
    if (!str_is_empty(loader->text) && !oid_is_valid(loader->text)) {
        return fault(loader, "write an OID of digits and dots, e.g. 1.3.6.1.4.1.21367.2011.2.3.7, "
                             "at most 64 characters");
    }
    return set_text(loader);
}

static int set_home(const Loader *loader)
{
    if (!str_is_empty(loader->text) && !oid_is_valid_urn(loader->text)) {
        return fault(loader,
                     "write urn:oid: and an OID, e.g. urn:oid:1.3.6.1.4.1.21367.2009.1.2.300");
    }
    return set_text(loader);
}

static int set_fingerprint(const Loader *loader)
{
    Str fingerprint = STR_EMPTY;

    if (!str_is_empty(loader->text) &&
        !tls_fingerprint_parse(loader->arena, loader->text, &fingerprint)) {
        return fault(loader, "write the SHA-256 of the certificate, 64 hexadecimal digits: openssl "
                             "x509 -noout -fingerprint -sha256 -in FILE");
    }
    *(const char **)field_of(loader) = str_cstr(loader->arena, fingerprint);
    return 0;
}

static int set_listen(const Loader *loader)
{
    SocketAddress address;

    if (str_is_empty(loader->text)) {
        return set_text(loader);
    }
    if (!socket_parse(str_cstr(loader->arena, loader->text), &address)) {
        return fault(loader, "write ADDRESS:PORT with a numeric address, e.g. 0.0.0.0:8443 or "
                             "[::]:8443, or nothing for off");
    }
    if (loader->row->type == TYPE_LOOPBACK && !address.is_loopback) {
        return fault(loader, "a listener without TLS is allowed on loopback only, e.g. "
                             "127.0.0.1:8080 or [::1]:8080");
    }
    return set_text(loader);
}

static int set_networks(const Loader *loader)
{
    SocketNetwork *networks = NULL;
    size_t count = 0;

    if (!socket_networks_parse(str_cstr(loader->arena, loader->text), &networks, &count)) {
        return fault(loader, "write addresses and networks with commas, e.g. 192.0.2.7, "
                             "10.1.0.0/16, 2001:db8::/32");
    }
    free(networks);
    return set_text(loader);
}

static const Unit retention_units[] = {{"", 1}, {"d", 1}, {"y", 365}, {NULL, 0}};

static int set_retention(const Loader *loader)
{
    if (str_equal(loader->text, STR("forever"))) {
        *(uint64_t *)field_of(loader) = 0;
        return 0;
    }
    return parse_in_range(loader, retention_units,
                          "forever, or a number with d (days) or y (years of 365 days)",
                          field_of(loader));
}

static int set_reserved(const Loader *loader)
{
    if (!str_is_empty(loader->text)) {
        error_warn(loader->errors, ERR_CONFIGURATION, loader->location,
                   tr("%s has no effect in this version"), loader->row->key);
    }
    return set_text(loader);
}

typedef int (*SetFn)(const Loader *loader);

static const SetFn setters[] = {
    [TYPE_STRING] = set_text,
    [TYPE_PATH] = set_path,
    [TYPE_FLAG] = set_flag,
    [TYPE_CHOICE] = set_choice,
    [TYPE_SET] = set_set,
    [TYPE_NUMBER] = set_number,
    [TYPE_DURATION] = set_duration,
    [TYPE_SIZE] = set_size,
    [TYPE_OID] = set_oid,
    [TYPE_HOME] = set_home,
    [TYPE_LISTEN] = set_listen,
    [TYPE_LOOPBACK] = set_listen,
    [TYPE_RESERVED] = set_reserved,
    [TYPE_FINGERPRINT] = set_fingerprint,
    [TYPE_DECIMAL] = set_decimal,
    [TYPE_ZONE] = set_zone,
    [TYPE_DATAGRAM] = set_listen,
    [TYPE_NETWORKS] = set_networks,
    [TYPE_RETENTION] = set_retention,
};

static bool is_set(const Config *config, ConfigKeyId key)
{
    return config->sources[key].line > 0;
}

static bool is_empty(const char *text)
{
    return text[0] == '\0';
}

const char *config_location(const Config *config, ConfigKeyId key, Arena *arena)
{
    if (!is_set(config, key)) {
        return config->file;
    }
    return str_printf(arena, "%s:%u", config->file, config->sources[key].line).data;
}

const char *config_key_name(ConfigKeyId key)
{
    return rows[key].full_name;
}

bool config_is_path(ConfigKeyId key)
{
    return rows[key].type == TYPE_PATH;
}

bool config_is_listener(ConfigKeyId key)
{
    return rows[key].type == TYPE_LISTEN || rows[key].type == TYPE_LOOPBACK;
}

bool config_has_role(const Config *config, Role role)
{
    return (config->server.roles & (1U << role)) != 0;
}

bool config_is_admin_remote(const Config *config)
{
    SocketAddress address;
    return socket_parse(config->server.admin_listen, &address) && !address.is_loopback;
}

static int find_row(const IniEntry *entry)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (str_equal(entry->section, str_from(rows[i].section)) &&
            str_equal(entry->key, str_from(rows[i].key))) {
            return i;
        }
    }
    return -1;
}

/** Notes what the file sets; a key that no row names is a fault. */
static void take_entries(Config *config, const IniFile *file, Arena *arena, ErrorList *errors)
{
    for (size_t i = 0; i < file->count; i++) {
        const IniEntry *entry = &file->entries[i];
        int row = find_row(entry);
        if (row < 0) {
            error_add(errors, ERR_CONFIGURATION,
                      str_printf(arena, "%s:%u", config->file, entry->line).data,
                      tr("unknown key %.*s in section [%.*s]; print-config --all shows every key"),
                      STR_ARG(entry->key), STR_ARG(entry->section));
            continue;
        }
        config->sources[row] =
            (ConfigSource){.text = str_cstr(arena, entry->value), .line = entry->line};
    }
}

static void set_fields(Config *config, Arena *arena, ErrorList *errors)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const Loader loader = {
            .config = config,
            .arena = arena,
            .errors = errors,
            .row = &rows[i],
            .location = config_location(config, (ConfigKeyId)i, arena),
            .text = str_from(config->sources[i].text),
        };
        (void)setters[rows[i].type](&loader); /* goes on: all faults are shown at once */
    }
}

/** Adds a fault about two keys that do not go together, at the line of one of them. */
static void conflict(const Config *config, Arena *arena, ErrorList *errors, ConfigKeyId key,
                     const char *text)
{
    error_add(errors, ERR_CONFIGURATION, config_location(config, key, arena), "%s: %s",
              rows[key].full_name, tr(text));
}

static void check_tls(Config *config, Arena *arena, ErrorList *errors)
{
    const bool has_certificate = !is_empty(config->server.tls_certificate);

    if (has_certificate && is_empty(config->server.tls_key)) {
        conflict(config, arena, errors, CONFIG_server_tls_certificate,
                 "set server.tls_key as well");
    }
    if (has_certificate && is_empty(config->server.tls_ca)) {
        conflict(config, arena, errors, CONFIG_server_tls_certificate,
                 "set server.tls_ca as well: every node must prove who it is");
    }
    if (has_certificate) {
        return;
    }
    static const ConfigKeyId listeners[] = {CONFIG_server_https_listen, CONFIG_server_mllp_listen};
    const char **fields[] = {&config->server.https_listen, &config->server.mllp_listen};
    for (size_t i = 0; i < ARRAY_LEN(listeners); i++) {
        if (is_set(config, listeners[i]) && !is_empty(*fields[i])) {
            conflict(config, arena, errors, listeners[i],
                     "needs server.tls_certificate, server.tls_key and server.tls_ca");
        }
        *fields[i] = "";
        config->sources[listeners[i]].text = "";
    }
    if (config_is_admin_remote(config)) {
        conflict(config, arena, errors, CONFIG_server_admin_listen,
                 "beyond loopback it needs server.tls_certificate, server.tls_key and "
                 "server.tls_ca");
    }
}

static void check_access(const Config *config, Arena *arena, ErrorList *errors)
{
    const bool is_plain =
        !is_empty(config->server.plain_http_listen) || !is_empty(config->server.plain_mllp_listen);

    if (config->access.mode == ACCESS_ENFORCE && is_plain && is_empty(config->server.plain_node)) {
        conflict(config, arena, errors,
                 is_empty(config->server.plain_http_listen) ? CONFIG_server_plain_mllp_listen
                                                            : CONFIG_server_plain_http_listen,
                 "a plain listener with access.mode = enforce needs server.plain_node, the "
                 "registered node whose rights its "
                 "peers have");
    }
}

static void check_database(Config *config, Arena *arena, ErrorList *errors)
{
    const bool has_conninfo = !is_empty(config->database.conninfo);

    if (has_conninfo && is_set(config, CONFIG_database_embedded) && config->database.embedded) {
        conflict(config, arena, errors, CONFIG_database_embedded,
                 "write no, or remove database.conninfo");
    }
    if (!has_conninfo && !config->database.embedded) {
        conflict(config, arena, errors, CONFIG_database_embedded,
                 "write yes, or set database.conninfo");
    }
    config->database.embedded = !has_conninfo;
    config->sources[CONFIG_database_embedded].text = has_conninfo ? "no" : "yes";
    if (is_empty(config->database.owner_conninfo)) {
        config->database.owner_conninfo = config->database.conninfo;
    }
}

static void check_domain(const Config *config, Arena *arena, ErrorList *errors)
{
    if (config_has_role(config, ROLE_REGISTRY) && is_empty(config->affinity_domain.codes) &&
        str_equal(str_from(config->sources[CONFIG_affinity_domain_code_check].text), STR("off")) ==
            false) {
        conflict(config, arena, errors, CONFIG_affinity_domain_codes,
                 "name the code sets of the affinity domain (codes.xml), or write "
                 "affinity_domain.code_check = off");
    }
    if ((config_has_role(config, ROLE_REGISTRY) || config_has_role(config, ROLE_PIX)) &&
        is_empty(config->affinity_domain.patient_id_authority)) {
        conflict(config, arena, errors, CONFIG_affinity_domain_patient_id_authority,
                 "required by the roles registry and pix");
    }
}

/** The order of the two is only known here when both are set. */
static void check_matching(const Config *config, Arena *arena, ErrorList *errors)
{
    const double link = config->matching.link_threshold;
    const double review = config->matching.review_threshold;

    if (link > 0 && review > link) {
        conflict(config, arena, errors, CONFIG_matching_review_threshold,
                 "write at most matching.link_threshold");
    }
}

/** HL7 v2 texts that are sent as they are. */
static void check_sender(const Config *config, Arena *arena, ErrorList *errors)
{
    static const ConfigKeyId keys[] = {CONFIG_identity_sending_application,
                                       CONFIG_identity_sending_facility};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = config->sources[keys[i]].text;
        if (is_empty(text) || strpbrk(text, "|^~\\&\r\n")) {
            conflict(config, arena, errors, keys[i], "write a name without | ^ ~ \\ and &");
        }
    }
}

static void check_repository(const Config *config, Arena *arena, ErrorList *errors)
{
    Str url = str_from(config->repository.registry_url);

    if (!config_has_role(config, ROLE_REPOSITORY)) {
        return;
    }
    if (is_empty(config->repository.unique_id)) {
        conflict(config, arena, errors, CONFIG_repository_unique_id,
                 "required by the role repository");
    }
    if (str_is_empty(url) && !config_has_role(config, ROLE_REGISTRY)) {
        conflict(config, arena, errors, CONFIG_repository_registry_url,
                 "this process has no registry of its own; write https://HOST:PORT/registry");
    }
    if (!str_is_empty(url) && !str_starts_with(url, STR("https://"))) {
        conflict(config, arena, errors, CONFIG_repository_registry_url,
                 "write https://HOST:PORT/registry");
    }
    if (!str_is_empty(url) && is_empty(config->server.tls_certificate)) {
        conflict(config, arena, errors, CONFIG_repository_registry_url,
                 "needs server.tls_certificate, server.tls_key and server.tls_ca");
    }
}

static void check_audit(const Config *config, Arena *arena, ErrorList *errors)
{
    Str repository = str_from(config->audit.repository);

    if (!str_equal(repository, STR("local")) && !str_starts_with(repository, STR("tls://"))) {
        conflict(config, arena, errors, CONFIG_audit_repository, "write local or tls://HOST:PORT");
    }
    if (str_starts_with(repository, STR("tls://")) && is_empty(config->server.tls_certificate)) {
        conflict(config, arena, errors, CONFIG_audit_repository,
                 "needs server.tls_certificate, server.tls_key and server.tls_ca");
    }
    if (config_has_role(config, ROLE_IMAGING)) {
        error_warn(errors, ERR_CONFIGURATION, config_location(config, CONFIG_server_roles, arena),
                   tr("the role imaging has no effect in this version"));
    }
}

/** Who is not named cannot be addressed: every assertion would be refused. */
static void check_xua(const Config *config, Arena *arena, ErrorList *errors)
{
    const unsigned demands[] = {config->xua.registry, config->xua.repository, config->xua.pix};
    static const ConfigKeyId keys[] = {CONFIG_xua_registry, CONFIG_xua_repository, CONFIG_xua_pix};

    for (size_t i = 0; i < ARRAY_LEN(demands); i++) {
        if (demands[i] != XUA_OFF && is_empty(config->xua.audiences)) {
            conflict(config, arena, errors, keys[i],
                     "set xua.audiences: the names of this service in AudienceRestriction");
        }
    }
}

static void set_defaults(Config *config)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        config->sources[i] = (ConfigSource){.text = rows[i].fallback, .line = 0};
    }
}

int config_load(const char *path, Arena *arena, ErrorList *errors, Config **ret_config)
{
    IniFile file = {0};
    const unsigned errors_before = errors->error_count;
    Config *config = ARENA_NEW(arena, Config);

    config->file = str_cstr(arena, str_from(path));
    int rc = ini_read(arena, errors, config->file, &file);
    if (rc < 0) {
        return rc;
    }
    set_defaults(config);
    take_entries(config, &file, arena, errors);
    set_fields(config, arena, errors);
    if (errors->error_count > errors_before) {
        return -ERR_CONFIGURATION;
    }
    check_tls(config, arena, errors);
    check_access(config, arena, errors);
    check_database(config, arena, errors);
    check_domain(config, arena, errors);
    check_matching(config, arena, errors);
    check_sender(config, arena, errors);
    check_repository(config, arena, errors);
    check_xua(config, arena, errors);
    check_audit(config, arena, errors);
    if (errors->error_count > errors_before) {
        return -ERR_CONFIGURATION;
    }
    *ret_config = config;
    return 0;
}

int config_check_reload(const Config *running, const Config *fresh, ErrorList *errors)
{
    int rc = 0;

    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (rows[i].reload == FIXED &&
            strcmp(running->sources[i].text, fresh->sources[i].text) != 0) {
            rc = error_add(
                errors, ERR_CONFIGURATION, config_location(fresh, (ConfigKeyId)i, errors->arena),
                "%s differs from the running server and needs a restart", rows[i].full_name);
        }
    }
    return rc;
}

void config_take_reloaded(Config *running, const Config *fresh, Arena *arena, StrBuf *changes)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *text = fresh->sources[i].text;
        if (rows[i].reload == RELOAD && strcmp(running->sources[i].text, text) != 0) {
            running->sources[i].text = str_cstr(arena, str_from(text));
            strbuf_printf(changes, " %s", rows[i].key);
        }
    }
}

/** Whether ini_parse() would cut the text: it was in quotes then, and holds none. */
static bool needs_quotes(const char *text)
{
    for (const char *c = strpbrk(text, "#;"); c; c = strpbrk(c + 1, "#;")) {
        if (c == text || c[-1] == ' ' || c[-1] == '\t') {
            return true;
        }
    }
    return str_trim(str_from(text)).len < strlen(text);
}

static void print_value(const char *text, FILE *out)
{
    fprintf(out, needs_quotes(text) ? "\"%s\"" : "%s", text);
}

void config_print(const Config *config, bool all, FILE *out)
{
    const char *section = "";

    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (!all && !is_set(config, (ConfigKeyId)i)) {
            continue;
        }
        if (strcmp(section, rows[i].section) != 0) {
            fprintf(out, "%s[%s]\n", section[0] ? "\n" : "", rows[i].section);
            section = rows[i].section;
        }
        if (all) {
            fprintf(out, "# %s%s%s%s\n", rows[i].description, rows[i].range[0] ? " (" : "",
                    rows[i].range, rows[i].range[0] ? ")" : "");
        }
        fprintf(out, "%s = ", rows[i].key);
        print_value(config->sources[i].text, out);
        fprintf(out, "\n");
    }
}

static const char *const type_names[] = {
    [TYPE_STRING] = "text",
    [TYPE_PATH] = "path",
    [TYPE_FLAG] = "yes or no",
    [TYPE_CHOICE] = "one of",
    [TYPE_SET] = "list of",
    [TYPE_NUMBER] = "number",
    [TYPE_DURATION] = "duration",
    [TYPE_SIZE] = "size",
    [TYPE_DECIMAL] = "decimal number",
    [TYPE_ZONE] = "time zone",
    [TYPE_OID] = "OID",
    [TYPE_FINGERPRINT] = "SHA-256",
    [TYPE_HOME] = "urn:oid:",
    [TYPE_LISTEN] = "address:port",
    [TYPE_LOOPBACK] = "loopback address:port",
    [TYPE_DATAGRAM] = "address:port of UDP",
    [TYPE_NETWORKS] = "addresses",
    [TYPE_RETENTION] = "forever, or days",
    [TYPE_RESERVED] = "not used yet",
};

void config_print_markdown(FILE *out)
{
    const char *section = "";

    fprintf(out, "# Configuration keys\n");
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const KeyRow *row = &rows[i];
        if (strcmp(section, row->section) != 0) {
            fprintf(out, "\n## [%s]\n\n", row->section);
            section = row->section;
        }
        fprintf(out, "- **%s** (%s%s%s, default %s%s%s%s): %s.\n", row->key, type_names[row->type],
                row->range[0] ? " " : "", row->range, row->fallback[0] ? "`" : "empty",
                row->fallback, row->fallback[0] ? "`" : "",
                row->reload == RELOAD ? ", taken over by SIGHUP" : "", row->description);
    }
}
