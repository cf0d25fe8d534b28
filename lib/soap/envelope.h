#pragma once

#include "lib/soap/exchange.h"

/**
 * Reads the SOAP 1.2 envelope and its WS-Addressing headers into message, and into req->message_id
 * and req->reply_to, so that a fault can refer to the request. All faults of the headers are
 * reported.
 *
 * @param root  of the message; stays referenced by message
 * @return 0, ERR_SOAP_VERSION_MISMATCH, ERR_SOAP_SENDER, ERR_SOAP_MUST_UNDERSTAND,
 *         ERR_SOAP_ADDRESSING_HEADER_REQUIRED, ERR_SOAP_INVALID_ADDRESSING_HEADER
 *
 * Spec: SOAP 1.2 part 1 section 5; WS-Addressing 1.0 SOAP binding section 6; TF-2 Appendix V.3.
 */
int soap_envelope_read(Request *req, XmlNode *root, SoapMessage *message) MUST_CHECK;

/** Finds the body of a reply: its headers are not looked at. @return as soap_envelope_read() */
int soap_envelope_read_reply(Request *req, XmlNode *root, SoapMessage *message) MUST_CHECK;

/**
 * Where the reply to a message goes, and where a fault (WS-Addressing 1.0 Core 3.4: wsa:FaultTo,
 * else wsa:ReplyTo).
 * @return false: back on the connection
 */
bool soap_reply_addressee(const SoapMessage *message, SoapAddressee *ret_addressee);
bool soap_fault_addressee(const SoapMessage *message, SoapAddressee *ret_addressee);
