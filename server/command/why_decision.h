#pragma once

#include "lib/access/access.h"
#include "server/command/identity_command.h"

/** Decisions that musubi why replays, for req->principal and req->user, and how it tells them. */

/** What is asked about. */
typedef struct WhyTarget {
    AccessObject object;
    int64_t patient;   /* row of the XAD-PID; 0: none */
    Str patient_value; /* XAD-PID; empty: unknown */
    Str facility;      /* name; empty: unknown */
    json_t *json;      /* for a reader; owned */
} WhyTarget;

/** One question, and the transactions of which the node needs one. */
typedef struct WhyQuestion {
    const char *name;
    AccessPurpose purpose;
    const char *transactions[4]; /* none: no transaction of its own */
} WhyQuestion;

/**
 * Adds "is_enrolled" and "decisions" of the patient, if there is one, "decisions_on_access", one
 * for each question, and "is_permitted".
 * @param reading_count     of the questions, the first ones: what "permitted" means
 * @param ret_is_permitted  each way of reading is
 */
int why_decisions_add(const IdentityCommand *command, const WhyTarget *target,
                      const WhyQuestion *questions, size_t count, size_t reading_count,
                      json_t *answer, bool *ret_is_permitted) MUST_CHECK;

/** Prints what why_decisions_add() added. */
void why_decisions_print(const IdentityCommand *command, const json_t *answer);

/** A line for the value of this name, one for each if it is a list; none for an empty one. */
void why_field_print(const json_t *object, const char *name, const char *label);
