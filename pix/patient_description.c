#include "lib/ebrim/patient_record.h"
#include "pix/pix_state.h"
#include "pix/search.h"

/** What is known of a patient of the affinity domain, for whoever makes a document of it. */

static int take_patient(void *ctx, Request *req, const FoundPatient *patient)
{
    Demographics *demographics = ctx;
    demographics_read(demographics_write(req->arena, &patient->demographics), demographics);
    return 0;
}

static int describe(void *ctx, Request *req, Str patient_id, Demographics *ret_demographics)
{
    Pix *pix = ctx;
    const Authorities *authorities = identity_authorities(pix, req->arena);
    const Hl7Cx cx = hl7_cx_parse(req->arena, &er7_standard_delimiters, HL7_UTF_8, patient_id);
    const SearchTerm term = {.field = SEARCH_IDENTIFIER,
                             .match = SEARCH_EXACT,
                             .text = cx.id,
                             .authority = authorities_by_oid(authorities, pix->authority_oid)};
    const SearchGroup group = {.alternatives = &term, .count = 1};
    const PatientSearch search = {.authorities = authorities, .groups = &group, .group_count = 1};
    *ret_demographics = (Demographics){0};
    return patient_search(pix, req, &search, take_patient, ret_demographics);
}

PatientDescription pix_patient_description(Pix *pix)
{
    return (PatientDescription){.ctx = pix, .describe = describe};
}
