#pragma once

#include "lib/soap/exchange.h"
#include "server/async_replies.h"
#include "server/transactions.h"

/** How what is answered to a SOAP message travels: on its connection, or later to the addresses of
 * wsa:ReplyTo and wsa:FaultTo (ITI TF-2 Appendix V.5). */
typedef struct SoapReturn {
    const SoapAddressee *reply_to; /* NULL: on the connection */
    const SoapAddressee *fault_to; /* NULL: on the connection */
    AsyncReply *place;             /* of either; NULL: both go on the connection, or it is used */
} SoapReturn;

/**
 * Before the transaction is carried out: whether the addresses of the message are ones that may be
 * called for its node, and whether there is room for one more reply.
 * @return 0, or a negative ErrorCode, with *ret_way all on the connection
 */
int soap_return_plan(AsyncReplies *replies, Request *req, const Transaction *transaction,
                     const SoapMessage *message, SoapReturn *ret_way) MUST_CHECK;
