#pragma once

#include "lib/base/request.h"

/* TF-3 4.2.4: values of rs:RegistryResponse/@status, and of query and retrieve responses. */
#define RESPONSE_STATUS_SUCCESS "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
#define RESPONSE_STATUS_FAILURE "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
#define RESPONSE_STATUS_PARTIAL_SUCCESS "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"

/* TF-3 Table 4.2.4.1-1 */
#define ERROR_SEVERITY_ERROR "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
#define ERROR_SEVERITY_WARNING "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"

/**
 * Appends rs:RegistryErrorList with every error and warning of the request; nothing if there is
 * none. It declares its own namespace prefix, so that it fits into any response. Each codeContext
 * ends in the reference for `musubi trace`. Spec: TF-3 4.2.4.1.
 */
void registry_error_list_write(const Request *req, StrBuf *buf);

/** Appends rs:RegistryResponse with the error list. status: one of RESPONSE_STATUS_. Spec:
 * TF-3 4.2.4. */
void registry_response_write(const Request *req, const char *status, StrBuf *buf);
