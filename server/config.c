#include <string.h>

#include "lib/access/nodes.h"
#include "lib/base/ini.h"
#include "server/config_rows.h"
#include "server/language.h"
#include "server/socket.h"

const KeyRow config_rows[CONFIG_KEY_COUNT] = {
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

bool config_is_set(const Config *config, ConfigKeyId key)
{
    return config->sources[key].line > 0;
}

static bool is_empty(const char *text)
{
    return text[0] == '\0';
}

const char *config_location(const Config *config, ConfigKeyId key, Arena *arena)
{
    if (!config_is_set(config, key)) {
        return config->file;
    }
    return str_printf(arena, "%s:%u", config->file, config->sources[key].line).data;
}

const char *config_key_name(ConfigKeyId key)
{
    return config_rows[key].full_name;
}

bool config_is_path(ConfigKeyId key)
{
    return config_rows[key].type == TYPE_PATH;
}

bool config_is_listener(ConfigKeyId key)
{
    return config_rows[key].type == TYPE_LISTEN || config_rows[key].type == TYPE_LOOPBACK;
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
        if (str_equal(entry->section, str_from(config_rows[i].section)) &&
            str_equal(entry->key, str_from(config_rows[i].key))) {
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

/** Adds a fault about two keys that do not go together, at the line of one of them. */
static void conflict(const Config *config, Arena *arena, ErrorList *errors, ConfigKeyId key,
                     const char *text)
{
    error_add(errors, ERR_CONFIGURATION, config_location(config, key, arena), "%s: %s",
              config_rows[key].full_name, tr(text));
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
        if (config_is_set(config, listeners[i]) && !is_empty(*fields[i])) {
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
    static const ConfigKeyId plain[] = {CONFIG_server_plain_http_listen,
                                        CONFIG_server_plain_mllp_listen,
                                        CONFIG_imaging_plain_dicom_listen};

    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (config->access.mode == ACCESS_ENFORCE && !is_empty(config->sources[plain[i]].text) &&
            is_empty(config->server.plain_node)) {
            conflict(config, arena, errors, plain[i],
                     "a plain listener with access.mode = enforce needs server.plain_node, the "
                     "registered node whose rights its "
                     "peers have");
            return;
        }
    }
}

static void check_database(Config *config, Arena *arena, ErrorList *errors)
{
    const bool has_conninfo = !is_empty(config->database.conninfo);

    if (has_conninfo && config_is_set(config, CONFIG_database_embedded) &&
        config->database.embedded) {
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
}

/** PS3.5 6.2: AE has 16 characters of the default repertoire without backslash. */
static bool is_ae_title(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~' || text[i] == '\\') {
            return false;
        }
    }
    return len > 0 && len <= 16 && text[0] != ' ' && text[len - 1] != ' ';
}

static void check_imaging(const Config *config, Arena *arena, ErrorList *errors)
{
    const bool has_listener =
        !is_empty(config->imaging.dicom_listen) || !is_empty(config->imaging.plain_dicom_listen);

    if (!config_has_role(config, ROLE_IMAGING)) {
        if (has_listener) {
            conflict(config, arena, errors,
                     is_empty(config->imaging.dicom_listen) ? CONFIG_imaging_plain_dicom_listen
                                                            : CONFIG_imaging_dicom_listen,
                     "needs imaging among server.roles");
        }
        return;
    }
    if (!config_has_role(config, ROLE_REPOSITORY)) {
        conflict(config, arena, errors, CONFIG_server_roles,
                 "the role imaging needs the role repository, whose store keeps the images");
    }
    if (is_empty(config->imaging.unique_id)) {
        conflict(config, arena, errors, CONFIG_imaging_unique_id, "required by the role imaging");
    }
    if (!is_ae_title(config->imaging.ae_title)) {
        conflict(config, arena, errors, CONFIG_imaging_ae_title,
                 "write up to 16 letters, digits and signs, without backslash");
    }
    if (!is_empty(config->imaging.dicom_listen) && is_empty(config->server.tls_certificate)) {
        conflict(config, arena, errors, CONFIG_imaging_dicom_listen,
                 "needs server.tls_certificate, server.tls_key and server.tls_ca");
    }
}

/** Of what this server submits itself. */
static void check_codes(const Config *config, Arena *arena, ErrorList *errors)
{
    const bool has_images = config_has_role(config, ROLE_IMAGING);
    const bool has_on_demand = config->repository.on_demand != 0;
    const struct {
        bool is_used;
        ConfigKeyId key;
        const char *text;
    } codes[] = {
        {has_images, CONFIG_imaging_class_code, config->imaging.class_code},
        {has_images, CONFIG_imaging_confidentiality_code, config->imaging.confidentiality_code},
        {has_images, CONFIG_imaging_type_code, config->imaging.type_code},
        {has_images, CONFIG_imaging_practice_setting_code, config->imaging.practice_setting_code},
        {has_images, CONFIG_imaging_facility_type_code, config->imaging.facility_type_code},
        {has_on_demand, CONFIG_repository_on_demand_class_code,
         config->repository.on_demand_class_code},
        {has_on_demand, CONFIG_repository_on_demand_confidentiality_code,
         config->repository.on_demand_confidentiality_code},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        const char *at = strstr(codes[i].text, "^^");
        if (codes[i].is_used && (!at || at == codes[i].text || is_empty(at + 2))) {
            conflict(config, arena, errors, codes[i].key, "write CODE^^SCHEME");
        }
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
        config->sources[i] = (ConfigSource){.text = config_rows[i].fallback, .line = 0};
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
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        config_set_field(config, arena, errors, (ConfigKeyId)i); /* all faults at once */
    }
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
    check_imaging(config, arena, errors);
    check_codes(config, arena, errors);
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
        if (config_rows[i].reload == FIXED &&
            strcmp(running->sources[i].text, fresh->sources[i].text) != 0) {
            rc = error_add(
                errors, ERR_CONFIGURATION, config_location(fresh, (ConfigKeyId)i, errors->arena),
                "%s differs from the running server and needs a restart", config_rows[i].full_name);
        }
    }
    return rc;
}

void config_take_reloaded(Config *running, const Config *fresh, Arena *arena, StrBuf *changes)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *text = fresh->sources[i].text;
        if (config_rows[i].reload == RELOAD && strcmp(running->sources[i].text, text) != 0) {
            running->sources[i].text = str_cstr(arena, str_from(text));
            strbuf_printf(changes, " %s", config_rows[i].key);
        }
    }
}
