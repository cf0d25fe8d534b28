#pragma once

#include "lib/access/user.h"
#include "registry/registry_private.h"
#include "registry/subscriptions/filter.h"

/** A row of table subscription, and the person in it. */
typedef struct StoredSubscription {
    int64_t id;
    Uuid reference;
    Str address;
    int32_t node_id;
    Str consumer;
    Topic topic; /* TOPIC_COUNT: of another version of this program */
    Str filter;  /* rim:AdhocQuery */
    const AccessUser *user;
} StoredSubscription;

/** The columns that stored_subscription_read() reads from a row, of table s. */
#define SUBSCRIPTION_COLUMNS                                                                       \
    "s.id, s.reference, s.address, s.node, s.consumer, s.topic, s.filter, s.user_texts,"           \
    " s.user_roles, s.user_purposes"
#define SUBSCRIPTION_COLUMN_COUNT 10

/** Texts are borrowed from the row. */
StoredSubscription stored_subscription_read(Arena *arena, const DbResult *rows, int row);

/** The SubscriptionReference: in the arena. */
Str stored_subscription_address(Arena *arena, Str address, Uuid reference);

/** Binds user_texts, user_roles and user_purposes. @param user  NULL: nobody */
void stored_subscription_bind_user(DbParams *params, const AccessUser *user);

/** Whose rights count, now; NULL: nobody any more. In the arena. */
const Principal *stored_subscription_principal(const Registry *registry, Arena *arena,
                                               int32_t node_id);
