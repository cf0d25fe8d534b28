#include "lib/base/wildcard.h"

/** Length of the UTF-8 character at this place. */
static size_t character_len(Str text, size_t at)
{
    size_t end = at + 1;
    while (end < text.len && ((unsigned char)text.data[end] & 0xc0) == 0x80) {
        end++;
    }
    return end - at;
}

bool wildcard_matches(Str pattern, Str text, char any, char one)
{
    size_t p = 0;
    size_t t = 0;
    /* Behind the last `any` met, and where the text that follows it is tried: an earlier one need
     * never take more, since what this one leaves out it takes as well. */
    size_t retry_p = SIZE_MAX;
    size_t retry_t = 0;
    for (;;) {
        if (p < pattern.len && pattern.data[p] == any) {
            retry_p = ++p;
            retry_t = t;
        } else if (p < pattern.len && t < text.len && pattern.data[p] == one) {
            p++;
            t += character_len(text, t);
        } else if (p < pattern.len && t < text.len && pattern.data[p] == text.data[t]) {
            p++;
            t++;
        } else if (p == pattern.len && t == text.len) {
            return true;
        } else if (retry_p == SIZE_MAX || retry_t == text.len) {
            return false;
        } else {
            retry_t += character_len(text, retry_t);
            p = retry_p;
            t = retry_t;
        }
    }
}
