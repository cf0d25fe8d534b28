#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/request.h"
#include "lib/base/str.h"

/* What the tests of lib/xml and lib/soap share. */

static inline void assert_str(Str actual, const char *expected)
{
    if (!str_equal(actual, str_from(expected))) {
        fail_msg("expected \"%s\", got \"%.*s\"", expected, STR_ARG(actual));
    }
}

static inline void assert_contains(Str actual, const char *expected)
{
    if (!str_contains(actual, str_from(expected))) {
        fail_msg("expected \"%s\" in \"%.*s\"", expected, STR_ARG(actual));
    }
}

/** The first error has this code and says this. */
static inline void assert_error(const Request *req, ErrorCode code, const char *text)
{
    assert_non_null(req->errors.first);
    assert_contains(req->errors.first->context, text);
    assert_int_equal(req->errors.first->code, code);
}

static inline int set_up_request(void **state)
{
    *state = request_new(600000);
    return 0;
}

static inline int tear_down_request(void **state)
{
    request_free(*state);
    return 0;
}

#define REQUEST_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, set_up_request, tear_down_request)
