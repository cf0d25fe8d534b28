#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"

typedef struct Fixture {
    Arena *arena;
    ErrorList errors;
    char path[64];
    Config *config;
} Fixture;

static int setup(void **state)
{
    Arena *arena = arena_new();
    Fixture *fixture = ARENA_NEW(arena, Fixture);
    fixture->arena = arena;
    error_list_init(&fixture->errors, arena);
    strcpy(fixture->path, "/tmp/musubi-config-XXXXXX");
    close(mkstemp(fixture->path));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    unlink(fixture->path);
    arena_free(fixture->arena);
    return 0;
}

static int load(Fixture *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    error_list_init(&fixture->errors, fixture->arena);
    return config_load(fixture->path, fixture->arena, &fixture->errors, &fixture->config);
}

#define MINIMAL                                                                                    \
    "[server]\ndata_dir = data\nplain_http_listen = 127.0.0.1:8080\nplain_mllp_listen = "          \
    "[::1]:2575\n"                                                                                 \
    "[affinity_domain]\ncode_check = off\n[database]\nembedded = yes\n[access]\nmode = open\n"

static void test_a_minimal_file_starts_a_whole_server(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(load(fixture, MINIMAL), 0);
    const Config *config = fixture->config;
    assert_string_equal(config->server.data_dir, "/tmp/data"); /* relative to the file */
    assert_string_equal(config->server.plain_mllp_listen, "[::1]:2575");
    assert_string_equal(config->server.https_listen, ""); /* no certificate, left to its default */
    assert_true(config_has_role(config, ROLE_REGISTRY));
    assert_true(config_has_role(config, ROLE_PIX));
    assert_int_equal(config->server.request_timeout_ms, 30000);
    assert_int_equal(config->repository.segment_max_document_bytes, 1024 * 1024);
    assert_true(config->database.embedded);
    assert_int_equal(fixture->errors.count, 0);
}

static void test_a_fault_names_the_line(void **state)
{
    static const struct {
        const char *line; /* the 12th of the file, in [access] */
        const char *expected;
    } cases[] = {
        {"modus = open\n", "unknown key modus"},
        {"[server]\nrequest_timeout = 30\n", "ms, s, min, h or d"},
        {"[server]\nrequest_timeout = 2h\n", "1s..1h"},
        {"[server]\nmax_connections = 99999999999999999999\n", "16..100000"},
        {"[server]\ntls_preset = tls\n", "high-security|bcp195"},
        {"[server]\nroles = registry, foo\n", "registry|repository"},
        {"[server]\nadmin_listen = localhost:1\n", "numeric address"},
        {"[server]\nadmin_listen = 127.0.0.1:65536\n", "numeric address"},
        {"[repository]\nunique_id = 1.2.\n", "OID"},
        {"[repository]\nsegment_max_document = 1MB\n", "KiB, MiB or GiB"},
        {"[repository]\nregistry_url = http://x/registry\n", "https://HOST:PORT/registry"},
        {"[affinity_domain]\nhome_community_id = 1.2.3\n", "urn:oid:"},
        {"[server]\nhttps_listen = 0.0.0.0:8443\n", "tls_certificate"},
        {"[server]\ntls_certificate = a.pem\n", "tls_key"},
        {"[audit]\nrepository = udp://x\n", "tls://HOST:PORT"},
        {"[database]\nconninfo = host=x\n", "remove database.conninfo"},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str text = str_printf(fixture->arena, "%s%s", MINIMAL, cases[i].line);
        assert_int_equal(load(fixture, text.data), -ERR_CONFIGURATION);
        const Error *error = fixture->errors.first;
        if (!str_contains(error->context, str_from(cases[i].expected))) {
            fail_msg("case %zu: %.*s", i, STR_ARG(error->context));
        }
        assert_true(str_starts_with(error->location, str_from(fixture->path)));
        assert_true(str_contains(error->location, STR(":")));
    }
}

/* No certificate header is ever believed, so a plain peer has the rights of one named node. */
static void test_a_plain_listener_in_mode_enforce_needs_a_node(void **state)
{
    Fixture *fixture = *state;
    const char *rest = "[affinity_domain]\ncode_check = off\n";

    assert_int_equal(
        load(fixture,
             str_printf(fixture->arena, "[server]\nplain_http_listen = 127.0.0.1:80\n%s", rest)
                 .data),
        -ERR_CONFIGURATION);
    assert_true(str_contains(fixture->errors.first->context, STR("plain_node")));
    assert_int_equal(
        load(fixture,
             str_printf(fixture->arena,
                        "[server]\nplain_http_listen = 127.0.0.1:80\nplain_node = gateway-a\n%s",
                        rest)
                 .data),
        0);
}

