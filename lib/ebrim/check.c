#include "lib/ebrim/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/ebrim/objects.h"

#define SHOWN_MAX 200

const char *check_transaction(const Check *check)
{
    static const char *const names[] = {"ITI-41", "ITI-42", "ITI-61", "ITI-57", "ITI-92"};
    return names[check->kind];
}

bool check_is_update(const Check *check)
{
    return check->kind == SUBMISSION_ITI57 || check->kind == SUBMISSION_ITI92;
}

bool check_is_full(const Request *req)
{
    return error_list_is_full(&req->errors);
}

Str shown(Str value)
{
    if (value.len <= SHOWN_MAX) {
        return value;
    }
    size_t len = SHOWN_MAX;
    while (len > 0 && ((unsigned char)value.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return str_slice(value, 0, len);
}

static const char *element_name(const RimObject *object)
{
    static const char *const names[] = {"ExtrinsicObject", "RegistryPackage", "Association"};
    return names[object->kind];
}

const char *object_label(Arena *arena, const RimObject *object)
{
    ObjectKind kind;
    const char *name = element_name(object);
    Str unique_id = STR_EMPTY;
    if (rim_object_kind(object, &kind)) {
        name = object_kind_name(kind);
        if (kind != OBJECT_ASSOCIATION) {
            unique_id = rim_external_identifier(object, attribute_named(kind, "uniqueId")->id.data);
        }
    }
    Str label = str_printf(arena, "%s %.*s%s(id %.*s)", name, STR_ARG(shown(unique_id)),
                           str_is_empty(unique_id) ? "" : " ", STR_ARG(shown(object->id)));
    return str_cstr(arena, label);
}

void check_fault(Check *check, ErrorCode code, const RimObject *object, const XmlNode *at,
                 const char *attribute, const char *format, ...)
{
    Request *req = check->req;
    if (check_is_full(req)) {
        (void)error_add(&req->errors, code, NULL, "%s", "");
        return;
    }
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    const char *location = at ? str_cstr(req->arena, xml_path(req->arena, at)) : attribute;
    const char *label = object ? object_label(req->arena, object) : "submission";
    (void)error_add(&req->errors, code, location, "%s: %s", label, len < 0 ? "" : text);
    if (len >= 0) {
        free(text);
    }
}

int submission_check(Request *req, const Submission *submission, SubmissionKind kind,
                     const struct CodeSets *codes)
{
    unsigned errors_before = req->errors.error_count;
    Check check = {.req = req, .submission = submission, .kind = kind};
    check_collect_members(&check);
    check_structure(&check);
    for (const RimObject *object = submission->objects; object; object = object->next) {
        ObjectKind object_kind;
        if (rim_object_kind(object, &object_kind) && object_kind != OBJECT_ASSOCIATION) {
            check_attributes(&check, object_kind, object);
        }
    }
    check_associations(&check);
    if (codes) {
        submission_check_codes(req, submission, codes, SEVERITY_ERROR);
    }
    return req->errors.error_count == errors_before ? 0 : -(int)ERR_XDS_REGISTRY_METADATA_ERROR;
}
