#include "server/refused_peer.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>

#include "lib/base/clock.h"

#define RECORD_TIMEOUT_MS 5000
#define RECORDED_BY_THEMSELVES 20
#define WINDOW_NS (60 * INT64_C(1000000000))
#define ADDRESS_COUNT 256
#define MANY_ADDRESSES "many addresses"

const char REFUSED_HANDSHAKE[] = "the TLS handshake did not prove a trusted certificate";

/** Refused connections of one address since began_ns. */
typedef struct Refusals {
    char address[INET6_ADDRSTRLEN];
    char endpoint[256];
    char reason[256]; /* of the last */
    unsigned count;   /* 0: the place is free */
    int64_t began_ns;
} Refusals;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/** The last place is for all addresses that find none of their own. */
static Refusals refusals[ADDRESS_COUNT + 1];

void refused_peer_record(Audit *audit, Request *req, Str reason)
{
    AuditEvent event = {
        .type = AUDIT_NODE_AUTHENTICATION_FAILURE, .outcome = 8, .outcome_text = reason};
    int recorded UNUSED = audit_record_event(audit, req, &event);
}

static void record(Audit *audit, const Refusals *refused, Str reason)
{
    Request *req = request_new(RECORD_TIMEOUT_MS);
    req->peer_address = str_from(refused->address);
    req->endpoint = str_from(refused->endpoint);
    refused_peer_record(audit, req, reason);
    request_free(req);
}

/** The place of an address, or one for it; the lock is held. */
static Refusals *find(const char *address)
{
    Refusals *found = NULL;
    for (size_t i = 0; i < ADDRESS_COUNT; i++) {
        if (refusals[i].count > 0 && strcmp(refusals[i].address, address) == 0) {
            return &refusals[i];
        }
        if (!found && refusals[i].count == 0) {
            found = &refusals[i];
        }
    }
    return found ? found : &refusals[ADDRESS_COUNT];
}

bool refused_peer_record_connection(Audit *audit, const char *endpoint, const char *address,
                                    const char *reason)
{
    pthread_mutex_lock(&lock);
    Refusals *place = find(address);
    bool is_shared = place == &refusals[ADDRESS_COUNT];
    if (place->count++ == 0) {
        place->began_ns = clock_now_ns();
    }
    (void)snprintf(place->address, sizeof(place->address), "%s",
                   is_shared ? MANY_ADDRESSES : address);
    (void)snprintf(place->endpoint, sizeof(place->endpoint), "%s", endpoint);
    (void)snprintf(place->reason, sizeof(place->reason), "%s", reason);
    bool is_recorded = place->count <= RECORDED_BY_THEMSELVES;
    Refusals refused = *place;
    pthread_mutex_unlock(&lock);
    if (is_recorded) {
        (void)snprintf(refused.address, sizeof(refused.address), "%s", address);
        record(audit, &refused, str_from(reason));
    }
    return is_recorded;
}

/** Takes a place whose minute is over, with more refusals than were recorded. */
static bool take_counted(int64_t began_before_ns, Refusals *ret_refused)
{
    bool is_found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < ARRAY_LEN(refusals) && !is_found; i++) {
        if (refusals[i].count > 0 && refusals[i].began_ns <= began_before_ns) {
            *ret_refused = refusals[i];
            is_found = refusals[i].count > RECORDED_BY_THEMSELVES;
            refusals[i].count = 0;
        }
    }
    pthread_mutex_unlock(&lock);
    return is_found;
}

void refused_peer_flush(Audit *audit, bool is_last)
{
    int64_t began_before_ns = is_last ? INT64_MAX : clock_now_ns() - WINDOW_NS;
    Refusals refused;
    while (take_counted(began_before_ns, &refused)) {
        char text[sizeof(refused.reason) + 64];
        (void)snprintf(text, sizeof(text), "%u more within a minute; the last: %s",
                       refused.count - RECORDED_BY_THEMSELVES, refused.reason);
        record(audit, &refused, str_from(text));
    }
}
