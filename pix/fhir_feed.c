#include "pix/fhir_feed.h"

static const FeedSender sender = {.is_node = true};

/** What one feed works with. */
typedef struct Work {
    FhirFeed *feed;
    Request *req;
    const Authorities *authorities;
    NamedIdentifier *named; /* the key comes first */
    size_t named_count;
    Identifier *identifiers; /* of those that may be fed */
    size_t identifier_count;
    Demographics demographics;
    const FhirNode *survivor; /* Patient.link.other of a replaced-by; NULL: no merge */
    FhirToken survivor_key;   /* the identifier that it names */
    CrossReference known;     /* what was known of the key */
} Work;

static const char *location(const Work *work, const char *format, size_t index)
{
    const char *path = work->feed->path;
    return str_printf(work->req->arena, "%s.identifier[%zu].%s", path, index, format).data;
}

/* ---- reading ---- */

static int refuse_element(const Work *work, const char *path, const char *what)
{
    return error_add(&work->req->errors, ERR_FHIR_REQUIRED, path, "%s %s.", path, what);
}

static bool is_key(const Work *work, const FhirNode *identifier)
{
    return str_equal(fhir_text(identifier, "system"), work->feed->key.system) &&
           str_equal(str_trim(fhir_text(identifier, "value")), work->feed->key.code);
}

/** Adds one identifier; the key goes to the place that is kept for it. */
static int add_identifier(Work *work, const FhirNode *node, size_t index, bool *has_key)
{
    Str system = fhir_text(node, "system");
    Str value = fhir_text(node, "value");
    NamedIdentifier named = {.cx = pix_fhir_cx(system, value),
                             .location = location(work, "value", index),
                             .authority_location = location(work, "system", index)};
    if (str_is_empty(system)) {
        return refuse_element(work, named.authority_location,
                              "is missing; send urn:oid: and the OID of the assigning authority");
    }
    if (str_is_empty(str_trim(value))) {
        return refuse_element(work, named.location, "is missing; send the patient's identifier");
    }
    if (is_key(work, node)) {
        work->named[0] = named;
        *has_key = true;
    } else {
        work->named[work->named_count++] = named;
    }
    return 0;
}

static int read_identifiers(Work *work)
{
    Request *req = work->req;
    size_t count = fhir_count(work->feed->patient, "identifier");
    bool has_key = false;
    int rc = 0;
    size_t index = 0;
    if (count > FEED_IDENTIFIERS_MAX) {
        return error_add(&req->errors, ERR_FHIR_INVALID, NULL,
                         "%s has %zu identifiers; send at most %d.", work->feed->path, count,
                         FEED_IDENTIFIERS_MAX);
    }
    work->named = ARENA_ARRAY(req->arena, NamedIdentifier, count + 2);
    work->named_count = 1;
    const FhirNode *node = fhir_child(work->feed->patient, "identifier");
    for (; node; node = fhir_next(node)) {
        int fault = add_identifier(work, node, index++, &has_key);
        rc = rc ? rc : fault;
    }
    if (rc == 0 && !has_key) {
        rc = error_add(&req->errors, ERR_FHIR_INVALID, NULL,
                       "The identifier \"%.*s|%.*s\" of the request is not among %s.identifier; "
                       "send the resource with it.",
                       STR_ARG(work->feed->key.system), STR_ARG(work->feed->key.code),
                       work->feed->path);
    }
    return rc;
}

/** IHE.PIXm.Patient has at least one name. */
static int read_demographics(Work *work)
{
    const FhirNode *patient = work->feed->patient;
    int rc = fhir_patient_read(work->req, patient, work->feed->path, &work->demographics);
    if (rc == 0 && !work->survivor && !fhir_child(patient, "name")) {
        const char *path = str_printf(work->req->arena, "%s.name", work->feed->path).data;
        rc = refuse_element(work, path, "is missing; send the patient's name");
    }
    return rc;
}

static void find_survivor_link(Work *work)
{
    const FhirNode *link = fhir_child(work->feed->patient, "link");
    while (link && !str_equal(fhir_text(link, "type"), STR("replaced-by"))) {
        link = fhir_next(link);
    }
    work->survivor = link ? fhir_child(link, "other") : NULL;
}

/* ---- the survivor of a merge ---- */

typedef struct PersonIdentifier {
    const Work *work;
    const AssigningAuthority *authority; /* wanted */
    Str value;
} PersonIdentifier;

static int take_person_identifier(void *ctx, Request *req, const FoundPatient *patient)
{
    PersonIdentifier *wanted = ctx;
    for (size_t i = 0; i < patient->identifier_count; i++) {
        const FoundIdentifier *identifier = &patient->identifiers[i];
        if (identifier->authority == wanted->authority && !identifier->is_derived) {
            wanted->value = str_dup(req->arena, identifier->value);
        }
    }
    return 0;
}

