#pragma once

#include <stddef.h>

#include "lib/base/error.h"

/**
 * Configuration text: "[section]", "key = value", comments from '#' or ';' at the start of a line
 * or after a space. A value with such characters or outer spaces goes in double quotes. Names are
 * [a-z0-9_]+. No includes, no continuation lines, no key twice.
 */

#define INI_MAX_BYTES (1024UL * 1024)
#define INI_MAX_LINE_BYTES 4096
#define INI_MAX_ENTRIES 4096

typedef struct IniEntry {
    Str section;
    Str key;
    Str value;
    unsigned line; /* from 1 */
} IniEntry;

typedef struct IniFile {
    IniEntry *entries;
    size_t count;
} IniFile;

/**
 * Reads all entries; every fault is added with location "FILE:LINE".
 * @param file_name  for the locations
 * @param text       UTF-8, a byte order mark is skipped; borrowed by the entries
 * @param ret_file   in the arena
 * @return 0 or -ERR_CONFIGURATION
 */
int ini_parse(Arena *arena, ErrorList *errors, const char *file_name, Str text,
              IniFile *ret_file) MUST_CHECK;

/** Reads the file, in the arena, then as ini_parse(). */
int ini_read(Arena *arena, ErrorList *errors, const char *path, IniFile *ret_file) MUST_CHECK;
