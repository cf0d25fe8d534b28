#include "server/refused_peer.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

#define RECORD_TIMEOUT_MS 5000
#define RECORDED_BY_THEMSELVES 20
#define LINES_PER_WINDOW 3000
#define WINDOW_NS (60 * INT64_C(1000000000))
#define ADDRESS_COUNT 256
#define MANY_ADDRESSES "many addresses"

/** Refused connections of one address since began_ns. */
typedef struct Refusals {
    char address[INET6_ADDRSTRLEN];
    char endpoint[256];
    TlsProblem problem; /* of the last */
    unsigned count;     /* 0: the place is free */
    int64_t began_ns;
} Refusals;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/** The last place is for all addresses that find none of their own. */
static Refusals refusals[ADDRESS_COUNT + 1];
/** Lines of this window; beyond LINES_PER_WINDOW they are only counted, too. */
static unsigned line_count;
static int64_t lines_began_ns;

static void write_line(const char *endpoint, const char *address, TlsRefusal refusal, Str text)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    log_warn("msg=\"peer refused\" endpoint=%s peer=%s reason=%s problem=%s",
             log_quote(arena, str_from(endpoint)), log_quote(arena, str_from(address)),
             tls_refusal_word(refusal), log_quote(arena, text));
}

static void record_event(Audit *audit, Request *req, Str text)
{
    AuditEvent event = {
        .type = AUDIT_NODE_AUTHENTICATION_FAILURE, .outcome = 8, .outcome_text = text};
    int recorded UNUSED = audit_record_event(audit, req, &event);
}

void refused_peer_record(Audit *audit, Request *req, const TlsProblem *problem)
{
    write_line(str_cstr(req->arena, req->endpoint), str_cstr(req->arena, req->peer_address),
               problem->refusal, str_from(problem->text));
    record_event(audit, req, str_from(problem->text));
}

static void record(Audit *audit, const Refusals *refused, Str text)
{
    Request *req = request_new(RECORD_TIMEOUT_MS);
    req->peer_address = str_from(refused->address);
    req->endpoint = str_from(refused->endpoint);
    record_event(audit, req, text);
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

/** Whether there may be one line more; the lock is held. */
static bool count_line(void)
{
    if (line_count == 0 || clock_now_ns() - lines_began_ns > WINDOW_NS) {
        lines_began_ns = clock_now_ns();
        line_count = 0;
    }
    return line_count++ < LINES_PER_WINDOW;
}

bool refused_peer_record_connection(Audit *audit, const char *endpoint, const char *address,
                                    const TlsProblem *problem)
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
    place->problem = *problem;
    bool is_recorded =
        problem->refusal != TLS_REFUSED_CROWD && place->count <= RECORDED_BY_THEMSELVES;
    bool is_logged = count_line();
    Refusals refused = *place;
    pthread_mutex_unlock(&lock);
    if (is_logged) {
        write_line(endpoint, address, problem->refusal, str_from(problem->text));
    }
    if (is_recorded) {
        (void)snprintf(refused.address, sizeof(refused.address), "%s", address);
        record(audit, &refused, str_from(problem->text));
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
        char text[sizeof(refused.problem.text) + 64];
        (void)snprintf(text, sizeof(text), "%u more within a minute; the last: %s",
                       refused.count - RECORDED_BY_THEMSELVES, refused.problem.text);
        record(audit, &refused, str_from(text));
        write_line(refused.endpoint, refused.address, refused.problem.refusal, str_from(text));
    }
}
