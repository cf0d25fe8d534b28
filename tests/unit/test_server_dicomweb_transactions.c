/* Paths of DICOMweb (PS3.18 10.1.1; RAD TF-2 4.107, 4.108, 4.129). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/dicomweb_transactions.h"

static void a_path_leads_to_its_transaction(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *number;  /* NULL: none */
        const char *allowed; /* "": no such path */
        const char *last;    /* what stands for the last '*' */
    } cases[] = {
        {"GET", "/dicomweb/studies", "RAD-129", "GET, POST", ""},
        {"POST", "/dicomweb/studies", "RAD-108", "GET, POST", ""},
        {"GET", "/dicomweb/studies/1.2", "RAD-107", "GET, POST", "1.2"},
        {"DELETE", "/dicomweb/studies/1.2", NULL, "GET, POST", ""},
        {"GET", "/dicomweb/studies/1/series/2/instances", "RAD-129", "GET", "2"},
        {"GET", "/dicomweb/studies/1/series/2/instances/3/frames/4,5", "RAD-107", "GET", "4,5"},
        {"GET", "/dicomweb/studies/1/series/2/instances/3/frames/4/rendered", "RAD-107", "GET",
         "4"},
        {"GET", "/dicomweb/studies/1/metadata", "RAD-107", "GET", "1"},
        {"GET", "/wado", "RAD-55", "GET", ""},
        {"GET", "/wado/", NULL, "", ""},
        {"GET", "/dicomweb/studies/", NULL, "", ""},
        {"GET", "/dicomweb/studies//series", NULL, "", ""},
        {"GET", "/dicomweb", NULL, "", ""},
        {"GET", "/dicomweb/studies/1/series/2/instances/3/frames/4/rendered/5", NULL, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        Str values[DICOMWEB_PATH_VALUES] = {{0}};
        Str allowed;
        const DicomwebTransaction *row = dicomweb_transaction_find(
            arena, str_from(cases[i].method), str_from(cases[i].path), values, &allowed);
        Str last = STR_EMPTY;
        for (size_t k = 0; row && k < DICOMWEB_PATH_VALUES; k++) {
            last = str_is_empty(values[k]) ? last : values[k];
        }
        if ((row != NULL) != (cases[i].number != NULL) ||
            (row && !str_equal(str_from(row->number), str_from(cases[i].number))) ||
            !str_equal(allowed, str_from(cases[i].allowed)) ||
            !str_equal(last, str_from(cases[i].last))) {
            fail_msg("%s %s: %s, allowed %.*s", cases[i].method, cases[i].path,
                     row ? row->number : "none", STR_ARG(allowed));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_leads_to_its_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