static void test_a_plain_listener_is_refused_beyond_loopback(void **state)
{
    static const char *const refused[] = {"0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080",
                                          "128.0.0.1:8080"};
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        Str text =
            str_printf(fixture->arena, "[server]\nplain_http_listen = %s\n[access]\nmode = open\n",
                       refused[i]);
        assert_int_equal(load(fixture, text.data), -ERR_CONFIGURATION);
        assert_true(str_contains(fixture->errors.first->context, STR("loopback")));
    }
}

static void test_admin_pages_beyond_loopback_need_a_certificate(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"admin_listen = 0.0.0.0:9443\n", -ERR_CONFIGURATION},
        {"admin_listen = [::]:9443\n", -ERR_CONFIGURATION},
        {"admin_listen = 127.0.0.2:9443\n", 0},
        {"admin_listen = [::1]:9443\n", 0},
        {"admin_listen =\n", 0},
        {"admin_listen = 0.0.0.0:9443\ntls_certificate = a\ntls_key = b\ntls_ca = c\n", 0},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str text = str_printf(fixture->arena, "[affinity_domain]\ncode_check = off\n[server]\n%s",
                              cases[i].text);
        assert_int_equal(load(fixture, text.data), cases[i].rc);
    }
}

static void test_the_keys_of_images_and_on_demand_documents_are_checked(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"[imaging]\nplain_dicom_listen = 127.0.0.1:11112\n[server]\nroles = registry, "
         "repository, imaging\n",
         0},
        {"[imaging]\nplain_dicom_listen = 127.0.0.1:11112\n", -ERR_CONFIGURATION},
        {"[imaging]\nplain_dicom_listen = 192.0.2.1:11112\n", -ERR_CONFIGURATION},
        {"[imaging]\ndicom_listen = 0.0.0.0:2762\n[server]\nroles = registry, repository, "
         "imaging\n",
         -ERR_CONFIGURATION},
        {"[server]\nroles = registry, imaging\n", -ERR_CONFIGURATION},
        {"[imaging]\nae_title = A TITLE THAT IS TOO LONG\n[server]\nroles = registry, "
         "repository, imaging\n",
         -ERR_CONFIGURATION},
        {"[imaging]\nclass_code = IMAGES\n[server]\nroles = registry, repository, imaging\n",
         -ERR_CONFIGURATION},
        {"[imaging]\nunique_id =\n[server]\nroles = registry, repository, imaging\n",
         -ERR_CONFIGURATION},
        {"[imaging]\nmanifest_delay = 1s\n", -ERR_CONFIGURATION},
        {"[repository]\non_demand = patient-summary\n", 0},
        {"[repository]\non_demand_class_code = REPORTS\n", 0},
        {"[repository]\non_demand = patient-summary\non_demand_class_code = REPORTS\n",
         -ERR_CONFIGURATION},
        {"[repository]\non_demand = patient-summary\non_demand_confidentiality_code = ^^1.2\n",
         -ERR_CONFIGURATION},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str text = str_printf(fixture->arena,
                              "[affinity_domain]\ncode_check = off\n[access]\nmode = open\n%s",
                              cases[i].text);
        assert_int_equal(load(fixture, text.data), cases[i].rc);
    }
}

/* An empty threshold is 0: the matcher's own. */
static void test_the_keys_of_patient_identity_are_checked(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"[affinity_domain]\npid_owner = external\nsource_timezone = Europe/Berlin\n", 0},
        {"[affinity_domain]\npid_owner = nobody\n", -ERR_CONFIGURATION},
        {"[affinity_domain]\nsource_timezone = Asia/Nowhere\n", -ERR_CONFIGURATION},
        {"[affinity_domain]\nsource_timezone =\n", -ERR_CONFIGURATION},
        {"[matching]\nrule = name-birthdate-sex\n", 0},
        {"[matching]\nrule = guess\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold = 12.5\nreview_threshold = 7\n", 0},
        {"[matching]\nlink_threshold = 7\nreview_threshold = 12\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold = 0\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold = -1\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold = 1e3\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold = 12.\n", -ERR_CONFIGURATION},
        {"[matching]\nlink_threshold =\n", 0},
        {"[identity]\nmanager_oid = 1.2.3\nsending_facility = CENTER\n", 0},
        {"[identity]\nmanager_oid = 1..2\n", -ERR_CONFIGURATION},
        {"[identity]\nsending_application = A|B\n", -ERR_CONFIGURATION},
        {"[identity]\nsending_application =\n", -ERR_CONFIGURATION},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str text = str_printf(fixture->arena, MINIMAL "%s", cases[i].text);
        if (load(fixture, text.data) != cases[i].rc) {
            fail_msg("case %zu: %s", i, cases[i].text);
        }
    }
    assert_int_equal(load(fixture, MINIMAL "[matching]\nlink_threshold = 12.125\n"), 0);
    assert_true(fixture->config->matching.link_threshold == 12.125);
    assert_true(fixture->config->matching.review_threshold == 0);
    assert_string_equal(fixture->config->affinity_domain.source_timezone, "Asia/Tokyo");
}

