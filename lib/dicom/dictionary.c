#include "lib/dicom/dictionary.h"

#include "lib/base/macros.h"

/* In the order of tags. */
static const DictionaryEntry entries[] = {
#include "dictionary_rows.inc"
};

static const DictionaryEntry *find_exact(uint32_t tag)
{
    size_t low = 0;
    size_t high = ARRAY_LEN(entries);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (entries[middle].tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < ARRAY_LEN(entries) && entries[low].tag == tag ? &entries[low] : NULL;
}

/** The first tag of a repeating group (PS3.5 7.6), or the same. */
static uint32_t first_of_group(uint32_t tag)
{
    uint32_t group = tag >> 16;
    if ((group & 0xFF00) == 0x5000 || (group & 0xFF00) == 0x6000 || (group & 0xFF00) == 0x7F00) {
        return tag & 0xFF00FFFF;
    }
    if ((tag & 0xFFFFFF00) == 0x00203100) { /* Source Image IDs, retired */
        return 0x00203100;
    }
    return tag;
}

const DictionaryEntry *dictionary_find(uint32_t tag)
{
    if (tag >> 16 & 1) {
        return NULL;
    }
    const DictionaryEntry *entry = find_exact(tag);
    return entry ? entry : find_exact(first_of_group(tag));
}

const DictionaryEntry *dictionary_find_keyword(Str keyword)
{
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (str_equal(keyword, str_from(entries[i].keyword))) {
            return &entries[i];
        }
    }
    return NULL;
}
