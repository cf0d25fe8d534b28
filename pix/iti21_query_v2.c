/**
 * ITI-21 Patient Demographics Query (ITI TF-2 3.21) and ITI-22 Patient Demographics and Visit Query
 * (3.22). We hold no visits: ITI-22 gives patients with an empty PV1, and nobody for criteria on
 * visits.
 */
#include "pix/pdq_query.h"

/** Most patients and octets of one answer, whatever RCP-2 says; the rest comes by continuation. */
#define PAGE_PATIENTS_MAX 1000
#define PAGE_BYTES_MAX ((size_t)4 * 1024 * 1024)

#define PID_FIRST_FIELD 5
#define PID_LAST_FIELD 34

typedef struct Page {
    Hl7Call *call;
    const PdqQuery *query;
    const char *tail; /* segments behind each PID */
    size_t limit;
    size_t count;
    size_t seen_count;   /* of one search */
    int64_t seen_person; /* last one seen */
    int64_t last_person; /* of this page */
    bool has_more;
    Str *patients; /* CX of every identifier of the page, for audit */
    size_t patient_count;
    size_t patient_room;
} Page;

static void drop_trailing_separators(StrBuf *buf, size_t start)
{
    size_t len = buf->len;
    while (len > start && buf->data[len - 1] == '|') {
        len--;
    }
    strbuf_truncate(buf, len);
}

/** PID of Table 3.21-8: all that is known. PID-5 is required; a patient without a name has one of
 * type "unspecified" (HL7 table 0200). */
static void append_pid(StrBuf *buf, Arena *arena, const FoundPatient *patient)
{
    Demographics demographics = patient->demographics;
    size_t start = buf->len;
    if (str_is_empty(demographics.fields[DEMOGRAPHIC_name])) {
        demographics.fields[DEMOGRAPHIC_name] = STR("^^^^^^U");
    }
    strbuf_literal(buf, "PID|||");
    for (size_t i = 0; i < patient->identifier_count; i++) {
        const FoundIdentifier *found = &patient->identifiers[i];
        strbuf_append(buf, i > 0 ? STR("~") : STR_EMPTY);
        strbuf_append(buf, authority_format_cx(arena, found->authority, found->value));
    }
    strbuf_append_char(buf, '|');
    demographics_append_pid(buf, &demographics, PID_FIRST_FIELD, PID_LAST_FIELD);
    drop_trailing_separators(buf, start);
    strbuf_append_char(buf, '\r');
}

static void add_audited(Page *page, Arena *arena, const FoundIdentifier *found)
{
    if (page->patient_count == page->patient_room) {
        size_t room = page->patient_room ? page->patient_room * 2 : 16;
        Str *patients = ARENA_ARRAY(arena, Str, room);
        for (size_t i = 0; i < page->patient_count; i++) {
            patients[i] = page->patients[i];
        }
        page->patients = patients;
        page->patient_room = room;
    }
    page->patients[page->patient_count++] =
        hl7_cx_format(arena, found->value, found->authority->oid);
}

/** A FoundPatientFn. */
static int add_patient(void *ctx, Request *req, const FoundPatient *patient)
{
    Page *page = ctx;
    page->seen_count++;
    page->seen_person = patient->person;
    if (page->has_more || !pdq_query_is_met(page->query, req->arena, &patient->demographics)) {
        return 0;
    }
    if (page->count == page->limit || page->call->found.len > PAGE_BYTES_MAX) {
        page->has_more = true;
        return 0;
    }
    for (size_t i = 0; i < patient->identifier_count; i++) {
        add_audited(page, req->arena, &patient->identifiers[i]);
    }
    page->count++;
    page->last_person = patient->person;
    append_pid(&page->call->found, req->arena, patient);
    strbuf_append(&page->call->found, str_from(page->tail));
    return 0;
}

/** Searches until the page is full or there are no more; more than once where comparisons leave
 * patients out. */
static int fill_page(Page *page)
{
    const PdqQuery *query = page->query;
    PatientSearch search = {
        .authorities = page->call->authorities,
        .groups = query->groups,
        .group_count = query->count,
        .targets = query->targets,
        .target_count = query->target_count,
        .after_person = query->after_person,
        .limit = page->limit + 1,
    };
    int rc = 0;
    bool is_end = query->is_hopeless;
    while (rc == 0 && !is_end) {
        page->seen_count = 0;
        rc = patient_search(page->call->pix, page->call->req, &search, add_patient, page);
        is_end = page->has_more || page->seen_count < search.limit;
        search.after_person = page->seen_person;
    }
    return rc;
}

/** DSC: where the next page begins. */
static int append_pointer(const Page *page)
{
    Str pointer = STR_EMPTY;
    int rc = pdq_pointer_make(page->call, page->last_person, &pointer);
    if (rc == 0) {
        strbuf_printf(&page->call->found, "DSC|%.*s|I\r", STR_ARG(pointer));
    }
    return rc;
}

static int answer(Hl7Call *call, bool takes_visits, const char *tail)
{
    PdqQuery *query = ARENA_NEW(call->req->arena, PdqQuery);
    int rc = pdq_query_read(call, takes_visits, query);
    if (rc < 0) {
        return rc;
    }
    size_t limit = query->limit > 0 ? MIN(query->limit, PAGE_PATIENTS_MAX) : PAGE_PATIENTS_MAX;
    Page page = {.call = call, .query = query, .tail = tail, .limit = limit};
    rc = fill_page(&page);
    if (rc == 0 && page.has_more) {
        rc = append_pointer(&page);
    }
    return rc < 0 ? rc : hl7_record_query(call, page.patients, page.patient_count);
}

int pix_iti21_query(Hl7Call *call)
{
    return answer(call, false, "");
}

int pix_iti22_query(Hl7Call *call)
{
    return answer(call, true, "PV1||N\r");
}

int pix_iti21_cancel(Hl7Call *call)
{
    /* nothing is kept between two pages, so there is nothing to give up (TF-2 3.21.4.2.3) */
    const Er7Segment *qid = er7_segment(call->message, STR("QID"), 1);
    if (str_is_empty(er7_field(call->message, qid, 1))) {
        return error_add(&call->req->errors,
                         qid ? ERR_HL7_REQUIRED_FIELD_MISSING : ERR_HL7_SEGMENT_SEQUENCE,
                         qid ? "QID^1^1" : "QID^1",
                         "QID-1 is missing; send the query tag of the query to cancel");
    }
    return hl7_record_query(call, NULL, 0);
}
