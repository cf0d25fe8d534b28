#pragma once

#include <stdbool.h>

#include "lib/base/macros.h"

/**
 * The language of texts for operators (--lang): status, check-config, node list and the help. Texts
 * stand in the code in English; language_ja.def has the Japanese of each. What has no row there
 * (keys, the texts of the libraries below) stays English.
 */

/** @param name  "en" or "ja" @return false: no such language */
bool language_set(const char *name) MUST_CHECK;

/** The text in the language that was set. */
const char *tr(const char *english) __attribute__((__format_arg__(1)));

/** The width in bytes, for printf's %-*s, that fills so many columns of a terminal with this text.
 */
int language_pad(const char *text, int columns);
