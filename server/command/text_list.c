#include "server/command/text_list.h"

#include <string.h>

size_t text_list_split(Arena *arena, Str text, const char *separators, Str **ret_items)
{
    Str *items = ARENA_ARRAY(arena, Str, text.len / 2 + 1);
    size_t count = 0;
    size_t begin = 0;

    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && !strchr(separators, text.data[i])) {
            continue;
        }
        Str item = str_trim(str_slice(text, begin, i - begin));
        if (item.len > 0) {
            items[count++] = item;
        }
        begin = i + 1;
    }
    *ret_items = items;
    return count;
}
