#include "lib/fhir/capability.h"

#include <assert.h>

#include "lib/base/clock.h"

void fhir_capabilities_add(FhirCapabilities *capabilities, const FhirCapability *capability)
{
    assert(capabilities->count < FHIR_CAPABILITIES_MAX);
    capabilities->items[capabilities->count++] = capability;
}

void fhir_capability_add_operation(Arena *arena, FhirNode *parent, const char *name,
                                   const char *definition)
{
    FhirNode *operation = fhir_add(arena, parent, "operation");
    fhir_add_text(arena, operation, "name", str_from(name));
    fhir_add_text(arena, operation, "definition", str_from(definition));
}

static void add_instantiates(Arena *arena, FhirNode *statement, const FhirCapability *capability)
{
    for (size_t i = 0; i < capability->instantiates_count; i++) {
        fhir_add_text(arena, statement, "instantiates", str_from(capability->instantiates[i]));
    }
}

static Str describe(Arena *arena, const FhirCapabilities *capabilities)
{
    Str text = STR_EMPTY;
    for (size_t i = 0; i < capabilities->count; i++) {
        text = str_printf(arena, "%.*s%s%s", STR_ARG(text), i > 0 ? ", " : "",
                          capabilities->items[i]->description);
    }
    return text;
}

static void add_rest(Arena *arena, FhirNode *statement, const FhirCapabilities *capabilities)
{
    FhirNode *rest = fhir_add(arena, statement, "rest");
    fhir_add_text(arena, rest, "mode", STR("server"));
    for (size_t i = 0; i < capabilities->count; i++) {
        capabilities->items[i]->add_resources(arena, rest);
    }
    for (size_t i = 0; i < capabilities->count; i++) {
        if (capabilities->items[i]->add_operations) {
            capabilities->items[i]->add_operations(arena, rest);
        }
    }
}

int fhir_capability_read(void *capabilities, FhirExchange *exchange)
{
    const FhirCapabilities *all = capabilities;
    Arena *arena = exchange->req->arena;
    FhirNode *statement = fhir_resource_new(arena, "CapabilityStatement");
    fhir_add_text(arena, statement, "status", STR("active"));
    fhir_add_text(arena, statement, "date", clock_iso8601(arena, clock_utc_us()));
    fhir_add_text(arena, statement, "kind", STR("instance"));
    for (size_t i = 0; i < all->count; i++) {
        add_instantiates(arena, statement, all->items[i]);
    }
    fhir_add_text(arena, fhir_add(arena, statement, "software"), "name", STR("Musubi"));
    FhirNode *implementation = fhir_add(arena, statement, "implementation");
    fhir_add_text(arena, implementation, "description", describe(arena, all));
    fhir_add_text(arena, implementation, "url", exchange->base);
    fhir_add_text(arena, statement, "fhirVersion", STR("4.0.1"));
    fhir_add_text(arena, statement, "format", STR("application/fhir+json"));
    fhir_add_text(arena, statement, "format", STR("application/fhir+xml"));
    add_rest(arena, statement, all);
    exchange->reply = statement;
    exchange->status = 200;
    return 0;
}
