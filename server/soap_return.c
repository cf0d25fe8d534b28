#include "server/soap_return.h"

#include "lib/soap/envelope.h"
#include "lib/xml/namespaces.h"

static int refuse(Request *req, const char *header, Str problem)
{
    return error_add(&req->errors, ERR_SOAP_INVALID_ADDRESSING_HEADER, header,
                     "%s: %.*s; for a reply on the connection send " NS_WSA "/anonymous", header,
                     STR_ARG(problem));
}

/** Its transaction has asynchronous replies, and the address is one of its node's. */
static int check(AsyncReplies *replies, Request *req, const Transaction *transaction,
                 const char *header, Str address)
{
    Str fingerprint;
    Str problem;
    if (!transaction->is_asynchronous) {
        problem = str_printf(req->arena, "%s is not answered at another address (%.*s)",
                             transaction->number,
                             STR_ARG(str_printable(req->arena, str_slice(address, 0, 300))));
        return refuse(req, header, problem);
    }
    return node_directory_may_send_to(async_replies_nodes(replies), req->arena,
                                      req->principal->node_id, address, &fingerprint, &problem)
               ? 0
               : refuse(req, header, problem);
}

/** What is answered to a one-way message is a fault at most, and that goes on the connection. */
static bool is_for_nobody(const Transaction *transaction, Str address)
{
    return transaction->reply_action[0] == '\0' && str_equal(address, STR(NS_WSA "/none"));
}

int soap_return_plan(AsyncReplies *replies, Request *req, const Transaction *transaction,
                     const SoapMessage *message, SoapReturn *ret_way)
{
    SoapAddressee *reply_to = ARENA_NEW(req->arena, SoapAddressee);
    SoapAddressee *fault_to = ARENA_NEW(req->arena, SoapAddressee);
    SoapReturn way = {0};
    int rc = 0;
    if (soap_reply_addressee(message, reply_to) && !is_for_nobody(transaction, reply_to->address)) {
        way.reply_to = reply_to;
        rc = check(replies, req, transaction, "wsa:ReplyTo", reply_to->address);
    }
    if (rc == 0 && soap_fault_addressee(message, fault_to) &&
        !is_for_nobody(transaction, fault_to->address)) {
        way.fault_to = fault_to;
        rc = check(replies, req, transaction, "wsa:FaultTo", fault_to->address);
    }
    if (rc == 0 && (way.reply_to || way.fault_to)) {
        rc = async_reply_reserve(replies, req, &way.place);
    }
    *ret_way = rc == 0 ? way : (SoapReturn){0};
    return rc;
}
