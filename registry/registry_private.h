#pragma once

#include "lib/ebrim/rendered.h"
#include "registry/code_table.h"
#include "registry/registry.h"

struct Subscriptions; /* registry/subscriptions/subscriptions.h */

/** What the files of this folder share. Immutable after registry_new(), apart from the caches,
 * which lock themselves. */
struct Registry {
    RegistryConfig config;
    RenderDictionaries *dictionaries; /* all that the database holds, and the built-in one */
    CodeTable *codes;
    Code move_content_type; /* contentTypeCode of the SubmissionSets of moves */
    int32_t move_content_type_id;
    struct Subscriptions *subscriptions; /* NULL: this process sends no notifications */
};
