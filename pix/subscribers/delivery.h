#pragma once

#include "pix/subscribers/subscribers_private.h"

/** One subscriber's end of a connection, HL7 v2 or v3, and what its answers mean. One thread uses
 * it. Private to the sender. */
typedef struct Delivery Delivery;

/** Does not connect. */
Delivery *delivery_new(const SubscribersConfig *config, const Subscriber *subscriber,
                       char *ret_problem, size_t problem_size);
void delivery_free(Delivery *delivery);

typedef enum DeliveryOutcome {
    DELIVERY_ACCEPTED, /* AA, CA */
    DELIVERY_REFUSED,  /* AE, CE: the same message again will not do */
    DELIVERY_FAILED,   /* AR, CR, no answer: to be sent again */
} DeliveryOutcome;

/** Connects where that comes apart from sending (MLLP), so that nothing has left when it fails.
 * @return false with the reason, in req->arena */
bool delivery_connect(Delivery *delivery, Request *req, Str *ret_problem) MUST_CHECK;

/** Sends and waits for the answer, until req->deadline_ns.
 * @param ret_problem  unless accepted: why; may quote what the receiver wrote */
DeliveryOutcome delivery_send(Delivery *delivery, Request *req, Str message_id, Str content,
                              Str *ret_problem);
