#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "lib/base/error.h"

/** The configuration: every key of config.def, read-only once loaded. */

/* Fields of choices and sets are positions in the choices of config.def. */
typedef enum Role { ROLE_REGISTRY, ROLE_REPOSITORY, ROLE_PIX, ROLE_ATNA, ROLE_IMAGING } Role;

typedef enum XuaDemand { XUA_OFF, XUA_RECORD, XUA_REQUIRE } XuaDemand;
typedef enum XuaReuse { XUA_REUSE_SAME_NODE, XUA_REUSE_NEVER } XuaReuse;

typedef const char *ConfigText;
typedef ConfigText ConfigType_STRING;
typedef ConfigText ConfigType_PATH; /* absolute; empty if unset */
typedef ConfigText ConfigType_OID;
typedef ConfigText ConfigType_HOME;
typedef ConfigText ConfigType_LISTEN;
typedef ConfigText ConfigType_LOOPBACK;
typedef ConfigText ConfigType_FINGERPRINT; /* as TlsCertificate.fingerprint, or empty */
typedef ConfigText ConfigType_DATAGRAM;
typedef ConfigText ConfigType_NETWORKS; /* socket_networks_parse() */
typedef bool ConfigType_FLAG;
typedef unsigned ConfigType_CHOICE;
typedef unsigned ConfigType_SET;
typedef unsigned ConfigType_NUMBER;
typedef unsigned ConfigType_DURATION;  /* ms */
typedef uint64_t ConfigType_SIZE;      /* bytes */
typedef uint64_t ConfigType_RETENTION; /* days; 0: for ever */
typedef double ConfigType_DECIMAL;     /* 0: empty */
typedef ConfigText ConfigType_ZONE;

typedef enum ConfigKeyId {
#define SECTION(section)
#define KEY(section, key, field, type, fallback, range, reload, description)                       \
    CONFIG_##section##_##key,
#define END_SECTION(section)
#include "server/config.def"
#undef SECTION
#undef KEY
#undef END_SECTION
    CONFIG_KEY_COUNT
} ConfigKeyId;

/** Where a value comes from. */
typedef struct ConfigSource {
    const char *text; /* what is in force, as print-config writes it; paths are absolute */
    unsigned line;    /* 0: default */
} ConfigSource;

typedef struct Config {
    const char *file;
    ConfigSource sources[CONFIG_KEY_COUNT];
#define SECTION(section) struct {
#define KEY(section, key, field, type, fallback, range, reload, description)                       \
    ConfigType_##type field;
#define END_SECTION(section)                                                                       \
    }                                                                                              \
    section;
#include "server/config.def"
#undef SECTION
#undef KEY
#undef END_SECTION
} Config;

/**
 * Reads and checks the file. Faults and warnings are added with location "FILE:LINE".
 * Listeners that need TLS are empty in ret_config when they were left to their default and no
 * certificate is set; database.embedded is false when only conninfo is set.
 * @param ret_config  in the arena
 * @return 0 or -ERR_CONFIGURATION
 */
int config_load(const char *path, Arena *arena, ErrorList *errors, Config **ret_config) MUST_CHECK;

/** SIGHUP: whether fresh differs from running in reloadable keys only; else names each key that
 * needs a restart. */
int config_check_reload(const Config *running, const Config *fresh, ErrorList *errors) MUST_CHECK;

/**
 * Notes in running what fresh says of the reloadable keys, as sources: their fields are the
 * business of those who use them.
 * @param arena    of running
 * @param changes  the keys that changed are appended, each behind a space
 */
void config_take_reloaded(Config *running, const Config *fresh, Arena *arena, StrBuf *changes);

/** Whether the key's value is a file or folder; its text in sources is absolute or empty. */
bool config_is_path(ConfigKeyId key);

/** Whether the key's value is an address that the server listens on; empty: it does not. */
bool config_is_listener(ConfigKeyId key);

bool config_has_role(const Config *config, Role role);

/** Whether other hosts reach the admin listener, which then asks for an operator's certificate. */
bool config_is_admin_remote(const Config *config);

/** "FILE:LINE", or "FILE" for a default; for findings about this key. In the arena. */
const char *config_location(const Config *config, ConfigKeyId key, Arena *arena);

/** A number of bytes, or one with KiB, MiB or GiB. */
bool config_parse_size(Str text, uint64_t *ret_bytes) MUST_CHECK;
/** As a value of the file: "500ms", "10s". */
bool config_parse_duration(Str text, uint64_t *ret_ms) MUST_CHECK;

/** "section.key". */
const char *config_key_name(ConfigKeyId key);

/** Prints the keys that are set; with all also the defaults, each with its description as a
 * comment. */
void config_print(const Config *config, bool all, FILE *out);
/** Prints the reference page of all keys. */
void config_print_markdown(FILE *out);
