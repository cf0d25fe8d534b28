/** ITI-8 Patient Identity Feed (ITI TF-2 3.8), for the PIX Manager and for the Document Registry.
 */
#include "pix/hl7_v2.h"

int pix_iti08_add(Hl7Call *call)
{
    return hl7_feed(call, false, false);
}

int pix_iti08_revise(Hl7Call *call)
{
    return hl7_feed(call, true, false);
}

int pix_iti08_merge(Hl7Call *call)
{
    return hl7_merge(call, MERGE_STRICT);
}
