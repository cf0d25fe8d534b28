#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/command/document_stream.h"

#define MAX_BYTES 10

/** What comes out of a stream with these bytes: documents in brackets, "!" for one too large. */
static void read_all(int fd, StrBuf *log)
{
    DocumentStream stream;
    Str document;
    DocumentStreamEvent event;
    document_stream_init(&stream, fd, MAX_BYTES);
    while ((event = document_stream_next(&stream, &document)) != DOCUMENT_STREAM_END) {
        assert_int_not_equal(event, DOCUMENT_STREAM_FAILED);
        if (event == DOCUMENT_STREAM_TOO_LARGE) {
            strbuf_append_char(log, '!');
        } else {
            strbuf_printf(log, "[%.*s]", STR_ARG(document));
        }
    }
    document_stream_done(&stream);
}

static void test_documents_are_separated_by_nul(void **state)
{
    static const struct {
        Str bytes;
        const char *expected;
    } cases[] = {
        {STR_INIT(""), ""},
        {STR_INIT("<a/>"), "[<a/>]"},
        {STR_INIT("<a/>\n"), "[<a/>\n]"},
        {STR_INIT("<a/>\0<b/>"), "[<a/>][<b/>]"},
        {STR_INIT("<a/>\0<b/>\0"), "[<a/>][<b/>]"},
        {STR_INIT("\0 \n\0<a/>\0\0<b/>\0\n"), "[<a/>][<b/>]"},
        {STR_INIT("1234567890"), "[1234567890]"},
        {STR_INIT("12345678901\0<b/>"), "![<b/>]"},
        {STR_INIT("<a/>\00012345678901"), "[<a/>]!"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        StrBuf log = {0};
        int fd = memfd_create("stream", MFD_CLOEXEC);
        assert_int_equal(write(fd, cases[i].bytes.data, cases[i].bytes.len), cases[i].bytes.len);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        read_all(fd, &log);
        close(fd);
        if (!str_equal(strbuf_str(&log), str_from(cases[i].expected))) {
            fail_msg("case %zu: %.*s", i, STR_ARG(strbuf_str(&log)));
        }
        strbuf_done(&log);
    }
}

/** A document that is too large is passed over without being kept. */
static void test_memory_does_not_grow_with_a_document_that_is_too_large(void **state)
{
    (void)state;
    DocumentStream stream;
    Str document;
    int fd = memfd_create("stream", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 0), 0);
    static char block[1024 * 1024];
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 16; i++) {
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    }
    assert_int_equal(write(fd, "\0<b/>", 5), 5);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    document_stream_init(&stream, fd, MAX_BYTES);
    assert_int_equal(document_stream_next(&stream, &document), DOCUMENT_STREAM_TOO_LARGE);
    assert_int_equal(document_stream_next(&stream, &document), DOCUMENT_STREAM_DOCUMENT);
    assert_true(str_equal(document, STR("<b/>")));
    assert_true(stream.bytes.cap <= sizeof(block));
    document_stream_done(&stream);
    close(fd);
}

static void test_what_cannot_be_read_is_told(void **state)
{
    (void)state;
    DocumentStream stream;
    Str document;
    document_stream_init(&stream, -1, MAX_BYTES);
    assert_int_equal(document_stream_next(&stream, &document), DOCUMENT_STREAM_FAILED);
    document_stream_done(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_are_separated_by_nul),
        cmocka_unit_test(test_memory_does_not_grow_with_a_document_that_is_too_large),
        cmocka_unit_test(test_what_cannot_be_read_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
