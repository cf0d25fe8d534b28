/** ITI-93 Mobile Patient Identity Feed (PMIR 2:3.93): a FHIR message with one Patient. */
#include "lib/base/uuid.h"
#include "pix/fhir_feed.h"

#define PATIENT_FEED_EVENT "urn:ihe:iti:pmir:2019:patient-feed"

static int refuse(FhirExchange *exchange, const char *location, const char *text)
{
    return error_add(&exchange->req->errors, ERR_FHIR_STRUCTURE, location, "%s", text);
}

/** Bundle.entry[0] of a message is its MessageHeader (FHIR R4 2.4.1). */
static int check_header(FhirExchange *exchange)
{
    const FhirNode *bundle = exchange->resource;
    const FhirNode *header = fhir_child(fhir_child(bundle, "entry"), "resource");
    if (!fhir_is_resource(bundle, "Bundle") ||
        !str_equal(fhir_text(bundle, "type"), STR("message"))) {
        return refuse(exchange, "Bundle.type", "Send a Bundle of type message.");
    }
    if (!fhir_is_resource(header, "MessageHeader")) {
        return refuse(exchange, "Bundle.entry[0]",
                      "The first entry is no MessageHeader; send it first.");
    }
    if (!str_equal(fhir_text(header, "eventUri"), STR(PATIENT_FEED_EVENT))) {
        return refuse(exchange, "Bundle.entry[0].resource.eventUri",
                      "eventUri is not " PATIENT_FEED_EVENT ", the only event taken here.");
    }
    return 0;
}

/** The entry of the one Patient in the Bundle of type history that the message carries. */
static int find_patient(FhirExchange *exchange, const FhirNode **ret_entry)
{
    const FhirNode *history = NULL;
    const FhirNode *found = NULL;
    const FhirNode *entry = fhir_child(exchange->resource, "entry");
    for (; entry && !history; entry = fhir_next(entry)) {
        const FhirNode *resource = fhir_child(entry, "resource");
        history = fhir_is_resource(resource, "Bundle") ? resource : NULL;
    }
    for (entry = fhir_child(history, "entry"); entry; entry = fhir_next(entry)) {
        if (!fhir_is_resource(fhir_child(entry, "resource"), "Patient")) {
            continue;
        }
        if (found) {
            return error_add(&exchange->req->errors, ERR_FHIR_BUSINESS_RULE, NULL,
                             "The message holds more than one Patient; send a message for each, so "
                             "that each is stored or refused by itself.");
        }
        found = entry;
    }
    *ret_entry = found;
    return found ? 0
                 : refuse(exchange, "Bundle.entry",
                          "The message holds no Bundle of type history with a Patient.");
}

/** Bundle of type message with the answer (FHIR R4 2.4.4). */
static void write_answer(FhirExchange *exchange)
{
    Arena *arena = exchange->req->arena;
    const FhirNode *asked = fhir_child(fhir_child(exchange->resource, "entry"), "resource");
    char id[UUID_URN_LEN];
    uuid_format_urn(uuid_new(), id);
    FhirNode *bundle = fhir_resource_new(arena, "Bundle");
    fhir_add_text(arena, bundle, "type", STR("message"));
    FhirNode *entry = fhir_add(arena, bundle, "entry");
    fhir_add_text(arena, entry, "fullUrl", str_dup(arena, (Str){id, sizeof(id)}));
    FhirNode *header = fhir_add_resource(arena, entry, "resource", "MessageHeader");
    fhir_add_text(arena, header, "eventUri", STR(PATIENT_FEED_EVENT));
    fhir_add_text(arena, fhir_add(arena, header, "source"), "endpoint", exchange->base);
    FhirNode *response = fhir_add(arena, header, "response");
    Str identifier = fhir_text(asked, "id");
    fhir_add_text(arena, response, "identifier",
                  str_is_empty(identifier) ? str_from(exchange->req->ref) : identifier);
    fhir_add_text(arena, response, "code", STR("ok"));
    exchange->reply = bundle;
    exchange->status = 200;
}

int pix_iti93_feed(void *module, FhirExchange *exchange)
{
    FhirFeed feed = {
        .pix = module,
        .exchange = exchange,
        .events = {AUDIT_ITI93_CREATE, AUDIT_ITI93_UPDATE, AUDIT_ITI93_DELETE},
        .path = "Patient",
    };
    FhirFed fed = {0};
    const FhirNode *entry = NULL;
    int rc = check_header(exchange);
    rc = rc ? rc : find_patient(exchange, &entry);
    if (rc) {
        return fhir_feed_refuse(&feed, feed.events.update, rc);
    }
    feed.patient = fhir_child(entry, "resource");
    const FhirNode *identifier = fhir_child(feed.patient, "identifier");
    feed.key = (FhirToken){.system = fhir_text(identifier, "system"),
                           .code = str_trim(fhir_text(identifier, "value"))};
    Str method = fhir_text(fhir_child(entry, "request"), "method");
    rc =
        str_equal(method, STR("DELETE")) ? fhir_feed_remove(&feed) : fhir_feed_patient(&feed, &fed);
    if (rc == 0) {
        write_answer(exchange);
    }
    return rc;
}
