#pragma once

#include "atna/repository.h"
#include "server/stream_listener.h"

/**
 * ITI-20 Record Audit Event (ITI TF-2 3.20): syslog over mutual TLS (RFC 5425), one thread per
 * connection, and over UDP (RFC 5426) from configured addresses, one thread. No message is refused
 * for its content; broken framing ends a connection. While the repository has no room nothing is
 * read, so that senders keep what they have.
 */
typedef struct SyslogListener SyslogListener;

/** All is borrowed. */
typedef struct SyslogListenerConfig {
    StreamListenerConfig stream; /* but what the listener itself sets; address empty: off */
    const char *udp_address;     /* empty: off */
    const char *udp_allow;       /* addresses and networks with commas: "192.0.2.7, 10.0.0.0/8" */
    AuditRepository *repository;
} SyslogListenerConfig;

/** Binds; NULL and the reason on failure. */
SyslogListener *syslog_listener_bind(const SyslogListenerConfig *config, char *ret_problem,
                                     size_t problem_size);
/** False and the reason on failure. */
bool syslog_listener_start(SyslogListener *listener, char *ret_problem, size_t problem_size);

/** Ends what it began, after the messages that were read are taken. NULL is fine. */
void syslog_listener_free(SyslogListener *listener);

/** For metrics: UDP datagrams of addresses that are not allowed. */
uint64_t syslog_listener_dropped(const SyslogListener *listener);
