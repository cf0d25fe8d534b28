#pragma once

#include "lib/tls/tls.h"
#include "server/command/command.h"

/**
 * The certificates of registered nodes in the database. A node has as many as it needs: two while
 * one is renewed. Each ends by itself, is revoked by itself, or with its node.
 */

/** Certificates that end sooner are said so by status, check-config and node list. */
#define CERTIFICATE_WARNING_DAYS 30

/** A row of node_certificate with its node. */
typedef struct NodeCertificateRow {
    Str node;
    Str fingerprint;
    Str subject;           /* empty: only the fingerprint is known; so are the next ones */
    int64_t not_before_us; /* INT64_MIN */
    int64_t not_after_us;  /* INT64_MAX */
    int64_t added_us;
    int64_t revoked_us; /* INT64_MAX: it is not */
    Str der;            /* empty */
} NodeCertificateRow;

/** Whole days until an instant; negative once it is over. */
int64_t certificate_days_left(int64_t not_after_us);

/**
 * The certificate that an operator names: of a file, or by its fingerprint alone. Without both it
 * has no fingerprint.
 * @param location  for faults, which are added to context->req->errors
 */
int node_certificate_read(const CommandContext *context, const char *location, Str file,
                          Str fingerprint, TlsCertificate *ret_certificate) MUST_CHECK;

/** Gives a node one more certificate, in the open transaction. */
int node_certificate_store(const CommandContext *context, const char *location, int32_t node_id,
                           const TlsCertificate *certificate) MUST_CHECK;

/**
 * Certificates by node, those first that end last; in context's arena.
 * @param node  NULL: of all nodes that are not revoked
 */
int node_certificates_select(const CommandContext *context, const char *node,
                             NodeCertificateRow **ret_rows, size_t *ret_count) MUST_CHECK;

/** musubi node certificate add|revoke NAME --certificate FILE|--fingerprint HEX */
int node_certificate_command(const Options *options, CommandContext *context);
