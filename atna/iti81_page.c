#include "atna/iti81_page.h"

#define CHAINS_MAX 64

Str iti81_page_write(Arena *arena, const Iti81Page *page)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    strbuf_printf(&buf, "%lld.%d.%lld.", (long long)page->after.event_us, page->after.chain,
                  (long long)page->after.sequence);
    if (page->total != ITI81_UNKNOWN_TOTAL) {
        strbuf_printf(&buf, "%llu", (unsigned long long)page->total);
    }
    for (size_t i = 0; i < page->bounds.count; i++) {
        strbuf_printf(&buf, ".%d:%lld", page->bounds.chains[i],
                      (long long)page->bounds.sequences[i]);
    }
    return str_dup(arena, strbuf_str(&buf));
}

static bool read_chain(Str text, int32_t *ret_chain)
{
    uint64_t chain;
    if (!str_to_u64(text, &chain) || chain > INT32_MAX) {
        return false;
    }
    *ret_chain = (int32_t)chain;
    return true;
}

static bool read_bounds(Arena *arena, Str rest, RecordBounds *ret_bounds)
{
    int32_t *chains = ARENA_ARRAY(arena, int32_t, CHAINS_MAX);
    int64_t *sequences = ARENA_ARRAY(arena, int64_t, CHAINS_MAX);
    size_t count = 0;
    Str item;
    while (str_split_next(&rest, '.', &item)) {
        size_t colon = str_find_char(item, ':');
        if (count == CHAINS_MAX || colon == SIZE_MAX ||
            !read_chain(str_slice(item, 0, colon), &chains[count]) ||
            !str_to_i64(str_from_offset(item, colon + 1), &sequences[count])) {
            return false;
        }
        count++;
    }
    *ret_bounds = (RecordBounds){chains, sequences, count};
    return count > 0;
}

bool iti81_page_read(Arena *arena, Str text, Iti81Page *ret_page)
{
    Iti81Page page = {.total = ITI81_UNKNOWN_TOTAL};
    Str items[4];
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        if (!str_split_next(&text, '.', &items[i])) {
            return false;
        }
    }
    bool is_read = str_to_i64(items[0], &page.after.event_us) &&
                   read_chain(items[1], &page.after.chain) &&
                   str_to_i64(items[2], &page.after.sequence) &&
                   (str_is_empty(items[3]) || str_to_u64(items[3], &page.total)) &&
                   read_bounds(arena, text, &page.bounds);
    if (is_read) {
        *ret_page = page;
    }
    return is_read;
}
