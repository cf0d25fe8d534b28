#pragma once

#include "lib/base/request.h"
#include "lib/hl7/er7.h"

/** Acknowledgements in original mode (ITI TF-2 C.2.3): MSH, MSA and one ERR for each error. */

/**
 * Writes the acknowledgement that req->errors calls for; see hl7_reply_write().
 *
 * @param request  NULL when MSH could not be read: nobody is named and MSA-2 is empty
 */
void hl7_ack_write(const Request *req, const Er7Message *request, StrBuf *reply);
