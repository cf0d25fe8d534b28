#pragma once

#include "lib/base/request.h"
#include "lib/soap/exchange.h"

/** Content-Type of a reply or fault that is not MTOM. */
#define SOAP_CONTENT_TYPE "application/soap+xml; charset=UTF-8"

/**
 * Appends a whole envelope with a SOAP 1.2 Fault made from req->errors: code and subcode of the
 * first error, the texts of all, with the reference for `musubi trace`.
 *
 * @param addressee  NULL: the connection
 * @return the HTTP status: 400 if the sender is at fault, else 500 (SOAP 1.2 part 2
 * section 7.5.2.2)
 */
unsigned soap_fault_write(const Request *req, const SoapAddressee *addressee, StrBuf *buf);

/**
 * Begins the reply in exchange->reply_xml, up to the start of the envelope's Body, for a handler to
 * append its body element. exchange->addressee is set.
 *
 * @param reply_action  wsa:Action of the reply
 * @param as_mtom       a reply with parts has to be MTOM (TF-2 3.43.5.1, Appendix V.8)
 */
void soap_reply_open(SoapExchange *exchange, const char *reply_action, bool as_mtom);

/** Content-Type of the HTTP reply that soap_reply_open() began, in req->arena. */
Str soap_reply_content_type(const SoapExchange *exchange);

/**
 * Takes a reply that is one text: without reply_source, without parts.
 *
 * @return false, with the exchange as it was, for any other reply
 */
bool soap_reply_take(SoapExchange *exchange, StrBuf *ret_text);

/**
 * Turns what a handler left in the exchange into the body of the HTTP reply. Memory does not grow
 * with reply_source or the parts.
 *
 * The source borrows exchange and req->arena until its done(), which also calls done() of
 * reply_source and of every part.
 *
 * @param ret_content_length  in bytes; -1 if reply_source or a part does not tell its size
 */
void soap_reply_source(SoapExchange *exchange, BodySource *ret_source, int64_t *ret_content_length);
