#include "lib/ebrim/rim.h"

const Slot *rim_slot(const RimObject *object, const char *name)
{
    Str wanted = str_from(name);
    for (const Slot *slot = object->slots; slot; slot = slot->next) {
        if (str_equal(slot->name, wanted)) {
            return slot;
        }
    }
    return NULL;
}

const Classification *rim_classification(const RimObject *object, const char *scheme)
{
    Str wanted = str_from(scheme);
    for (const Classification *c = object->classifications; c; c = c->next) {
        if (str_equal(c->classification_scheme, wanted)) {
            return c;
        }
    }
    return NULL;
}

Str rim_external_identifier(const RimObject *object, const char *scheme)
{
    Str wanted = str_from(scheme);
    for (const ExternalIdentifier *e = object->external_identifiers; e; e = e->next) {
        if (str_equal(e->identification_scheme, wanted)) {
            return e->value;
        }
    }
    return STR_EMPTY;
}
