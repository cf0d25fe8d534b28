/** ITI-78 Mobile Patient Demographics Query (PDQm 2:3.78): search and read of Patient. */
#include "lib/base/uuid.h"
#include "pix/pdqm_criteria.h"

#define PAGE_DEFAULT 50
#define PAGE_MAX 1000

typedef struct Search {
    Pix *pix;
    FhirExchange *exchange;
    const Authorities *authorities;
    PdqmCriteria *criteria;
    size_t page; /* most patients of this page; 0: the total alone */
    int64_t after_person;

    FhirNode *bundle;
    FhirNode *entries; /* holds the entries until they are put behind the links */
    AuditObject *patients;
    size_t count;
    int64_t last_person;
    bool has_more;
    uint64_t total;
} Search;

/* ---- the question ---- */

static int read_number(Search *search, const char *name, uint64_t max, uint64_t *ret_number)
{
    Str text = fhir_parameters_value(&search->exchange->parameters, name);
    uint64_t number;
    if (str_is_empty(text)) {
        return 0;
    }
    if (!str_to_u64(text, &number) || number > INT64_MAX) {
        return error_add(&search->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                         "Parameter %s is \"%.*s\"; send a number.", name, STR_ARG(text));
    }
    *ret_number = MIN(number, max);
    return 0;
}

static int read_search(Search *search)
{
    FhirExchange *exchange = search->exchange;
    uint64_t page = PAGE_DEFAULT;
    uint64_t after = 0;
    int rc = pdqm_criteria_read(exchange, search->authorities, &search->criteria);
    int page_rc = read_number(search, "_count", PAGE_MAX, &page);
    int after_rc = read_number(search, "_after", INT64_MAX, &after);
    search->page = (size_t)page;
    search->after_person = (int64_t)after;
    rc = rc ? rc : page_rc ? page_rc : after_rc;
    return rc ? rc : pix_fhir_check_strict(exchange);
}

static PatientSearch patient_search_of(const Search *search)
{
    const PdqmCriteria *criteria = search->criteria;
    return (PatientSearch){.authorities = search->authorities,
                           .groups = criteria->groups,
                           .group_count = criteria->group_count,
                           .targets = criteria->targets,
                           .target_count = criteria->target_count,
                           .after_person = search->after_person,
                           .limit = search->page + 1};
}

/* ---- entries ---- */

static FhirNode *add_entry(Search *search, Str full_url, const char *mode, FhirNode **ret_resource)
{
    Arena *arena = search->exchange->req->arena;
    FhirNode *entry = fhir_add(arena, search->entries, "entry");
    fhir_add_text(arena, entry, "fullUrl", full_url);
    *ret_resource = fhir_add_resource(arena, entry, "resource", "Patient");
    fhir_add_text(arena, fhir_add(arena, entry, "search"), "mode", str_from(mode));
    return entry;
}

static Str patient_url(const FhirExchange *exchange, int64_t person)
{
    return str_printf(exchange->req->arena, "%.*s/Patient/%lld", STR_ARG(exchange->base),
                      (long long)person);
}

static void add_patient(Search *search, const FoundPatient *patient, const char *mode)
{
    Arena *arena = search->exchange->req->arena;
    FhirNode *resource;
    add_entry(search, patient_url(search->exchange, patient->person), mode, &resource);
    pix_fhir_write_patient(arena, resource, patient);
    search->patients[search->count++] = pix_fhir_audit_patient(arena, patient);
}

static int take_match(void *ctx, Request *req, const FoundPatient *patient)
{
    Search *search = ctx;
    (void)req;
    if (search->count == search->page) {
        search->has_more = true;
    } else {
        search->last_person = patient->person;
        add_patient(search, patient, "match");
    }
    return 0;
}

static int take_survivor(void *ctx, Request *req, const FoundPatient *patient)
{
    (void)req;
    add_patient(ctx, patient, "include");
    return 0;
}

/* ---- a merged identifier (2:3.78.4.1.3: the deprecated record with its replacement) ---- */

/** The record as far as it still exists: an identifier that is replaced. */
static void add_deprecated(Search *search, const SearchTerm *asked, int64_t survivor)
{
    Arena *arena = search->exchange->req->arena;
    char url[UUID_URN_LEN];
    uuid_format_urn(uuid_new(), url);
    FhirNode *resource;
    add_entry(search, str_dup(arena, (Str){url, sizeof(url)}), "match", &resource);
    FhirIdentifier identifier = {.system = pix_fhir_system(arena, asked->authority),
                                 .value = asked->text,
                                 .assigner = asked->authority->namespace_id};
    fhir_identifier_write(arena, resource, "identifier", &identifier);
    fhir_add_boolean(arena, resource, "active", false);
    FhirNode *link = fhir_add(arena, resource, "link");
    fhir_add_text(arena, fhir_add(arena, link, "other"), "reference",
                  patient_url(search->exchange, survivor));
    fhir_add_text(arena, link, "type", STR("replaced-by"));
}