/** link.other.reference: "Patient?identifier=system|value", or "Patient/17" with an identifier in
 * the authority of the key. */
static int read_survivor_reference(Work *work, Str reference, FhirToken *ret_token)
{
    static const Str conditional = STR_INIT("Patient?identifier=");
    FhirExchange *exchange = work->feed->exchange;
    Str base = str_printf(work->req->arena, "%.*s/", STR_ARG(exchange->base));
    Str relative =
        str_starts_with(reference, base) ? str_from_offset(reference, base.len) : reference;
    Str decoded;
    if (str_starts_with(relative, conditional) &&
        fhir_percent_decode(work->req->arena, str_from_offset(relative, conditional.len),
                            &decoded)) {
        *ret_token = fhir_token_parse(work->req->arena, decoded);
        return 0;
    }
    PersonIdentifier wanted = {
        .work = work, .authority = pix_fhir_authority(work->authorities, work->feed->key.system)};
    int rc = str_starts_with(relative, STR("Patient/")) && wanted.authority
                 ? pix_fhir_find_person(work->feed->pix, exchange, work->authorities,
                                        str_from_offset(relative, strlen("Patient/")),
                                        take_person_identifier, &wanted)
                 : 0;
    *ret_token = (FhirToken){.system = work->feed->key.system, .code = wanted.value};
    return rc;
}

/** Names the survivor behind the other identifiers. */
static int read_survivor(Work *work)
{
    const FhirNode *identifier = fhir_child(work->survivor, "identifier");
    FhirToken token = {.system = fhir_text(identifier, "system"),
                       .code = fhir_text(identifier, "value")};
    const char *path =
        str_printf(work->req->arena, "%s.link.other.identifier", work->feed->path).data;
    int rc = identifier
                 ? 0
                 : read_survivor_reference(work, fhir_text(work->survivor, "reference"), &token);
    if (rc == 0 && (str_is_empty(token.system) || str_is_empty(token.code))) {
        rc = refuse_element(work, path,
                            "names no patient that is known here; send system and value of the "
                            "identifier that stays");
    }
    work->survivor_key = token;
    work->named[1] = (NamedIdentifier){
        .cx = pix_fhir_cx(token.system, token.code), .location = path, .authority_location = path};
    work->named_count = 2; /* the other identifiers of a merged record say nothing new */
    return rc;
}

/* ---- rules and effects ---- */

static int resolve(Work *work)
{
    work->identifiers = ARENA_ARRAY(work->req->arena, Identifier, work->named_count);
    return feed_rules_resolve(work->feed->pix, work->req, work->authorities, &sender, FEED_RECORD,
                              work->named, work->named_count, work->identifiers,
                              &work->identifier_count);
}

static int look_up_key(Work *work)
{
    return identity_find_all(work->feed->pix, work->req, work->authorities, &work->identifiers[0],
                             &work->known);
}

/** The event about one patient, in the arena. */
static AuditEvent event_of(Work *work, AuditEventType type, const Identifier *identifiers,
                           size_t count)
{
    Arena *arena = work->req->arena;
    AuditObject *objects = ARENA_ARRAY(arena, AuditObject, count + 1);
    for (size_t i = 0; i < count; i++) {
        objects[i] = (AuditObject){
            .kind = AUDIT_OBJECT_PATIENT,
            .id = hl7_cx_format(arena, identifiers[i].value, identifiers[i].authority->oid)};
    }
    count += pix_fhir_audit_request(work->req, &objects[count]);
    return (AuditEvent){.type = type, .objects = objects, .object_count = count};
}

static Str source_name(const Work *work)
{
    return work->req->principal->node_name;
}

static int apply_feed(Work *work)
{
    const FhirFeedEvents *events = &work->feed->events;
    const AuditEvent event = event_of(work, work->known.is_known ? events->update : events->create,
                                      work->identifiers, work->identifier_count);
    fhir_patient_mark_absent(&work->demographics);
    const IdentityFeed feed = {.identifiers = work->identifiers,
                               .identifier_count = work->identifier_count,
                               .demographics = work->demographics,
                               .source = {source_name(work), &event, 1}};
    return identity_feed(work->feed->pix, work->req, &feed, NULL);
}

