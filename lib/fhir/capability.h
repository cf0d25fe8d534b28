#pragma once

#include "lib/fhir/exchange.h"

/** CapabilityStatement (ITI TF-2 Z.3): what one process serves, made of what its modules say. */

/** What one module adds. */
typedef struct FhirCapability {
    const char *description;
    const char *const *instantiates; /* canonical URLs */
    size_t instantiates_count;
    /** Adds rest.resource elements, in the order of the elements of CapabilityStatement. */
    void (*add_resources)(Arena *arena, FhirNode *rest);
    /** Adds rest.operation elements; NULL: none. */
    void (*add_operations)(Arena *arena, FhirNode *rest);
} FhirCapability;

#define FHIR_CAPABILITIES_MAX 4

/** Those of a process: the module of fhir_capability_read(). */
typedef struct FhirCapabilities {
    const FhirCapability *items[FHIR_CAPABILITIES_MAX];
    size_t count;
} FhirCapabilities;

/** There is room for FHIR_CAPABILITIES_MAX. */
void fhir_capabilities_add(FhirCapabilities *capabilities, const FhirCapability *capability);

/** "name" and "definition" in an element "operation". */
void fhir_capability_add_operation(Arena *arena, FhirNode *parent, const char *name,
                                   const char *definition);

/** FhirHandler of GET [base]/metadata. @param capabilities  FhirCapabilities */
int fhir_capability_read(void *capabilities, FhirExchange *exchange);
