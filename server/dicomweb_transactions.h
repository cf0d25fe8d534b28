#pragma once

#include "repository/imaging/dicomweb.h"

/** The table of dicomweb_transactions.def. */

typedef struct DicomwebTransaction {
    Str method;
    Str path;
    const char *number; /* "RAD-107" */
    DicomwebHandler handler;
    const DicomwebReceiver *receiver; /* NULL: takes no body */
    const char *media_types;
} DicomwebTransaction;

/**
 * The row for a request.
 *
 * @param path         percent-decoded
 * @param ret_values   what stands for each '*' of the row's path; DICOMWEB_PATH_VALUES of them
 * @param ret_allowed  in the arena: "GET, POST": the methods of this path; empty: no such path
 * @return NULL if there is none
 */
const DicomwebTransaction *dicomweb_transaction_find(Arena *arena, Str method, Str path,
                                                     Str *ret_values, Str *ret_allowed);
