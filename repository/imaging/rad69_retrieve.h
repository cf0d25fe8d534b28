#pragma once

#include "repository/imaging/imaging_state.h"

/** In what the transactions that retrieve sets of images differ (RAD-69, RAD-75). */
typedef struct ImageTransaction {
    AuditEventType event;
    bool is_cross_gateway; /* each request names this community, and errors nothing but it */
} ImageTransaction;

/** Handles one of them from its message to the reply, with its audit events. */
int retrieve_images(Imaging *imaging, SoapExchange *exchange, const ImageTransaction *transaction);
