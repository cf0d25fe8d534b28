#pragma once

#include "lib/base/request.h"
#include "lib/hl7/er7.h"

/** What every reply in original mode has in common (ITI TF-2 C.2.3): MSH, MSA and one ERR for each
 * error. */

typedef struct Hl7Reply {
    Str type;     /* MSH-9 in standard delimiters */
    Str segments; /* behind ERR; UTF-8, standard delimiters, each ended by CR */
} Hl7Reply;

/** MSA-1: "AA" without errors; "AR" when the sender may send the same again elsewhere or later,
 * "AE" when it must change it. */
const char *hl7_reply_code(const ErrorList *errors);

/** Whether the peer speaks a version before 2.5, whose ERR has field 1 alone. */
bool hl7_reply_is_before_2_5(const Er7Message *request);

/**
 * Writes a reply. Its character set is the request's, or UTF-8 where that cannot hold the text;
 * MSH-18 says which. Each error text ends in " [ref XXXXX]".
 *
 * @param request  NULL when MSH could not be read: nobody is named and MSA-2 is empty
 */
void hl7_reply_write(const Request *req, const Er7Message *request, const Hl7Reply *content,
                     StrBuf *reply);
