#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/refused_peer.h"

#define ENDPOINT "https://center:8443/"

typedef struct Fixture {
    char directory[64];
    Audit *audit;
} Fixture;

static int set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char problem[256] = "";
    strcpy(fixture->directory, "/tmp/musubi-refused-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    const AuditConfig config = {.directory = fixture->directory,
                                .repository = "local",
                                .source_id = "center",
                                .host_name = "center"};
    fixture->audit = audit_new(&config, NULL, problem, sizeof(problem));
    if (!fixture->audit) {
        fail_msg("%s", problem);
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    char command[128];
    refused_peer_flush(fixture->audit, true);
    audit_free(fixture->audit);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->directory);
    int rc = system(command);
    free(fixture);
    return rc;
}

typedef struct Search {
    const char *text;
    unsigned found;
} Search;

static int look(void *ctx, const AuditRecord *record)
{
    Search *search = ctx;
    search->found += str_contains(record->message, str_from(search->text));
    return 0;
}

static unsigned count_records(const Fixture *fixture, const char *text)
{
    Search search = {.text = text};
    char problem[256];
    unsigned damaged;
    assert_int_equal(
        audit_spool_read(fixture->directory, look, &search, &damaged, problem, sizeof(problem)), 0);
    return search.found;
}

static void refuse(const Fixture *fixture, const char *address, unsigned count)
{
    TlsProblem problem;
    tls_problem_set(&problem, TLS_REFUSED_NO_CERTIFICATE, "%s", "");
    for (unsigned i = 0; i < count; i++) {
        (void)refused_peer_record_connection(fixture->audit, ENDPOINT, address, &problem);
    }
}

/** Who has no certificate must not be able to fill the disk whose end is the end of all reading. */
static void test_failures_of_an_address_are_counted_beyond_the_first(void **state)
{
    const Fixture *fixture = *state;
    refuse(fixture, "192.0.2.1", 500);
    refuse(fixture, "192.0.2.2", 3);
    assert_int_equal(count_records(fixture, "192.0.2.1"), 20);
    assert_int_equal(count_records(fixture, "192.0.2.2"), 3);
    refused_peer_flush(fixture->audit, false);
    assert_int_equal(count_records(fixture, "more within a minute"), 0);

    refused_peer_flush(fixture->audit, true);
    assert_int_equal(count_records(fixture, "192.0.2.1"), 21);
    assert_int_equal(count_records(fixture, "480 more within a minute; the last: it sent no"), 1);
    assert_int_equal(count_records(fixture, "192.0.2.2"), 3);
    refuse(fixture, "192.0.2.1", 1);
    assert_int_equal(count_records(fixture, "192.0.2.1"), 22);
}

static void test_many_addresses_are_counted_together(void **state)
{
    const Fixture *fixture = *state;
    for (unsigned i = 0; i < 1000; i++) {
        char address[32];
        snprintf(address, sizeof(address), "198.51.%u.%u", i / 250, i % 250);
        refuse(fixture, address, 1);
    }
    assert_int_equal(count_records(fixture, "198.51."), 256 + 20);
    refused_peer_flush(fixture->audit, true);
    assert_int_equal(count_records(fixture, "724 more within a minute"), 1);
    assert_int_equal(count_records(fixture, "many addresses"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failures_of_an_address_are_counted_beyond_the_first,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_addresses_are_counted_together, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
