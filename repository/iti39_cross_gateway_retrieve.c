#include "repository/repository_private.h"

/** Each location is the DocumentUniqueId with the homeCommunityId (TF-2 3.39.4.1.3). */
int repository_iti39_cross_gateway_retrieve(void *repository, SoapExchange *exchange)
{
    static const RetrieveTransaction iti39 = {.event = AUDIT_ITI39_EXPORT,
                                              .is_cross_gateway = true};
    return retrieve_documents(repository, exchange, &iti39);
}
