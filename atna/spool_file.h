#pragma once

#include "atna/spool.h"

/** Names and form of the spool's files, shared by writer and reader. Private to spool*.c. */

#define SPOOL_LOCK_FILE "lock"
#define SPOOL_CURSOR_FILE "cursor"
#define SPOOL_NAME_SIZE 24 /* 16 hexadecimal digits, ".spool", NUL */

void spool_segment_name(uint64_t segment, char ret_name[SPOOL_NAME_SIZE]);

/** Number of the newest segment, 0 if there is none. @return 0 or a negative errno */
int spool_newest_segment(const char *directory, uint64_t *ret_segment) MUST_CHECK;

/** Whether nothing follows in the reader's segment, or only zeros: room that the writer made for
 * records to come. */
bool spool_reader_is_at_clean_end(const SpoolReader *reader);
