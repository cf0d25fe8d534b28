#pragma once

#include "lib/base/error.h"
#include "lib/base/str.h"
#include "lib/dicom/uid.h"

/** Identifiers of queries and retrievals (PS3.4 C.4), as data sets and as fields of messages. */

/** Longest identifier of a request: lists of UIDs are long. */
#define IDENTIFIER_MAX ((size_t)4 << 20)

/**
 * LEVEL and a KEY for each element but level, character set and group lengths; text becomes UTF-8.
 * Sequences ask for themselves only.
 */
int identifier_read(Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                    StrBuf *ret_fields) MUST_CHECK;

/**
 * The KEYs of MATCH as a data set, with the level, and with the character set that it needs:
 * UTF-8 where a text is not ASCII.
 * @return false: a KEY is none
 */
bool identifier_write(Str fields, Str level, const TransferSyntax *syntax,
                      StrBuf *ret_data_set) MUST_CHECK;

/**
 * Of N-ACTION of storage commitment (PS3.4 J.3.2): TRANSACTION_UID, and a REFERENCE for each item.
 */
int commitment_read(Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                    StrBuf *ret_fields) MUST_CHECK;

/** Of N-EVENT-REPORT (PS3.4 J.3.3): the content of REPORT as a data set. */
void commitment_write(Str fields, const TransferSyntax *syntax, StrBuf *ret_data_set);
/** Event type of REPORT: 1 all is committed, 2 something is not. */
uint32_t commitment_event(Str fields);
