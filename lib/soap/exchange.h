#pragma once

#include "lib/base/body.h"
#include "lib/soap/receive.h"

/** Of a part whose size is known when it has been sent. */
#define SOAP_PART_SIZE_UNKNOWN UINT64_MAX

/** One document of an MTOM reply. */
typedef struct SoapPart {
    Str content_id; /* without <> */
    Str content_type;
    uint64_t size_bytes;
    BodySource source;
} SoapPart;

/** Whom a reply goes to that does not go back on the connection of its request. */
typedef struct SoapAddressee {
    Str address;         /* of wsa:ReplyTo or wsa:FaultTo */
    XmlNode *parameters; /* its wsa:ReferenceParameters, which the reply repeats; NULL: none */
} SoapAddressee;

/**
 * A SOAP request with room for its reply: what a transaction's handler gets.
 *
 * The handler appends the XML of the reply's body element to reply_xml, which holds what comes
 * before it, and returns 0; or, for a long reply, sets reply_source, which then produces the body
 * element's XML after reply_xml. For a reply with documents it adds parts; the reply is then MTOM.
 * Errors of the application are in req->errors and already part of the body that it wrote. A
 * negative return value means a SOAP Fault made from req->errors.
 */
typedef struct SoapExchange {
    Request *req;
    SoapMessage *message;
    const SoapAddressee *addressee; /* of the reply; NULL: the connection */
    SoapReceiver *receiver;         /* for soap_message_take_document() */
    StrBuf reply_xml;               /* freed by the listener */
    BodySource reply_source;        /* next == NULL: reply_xml is the whole body element */
    uint64_t reply_source_bytes;    /* that it makes; 0: only its end tells */
    SoapPart *parts;                /* in req->arena, in order */
    size_t part_count;
    struct SoapPackage *package; /* of reply.c */
} SoapExchange;

/**
 * The body of the message is the element that the transaction's row names.
 *
 * @param module  Registry *, Repository *, ...: whoever serves the transaction
 */
typedef int (*SoapHandler)(void *module, SoapExchange *exchange);
