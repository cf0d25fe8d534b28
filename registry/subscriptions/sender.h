#pragma once

#include <pthread.h>

#include "registry/registry_private.h"

/**
 * A thread that sends notifications. Each takes one subscription at a time, in the order in which
 * they are due, and sends what waits for it in the order of the events; one that does not answer is
 * left alone for longer and longer. Several senders, of several processes too, share the work.
 */
typedef struct Sender Sender;

/** The senders of a process: they are not all at one server, which may hang. */
typedef struct SenderCrowd {
    pthread_mutex_t lock;
    Sender *first;
} SenderCrowd;

/** @param crowd  outlives it */
Sender *sender_new(Registry *registry, SenderCrowd *crowd, char *ret_problem, size_t problem_size);
void sender_wake(Sender *sender);
void sender_ask_to_stop(Sender *sender);
/** sender_free(NULL) is fine. */
void sender_free(Sender *sender);
