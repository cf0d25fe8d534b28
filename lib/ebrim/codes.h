#pragma once

#include "lib/ebrim/metadata.h"

/** The affinity domain's code sets, read from a codes.xml. Immutable after loading; shared by
 * threads. */
typedef struct CodeSets CodeSets;

/** In place of a classificationScheme: the set of MIME types. */
#define CODE_SET_MIME_TYPE "mimeType"

/** Reads the file; NULL and a reason (with the line) on failure. */
CodeSets *code_sets_load(const char *path, char *ret_problem, size_t problem_size);
void code_sets_free(CodeSets *sets);

/** Whether (code, scheme) is in the set of this classificationScheme; sets that the file lacks
 * accept nothing. */
bool code_sets_has(const CodeSets *sets, Str classification_scheme, Str code, Str scheme);
/** The same with its display name; ret_code borrows from sets. */
bool code_sets_find(const CodeSets *sets, Str classification_scheme, Str code, Str scheme,
                    Code *ret_code);
/** The code of this set that the file has first; false if the set is empty. */
bool code_sets_first(const CodeSets *sets, Str classification_scheme, Code *ret_code);
bool code_sets_has_mime_type(const CodeSets *sets, Str mime_type);

/** "did you mean": up to three nearest valid codes as "code^^scheme (display)", comma separated, in
 * the arena. */
Str code_sets_nearest(const CodeSets *sets, Arena *arena, Str classification_scheme, Str code,
                      Str scheme);