static void test_a_reload_may_change_only_what_is_reloadable(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(load(fixture, MINIMAL), 0);
    const Config *running = fixture->config;
    assert_int_equal(load(fixture, MINIMAL "[server]\nlog_level = debug\n"), 0);
    assert_int_equal(config_check_reload(running, fixture->config, &fixture->errors), 0);
    assert_int_equal(load(fixture, MINIMAL "[database]\npool_size = 9\n"), 0);
    assert_int_equal(config_check_reload(running, fixture->config, &fixture->errors),
                     -ERR_CONFIGURATION);
    assert_true(str_contains(fixture->errors.first->context, STR("database.pool_size")));
}

#define FULL                                                                                       \
    "[server]\ndata_dir = data\nroles = repository\nhttps_listen = 127.0.0.1:8443\n"               \
    "tls_certificate = certs/server.pem\ntls_key = certs/server.key\ntls_ca = ../ca.pem\n"         \
    "tls_crl = /etc/ssl/crl.pem\ntls_preset = bcp195\nmllp_listen =\nrequest_timeout = 5min\n"     \
    "[affinity_domain]\nhome_community_id = urn:oid:1.2.3\ncodes = codes.xml\n"                    \
    "[repository]\nregistry_url = https://registry.example/registry\nunique_id = 1.2.3.4\n"        \
    "registry_fingerprint = 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"                      \
    "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff\nsegment_max_document = 64KiB\n"              \
    "[database]\nconninfo = host=db.example dbname=m password='a\"b;c#d'\n"                        \
    "[access]\nmode = enforce\n[audit]\nrepository = tls://arr.example\nsource_id = \" a ; #b "    \
    "\"\n"

/* What is printed is loaded from another folder, where relative paths would mean other files. */
static void test_what_print_config_prints_loads_as_the_same_elsewhere(void **state)
{
    static const char *const files[] = {MINIMAL, MINIMAL "[audit]\nsource_id = \"a ; b\"\n", FULL};
    Fixture *fixture = *state;

    for (size_t i = 0; i < 2 * ARRAY_LEN(files); i++) {
        char *printed = NULL;
        size_t len = 0;
        char folder[] = "/tmp/musubi-config-XXXXXX";
        assert_non_null(mkdtemp(folder));
        assert_int_equal(load(fixture, files[i / 2]), 0);
        const Config *before = fixture->config;
        FILE *out = open_memstream(&printed, &len);
        config_print(before, i % 2 == 1, out);
        fclose(out);
        Str path = str_printf(fixture->arena, "%s/musubi.ini", folder);
        FILE *file = fopen(path.data, "w");
        fputs(printed, file);
        fclose(file);
        free(printed);
        if (config_load(path.data, fixture->arena, &fixture->errors, &fixture->config) != 0 ||
            config_check_reload(before, fixture->config, &fixture->errors) != 0) {
            fail_msg("case %zu: %.*s", i, STR_ARG(fixture->errors.first->context));
        }
        assert_string_equal(fixture->config->server.data_dir, before->server.data_dir);
        assert_string_equal(fixture->config->audit.source_id, before->audit.source_id);
        unlink(path.data);
        rmdir(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_minimal_file_starts_a_whole_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_fault_names_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_plain_listener_in_mode_enforce_needs_a_node, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_plain_listener_is_refused_beyond_loopback, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_admin_pages_beyond_loopback_need_a_certificate, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_keys_of_images_and_on_demand_documents_are_checked,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_keys_of_patient_identity_are_checked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_reload_may_change_only_what_is_reloadable, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_print_config_prints_loads_as_the_same_elsewhere,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
