#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/url.h"

static void test_parts_of_a_url(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host, *port, *path; /* scheme NULL: refused */
    } rows[] = {
        {"https://pix.example:8443/pix", "https", "pix.example", "8443", "/pix"},
        {"mllps://10.0.0.1:2576", "mllps", "10.0.0.1", "2576", ""},
        {"tls://[2001:db8::1]:6514", "tls", "2001:db8::1", "6514", ""},
        {"https://[::1]/a:b", "https", "::1", "", "/a:b"},
        {"https://host", "https", "host", "", ""},
        {"host:80", NULL, "", "", ""},
        {"https://", NULL, "", "", ""},
        {"https://:443/", NULL, "", "", ""},
        {"https://[::1", NULL, "", "", ""},
        {"https://[::1]443", NULL, "", "", ""},
        {"https://host:0/", NULL, "", "", ""},
        {"https://host:65536/", NULL, "", "", ""},
        {"https://host:/", NULL, "", "", ""},
        {"https://host:4 /", NULL, "", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Url url;
        bool is_good = url_parse(str_from(rows[i].text), &url);
        if (is_good != (rows[i].scheme != NULL)) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
        if (is_good && (!str_equal(url.scheme, str_from(rows[i].scheme)) ||
                        !str_equal(url.host, str_from(rows[i].host)) ||
                        !str_equal(url.port, str_from(rows[i].port)) ||
                        !str_equal(url.path, str_from(rows[i].path)))) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts_of_a_url)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
