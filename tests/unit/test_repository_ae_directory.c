#include "tests/unit/imaging_fixture.h"

static const Principal nodes[] = {
    {.node_id = 0, .facility_id = 0, .may_do_everything = true}, /* mode open, no certificate */
    {.node_id = 1, .facility_id = 1, .certificate_fingerprint = {"aa", 2}},
    {.node_id = 2, .facility_id = 2, .certificate_fingerprint = {"bb", 2}},
    {.node_id = 4, .facility_id = 2, .certificate_fingerprint = {"cc", 2}},
};

/** An AE title belongs to registered nodes; who is nobody gets no association. */
static void test_titles_are_told_by_node(void **state)
{
    Images *images = *state;
    static const struct {
        size_t caller;
        const char *title;
        int32_t node; /* -1: it is nobody */
        int32_t authority;
    } cases[] = {
        {1, "PACS1", 1, 2},  {1, "VIEW1", 1, 2},   {3, "VIEW1", 4, 3}, {2, "PACS2", 2, 3},
        {2, "PACS1", -1, 0}, {1, "NOBODY", -1, 0}, {1, "OLD", -1, 0},  {1, "", -1, 0},
        {0, "PACS2", 2, 3},  {0, "NOBODY", 0, 1}, /* open: of the affinity domain */
    };
    Request *req = images_request(images);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const Ae *ae = ae_directory_find(images->imaging.aes, req->arena, &nodes[cases[i].caller],
                                         str_from(cases[i].title));
        int32_t node = ae ? ae->node : -1;
        int32_t authority = ae ? ae->authority : 0;
        if (node != cases[i].node || authority != cases[i].authority) {
            fail_msg("%s of caller %zu: node %d, authority %d", cases[i].title, cases[i].caller,
                     node, authority);
        }
    }
    request_free(req);
}

/** C-MOVE sends to an AE with an address: the caller's own, else of its facility, else the only
 * one. */
static void test_destinations_are_the_nearest_with_an_address(void **state)
{
    Images *images = *state;
    static const struct {
        size_t caller;
        const char *title;
        const char *expected;
    } cases[] = {
        {1, "VIEW1", "192.0.2.1"}, {3, "VIEW1", "192.0.2.4"}, {2, "VIEW1", "192.0.2.4"},
        {0, "VIEW1", "none"},      {1, "PACS2", "192.0.2.2"}, {1, "PACS1", "none"},
        {1, "NOBODY", "none"},
    };
    Request *req = images_request(images);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const Ae *ae = ae_directory_destination(images->imaging.aes, req->arena,
                                                &nodes[cases[i].caller], str_from(cases[i].title));
        Str host = ae ? ae->host : STR("none");
        if (!str_equal(host, str_from(cases[i].expected))) {
            fail_msg("%s of caller %zu: %.*s", cases[i].title, cases[i].caller, STR_ARG(host));
        }
    }
    request_free(req);
}

static void test_issuers_are_named_by_oid_or_namespace(void **state)
{
    Images *images = *state;
    static const struct {
        const char *name;
        const char *oid;
        int32_t expected; /* 0: none */
    } cases[] = {
        {"ONE", "", 2}, {"", "1.2.3.3", 3},       {"TWO", "1.2.3.2", 2}, {"1.2.3.4", "", 4},
        {"AD", "", 1},  {"", AFFINITY_DOMAIN, 1}, {"NOBODY", "", 0},     {"", "1.2.3.9", 0},
        {"", "", 0},    {"ONE", "1.2.3.9", 0},
    };
    Request *req = images_request(images);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const ImagingAuthority *found = ae_directory_issuer(
            images->imaging.aes, req->arena, str_from(cases[i].name), str_from(cases[i].oid));
        assert_int_equal(found ? found->id : 0, cases[i].expected);
    }
    request_free(req);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_titles_are_told_by_node, images_set_up,
                                        images_tear_down),
        cmocka_unit_test_setup_teardown(test_destinations_are_the_nearest_with_an_address,
                                        images_set_up, images_tear_down),
        cmocka_unit_test_setup_teardown(test_issuers_are_named_by_oid_or_namespace, images_set_up,
                                        images_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
