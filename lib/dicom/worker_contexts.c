#include "lib/dicom/worker_contexts.h"

#include "lib/dicom/uid.h"

/** Standard classes (PS3.6 A) begin so; instances of those below the second are stored (PS3.4 B.5).
 */
#define STANDARD STR("1.2.840.10008.")
#define STORAGE STR("1.2.840.10008.5.1.4.1.1.")

static const struct {
    ContextService service;
    const char *sop_class;
    const char *model;
} services[] = {
#define SERVICE(kind, sop_class, model) {SERVICE_##kind, sop_class, model},
#include "lib/dicom/worker_services.def"
#undef SERVICE
};

ContextService context_service(Str sop_class, const char **ret_model)
{
    *ret_model = "";
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        if (str_equal(sop_class, str_from(services[i].sop_class))) {
            *ret_model = services[i].model;
            return services[i].service;
        }
    }
    bool is_storage = dicom_uid_is_valid(sop_class) && (sop_kind(sop_class, false) != SOP_OTHER ||
                                                        str_starts_with(sop_class, STORAGE) ||
                                                        !str_starts_with(sop_class, STANDARD));
    return is_storage ? SERVICE_STORE : SERVICE_NONE;
}

/** What identifiers are written in, too. */
static bool is_plain(const char *syntax)
{
    return str_equal(str_from(syntax), STR(UID_IMPLICIT_LITTLE_ENDIAN)) ||
           str_equal(str_from(syntax), STR(UID_EXPLICIT_LITTLE_ENDIAN));
}

/** NULL: none of those that are proposed. */
static const char *choose_syntax(const AssociationContext *context, ContextService service)
{
    for (size_t i = 0; i < context->syntax_count; i++) {
        const char *syntax = context->syntaxes[i];
        if (service == SERVICE_STORE ? dicom_uid_is_valid(str_from(syntax)) : is_plain(syntax)) {
            return syntax;
        }
    }
    return NULL;
}

void contexts_negotiate(DicomAssociation *association)
{
    AssociationContext context;
    for (size_t i = 0; association_context_at(association, i, &context); i++) {
        const char *model = NULL;
        ContextService service = context_service(str_from(context.abstract_syntax), &model);
        const char *syntax = service == SERVICE_NONE ? NULL : choose_syntax(&context, service);
        if (syntax) {
            /* roles other than the usual: who gets instances by C-GET is called with C-STORE */
            (void)association_accept_context(association, context.id, syntax,
                                             service == SERVICE_STORE ? context.role
                                                                      : ASSOCIATION_ROLE_DEFAULT);
        } else {
            association_refuse_context(association, context.id, service != SERVICE_NONE);
        }
    }
}
