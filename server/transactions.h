#pragma once

#include "lib/soap/exchange.h"

/** The table of transactions.def. */

typedef enum Module { MODULE_REGISTRY, MODULE_REPOSITORY, MODULE_COUNT } Module;

typedef struct Transaction {
    const char *path;
    const char *number; /* "ITI-42" */
    const char *action;
    const char *reply_action;
    const char *body_namespace;
    const char *body_element;
    Module module;
    SoapHandler handler;
    bool has_mtom_reply;
    bool takes_documents;
    const char *operation; /* of the WSDL */
} Transaction;

extern const Transaction transactions[];
extern const size_t transaction_count;

/** The row with this wsa:Action, whatever its path; NULL if there is none. */
const Transaction *transaction_find(Str action);

/** Whether any transaction is served at this path, and whether one of them takes documents. */
bool transaction_path_exists(Str path, bool *ret_takes_documents);
