#include "server/transactions.h"

#include "registry/registry.h"
#include "repository/repository.h"

const Transaction transactions[] = {
#define SOAP(path, number, action, reply_action, body_namespace, body_element, module, handler,    \
             mtom, documents, operation)                                                           \
    {path,   number,  action, reply_action, body_namespace, body_element,                          \
     module, handler, mtom,   documents,    operation},
#include "server/transactions.def"
#undef SOAP
};

const size_t transaction_count = ARRAY_LEN(transactions);

const Transaction *transaction_find(Str action)
{
    for (size_t i = 0; i < transaction_count; i++) {
        if (str_equal(action, str_from(transactions[i].action))) {
            return &transactions[i];
        }
    }
    return NULL;
}

bool transaction_path_exists(Str path, bool *ret_takes_documents)
{
    bool exists = false;
    *ret_takes_documents = false;
    for (size_t i = 0; i < transaction_count; i++) {
        if (str_equal(path, str_from(transactions[i].path))) {
            exists = true;
            *ret_takes_documents |= transactions[i].takes_documents;
        }
    }
    return exists;
}
