/* Framing of a bulk import: what comes out is what was between the separators, however it was read.
 */

#include <sys/mman.h>
#include <unistd.h>

#include "server/command/document_stream.h"

#include "tests/fuzz/fuzz.h"

#define LIMIT_BYTES 64

/** The next piece between two NULs that is a document, or too large for one. */
static bool next_piece(Str *rest, Str *ret_piece)
{
    while (str_split_next(rest, '\0', ret_piece)) {
        if (ret_piece->len > LIMIT_BYTES || !str_is_empty(str_trim(*ret_piece))) {
            return true;
        }
    }
    return false;
}

static void check(int fd, Str rest)
{
    DocumentStream stream;
    Str piece;
    Str document;
    document_stream_init(&stream, fd, LIMIT_BYTES);
    while (next_piece(&rest, &piece)) {
        DocumentStreamEvent event = document_stream_next(&stream, &document);
        FUZZ_CHECK(event == (piece.len > LIMIT_BYTES ? DOCUMENT_STREAM_TOO_LARGE
                                                     : DOCUMENT_STREAM_DOCUMENT));
        FUZZ_CHECK(event == DOCUMENT_STREAM_TOO_LARGE || str_equal(document, piece));
    }
    FUZZ_CHECK(document_stream_next(&stream, &document) == DOCUMENT_STREAM_END);
    document_stream_done(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int fd = memfd_create("stream", MFD_CLOEXEC);
    FUZZ_CHECK(write(fd, bytes, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
    check(fd, (Str){(const char *)bytes, len});
    close(fd);
    return 0;
}
