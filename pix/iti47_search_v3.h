#pragma once

#include "pix/message_v3.h"
#include "pix/search.h"

/** What a Patient Demographics Query of HL7 v3 asks for (ITI TF-2 3.47.4.1.2). */

#define PDQ_DOMAINS_MAX 100

typedef struct PdqQuestion {
    PatientSearch search;
    bool matches_nothing; /* an identifier of a domain that is not known */
    const AssigningAuthority *domains[PDQ_DOMAINS_MAX]; /* otherIDsScopingOrganization */
    size_t domain_count;
    uint64_t quantity; /* initialQuantity; 0: all */
} PdqQuestion;

/**
 * Reads a queryByParameter that passed v3_check(); adds every fault.
 * @return 0, or the first ERR_HL7_...
 */
int pdq_v3_read_question(Pix *pix, Request *req, const XmlNode *parameters,
                         PdqQuestion *ret_question) MUST_CHECK;
