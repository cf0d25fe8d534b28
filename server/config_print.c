/** print-config, and the reference page of all keys. */
#include <string.h>

#include "server/config_rows.h"

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
        if (!all && !config_is_set(config, (ConfigKeyId)i)) {
            continue;
        }
        if (strcmp(section, config_rows[i].section) != 0) {
            fprintf(out, "%s[%s]\n", section[0] ? "\n" : "", config_rows[i].section);
            section = config_rows[i].section;
        }
        if (all) {
            fprintf(out, "# %s%s%s%s\n", config_rows[i].description,
                    config_rows[i].range[0] ? " (" : "", config_rows[i].range,
                    config_rows[i].range[0] ? ")" : "");
        }
        fprintf(out, "%s = ", config_rows[i].key);
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
};

void config_print_markdown(FILE *out)
{
    const char *section = "";

    fprintf(out, "# Configuration keys\n");
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const KeyRow *row = &config_rows[i];
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
