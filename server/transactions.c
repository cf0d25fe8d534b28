#include "server/transactions.h"

#include "pix/pix.h"
#include "registry/gateway/gateway.h"
#include "registry/registry.h"
#include "repository/imaging/imaging.h"
#include "repository/repository.h"

const Transaction transactions[] = {
#define SOAP(path, number, action, reply_action, body_namespace, body_element, module, handler,    \
             mtom, documents, confirms, asynchronous, operation)                                   \
    {path,    number, action,    reply_action, body_namespace, body_element, module,               \
     handler, mtom,   documents, confirms,     asynchronous,   operation},
#include "server/transactions.def"
#undef SOAP
};

const size_t transaction_count = ARRAY_LEN(transactions);

const Transaction *transaction_find(Str action, Str path)
{
    const Transaction *found = NULL;
    for (size_t i = 0; i < transaction_count; i++) {
        if (!str_equal(action, str_from(transactions[i].action))) {
            continue;
        }
        if (str_equal(path, str_from(transactions[i].path))) {
            return &transactions[i];
        }
        found = found ? found : &transactions[i];
    }
    return found;
}

bool transaction_takes_body(const Transaction *transaction, const XmlNode *body)
{
    return str_has_word(str_from(transaction->body_element), body->name) &&
           str_equal(body->ns, str_from(transaction->body_namespace));
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
