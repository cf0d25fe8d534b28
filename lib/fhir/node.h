#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/str.h"

/**
 * A FHIR R4 resource as a tree that is neither JSON nor XML: an element is a node, an element that
 * repeats is several nodes of one name side by side. Read from either format (read.h), written to
 * either (write.h). Everything is in an arena.
 */

typedef enum FhirValueKind {
    FHIR_STRUCTURE, /* has children, no value */
    FHIR_TEXT,
    FHIR_NUMBER,  /* as it was written: precision counts (FHIR R4 2.24.0.1) */
    FHIR_BOOLEAN, /* "true" or "false" */
} FhirValueKind;

typedef struct FhirNode {
    Str name;  /* of the element: "birthDate"; empty for the root */
    Str type;  /* of a resource: "Patient"; else empty */
    Str value; /* of a primitive element; from XML every kind is FHIR_TEXT */
    FhirValueKind kind;
    bool is_listed; /* a sibling beside it has the same name */
    struct FhirNode *parent;
    struct FhirNode *first_child;
    struct FhirNode *last_child;
    struct FhirNode *next;
} FhirNode;

/* ---- looking; node may be NULL ---- */

/** First child of this name, or NULL. */
const FhirNode *fhir_child(const FhirNode *node, const char *name);
/** Next sibling of the same name, or NULL. */
const FhirNode *fhir_next(const FhirNode *node);
/** Value of the first child of this name; empty if absent. */
Str fhir_text(const FhirNode *node, const char *name);
size_t fhir_count(const FhirNode *node, const char *name);
/** The first extension with this URL, or NULL. */
const FhirNode *fhir_extension(const FhirNode *node, const char *url);
/** The value[x] of an extension or of a Parameters.parameter, or NULL. */
const FhirNode *fhir_value_x(const FhirNode *node);
bool fhir_is_resource(const FhirNode *node, const char *type);

/* ---- building, in the order of elements in the specification: XML keeps it; names and types are
 * literals, values are borrowed ---- */

FhirNode *fhir_resource_new(Arena *arena, const char *type);
FhirNode *fhir_add(Arena *arena, FhirNode *parent, const char *name);
/** A resource as value of an element: Bundle.entry.resource. */
FhirNode *fhir_add_resource(Arena *arena, FhirNode *parent, const char *name, const char *type);
/** An empty text adds nothing: FHIR has no empty values. */
void fhir_add_text(Arena *arena, FhirNode *parent, const char *name, Str value);
void fhir_add_boolean(Arena *arena, FhirNode *parent, const char *name, bool value);
/** @param number  in the syntax of JSON */
void fhir_add_number(Arena *arena, FhirNode *parent, const char *name, Str number);
/** An extension without its value; its URL is a literal. */
FhirNode *fhir_add_extension(Arena *arena, FhirNode *parent, const char *url);
/** An element that has no parent yet. */
FhirNode *fhir_node_new(Arena *arena, const char *name);
/** Hangs a node that has no parent behind the children. */
void fhir_append(FhirNode *parent, FhirNode *child);
/** The same, unless it says nothing: FHIR has no empty elements. */
void fhir_append_unless_empty(FhirNode *parent, FhirNode *child);

/** Whether the specification lets the element occur more than once: an array in JSON also when it
 * occurs once (repeating.def). */
bool fhir_is_repeating(const FhirNode *node);
