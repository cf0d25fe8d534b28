#include "lib/ebrim/check.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* Codes and MIME types against the affinity domain's sets (TF-2 3.42.4.1.3.3.3, .4). */

/** One run over the codes of a submission. */
typedef struct CodeRun {
    Request *req;
    const CodeSets *codes;
    Severity severity;
} CodeRun;

static void unknown_code(CodeRun *run, const RimObject *object, const XmlNode *at, const char *name,
                         Str set, Code code)
{
    Arena *arena = run->req->arena;
    if (error_list_is_full_of(&run->req->errors, run->severity)) {
        error_add_str(&run->req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, run->severity, STR_EMPTY,
                      STR_EMPTY);
        return;
    }
    Str nearest = code_sets_nearest(run->codes, arena, set, code.code, code.scheme);
    Str hint = str_is_empty(nearest) ? STR("the affinity domain has no codes for it; leave it out")
                                     : str_printf(arena,
                                                  "send a code of the affinity domain, such "
                                                  "as %.*s",
                                                  STR_ARG(nearest));
    Str scheme = str_is_empty(code.scheme)
                     ? STR_EMPTY
                     : str_printf(arena, " of codingScheme \"%.*s\"", STR_ARG(shown(code.scheme)));
    Str context = str_printf(arena, "%s: %s \"%.*s\"%.*s is not in the affinity domain; %.*s",
                             object_label(arena, object), name, STR_ARG(shown(code.code)),
                             STR_ARG(scheme), STR_ARG(hint));
    Str location = at ? xml_path(arena, at) : str_from(name);
    error_add_str(&run->req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, run->severity, location,
                  context);
}

static void check_code(CodeRun *run, const RimObject *object, const Classification *c,
                       const char *name)
{
    Code code = {
        .code = c->node_representation,
        .scheme = slot_value(slot_find(c->slots, STR(SLOT_CODING_SCHEME))),
    };
    if (str_is_empty(code.code) || str_is_empty(code.scheme)) {
        return; /* a fault of its own */
    }
    if (!code_sets_has(run->codes, c->classification_scheme, code.code, code.scheme)) {
        unknown_code(run, object, c->xml, name, c->classification_scheme, code);
    }
}

static void check_object_codes(CodeRun *run, ObjectKind kind, const RimObject *object)
{
    for (const Classification *c = object->classifications; c; c = c->next) {
        if (kind == OBJECT_ASSOCIATION) {
            if (str_equal(c->classification_scheme, STR(UUID_ASSOCIATION_DOCUMENTATION))) {
                check_code(run, object, c, "documentation");
            }
            continue;
        }
        const Attribute *attribute =
            attribute_find(kind, CARRIER_CLASSIFICATION, c->classification_scheme);
        if (attribute && attribute->type == TYPE_CODE) {
            check_code(run, object, c, attribute->name);
        }
    }
    if (kind == OBJECT_DOCUMENT_ENTRY && !str_is_empty(object->mime_type) &&
        !code_sets_has_mime_type(run->codes, object->mime_type)) {
        unknown_code(run, object, object->xml, "mimeType", STR(CODE_SET_MIME_TYPE),
                     (Code){.code = object->mime_type});
    }
}

void submission_check_codes(Request *req, const Submission *submission, const CodeSets *codes,
                            Severity severity)
{
    CodeRun run = {req, codes, severity};
    for (const RimObject *object = submission->objects; object; object = object->next) {
        ObjectKind kind;
        if (rim_object_kind(object, &kind)) {
            check_object_codes(&run, kind, object);
        }
    }
}
