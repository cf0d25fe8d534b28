#pragma once

#include <netdb.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The addresses of a host, with a deadline that getaddrinfo() does not have: a resolver that hangs
 * holds up nobody longer than he wants to wait. Each name that is being looked up has one thread,
 * however many wait for it.
 */
typedef struct NameLookup NameLookup;

/**
 * @param port         decimal
 * @param deadline_ns  of clock_now_ns()
 * @return to be released; NULL and "HOST: reason" if there are no addresses, or not in time
 */
NameLookup *name_lookup(const char *host, const char *port, int64_t deadline_ns, char *ret_problem,
                        size_t problem_size);

const struct addrinfo *name_lookup_addresses(const NameLookup *lookup);

void name_lookup_release(NameLookup *lookup);
