#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/access/endpoints.h"

static void test_only_plain_https_addresses_are_called(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool is_good;
    } rows[] = {
        {"https://gw.example:8443/async?a=b", true},
        {"HTTPS://gw.example", false},
        {"https://[2001:db8::1]:8443/async", true},
        {"http://127.0.0.1:8080/async", true},
        {"http://[::1]:8080/", true},
        {"http://localhost/x", true},
        {"https://gw.example/%E3%81%82;v=1", true},
        {"https://gw.example/a/...", true},
        {"", false},
        {"gw.example", false},
        {"ftp://gw.example/", false},
        {"http://gw.example/", false},
        {"http://127.0.0.1.evil.example/", false},
        {"http://128.0.0.1/", false},
        {"https://user@gw.example/", false},
        {"https://user:secret@gw.example/", false},
        {"https://gw.example/a#b", false},
        {"https://gw.example/a b", false},
        {"https://gw.example/a\r\nX: y", false},
        {"https://gw.example?a", false},
        {"https://gw.example/a/../b", false},
        {"https://gw.example/a/%2e%2E", false},
        {"https://gw.example/a/.%2e/b", false},
        {"https://gw.example/a/..;x/b", false},
        {"https://gw.example/./b", false},
        {"https://gw.example/a/..%2f..%2Fadmin", false},
        {"https://gw.example/a/..%5Cadmin", false},
        {"https://gw.example/a%20b?c=%2F", true},
        {"https://gw.example/\xe3\x81\x82", false},
        {"http://www.w3.org/2005/08/addressing/anonymous", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *problem;
        bool is_good = endpoint_url_is_good(str_from(rows[i].url), &problem);
        if (is_good != rows[i].is_good || is_good != (problem == NULL)) {
            fail_msg("row %zu: %s", i, rows[i].url);
        }
    }
}

static void test_an_address_continues_its_prefix_at_a_border(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *url;
        bool is_covered;
    } rows[] = {
        {"https://gw.example/async", "https://gw.example/async", true},
        {"https://gw.example/async", "https://gw.example/async/1", true},
        {"https://gw.example/async", "https://gw.example/async?id=1", true},
        {"https://gw.example/async/", "https://gw.example/async/1", true},
        {"https://gw.example", "https://gw.example/any", true},
        {"https://gw.example:443/a", "https://GW.EXAMPLE/a", true},
        {"http://127.0.0.1/a", "http://127.0.0.1:80/a", true},
        {"https://gw.example/async/", "https://gw.example/async", false},
        {"https://gw.example/async", "https://gw.example/async2", false},
        {"https://gw.example/async", "https://gw.example/Async", false},
        {"https://gw.example/async", "https://gw.example/async/../admin", false},
        {"https://gw.example/a", "https://gw.example:8443/a", false},
        {"https://gw.example", "https://gw.example.evil.example/", false},
        {"https://gw.example", "https://gw.example@evil.example/", false},
        {"https://127.0.0.1/a", "http://127.0.0.1:443/a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (endpoint_covers(str_from(rows[i].prefix), str_from(rows[i].url)) !=
            rows[i].is_covered) {
            fail_msg("row %zu: %s of %s", i, rows[i].url, rows[i].prefix);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_plain_https_addresses_are_called),
        cmocka_unit_test(test_an_address_continues_its_prefix_at_a_border),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
