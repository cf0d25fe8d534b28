#include <gnutls/gnutls.h>
#include <libpq-fe.h>
#include <libxml/xmlversion.h>
#include <lmdb.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <xmlsec/version.h>
#include <zstd.h>

#include "server/command/command.h"
#include "server/command/json.h"
#include "server/database/migrate.h"
#include "server/database/postgres_embedded.h"
#include "server/language.h"

/* Commands of a few lines: version, print-config, migrate. */

int command_version(const Options *options)
{
    char libpq_version[32];
    (void)snprintf(libpq_version, sizeof(libpq_version), "%d.%d", PQlibVersion() / 10000,
                   PQlibVersion() % 10000);
    const struct {
        const char *name;
        const char *version;
    } libraries[] = {
        {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
        {"GnuTLS", gnutls_check_version(NULL)},
        {"libmicrohttpd", MHD_get_version()},
        {"libxml2", LIBXML_DOTTED_VERSION},
        {"xmlsec1", XMLSEC_VERSION},
        {"lmdb", mdb_version(NULL, NULL, NULL)},
        {"zstd", ZSTD_versionString()},
        {"jansson", jansson_version_str()},
        {"libpq", libpq_version},
    };

    json_t *json =
        json_pack("{s:s, s:I}", "musubi", MUSUBI_VERSION, "schema", (json_int_t)migration_count);
    if (!options->json) {
        printf("musubi %s\nschema %zu\n", MUSUBI_VERSION, migration_count);
    }
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        json_object_set_new(json, libraries[i].name, json_string(libraries[i].version));
        if (!options->json) {
            printf("%s %s\n", libraries[i].name, libraries[i].version);
        }
    }
    if (options->json) {
        json_print(json);
    } else {
        json_decref(json);
    }
    return EXIT_GOOD;
}

int command_print_config(const Options *options)
{
    CommandContext context;

    if (options->markdown) {
        config_print_markdown(stdout);
        return EXIT_GOOD;
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        config_print(context.config, options->all, stdout);
    }
    return command_close(&context, status);
}

/** The role that serve uses: of the embedded cluster, or in conninfo where the owner is another. */
static const char *service_role(CommandContext *context)
{
    const Config *config = context->config;
    const char *role = NULL;

    if (config->database.embedded) {
        return POSTGRES_SERVICE_ROLE;
    }
    if (str_equal(str_from(config->database.conninfo), str_from(config->database.owner_conninfo))) {
        return NULL;
    }
    PQconninfoOption *parts = PQconninfoParse(config->database.conninfo, NULL);
    for (const PQconninfoOption *part = parts; part && part->keyword; part++) {
        if (str_equal(str_from(part->keyword), STR("user")) && part->val) {
            role = str_cstr(context->arena, str_from(part->val));
        }
    }
    PQconninfoFree(parts);
    return role;
}

int command_apply_migrations(CommandContext *context, unsigned *ret_applied)
{
    int rc = migrate_apply(context->conn, context->req, service_role(context), ret_applied);
    return rc < 0 ? rc
                  : migrate_set_retention(context->conn, context->req,
                                          context->config->audit.retention_days);
}

int command_migrate(const Options *options)
{
    CommandContext context;
    unsigned applied = 0;

    int status = command_open(options, &context);
    if (status == EXIT_GOOD && command_apply_migrations(&context, &applied) < 0) {
        status = EXIT_FAILED;
    }
    if (status == EXIT_GOOD) {
        command_say(options, tr("schema version %zu, %u migrations applied"), migration_count,
                    applied);
    }
    return command_close(&context, status);
}
