#include "pix/found_identifiers.h"

/** Identifiers under construction. */
typedef struct Found {
    FoundIdentifier *items;
    size_t count;
} Found;

static bool is_wanted(const AssigningAuthority *const *targets, size_t count,
                      const AssigningAuthority *authority)
{
    for (size_t i = 0; i < count; i++) {
        if (targets[i]->id == authority->id) {
            return true;
        }
    }
    return count == 0;
}

static bool has_number_of(const Found *real, const AssigningAuthority *authority)
{
    for (size_t i = 0; i < real->count; i++) {
        if (real->items[i].authority->id == authority->id) {
            return true;
        }
    }
    return false;
}

/** Adds what follows from the numbers of authority->derive_from, each once. */
static void add_derived(Arena *arena, Found *found, const Found *real,
                        const AssigningAuthority *authority)
{
    size_t first = found->count;
    for (size_t i = 0; i < real->count; i++) {
        if (real->items[i].authority->id != authority->derive_from->id) {
            continue;
        }
        Str value = authority_derive(arena, authority, real->items[i].value);
        bool is_new = !str_is_empty(value);
        for (size_t k = first; k < found->count; k++) {
            is_new = is_new && !str_equal(found->items[k].value, value);
        }
        if (is_new) {
            found->items[found->count++] = (FoundIdentifier){authority, value, true};
        }
    }
}

static Found read_real(Arena *arena, const Authorities *authorities, const int32_t *ids,
                       const Str *values, size_t count)
{
    Found real = {.items = ARENA_ARRAY(arena, FoundIdentifier, count)};
    for (size_t i = 0; i < count; i++) {
        const AssigningAuthority *authority = authorities_by_id(authorities, ids[i]);
        if (authority) {
            real.items[real.count++] = (FoundIdentifier){authority, values[i], false};
        }
    }
    return real;
}

static size_t count_deriving(const Authorities *authorities)
{
    size_t count = 0;
    for (size_t i = 0; i < authorities->count; i++) {
        count += authorities->items[i].derive_from != NULL;
    }
    return count;
}

size_t found_identifiers_make(Arena *arena, const Authorities *authorities, const int32_t *ids,
                              const Str *values, size_t count,
                              const AssigningAuthority *const *targets, size_t target_count,
                              FoundIdentifier **ret_identifiers)
{
    const Found real = read_real(arena, authorities, ids, values, count);
    size_t room = real.count * (1 + count_deriving(authorities));
    Found found = {.items = ARENA_ARRAY(arena, FoundIdentifier, room)};
    for (size_t i = 0; i < real.count; i++) {
        if (is_wanted(targets, target_count, real.items[i].authority)) {
            found.items[found.count++] = real.items[i];
        }
    }
    for (size_t i = 0; i < authorities->count; i++) {
        const AssigningAuthority *authority = &authorities->items[i];
        if (authority->derive_from && is_wanted(targets, target_count, authority) &&
            !has_number_of(&real, authority)) {
            add_derived(arena, &found, &real, authority);
        }
    }
    *ret_identifiers = found.items;
    return found.count;
}
