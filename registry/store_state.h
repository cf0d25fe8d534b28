#pragma once

#include "registry/store.h"

/** Parts of store_read_state(), for those who ask for other objects than a registration does
 * (update_read.c). */

UniqueIdClaim store_make_claim(ObjectKind kind, Str unique_id, int64_t size_bytes, Str hash);
void store_sort_claims(RegistryState *state);

/** The first statement of a transaction: claims these uniqueIds, in order of digest. Gives the
 * digests that were free. */
int store_queue_claims(Request *req, DbConn *conn, const UniqueIdClaim *claims,
                       size_t count) MUST_CHECK;

/** The entryUUIDs of the message that the sender chose. */
UuidSet store_submitted_uuids(Arena *arena, const Submission *submission);
/** Two results: of the lock, and the entryUUIDs that exist. */
int store_queue_submitted(Request *req, DbConn *conn, const UuidSet *submitted) MUST_CHECK;
void store_read_taken_uuids(Arena *arena, const DbResult *rows, RegistryState *state);

/** What the uniqueIds stand for that are taken (is_taken); one round trip if any is. */
int store_read_taken_claims(Request *req, DbConn *conn, RegistryState *state) MUST_CHECK;

/** The sourcePatientIds of the documents, each once. @return how many */
size_t store_source_patients(Arena *arena, const Submission *submission, Str **ret_texts);
/** Reads the answer about patients; what it says of sourcePatientIds goes to the state. */
void store_read_patients(const Registry *registry, Request *req, const DbResult *result,
                         const PatientQuestion *question, Patient *ret_patients,
                         RegistryState *state);

/** Puts the survivor in place of each object's patient; asks only about patients other than the
 * submission's. */
int store_resolve_merged_patients(const Registry *registry, Request *req, DbConn *conn,
                                  RegistryState *state) MUST_CHECK;
