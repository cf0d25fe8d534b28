#include "server/fhir_transactions.h"

#include "atna/iti81.h"
#include "pix/pix.h"

#define ID_MAX_BYTES 64

static const FhirTransaction fhir_transactions[] = {
#define FHIR(method, path, number, body, module, handler)                                          \
    {STR_INIT(method), STR_INIT(path), number, body, module, handler},
#include "server/fhir_transactions.def"
#undef FHIR
};

/** id = [A-Za-z0-9\-\.]{1,64} (FHIR R4 2.24.0.1) */
static bool is_id(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '.') {
            return false;
        }
    }
    return text.len > 0 && text.len <= ID_MAX_BYTES;
}

static bool matches(Str pattern, Str path, Str *ret_id)
{
    *ret_id = STR_EMPTY;
    if (!str_ends_with(pattern, STR("*"))) {
        return str_equal(pattern, path);
    }
    Str fixed = str_slice(pattern, 0, pattern.len - 1);
    Str id = str_from_offset(path, fixed.len);
    if (!str_starts_with(path, fixed) || !is_id(id)) {
        return false;
    }
    *ret_id = id;
    return true;
}

const FhirTransaction *fhir_transaction_find(Arena *arena, Str method, Str path, Str *ret_id,
                                             Str *ret_allowed)
{
    const FhirTransaction *found = NULL;
    Str allowed = STR_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(fhir_transactions); i++) {
        const FhirTransaction *row = &fhir_transactions[i];
        Str id;
        if (!matches(row->path, path, &id)) {
            continue;
        }
        allowed = str_printf(arena, "%.*s%s%.*s", STR_ARG(allowed), allowed.len ? ", " : "",
                             STR_ARG(row->method));
        if (str_equal(row->method, method)) {
            found = row;
            *ret_id = id;
        }
    }
    *ret_allowed = allowed;
    return found;
}
