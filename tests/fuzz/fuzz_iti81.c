/* Search parameters of ITI-81 as they stand in a URL, and the place where a page begins. What is
 * taken as a page must be written as one that reads the same. */

#include "atna/iti81_criteria.h"
#include "atna/iti81_page.h"

#include "tests/fuzz/fuzz.h"

static void check_page(Arena *arena, Str text)
{
    Iti81Page page;
    Iti81Page again;
    if (!iti81_page_read(arena, text, &page)) {
        return;
    }
    Str written = iti81_page_write(arena, &page);
    FUZZ_CHECK(iti81_page_read(arena, written, &again));
    FUZZ_CHECK(again.total == page.total && again.after.event_us == page.after.event_us);
    FUZZ_CHECK(again.bounds.count == page.bounds.count);
    FUZZ_CHECK(str_equal(written, iti81_page_write(arena, &again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Request *req = request_new(1000);
    FhirExchange exchange = {.req = req, .base = STR("https://musubi.example/fhir")};
    const AuditPatients nobody = {0};
    Iti81Criteria *criteria = NULL;
    Str text = {(const char *)data, size};
    if (fhir_parameters_read(req, &exchange.parameters, text) == 0) {
        int rc = iti81_criteria_read(&exchange, &nobody, &criteria);
        FUZZ_CHECK((rc == 0) == (criteria != NULL));
        FUZZ_CHECK(rc == 0 || error_list_has_errors(&req->errors));
        check_page(req->arena, fhir_parameters_value(&exchange.parameters, "_page"));
    }
    request_free(req);
    return 0;
}
