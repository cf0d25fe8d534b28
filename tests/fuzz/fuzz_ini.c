/* Configuration text: whatever is accepted has named sections and keys, each once, on a line of the
 * file; whatever is refused has a reason. */

#include "lib/base/ini.h"

#include "tests/fuzz/fuzz.h"

static void check_entry(const IniFile *file, size_t index)
{
    const IniEntry *entry = &file->entries[index];

    FUZZ_CHECK(entry->section.len > 0 && entry->key.len > 0);
    FUZZ_CHECK(entry->line > 0 && entry->value.len <= INI_MAX_LINE_BYTES);
    FUZZ_CHECK(str_is_utf8(entry->value));
    for (size_t i = 0; i < index; i++) {
        FUZZ_CHECK(!str_equal(file->entries[i].section, entry->section) ||
                   !str_equal(file->entries[i].key, entry->key));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Arena *arena = arena_new();
    ErrorList errors;
    IniFile file = {0};

    error_list_init(&errors, arena);
    int rc = ini_parse(arena, &errors, "fuzz.ini", (Str){(const char *)bytes, len}, &file);
    FUZZ_CHECK((rc == 0) == (errors.error_count == 0));
    for (size_t i = 0; i < file.count; i++) {
        check_entry(&file, i);
    }
    arena_free(arena);
    return 0;
}
