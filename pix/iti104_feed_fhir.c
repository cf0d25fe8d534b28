/** ITI-104 Patient Identity Feed FHIR (PIXm 2:3.104): conditional update and conditional delete. */
#include "lib/fhir/outcome.h"
#include "pix/fhir_feed.h"

static FhirFeed new_feed(Pix *pix, FhirExchange *exchange)
{
    return (FhirFeed){
        .pix = pix,
        .exchange = exchange,
        .events = {AUDIT_ITI104_CREATE, AUDIT_ITI104_UPDATE, AUDIT_ITI104_DELETE},
        .patient = exchange->resource,
        .path = "Patient",
    };
}

/** The condition is one identifier and nothing else: several could match otherwise. */
static int read_condition(FhirExchange *exchange, FhirToken *ret_key)
{
    int rc = pix_fhir_read_identifier(exchange, "identifier", ERR_FHIR_NOT_SELECTIVE, ret_key);
    for (size_t i = 0; rc == 0 && i < exchange->parameters.count; i++) {
        const FhirParameter *parameter = &exchange->parameters.items[i];
        if (!parameter->is_used || !str_is_empty(parameter->modifier)) {
            rc = error_add(&exchange->req->errors, ERR_FHIR_INVALID, NULL,
                           "The condition holds \"%.*s\"; send identifier=system|value alone.",
                           STR_ARG(parameter->name));
        }
    }
    return rc;
}

int pix_iti104_feed(void *module, FhirExchange *exchange)
{
    FhirFeed feed = new_feed(module, exchange);
    FhirFed fed = {0};
    int rc = read_condition(exchange, &feed.key);
    if (rc == 0 && !fhir_is_resource(feed.patient, "Patient")) {
        rc = error_add(&exchange->req->errors, ERR_FHIR_STRUCTURE, NULL,
                       "The body is a %.*s; send a Patient.", STR_ARG(feed.patient->type));
    }
    rc = rc ? fhir_feed_refuse(&feed, feed.events.update, rc) : fhir_feed_patient(&feed, &fed);
    if (rc) {
        return rc;
    }
    exchange->status = fed.is_new ? 201 : 200;
    exchange->location = str_printf(exchange->req->arena, "%.*s/Patient/%lld",
                                    STR_ARG(exchange->base), (long long)fed.person);
    if (exchange->wanted == FHIR_RETURN_OUTCOME) {
        exchange->reply =
            fhir_outcome_of_success(exchange->req, fed.is_new ? STR("The patient was added.")
                                                              : STR("The patient was "
                                                                    "updated."));
    }
    return 0;
}

int pix_iti104_remove(void *module, FhirExchange *exchange)
{
    FhirFeed feed = new_feed(module, exchange);
    int rc = read_condition(exchange, &feed.key);
    rc = rc ? fhir_feed_refuse(&feed, feed.events.remove, rc) : fhir_feed_remove(&feed);
    if (rc == 0) {
        exchange->status = 204;
    }
    return rc;
}