static int apply_merge(Work *work)
{
    const Identifier *subsumed = &work->identifiers[0];
    const Identifier *survivor = &work->identifiers[work->identifier_count - 1];
    if (work->identifier_count < 2 || subsumed->authority != survivor->authority) {
        return error_add(&work->req->errors, ERR_FHIR_BUSINESS_RULE, work->named[1].location,
                         "The identifier that stays must be another one of the same assigning "
                         "authority, %.*s.",
                         STR_ARG(work->feed->key.system));
    }
    const AuditEvent events[] = {event_of(work, work->feed->events.remove, subsumed, 1),
                                 event_of(work, work->feed->events.update, survivor, 1)};
    const IdentityMerge merge = {.kind = MERGE_UPSERT,
                                 .subsumed = *subsumed,
                                 .survivor = *survivor,
                                 .demographics = &work->demographics,
                                 .source = {source_name(work), events, ARRAY_LEN(events)}};
    return identity_merge(work->feed->pix, work->req, &merge);
}

/** Whose record the key is now, or that of its survivor. */
static int find_person(Work *work, FhirFed *ret_fed)
{
    const Identifier *asked = &work->identifiers[work->survivor ? work->identifier_count - 1 : 0];
    CrossReference reference = {0};
    int rc = identity_find_all(work->feed->pix, work->req, work->authorities, asked, &reference);
    *ret_fed = (FhirFed){.is_new = !work->known.is_known && str_is_empty(work->known.subsumed_by),
                         .person = reference.person};
    return rc;
}

/** Records what was refused; the record of what was done went with the change. */
static void record_refusal(FhirFeed *feed, AuditEventType type, const FhirToken *patient)
{
    Request *req = feed->exchange->req;
    AuditObject objects[2];
    AuditEvent event = {.type = type, .objects = objects};
    if (!str_is_empty(patient->code)) {
        objects[event.object_count++] = pix_fhir_audit_token(
            req->arena, pix_fhir_authorities(feed->pix, feed->exchange), patient);
    }
    event.object_count += pix_fhir_audit_request(req, &objects[event.object_count]);
    audit_event_refuse(req, &event);
    int recorded = audit_append_event(feed->pix->config.audit, req, &event);
    (void)recorded; /* a refusal gives nothing out */
}

int fhir_feed_refuse(FhirFeed *feed, AuditEventType type, int rc)
{
    if (error_info((ErrorCode)-rc)->http_status == 404 && feed->patient) {
        feed->exchange->status = 422; /* it is not the URL that was not found */
    }
    record_refusal(feed, type, &feed->key);
    return rc;
}

/** A merge is about two patients: a record for each. */
static int refuse_patient(Work *work, int rc)
{
    const FhirFeedEvents *events = &work->feed->events;
    if (work->survivor) {
        record_refusal(work->feed, events->update, &work->survivor_key);
    }
    return fhir_feed_refuse(work->feed, work->survivor ? events->remove : events->update, rc);
}

int fhir_feed_patient(FhirFeed *feed, FhirFed *ret_fed)
{
    Work work = {.feed = feed,
                 .req = feed->exchange->req,
                 .authorities = pix_fhir_authorities(feed->pix, feed->exchange)};
    find_survivor_link(&work);
    int rc = read_identifiers(&work);
    int demographics_rc = read_demographics(&work);
    rc = rc ? rc : demographics_rc;
    if (rc == 0 && work.survivor) {
        rc = read_survivor(&work);
    }
    rc = rc ? rc : resolve(&work);
    rc = rc ? rc : look_up_key(&work);
    if (rc == 0) {
        rc = work.survivor ? apply_merge(&work) : apply_feed(&work);
    }
    return rc ? refuse_patient(&work, rc) : find_person(&work, ret_fed);
}

int fhir_feed_remove(FhirFeed *feed)
{
    Work work = {.feed = feed,
                 .req = feed->exchange->req,
                 .authorities = pix_fhir_authorities(feed->pix, feed->exchange)};
    const char *parameter = "identifier";
    NamedIdentifier named = {.cx = pix_fhir_cx(feed->key.system, feed->key.code),
                             .location = parameter,
                             .authority_location = parameter};
    work.named = &named;
    work.named_count = 1;
    int rc = resolve(&work);
    rc = rc ? rc : look_up_key(&work);
    if (rc == 0 && !work.known.is_known) {
        rc = error_add(&work.req->errors, ERR_FHIR_NOT_FOUND, NULL,
                       "There is no patient with the identifier \"%.*s|%.*s\"; nothing to remove.",
                       STR_ARG(feed->key.system), STR_ARG(feed->key.code));
    }
    if (rc == 0) {
        const AuditEvent event = event_of(&work, feed->events.remove, work.identifiers, 1);
        const IdentitySource source = {source_name(&work), &event, 1};
        rc = identity_remove(feed->pix, work.req, &work.identifiers[0], &source);
    }
    return rc ? fhir_feed_refuse(feed, feed->events.remove, rc) : 0;
}
