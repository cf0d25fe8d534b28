#pragma once

#include "lib/base/request.h"

/**
 * Appends rs:RegistryErrorList with every error and warning of the request; nothing if there is
 * none. It declares its own namespace prefix, so that it fits into any response. Each codeContext
 * ends in the reference for `musubi trace`; each location in req->community, if there is one, with
 * a space before it. Spec: TF-3 4.2.4.1.
 */
void registry_error_list_write(const Request *req, StrBuf *buf);

/** Appends rs:RegistryResponse with the error list. status: one of URN_RESPONSE_. Spec:
 * TF-3 4.2.4. */
void registry_response_write(const Request *req, const char *status, StrBuf *buf);
