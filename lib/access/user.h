#pragma once

#include <stddef.h>

#include "lib/base/str.h"

/** A coded value as assertions carry it (HL7 CE). */
typedef struct AccessCode {
    Str code;
    Str system;  /* codeSystem: an OID; empty if the sender gave none */
    Str display; /* displayName; empty if none */
    Str text;    /* originalText: of an emergency's PurposeOfUse, the reason; empty if none */
} AccessCode;

/**
 * The person behind a request, as a verified SAML assertion names him (XUA, ITI TF-2 3.40.4.1.2).
 * In the request's arena.
 */
typedef struct AccessUser {
    Str id;                  /* NameID */
    Str issuer;              /* Issuer: who vouches for the id */
    Str alias;               /* NameID/@SPProvidedID; empty if none */
    Str name;                /* subject:subject-id, plain text; empty if none */
    Str organization;        /* subject:organization; empty if none */
    Str organization_id;     /* subject:organization-id, a URI; empty if none */
    const AccessCode *roles; /* xacml subject:role */
    size_t role_count;
    const AccessCode *purposes; /* PurposeOfUse */
    size_t purpose_count;
    Str consent_document; /* bppc:2007:docid without "urn:oid:"; empty if none */
    Str consent_policy;   /* xua:2012:acp without "urn:oid:"; empty if none */
    Str patient;          /* xacml resource:resource-id, CX; empty if none */
} AccessUser;
