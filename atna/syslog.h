#pragma once

#include "atna/atna.h"

/**
 * Sends audit messages to a remote Audit Record Repository: syslog over TLS (RFC 5424, 5425; ITI
 * TF-2 3.20.4.1, option "ATX: TLS Syslog"). One thread uses a sender. Private to this folder.
 */
typedef struct SyslogSender SyslogSender;

/** Checks repository and TLS files; does not connect. The configuration is borrowed. */
SyslogSender *syslog_sender_new(const AuditConfig *config, char *ret_problem, size_t problem_size);

/** syslog_sender_free(NULL) is fine. */
void syslog_sender_free(SyslogSender *sender);

/** Connects if there is no connection. Waits a few seconds at most. */
bool syslog_sender_connect(SyslogSender *sender, char *ret_problem, size_t problem_size) MUST_CHECK;

/** Appends the octet-counted message: MSG-LEN SP SYSLOG-MSG (RFC 5425 section 4.3). */
void syslog_frame_write(const AuditConfig *config, const AuditRecord *record, Arena *arena,
                        StrBuf *buf);

/** Writes frames; on failure the connection is closed and it is unknown how many of them arrived.
 */
bool syslog_sender_write(SyslogSender *sender, Str frames, char *ret_problem,
                         size_t problem_size) MUST_CHECK;

/** The connection stands, and the peer's host has acknowledged every byte. Closes a broken
 * connection. */
bool syslog_sender_is_acknowledged(SyslogSender *sender);
bool syslog_sender_is_connected(const SyslogSender *sender);

/**
 * Ends the connection in order and waits shortly for the peer's goodbye.
 * @return true: it came, so the peer has read everything that was written
 */
bool syslog_sender_finish(SyslogSender *sender);
