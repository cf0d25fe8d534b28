#pragma once

#include "lib/base/request.h"
#include "lib/soap/exchange.h"

/** Content-Type of a reply or fault that is not MTOM. */
#define SOAP_CONTENT_TYPE "application/soap+xml; charset=UTF-8"

/**
 * Appends the envelope up to and including the start of its Body, with wsa:Action (mustUnderstand),
 * wsa:MessageID (new), wsa:To (anonymous) and wsa:RelatesTo (TF-2 Appendix V.3).
 *
 * @param relates_to  wsa:MessageID of the request; empty: no RelatesTo
 */
void soap_reply_begin(StrBuf *buf, Str action, Str relates_to);

/** Appends the end of Body and envelope. */
void soap_reply_end(StrBuf *buf);

/**
 * Appends a whole envelope with a SOAP 1.2 Fault made from req->errors: code and subcode of the
 * first error, the texts of all, with the reference for `musubi trace`.
 *
 * @return the HTTP status: 400 if the sender is at fault, else 500 (SOAP 1.2 part 2
 * section 7.5.2.2)
 */
unsigned soap_fault_write(const Request *req, StrBuf *buf);

/**
 * Turns what a handler left in the exchange into the body of the HTTP reply: envelope around
 * reply_xml and reply_source, and the parts. Memory does not grow with reply_source or the parts.
 *
 * The source borrows exchange and req->arena until its done(), which also calls done() of
 * reply_source and of every part.
 *
 * @param reply_action        wsa:Action of the reply
 * @param as_mtom             MTOM as the request was; a reply with parts is MTOM in any case
 * @param ret_content_type    in req->arena
 * @param ret_content_length  in bytes; -1 if reply_source makes it unknown
 *
 * Spec: TF-2 3.43.5.1, Appendix V.8.
 */
void soap_reply_source(SoapExchange *exchange, const char *reply_action, bool as_mtom,
                       BodySource *ret_source, Str *ret_content_type, int64_t *ret_content_length);
