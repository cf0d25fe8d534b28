#include "server/audit_patients.h"

/** Senders name an authority by its OID, or by its namespace alone. */
#define KEYS_OF_IDENTIFIER 2

typedef struct KeyList {
    int64_t *items;
    size_t count;
} KeyList;

/** The key that tells authorities apart, where the CX has one. */
static void add_cx(KeyList *keys, Str cx)
{
    int64_t found[AUDIT_PATIENT_KEY_MAX];
    (void)audit_patient_keys(cx, found);
    keys->items[keys->count++] = found[0];
}

static void add_identifier(Arena *arena, KeyList *keys, const AssigningAuthority *authority,
                           Str value)
{
    add_cx(keys, hl7_cx_format(arena, value, authority->oid));
    if (!str_is_empty(authority->namespace_id)) {
        add_cx(keys,
               str_printf(arena, "%.*s^^^%.*s", STR_ARG(value), STR_ARG(authority->namespace_id)));
    }
}

int audit_patients_keys(Pix *pix, Request *req, const Authorities *authorities,
                        const Identifier *asked, KeySet *ret_keys)
{
    FoundIdentifier *identifiers = NULL;
    size_t count = 0;
    int rc = identity_person_identifiers(pix, req, authorities, asked, &identifiers, &count);
    if (rc < 0) {
        return rc;
    }
    KeyList keys = {.items = ARENA_ARRAY(req->arena, int64_t, KEYS_OF_IDENTIFIER * (count + 1))};
    if (asked->authority) {
        add_identifier(req->arena, &keys, asked->authority, asked->value);
    } else {
        add_cx(&keys, asked->value);
    }
    for (size_t i = 0; i < count; i++) {
        add_identifier(req->arena, &keys, identifiers[i].authority, identifiers[i].value);
    }
    *ret_keys = (KeySet){keys.items, keys.count};
    return 0;
}

int audit_patients_keys_of_cx(Pix *pix, Request *req, const Authorities *authorities, Str cx,
                              KeySet *ret_keys)
{
    const Hl7Cx parts = hl7_cx_parse(req->arena, &er7_standard_delimiters, HL7_UTF_8, cx);
    AuthorityFault fault;
    const Identifier asked = {.authority = authorities_find(authorities, &parts, &fault),
                              .value = parts.id};
    if (asked.authority || fault == AUTHORITY_ABSENT) {
        return audit_patients_keys(pix, req, authorities, &asked, ret_keys);
    }
    KeyList keys = {.items = ARENA_ARRAY(req->arena, int64_t, 1)};
    add_cx(&keys, cx);
    *ret_keys = (KeySet){keys.items, keys.count};
    return 0;
}

static int find_keys(void *ctx, Request *req, Str cx, KeySet *ret_keys)
{
    Pix *pix = ctx;
    return audit_patients_keys_of_cx(pix, req, identity_authorities(pix, req->arena), cx, ret_keys);
}

AuditPatients audit_patients_of(Pix *pix)
{
    return (AuditPatients){.ctx = pix, .keys = find_keys};
}
