#include "server/language.h"

#include <stddef.h>
#include <string.h>

#include "server/options.h"

typedef struct Translation {
    const char *english;
    const char *japanese;
} Translation;

static const Translation translations[] = {
#define TEXT(english, japanese) {english, japanese},
#include "server/language_ja.def"
#undef TEXT
};

static bool is_japanese; /* set once, before commands begin */

bool language_set(const char *name)
{
    is_japanese = strcmp(name, "ja") == 0;
    return is_japanese || strcmp(name, "en") == 0;
}

const char *tr(const char *english)
{
    for (size_t i = 0; is_japanese && i < ARRAY_LEN(translations); i++) {
        if (strcmp(translations[i].english, english) == 0) {
            return translations[i].japanese;
        }
    }
    return english;
}

/** Characters beyond ASCII are kanji and kana here: three bytes, two columns. */
int language_pad(const char *text, int columns)
{
    int continuation_bytes = 0;
    for (const char *c = text; *c; c++) {
        continuation_bytes += ((unsigned char)*c & 0xC0) == 0x80;
    }
    return columns + continuation_bytes / 2;
}
