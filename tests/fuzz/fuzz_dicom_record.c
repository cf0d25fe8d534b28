/* Records as a worker in somebody else's hands may send them: what is accepted is what we write. */
#include "lib/dicom/record.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Arena *arena = arena_new();
    Str message = {(const char *)bytes, len};
    InstanceRecord record;
    if (instance_record_read(arena, message, &record)) {
        FUZZ_CHECK(dicom_uid_is_valid(record.sop_instance) && str_is_utf8(record.json));
        StrBuf written = {0};
        instance_record_write(&record, &written);
        FUZZ_CHECK(str_equal(strbuf_str(&written), message));
        strbuf_done(&written);
    }
    arena_free(arena);
    return 0;
}
