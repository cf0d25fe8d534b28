#pragma once

#include <stdint.h>

/**
 * The statements that the server runs for one request, run by hand. The script is JSON: {"modulo":
 * M, "patient_offset": O, "batches": a list of batches (one pipeline each) of {"sql": text,
 * "params": [text or null]}}. In a parameter
 *
 *   @n        the number of the request, 12 digits
 *   @p        that number modulo M, 12 digits
 *   @q        O plus that number modulo M
 *   @a to @m  32 random hexadecimal digits, the same in the whole transaction
 *   @A to @M  such digits that begin with the time in milliseconds
 *   @@        @
 */
typedef struct TransactionScript TransactionScript;
typedef struct TransactionRunner TransactionRunner;

TransactionScript *transaction_script_read(const char *path);
/** One connection with all statements prepared; used by one thread. */
TransactionRunner *transaction_runner_new(const TransactionScript *script, const char *conninfo);
void transaction_runner_free(TransactionRunner *runner);
/** Runs all batches; ends the process if a statement fails. */
void transaction_run(TransactionRunner *runner, uint64_t number);
