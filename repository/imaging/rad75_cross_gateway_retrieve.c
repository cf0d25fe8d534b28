#include "repository/imaging/rad69_retrieve.h"

int imaging_rad75_cross_gateway_retrieve(void *imaging, SoapExchange *exchange)
{
    static const ImageTransaction rad75 = {.event = AUDIT_RAD75_TRANSFERRED,
                                           .is_cross_gateway = true};
    return retrieve_images(imaging, exchange, &rad75);
}
