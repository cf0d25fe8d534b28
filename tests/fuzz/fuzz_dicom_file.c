/* What comes before the data set of a file (PS3.10 7.1): what is read can be written and read
 * again. */
#include "lib/dicom/part10.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Arena *arena = arena_new();
    ErrorList errors;
    error_list_init(&errors, arena);
    FileMeta meta;
    size_t offset;
    int r = part10_read(arena, &errors, (Str){(const char *)bytes, len}, &meta, &offset);
    FUZZ_CHECK((r < 0) == error_list_has_errors(&errors));
    if (r == 1) {
        FUZZ_CHECK(offset <= len && dicom_uid_is_valid(meta.transfer_syntax));
        StrBuf written = {0};
        part10_write(&meta, &written);
        FileMeta again;
        FUZZ_CHECK(part10_read(arena, &errors, strbuf_str(&written), &again, &offset) == 1);
        FUZZ_CHECK(offset == written.len);
        FUZZ_CHECK(str_equal(again.transfer_syntax, meta.transfer_syntax));
        FUZZ_CHECK(str_equal(again.sop_instance, meta.sop_instance));
        strbuf_done(&written);
    }
    arena_free(arena);
    return 0;
}
