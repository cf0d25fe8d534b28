#pragma once

#include <stdbool.h>

#include "lib/base/arena.h"
#include "lib/base/str.h"

/** Rows of error_codes.def; functions return them negated by ERR(). 0 is success. */
typedef enum ErrorCode {
    ERR_NONE = 0,
#define ERROR(name, ihe, hl7, fhir, http, audit) ERR_##name,
#include "lib/base/error_codes.def"
#undef ERROR
    ERR_COUNT
} ErrorCode;

typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING } Severity;

/** What an ErrorCode is called on each surface. */
typedef struct ErrorInfo {
    const char *ihe_code;   /* RegistryError/@errorCode */
    int hl7_code;           /* table 0357 */
    const char *fhir_issue; /* OperationOutcome.issue.code */
    int http_status;
    int audit_outcome; /* EventOutcomeIndicator: 4, 8 or 12 */
} ErrorInfo;

typedef struct Error {
    ErrorCode code;
    Severity severity;
    Str context; /* codeContext: what was wrong and what to send instead, for the sender's vendor */
    Str location; /* slot name, XPath, entryUUID or ERR-2 path; empty if none */
    struct Error *next;
} Error;

/** All faults found in one request, in order; everything lives in the arena. */
typedef struct ErrorList {
    Arena *arena;
    Error *first;
    Error *last;
    unsigned count;       /* of both severities */
    unsigned error_count; /* of SEVERITY_ERROR */
    unsigned kept_max;    /* of each severity: ERROR_LIST_KEPT_MAX, unless the answer owes more */
} ErrorList;

const ErrorInfo *error_info(ErrorCode code);

/**
 * RegistryError/@errorCode as the actor that answers has to name it: what has no code of its own in
 * TF-3 Table 4.2.4.1-2 is XDSRegistryError, ...Busy or ...OutOfResources of a registry, and
 * XDSRepositoryError and so on of a repository.
 */
const char *error_ihe_code(ErrorCode code, bool is_repository);

void error_list_init(ErrorList *list, Arena *arena);

/**
 * Adds an error. Beyond kept_max entries it is counted but not kept. Texts are cut at 2
 * KiB and made well-formed UTF-8: they quote what senders sent.
 * @param location  borrowed, copied; NULL = none
 * @return -(int)code, so that a check can add and return in one statement
 */
int error_add(ErrorList *list, ErrorCode code, const char *location, const char *format, ...)
    PRINTF_LIKE(4, 5);

/** Adds a warning; a reply with only warnings is still a Success. */
void error_warn(ErrorList *list, ErrorCode code, const char *location, const char *format, ...)
    PRINTF_LIKE(4, 5);

/** Adds a copy of an error received from another actor, with its own words. */
void error_add_str(ErrorList *list, ErrorCode code, Severity severity, Str location, Str context);

/** Forgets the errors added since the list was copied to mark. */
void error_list_rewind(ErrorList *list, const ErrorList *mark);

/** The row whose ihe_code is this; ERR_NONE if there is none. */
ErrorCode error_code_from_ihe(Str ihe_code);

#define ERROR_LIST_KEPT_MAX 200

/** How many there are of this severity, kept or not. */
static inline unsigned error_list_count_of(const ErrorList *list, Severity severity)
{
    return severity == SEVERITY_ERROR ? list->error_count : list->count - list->error_count;
}

/** Whether more of this severity would only be counted: they need not be described any more. */
static inline bool error_list_is_full_of(const ErrorList *list, Severity severity)
{
    return error_list_count_of(list, severity) >= list->kept_max;
}

static inline bool error_list_is_full(const ErrorList *list)
{
    return error_list_is_full_of(list, SEVERITY_ERROR);
}

static inline bool error_list_has_errors(const ErrorList *list)
{
    return list->error_count > 0;
}
