#include "registry/subscriptions/subscriptions.h"

#include <stdlib.h>

#include "lib/base/heap.h"
#include "registry/subscriptions/matcher.h"
#include "registry/subscriptions/sender.h"

/** One that waits for a consumer that does not answer holds up no other. */
#define SENDERS 4

struct Subscriptions {
    SenderCrowd crowd;
    Matcher *matcher;
    Sender *senders[SENDERS];
};

static void wake_senders(void *ctx)
{
    Subscriptions *subscriptions = ctx;
    for (size_t i = 0; i < SENDERS; i++) {
        sender_wake(subscriptions->senders[i]);
    }
}

Subscriptions *subscriptions_new(Registry *registry, char *ret_problem, size_t problem_size)
{
    Subscriptions *subscriptions = HEAP_NEW(Subscriptions);
    pthread_mutex_init(&subscriptions->crowd.lock, NULL);
    for (size_t i = 0; i < SENDERS; i++) {
        subscriptions->senders[i] =
            sender_new(registry, &subscriptions->crowd, ret_problem, problem_size);
        if (subscriptions->senders[i] == NULL) {
            subscriptions_free(subscriptions);
            return NULL;
        }
    }
    subscriptions->matcher =
        matcher_new(registry, wake_senders, subscriptions, ret_problem, problem_size);
    if (subscriptions->matcher == NULL) {
        subscriptions_free(subscriptions);
        return NULL;
    }
    return subscriptions;
}

void subscriptions_free(Subscriptions *subscriptions)
{
    if (subscriptions == NULL) {
        return;
    }
    matcher_ask_to_stop(subscriptions->matcher);
    for (size_t i = 0; i < SENDERS; i++) {
        sender_ask_to_stop(subscriptions->senders[i]);
    }
    matcher_free(subscriptions->matcher);
    for (size_t i = 0; i < SENDERS; i++) {
        sender_free(subscriptions->senders[i]);
    }
    pthread_mutex_destroy(&subscriptions->crowd.lock);
    free(subscriptions);
}