static int find_survivor(Search *search)
{
    Request *req = search->exchange->req;
    const SearchTerm *asked = search->criteria->identifier;
    if (!asked || !asked->authority || search->criteria->group_count != 1) {
        return 0;
    }
    CrossReference merged = {0};
    CrossReference survivor = {0};
    Identifier identifier = {.authority = asked->authority, .value = asked->text};
    int rc = identity_cross_reference(search->pix, req, search->authorities, &identifier, NULL, 0,
                                      &merged);
    if (rc || str_is_empty(merged.subsumed_by)) {
        return rc;
    }
    identifier.value = merged.subsumed_by;
    rc = identity_cross_reference(search->pix, req, search->authorities, &identifier, NULL, 0,
                                  &survivor);
    if (rc || !survivor.is_known) {
        return rc;
    }
    search->total = 1;
    add_deprecated(search, asked, survivor.person);
    return pix_fhir_find_person(search->pix, search->exchange, search->authorities,
                                str_printf(req->arena, "%lld", (long long)survivor.person),
                                take_survivor, search);
}

/* ---- the answer ---- */

static int find_patients(Search *search)
{
    Request *req = search->exchange->req;
    if (search->criteria->matches_nothing) {
        return 0;
    }
    const PatientSearch query = patient_search_of(search);
    int rc = search->page == 0 ? 0 : patient_search(search->pix, req, &query, take_match, search);
    bool is_whole = search->page > 0 && !search->has_more && search->after_person == 0;
    search->total = search->count;
    if (rc == 0 && !is_whole) {
        rc = patient_search_count(search->pix, req, &query, &search->total);
    }
    return rc == 0 && search->total == 0 ? find_survivor(search) : rc;
}

static void add_link(Search *search, const char *relation, const char *except, int64_t after)
{
    FhirExchange *exchange = search->exchange;
    Arena *arena = exchange->req->arena;
    _cleanup_(strbuf_done) StrBuf url = {0};
    strbuf_printf(&url, "%.*s/Patient?", STR_ARG(exchange->base));
    fhir_parameters_write_used(&url, &exchange->parameters, except);
    if (after) {
        strbuf_printf(&url, "&_after=%lld", (long long)after);
    }
    FhirNode *link = fhir_add(arena, search->bundle, "link");
    fhir_add_text(arena, link, "relation", str_from(relation));
    fhir_add_text(arena, link, "url", str_dup(arena, strbuf_str(&url)));
}

static void write_bundle(Search *search)
{
    Arena *arena = search->exchange->req->arena;
    fhir_add_text(arena, search->bundle, "type", STR("searchset"));
    fhir_add_number(arena, search->bundle, "total",
                    str_printf(arena, "%llu", (unsigned long long)search->total));
    add_link(search, "self", NULL, 0);
    if (search->has_more) {
        add_link(search, "next", "_after", search->last_person);
    }
    FhirNode *entry = search->entries->first_child;
    while (entry) {
        FhirNode *next = entry->next;
        entry->next = NULL;
        fhir_append(search->bundle, entry);
        entry = next;
    }
    search->exchange->reply = search->bundle;
    search->exchange->status = 200;
}

int pix_iti78_search(void *module, FhirExchange *exchange)
{
    Pix *pix = module;
    Arena *arena = exchange->req->arena;
    Search search = {.pix = pix,
                     .exchange = exchange,
                     .authorities = pix_fhir_authorities(pix, exchange),
                     .bundle = fhir_resource_new(arena, "Bundle"),
                     .entries = fhir_node_new(arena, "entries")};
    int rc = read_search(&search);
    search.patients = ARENA_ARRAY(arena, AuditObject, search.page + 1);
    rc = rc ? rc : find_patients(&search);
    if (rc == 0) {
        write_bundle(&search);
    }
    return pix_fhir_record_query(pix, exchange, AUDIT_ITI78_QUERY, search.patients, search.count,
                                 rc);
}

/* ---- read ---- */

typedef struct Read {
    FhirNode *resource;
    AuditObject patient;
    bool is_found;
} Read;

static int take_read(void *ctx, Request *req, const FoundPatient *patient)
{
    Read *read = ctx;
    pix_fhir_write_patient(req->arena, read->resource, patient);
    read->patient = pix_fhir_audit_patient(req->arena, patient);
    read->is_found = true;
    return 0;
}

int pix_iti78_read(void *module, FhirExchange *exchange)
{
    Pix *pix = module;
    Request *req = exchange->req;
    Read read = {.resource = fhir_resource_new(req->arena, "Patient")};
    int rc = pix_fhir_find_person(pix, exchange, pix_fhir_authorities(pix, exchange), exchange->id,
                                  take_read, &read);
    if (rc == 0 && !read.is_found) {
        rc = error_add(&req->errors, ERR_FHIR_NOT_FOUND, NULL,
                       "There is no Patient/%.*s, or no longer; search by an identifier.",
                       STR_ARG(exchange->id));
    }
    if (rc == 0) {
        exchange->reply = read.resource;
        exchange->status = 200;
    }
    return pix_fhir_record_query(pix, exchange, AUDIT_ITI78_QUERY, &read.patient, read.is_found,
                                 rc);
}
