#include "registry/registry.h"
#include "registry/stored_query.h"

int registry_iti51_multi_patient_query(void *registry, SoapExchange *exchange)
{
    static const QueryTransaction iti51 = {.event = AUDIT_ITI51_QUERY, .is_multi_patient = true};
    return stored_query_answer(registry, exchange, &iti51);
}
