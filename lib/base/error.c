#include "lib/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONTEXT_MAX 2048
#define LOCATION_MAX 2048
/** Rows of error_codes.def from here on are not of TF-3 Table 4.2.4.1-2. */
#define FIRST_GENERAL ERR_HL7_SEGMENT_SEQUENCE

static const ErrorInfo infos[ERR_COUNT] = {
    [ERR_NONE] = {"", 0, "informational", 200, 0},
#define ERROR(name, ihe, hl7, fhir, http, audit) [ERR_##name] = {ihe, hl7, fhir, http, audit},
#include "lib/base/error_codes.def"
#undef ERROR
};

const ErrorInfo *error_info(ErrorCode code)
{
    return &infos[code < ERR_COUNT ? code : ERR_NONE];
}

const char *error_ihe_code(ErrorCode code, bool is_repository)
{
    static const char *const names[][2] = {
        {"XDSRegistryError", "XDSRepositoryError"},
        {"XDSRegistryBusy", "XDSRepositoryBusy"},
        {"XDSRegistryOutOfResources", "XDSRepositoryOutOfResources"},
    };
    const char *name = error_info(code)->ihe_code;
    for (size_t i = 0; code >= FIRST_GENERAL && i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i][0]) == 0 || strcmp(name, names[i][1]) == 0) {
            return names[i][is_repository];
        }
    }
    return name;
}

void error_list_init(ErrorList *list, Arena *arena)
{
    *list = (ErrorList){.arena = arena, .kept_max = ERROR_LIST_KEPT_MAX};
}

void error_add_str(ErrorList *list, ErrorCode code, Severity severity, Str location, Str context)
{
    bool is_kept = !error_list_is_full_of(list, severity);
    list->count++;
    if (severity == SEVERITY_ERROR) {
        list->error_count++;
    }
    if (!is_kept) {
        return;
    }
    Error *error = ARENA_NEW(list->arena, Error);
    error->code = code;
    error->severity = severity;
    error->context = str_shown(list->arena, context);
    error->location = str_shown(list->arena, str_slice(location, 0, LOCATION_MAX));
    if (list->last) {
        list->last->next = error;
    } else {
        list->first = error;
    }
    list->last = error;
}

PRINTF_LIKE(5, 0)
static void add_formatted(ErrorList *list, ErrorCode code, Severity severity, const char *location,
                          const char *format, va_list args)
{
    char text[CONTEXT_MAX];
    int wanted = vsnprintf(text, sizeof(text), format, args);
    size_t len = wanted < 0 ? 0 : MIN((size_t)wanted, sizeof(text) - 1);
    error_add_str(list, code, severity, str_from(location), (Str){text, len});
}

int error_add(ErrorList *list, ErrorCode code, const char *location, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_formatted(list, code, SEVERITY_ERROR, location, format, args);
    va_end(args);
    return -(int)code;
}

void error_warn(ErrorList *list, ErrorCode code, const char *location, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_formatted(list, code, SEVERITY_WARNING, location, format, args);
    va_end(args);
}

ErrorCode error_code_from_ihe(Str ihe_code)
{
    for (int code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        if (str_equal(ihe_code, str_from(infos[code].ihe_code))) {
            return (ErrorCode)code;
        }
    }
    return ERR_NONE;
}

void error_list_rewind(ErrorList *list, const ErrorList *mark)
{
    *list = *mark;
    if (list->last != NULL) {
        list->last->next = NULL;
    }
}
