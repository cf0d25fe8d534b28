#include "lib/soap/community.h"
#include "registry/registry.h"
#include "registry/stored_query.h"

/** AdhocQuery/@home may be absent where a patient id says who is asked for, and is of this
 * community where it is there (TF-2 3.38.4.1.2.1, 3.38.4.1.3). */
static int check_home(const Registry *registry, Request *req, const XmlNode *adhoc_query,
                      const QueryRequest *request)
{
    Str home = str_trim(xml_attribute(adhoc_query, "home"));
    if (str_is_empty(home) && request->values[FIELD_Patient_patient_id].parameter != NULL) {
        return 0;
    }
    return community_check(req, str_from(registry->config.home_community_id), home,
                           "AdhocQuery/@home", NULL);
}

int registry_iti38_cross_gateway_query(void *registry, SoapExchange *exchange)
{
    static const QueryTransaction iti38 = {
        .event = AUDIT_ITI38_QUERY, .is_cross_gateway = true, .check = check_home};
    return stored_query_answer(registry, exchange, &iti38);
}
