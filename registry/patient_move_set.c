#include "registry/patient_move_set.h"

#include "lib/base/clock.h"
#include "lib/ebrim/attributes.h"
#include "lib/ebrim/vocabulary.h"

Code move_set_content_type(const RegistryConfig *config)
{
    /* as the audit event of the transaction names it (TF-2 3.64.5.1) */
    Code code = {.code = STR("ITI-64"),
                 .scheme = STR("IHE Transactions"),
                 .display = STR("Notify XAD-PID Link Change")};
    if (config->code_check != CODE_CHECK_OFF) {
        const Attribute *attribute = attribute_named(OBJECT_SUBMISSION_SET, "contentTypeCode");
        (void)code_sets_first(*config->codes, attribute->id, &code);
    }
    return code;
}

static Slot *one_value(Arena *arena, const char *name, Str value)
{
    Slot *slot = ARENA_NEW(arena, Slot);
    slot->name = str_from(name);
    slot->values = ARENA_NEW(arena, Str);
    slot->values[0] = value;
    slot->value_count = 1;
    return slot;
}

static LocalizedString *text(Arena *arena, Str value)
{
    LocalizedString *string = ARENA_NEW(arena, LocalizedString);
    string->value = value;
    return string;
}

/** The value is put in from the row, but for sourceId. */
static ExternalIdentifier *identifier(Arena *arena, const char *name, Str value)
{
    ExternalIdentifier *identifier = ARENA_NEW(arena, ExternalIdentifier);
    identifier->identification_scheme = attribute_named(OBJECT_SUBMISSION_SET, name)->id;
    identifier->value = value;
    identifier->name = text(arena, str_printf(arena, "XDSSubmissionSet.%s", name));
    return identifier;
}

static Classification *classifications(Arena *arena, const Code *content_type)
{
    Classification *marker = ARENA_NEW(arena, Classification);
    Classification *code = ARENA_NEW(arena, Classification);
    marker->classification_node = STR(UUID_SUBMISSION_SET_NODE);
    marker->next = code;
    code->classification_scheme = attribute_named(OBJECT_SUBMISSION_SET, "contentTypeCode")->id;
    code->node_representation = content_type->code;
    code->has_node_representation = true;
    code->slots = one_value(arena, SLOT_CODING_SCHEME, content_type->scheme);
    code->name = text(arena, content_type->display);
    return marker;
}

Str move_set_render(Registry *registry, Arena *arena, const MoveSet *set)
{
    ExternalIdentifier *patient = identifier(arena, "patientId", STR_EMPTY);
    ExternalIdentifier *source = identifier(arena, "sourceId", set->source_id);
    patient->next = source;
    source->next = identifier(arena, "uniqueId", set->unique_id);
    const RimObject object = {
        .kind = RIM_REGISTRY_PACKAGE,
        .slots = one_value(arena, "submissionTime", clock_dtm(arena, set->submission_time_us)),
        .classifications = classifications(arena, &registry->move_content_type),
        .external_identifiers = patient,
    };
    return rendered_make(arena, registry->dictionaries, OBJECT_SUBMISSION_SET, &object,
                         set->entry_uuid);
}

Str move_set_render_membership(Registry *registry, Arena *arena, int32_t previous_version)
{
    const RimObject object = {
        .kind = RIM_ASSOCIATION,
        .slots = one_value(arena, SLOT_PREVIOUS_VERSION, str_printf(arena, "%d", previous_version)),
    };
    return rendered_make(arena, registry->dictionaries, OBJECT_ASSOCIATION, &object, (Uuid){0});
}
