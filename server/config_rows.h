#pragma once

#include <stddef.h>

#include "server/config.h"

/** The rows of config.def as data: config.c loads and checks, config_values.c reads one value,
 * config_print.c writes them. */

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

extern const KeyRow config_rows[CONFIG_KEY_COUNT];

/** Whether the file sets it. */
bool config_is_set(const Config *config, ConfigKeyId key);

/** Reads the text of the key's source into its field, or adds a fault. */
void config_set_field(Config *config, Arena *arena, ErrorList *errors, ConfigKeyId key);
