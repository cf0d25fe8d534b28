#pragma once

#include <stdint.h>

/**
 * The statements that the server runs for one request, run by hand: the script is JSON, a list of
 * batches (one pipeline each) of {"sql": text, "params": [text or null]}. In a parameter "@n"
 * stands for the number of the request (12 digits),
 * "@a" to "@m" for 32 random hexadecimal digits each, the same in the whole transaction, and "@@"
 * for "@".
 */
typedef struct TransactionScript TransactionScript;
typedef struct TransactionRunner TransactionRunner;

TransactionScript *transaction_script_read(const char *path);
/** One connection with all statements prepared; used by one thread. */
TransactionRunner *transaction_runner_new(const TransactionScript *script, const char *conninfo);
void transaction_runner_free(TransactionRunner *runner);
/** Runs all batches; ends the process if a statement fails. */
void transaction_run(TransactionRunner *runner, uint64_t number);
