#pragma once

#include "lib/base/request.h"
#include "lib/soap/document_sink.h"
#include "lib/xml/read.h"

/**
 * Receives one SOAP 1.2 message while its bytes arrive: SIMPLE (application/soap+xml) or MTOM/XOP
 * (multipart/related; RFC 2387, RFC 2046 5.1, TF-2 Appendix V.8). XML goes through the pre-scan and
 * libxml2's push parser into an XmlNode tree; the content of xds:Document (inline base64 or
 * xop:Include) and every other MIME part go to the DocumentSink while they arrive, in constant
 * memory.
 */
typedef struct SoapReceiver SoapReceiver;

/** One document that came with the message. */
typedef struct SoapDocument {
    Str content_id;           /* of its MIME part, without <>; empty if inline */
    Str content_type;         /* of its MIME part; empty if inline */
    DocumentContent *content; /* closed; NULL if the sink refused a document of the message */
    bool is_referenced;       /* by exactly one xop:Include, or inline */
} SoapDocument;

typedef struct SoapMessage {
    bool is_mtom;
    const XmlKept *security; /* the wsse:Security headers as DOM; NULL if there is none, or if
                                soap_receiver_keep() was not called */
    Str action;              /* wsa:Action, trimmed */
    Str message_id;          /* wsa:MessageID; empty if absent */
    Str reply_to;            /* wsa:ReplyTo/wsa:Address; empty if absent */
    Str fault_to;            /* wsa:FaultTo/wsa:Address; empty if absent */
    Str to;
    XmlNode *envelope;
    XmlNode *header; /* NULL if none */
    XmlNode *body;   /* the one child element of soap12:Body; never NULL after a good finish */
    SoapDocument *documents; /* in order of arrival */
    size_t document_count;
} SoapMessage;

/**
 * @param content_type  HTTP Content-Type header value, borrowed for the call
 * @param sink          NULL where the endpoint takes no documents: parts besides the root are then
 * refused
 * @return NULL if the Content-Type is not one of the two forms; the fault is in req->errors
 * (SOAP_SENDER)
 */
SoapReceiver *soap_receiver_new(Request *req, Str content_type, const DocumentSink *sink);

/** Before the first push: wsse:Security headers are kept for who checks them
 * (SoapMessage.security).
 * @param keep  borrowed */
void soap_receiver_keep(SoapReceiver *receiver, const XmlKeep *keep);

/** Before finish(): the message is a reply to one of ours. Its addressing is not looked at: it came
 * back on the connection of its request (WS-Addressing 1.0 SOAP binding 5). */
void soap_receiver_expect_reply(SoapReceiver *receiver);

/** From now on documents are read and forgotten: the sink is not asked. For a sender who may not
 * send any, which the message, once it is whole, is answered with. */
void soap_receiver_drop_documents(SoapReceiver *receiver);

/** Takes the next bytes. After a failure further bytes are ignored and finish() fails. */
int soap_receiver_push(SoapReceiver *receiver, const void *bytes, size_t len) MUST_CHECK;

/**
 * The last byte arrived: checks that the message is whole, resolves xop:Include, reads the headers
 * (wsa:Action exactly one, others at most one, mustUnderstand of unknown headers; TF-2 V.3).
 * Documents that the sink refused make no fault: the message is good, its documents have no
 * content, and req->errors holds what the sink said, for the transaction to answer. An XmlNode
 * named xds:Document has node->document = 1 + index into ret_message->documents. ret_message lives
 * in req->arena.
 */
int soap_receiver_finish(SoapReceiver *receiver, SoapMessage **ret_message) MUST_CHECK;

/** Takes ownership of a document's content away from the receiver (which else abandons it). */
DocumentContent *soap_message_take_document(SoapReceiver *receiver, size_t index);

/** Abandons what was not taken. soap_receiver_free(NULL) is fine. */
void soap_receiver_free(SoapReceiver *receiver);
