/* What is stored of an audit message, whatever it is: read with and without a syslog header, and
 * chained. */

#include "atna/batch.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const senders[] = {"own:musubi@", "tls:a@192.0.2.7", "udp:@192.0.2.7", ""};
    Str raw = {(const char *)bytes, len};
    ChainEnd end = {.received_us = INT64_MIN};
    Batch batch;
    xml_init();
    batch_init(&batch);
    batch_begin(&batch, 1, &end);
    for (size_t i = 0; i < ARRAY_LEN(senders); i++) {
        batch_add(&batch, (int64_t)i * 1000000, str_from(senders[i]), 0, raw);
    }
    FUZZ_CHECK(batch_row_count(&batch) == ARRAY_LEN(senders));
    FUZZ_CHECK(batch.end.sequence == ARRAY_LEN(senders));
    batch_done(&batch);
    return 0;
}
