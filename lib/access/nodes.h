#pragma once

#include "lib/access/access.h"
#include "lib/db/db.h"

typedef enum AccessMode { ACCESS_ENFORCE, ACCESS_OPEN } AccessMode;

/**
 * The registered nodes of the database as a snapshot in memory, renewed within seconds of a change
 * (polled). Thread-safe: principals are copied into the caller's arena.
 */
typedef struct NodeDirectory NodeDirectory;

NodeDirectory *node_directory_new(DbPool *pool, AccessMode mode);
void node_directory_free(NodeDirectory *directory);

/** Reads the tables anew (some hundred rows); called every few seconds and by SIGHUP. */
int node_directory_refresh(NodeDirectory *directory, Request *req) MUST_CHECK;

/**
 * Who this certificate is. In mode enforce an unregistered or revoked certificate gets NULL; in
 * mode open a principal that may do everything.
 * @param fingerprint  SHA-256, 64 lower-case hexadecimal digits; empty for a plain loopback peer
 */
const Principal *node_directory_find(NodeDirectory *directory, Arena *arena, Str fingerprint,
                                     Str subject);

/** The registered node of this name, for [server] plain_node. */
const Principal *node_directory_find_name(NodeDirectory *directory, Arena *arena, Str name);

/** The registered node of this row. */
const Principal *node_directory_find_id(NodeDirectory *directory, Arena *arena, int32_t node_id);

/** Whether this node may send HL7 v2 messages as MSH-3|MSH-4; a registered "*" stands for any value
 * of one part. */
bool node_directory_may_send_as(NodeDirectory *directory, const Principal *principal,
                                Str application, Str facility);
/** Whether this node may submit with this SubmissionSet.sourceId. */
bool node_directory_may_submit_as(NodeDirectory *directory, const Principal *principal,
                                  Str source_id);

/**
 * Whether messages for this node may be sent to a URL: one that its operator registered, and in
 * mode open also a loopback address (endpoints.h). Asked before each connection: a registration
 * may have been removed meanwhile.
 *
 * @param node_id          Principal.node_id, of a registered node
 * @param ret_fingerprint  in the arena, for HttpClientConfig; empty: the certificate of the server
 *                         there must name the host
 * @param ret_problem      in the arena; of a refusal: the address, and what to ask the operator for
 */
bool node_directory_may_send_to(NodeDirectory *directory, Arena *arena, int32_t node_id, Str url,
                                Str *ret_fingerprint, Str *ret_problem);

/** A certificate in force of a registered node; in the caller's arena. */
typedef struct NodeCertificate {
    Str node_name;
    Str fingerprint;
    int64_t not_after_us; /* INT64_MAX: only the fingerprint is known */
} NodeCertificate;

/** All of them. @return how many */
size_t node_directory_certificates(NodeDirectory *directory, Arena *arena,
                                   NodeCertificate **ret_certificates);
