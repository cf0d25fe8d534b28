#pragma once

#include "lib/soap/exchange.h"

/** The table of transactions.def. */

/** Of the Responding Gateway (XCA, XCA-I, XCPD): served where this community has a name. */
#define GATEWAY_PATH "/gateway"
/** Of the Initiating Gateway (XCA, XCA-I): likewise. What is served at GATEWAY_PATH never comes
 * here. */
#define INITIATING_PATH "/initiating"

typedef enum Module {
    MODULE_REGISTRY,
    MODULE_REPOSITORY,
    MODULE_IMAGING,
    MODULE_PIX,
    MODULE_INITIATING,
    MODULE_ATNA,
    MODULE_CAPABILITY, /* what the others say of themselves to FHIR clients */
    MODULE_COUNT
} Module;

typedef struct Transaction {
    const char *path;
    const char *number; /* "ITI-42" */
    const char *action;
    const char *reply_action; /* "": a one-way message */
    const char *body_namespace;
    const char *body_element; /* names with a space between them */
    Module module;
    SoapHandler handler;
    bool has_mtom_reply;
    bool takes_documents;
    bool confirms_itself;  /* the handler calls request_confirm() when it has to */
    bool is_asynchronous;  /* wsa:ReplyTo may name an address */
    const char *operation; /* of the WSDL */
} Transaction;

extern const Transaction transactions[];
extern const size_t transaction_count;

/** The row with this wsa:Action at this path, else at another; NULL if there is none. */
const Transaction *transaction_find(Str action, Str path);

/** Whether this is the body of the transaction. */
bool transaction_takes_body(const Transaction *transaction, const XmlNode *body);

/** Whether any transaction is served at this path, and whether one of them takes documents. */
bool transaction_path_exists(Str path, bool *ret_takes_documents);
