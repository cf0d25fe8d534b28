#include <stdlib.h>

#include "pix/matching/match_profile.h"

/** What a key is made of: keys of different kinds never meet. */
typedef enum KeyKind {
    KEY_READING_BIRTH,
    KEY_KANJI_BIRTH,
    KEY_PHONE_BIRTH,
    KEY_POSTAL_CODE_BIRTH,
    KEY_PHONE_GIVEN,
    KEY_POSTAL_CODE_NAME,
} KeyKind;

typedef struct KeySet {
    int64_t *keys;
    size_t count;
} KeySet;

/** FNV-1a over the octets, then mixed. */
static uint64_t hash_text(Str text)
{
    uint64_t hash = 0xCBF29CE484222325U;
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001B3U;
    }
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93U;
    return hash ^ hash >> 32;
}

static void add_key(KeySet *set, KeyKind kind, uint64_t one, uint64_t other)
{
    uint64_t key = (one * 31 + other) * 31 + (uint64_t)kind;
    key *= 0x9E3779B97F4A7C15U;
    set->keys[set->count++] = (int64_t)(key ^ key >> 29);
}

/** Adds a key of two texts, unless one of them is not known. */
static void add_pair(KeySet *set, KeyKind kind, Str one, Str other)
{
    if (!str_is_empty(one) && !str_is_empty(other)) {
        add_key(set, kind, hash_text(one), hash_text(other));
    }
}

/** Adds a key of a text and a whole name, whose parts may be in either order. */
static void add_name(KeySet *set, KeyKind kind, const MatchProfile *profile, ProfileField name,
                     Str text)
{
    Str family = profile->fields[name];
    Str given = profile->fields[name + 1];
    if (!str_is_empty(family) && !str_is_empty(given) && !str_is_empty(text)) {
        add_key(set, kind, hash_text(family) + hash_text(given), hash_text(text));
    }
}

static int compare_keys(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a;
    int64_t other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

static size_t sort_unique(KeySet *set)
{
    qsort(set->keys, set->count, sizeof(*set->keys), compare_keys);
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (kept == 0 || set->keys[i] != set->keys[kept - 1]) {
            set->keys[kept++] = set->keys[i];
        }
    }
    return kept;
}

size_t match_profile_keys(const MatchConfig *config, const MatchProfile *profile,
                          int64_t ret_keys[MATCH_KEYS_MAX])
{
    _Static_assert(MATCH_KEYS_MAX >= 4 + 2 * MATCH_PHONES_MAX, "room for every key");
    const Str *fields = profile->fields;
    Str birth_date = fields[PROFILE_BIRTH_DATE];
    Str postal_code = fields[PROFILE_POSTAL_CODE];
    bool has_reading = !str_is_empty(fields[PROFILE_LATIN_GIVEN]);
    ProfileField name = has_reading ? PROFILE_LATIN : PROFILE_KANJI;
    KeySet set = {.keys = ret_keys};
    add_name(&set, KEY_READING_BIRTH, profile, PROFILE_LATIN, birth_date);
    add_name(&set, KEY_KANJI_BIRTH, profile, PROFILE_KANJI, birth_date);
    if (config->rule == MATCH_RULE_NAME_BIRTHDATE_SEX) {
        return sort_unique(&set);
    }
    for (size_t i = 0; i < MATCH_PHONES_MAX; i++) {
        add_pair(&set, KEY_PHONE_BIRTH, fields[PROFILE_PHONE + i], birth_date);
        add_pair(&set, KEY_PHONE_GIVEN, fields[PROFILE_PHONE + i], fields[name + 1]);
    }
    add_pair(&set, KEY_POSTAL_CODE_BIRTH, postal_code, birth_date);
    add_name(&set, KEY_POSTAL_CODE_NAME, profile, name, postal_code);
    return sort_unique(&set);
}
