#pragma once

#include "lib/base/request.h"
#include "lib/hl7/er7.h"

/** Answers to queries (HL7 v2.5 5.4; ITI TF-2 3.9.4.2.2, 3.21.4.2.2): MSH MSA [ERR] QAK QPD and
 * what was found. */

/**
 * Writes the answer to a QBP message. QAK-1 is its query tag; QAK-2 is OK, NF where nothing was
 * found, or what MSA-1 says of req->errors. QPD is the request's.
 *
 * @param type   MSH-9: "RSP^K23^RSP_K23"
 * @param found  segments behind QPD, as Hl7Reply.segments; left out when there are errors
 */
void hl7_response_write(const Request *req, const Er7Message *request, const char *type, Str found,
                        StrBuf *reply);

/** A whole segment in standard delimiters; in the arena. */
Str hl7_response_segment(const Er7Message *message, const Er7Segment *segment);
