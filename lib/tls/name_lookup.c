#include "lib/tls/name_lookup.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"

/** Names that a resolver may be busy with; others are then not looked up. */
#define LOOKUPS_MAX 64

struct NameLookup {
    char *host;
    char *port;
    unsigned users; /* who waits for it or reads it, its thread among them */
    bool is_done;
    int rc; /* of getaddrinfo() */
    struct addrinfo *addresses;
    NameLookup *next; /* of those that go on */
};

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* guards all of these and what they name */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_cond_t some_is_done;
static NameLookup *going_on;
static unsigned going_on_count;

static void init_condition(void)
{
    thread_condition_init(&some_is_done);
}

static NameLookup *lookup_new(const char *host, const char *port)
{
    NameLookup *lookup = HEAP_NEW(NameLookup);
    lookup->host = heap_text(str_from(host));
    lookup->port = heap_text(str_from(port));
    lookup->users = 1;
    return lookup;
}

/** With the lock. */
static void let_go(NameLookup *lookup)
{
    if (--lookup->users > 0) {
        return;
    }
    if (lookup->addresses != NULL) {
        freeaddrinfo(lookup->addresses);
    }
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

/** With the lock. */
static void end(NameLookup *lookup)
{
    NameLookup **at = &going_on;
    while (*at != lookup) {
        at = &(*at)->next;
    }
    *at = lookup->next;
    going_on_count--;
    lookup->is_done = true;
    pthread_cond_broadcast(&some_is_done);
    let_go(lookup);
}

static int ask(const char *host, const char *port, int flags, struct addrinfo **ret_addresses)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, port, &hints, ret_addresses);
}

static void *run(void *object)
{
    NameLookup *lookup = object;
    struct addrinfo *addresses = NULL;
    int rc = ask(lookup->host, lookup->port, 0, &addresses);
    pthread_mutex_lock(&lock);
    lookup->rc = rc;
    lookup->addresses = rc == 0 ? addresses : NULL;
    end(lookup);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/** With the lock. */
static NameLookup *find(const char *host, const char *port)
{
    NameLookup *lookup = going_on;
    while (lookup != NULL && (strcmp(lookup->host, host) != 0 || strcmp(lookup->port, port) != 0)) {
        lookup = lookup->next;
    }
    return lookup;
}

/** With the lock. @return whether its thread runs */
static bool start(NameLookup *lookup)
{
    pthread_t thread;
    if (going_on_count >= LOOKUPS_MAX || thread_start(&thread, run, lookup) != 0) {
        return false;
    }
    (void)pthread_detach(thread);
    lookup->next = going_on;
    going_on = lookup;
    going_on_count++;
    return true;
}

/** With the lock. @return one that goes on, with one more user; NULL: there cannot be one */
static NameLookup *join(const char *host, const char *port)
{
    NameLookup *lookup = find(host, port);
    if (lookup == NULL) {
        lookup = lookup_new(host, port);
        if (!start(lookup)) {
            let_go(lookup);
            return NULL;
        }
    }
    lookup->users++;
    return lookup;
}

/** An address needs no resolver. NULL: it is a name */
static NameLookup *from_address(const char *host, const char *port)
{
    struct addrinfo *addresses = NULL;
    if (ask(host, port, AI_NUMERICHOST, &addresses) != 0) {
        return NULL;
    }
    NameLookup *lookup = lookup_new(host, port);
    lookup->is_done = true;
    lookup->addresses = addresses;
    return lookup;
}

/** @return NULL, or why there are no addresses */
static const char *problem_of(const NameLookup *lookup)
{
    if (lookup == NULL) {
        return "too many names are being looked up; the name server does not answer";
    }
    if (!lookup->is_done) {
        return "the name server does not answer in time";
    }
    return lookup->rc == 0 ? NULL : gai_strerror(lookup->rc);
}

NameLookup *name_lookup(const char *host, const char *port, int64_t deadline_ns, char *ret_problem,
                        size_t problem_size)
{
    NameLookup *lookup = from_address(host, port);
    if (lookup != NULL) {
        return lookup;
    }
    (void)pthread_once(&once, init_condition);
    pthread_mutex_lock(&lock);
    lookup = join(host, port);
    while (lookup != NULL && !lookup->is_done &&
           thread_wait_until(&some_is_done, &lock, deadline_ns)) {
    }
    const char *problem = problem_of(lookup);
    if (problem != NULL) {
        snprintf(ret_problem, problem_size, "%s: %s", host, problem);
    }
    if (problem != NULL && lookup != NULL) {
        let_go(lookup);
    }
    pthread_mutex_unlock(&lock);
    return problem == NULL ? lookup : NULL;
}

const struct addrinfo *name_lookup_addresses(const NameLookup *lookup)
{
    return lookup->addresses;
}

void name_lookup_release(NameLookup *lookup)
{
    pthread_mutex_lock(&lock);
    let_go(lookup);
    pthread_mutex_unlock(&lock);
}
