#pragma once

#include "lib/base/request.h"
#include "lib/hl7/er7.h"

/** Acknowledgements in original mode (ITI TF-2 C.2.3): MSH, MSA and one ERR for each error. */

/** MSA-1: "AA" without errors; "AR" when the sender may send the same again elsewhere or later,
 * "AE" when it must change it. */
const char *hl7_ack_code(const ErrorList *errors);

/**
 * Writes the acknowledgement that req->errors calls for. Its character set is the request's, or
 * UTF-8 where that cannot hold the text; MSH-18 says which. Each error text ends in " [ref XXXXX]".
 *
 * @param request  NULL when MSH could not be read: nobody is named and MSA-2 is empty
 */
void hl7_ack_write(const Request *req, const Er7Message *request, StrBuf *reply);
