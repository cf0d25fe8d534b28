#include "atna/known_heads.h"

#include <errno.h>
#include <stdlib.h>

#include "atna/chain_files.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"

#define TRUSTED_KEYS_MAX_BYTES ((size_t)1 << 20)

void known_heads_done(KnownHeads *heads)
{
    free(heads->items);
    free(heads->keys);
    *heads = (KnownHeads){0};
}

void known_heads_add(KnownHeads *heads, const Head *head, const char *from)
{
    if (heads->count == heads->cap) {
        heads->items = heap_grow(heads->items, &heads->cap, 64, sizeof(KnownHead));
    }
    heads->items[heads->count] = (KnownHead){*head, from, heads->count};
    heads->count++;
}

/* ---- keys ---- */

static void add_key(KnownHeads *heads, const uint8_t key[HEAD_KEY_BYTES])
{
    heads->keys = heap_resized(heads->keys, heads->key_count + 1, HEAD_KEY_BYTES);
    memcpy(heads->keys[heads->key_count++], key, HEAD_KEY_BYTES);
}

static void read_own_key(KnownHeads *heads, const char *directory)
{
    char problem[256];
    uint8_t bytes[HEAD_KEY_BYTES];
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str path = str_printf(arena, "%s/" CHAIN_KEY_FILE, directory);
    HeadKey *key = head_key_open(path.data, false, problem, sizeof(problem));
    if (key) {
        head_key_public(key, bytes);
        add_key(heads, bytes);
    }
    heads->has_own_key = key != NULL;
    head_key_free(key);
}

int known_heads_read_keys(KnownHeads *heads, const char *directory, unsigned *ret_bad_lines)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    _cleanup_(strbuf_done) StrBuf text = {0};
    Str line = STR_EMPTY;
    Str hex = STR_EMPTY;
    uint8_t bytes[HEAD_KEY_BYTES];
    read_own_key(heads, directory);
    Str path = str_printf(arena, "%s/" TRUSTED_KEYS_FILE, directory);
    int rc = io_read_file(path.data, TRUSTED_KEYS_MAX_BYTES, &text);
    Str rest = strbuf_str(&text);
    while (rc == 0 && str_split_next(&rest, '\n', &line)) {
        line = str_trim(line);
        if (str_is_empty(line)) {
            continue;
        }
        if (str_split_next(&line, ' ', &hex) && str_unhex(hex, bytes, sizeof(bytes))) {
            add_key(heads, bytes);
        } else {
            (*ret_bad_lines)++;
        }
    }
    return rc == -ENOENT ? 0 : rc;
}

bool known_heads_has_key(const KnownHeads *heads, const uint8_t key[HEAD_KEY_BYTES])
{
    bool is_known = heads->key_count == 0;
    for (size_t i = 0; i < heads->key_count && !is_known; i++) {
        is_known = memcmp(heads->keys[i], key, HEAD_KEY_BYTES) == 0;
    }
    return is_known;
}

bool known_heads_is_genuine(const KnownHeads *heads, const Head *head)
{
    return known_heads_has_key(heads, head->key) && head_is_signed(head);
}

/* ---- order ---- */

static int compare_heads(const void *a, const void *b)
{
    const KnownHead *one = a;
    const KnownHead *other = b;
    int order = memcmp(&one->head.chain, &other->head.chain, sizeof(Uuid));
    if (order == 0) {
        order = (one->head.sequence > other->head.sequence) -
                (one->head.sequence < other->head.sequence);
    }
    return order != 0 ? order : (one->number > other->number) - (one->number < other->number);
}

void known_heads_sort(KnownHeads *heads)
{
    if (heads->count > 0) {
        qsort(heads->items, heads->count, sizeof(KnownHead), compare_heads);
    }
}

/** The first head whose chain comes behind this one, or is it, by is_behind. */
static size_t find_chain(const KnownHeads *heads, Uuid chain, bool is_behind)
{
    size_t begin = 0;
    size_t end = heads->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        int order = memcmp(&heads->items[middle].head.chain, &chain, sizeof(chain));
        if (order < 0 || (order == 0 && is_behind)) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return begin;
}

HeadRange known_heads_of(const KnownHeads *heads, Uuid chain)
{
    return heads->count == 0 ? (HeadRange){NULL, NULL}
                             : (HeadRange){heads->items + find_chain(heads, chain, false),
                                           heads->items + find_chain(heads, chain, true)};
}

const KnownHead *head_range_from(HeadRange range, uint64_t sequence)
{
    while (range.begin < range.end) {
        const KnownHead *middle = range.begin + (range.end - range.begin) / 2;
        if (middle->head.sequence < sequence) {
            range.begin = middle + 1;
        } else {
            range.end = middle;
        }
    }
    return range.begin;
}
