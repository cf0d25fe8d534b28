#pragma once

#include "lib/soap/http_client.h"
#include "lib/xml/read.h"

/** SOAP 1.2 requests to another actor: SIMPLE, with the headers of ITI TF-2 Appendix V.3. */

/** Appends the envelope up to where the body's element goes. */
void soap_request_open(Arena *arena, const char *action, Str to, StrBuf *buf);
/** As soap_request_open(), with further headers, as XML of their own. @return the MessageID */
Str soap_request_open_with(Arena *arena, const char *action, Str to, Str headers, StrBuf *buf);
/** The same with a MessageID that was chosen before: for what may be sent more than once. */
void soap_request_open_as(const char *action, Str to, Str message_id, StrBuf *buf);
void soap_request_close(StrBuf *buf);

/**
 * Sends an envelope and gives the first element of the reply's body, a SOAP Fault included.
 * @return NULL with the reason if there is none that can be read: whether the other actor acted is
 * then unknown; req->errors is as it was
 */
const XmlNode *soap_call(HttpClient *http, Request *req, const char *action, Str envelope,
                         Str *ret_problem);

/** env:Reason/env:Text of a fault. */
Str soap_fault_reason(const XmlNode *fault);

/** Whether the fault blames the sender: the same message again will not do. */
bool soap_fault_is_of_sender(const XmlNode *fault);
