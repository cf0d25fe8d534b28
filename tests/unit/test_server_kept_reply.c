#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/kept_reply.h"

/** Numbers, so that a byte in the wrong place shows. */
typedef struct Numbers {
    unsigned next, end, failing_at; /* 0: never */
    unsigned done_count;
} Numbers;

static int numbers_next(void *ctx, StrBuf *buf)
{
    Numbers *numbers = ctx;
    for (unsigned i = 0; i < 1000 && numbers->next < numbers->end; i++) {
        strbuf_printf(buf, "%09u\n", numbers->next++);
        if (numbers->failing_at && numbers->next == numbers->failing_at) {
            return -(int)ERR_CORRUPT;
        }
    }
    return numbers->next < numbers->end;
}

static void numbers_done(void *ctx)
{
    ((Numbers *)ctx)->done_count++;
}

static int make(KeptReply *kept, Request *req, SpillRoom *room, Numbers *numbers)
{
    BodySource source = {.ctx = numbers, .next = numbers_next, .done = numbers_done};
    int rc = kept_reply_make(kept, req, room, &source);
    assert_int_equal(numbers->done_count, 1);
    return rc;
}

static void assert_is_whole(const KeptReply *kept, unsigned count)
{
    KeptReplyReader reader;
    BodySource source = kept_reply_source(&reader, kept);
    StrBuf read = {0};
    StrBuf expected = {0};
    int more;
    do {
        size_t before = read.len;
        more = source.next(source.ctx, &read);
        assert_true(more >= 0 && read.len - before <= 65536);
    } while (more > 0);
    for (unsigned i = 0; i < count; i++) {
        strbuf_printf(&expected, "%09u\n", i);
    }
    assert_true(str_equal(strbuf_str(&read), strbuf_str(&expected)));
    assert_int_equal(kept_reply_bytes(kept), expected.len);
    strbuf_done(&read);
    strbuf_done(&expected);
}

static void test_a_reply_is_read_as_often_as_it_takes(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 6553, 100000, 104858, 500001};
    SpillRoom room = {.directory = "/tmp", .limit_bytes = 8 << 20};
    KeptReply kept = {0};
    Request *req = request_new(600000);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        Numbers numbers = {.end = counts[i]};
        assert_int_equal(make(&kept, req, &room, &numbers), 0); /* in place of the one before */
        assert_is_whole(&kept, counts[i]);
        assert_is_whole(&kept, counts[i]);
        assert_true(kept.text.cap <= 4 << 20);
    }
    kept_reply_drop(&kept);
    assert_int_equal(room.used_bytes, 0);
    request_free(req);
}

static void test_what_finds_no_room_or_cannot_be_read_is_not_kept(void **state)
{
    (void)state;
    static const struct {
        const char *directory;
        Numbers numbers;
        const char *text;
    } rows[] = {
        {"/tmp", {.end = 1000000}, "no room"},
        {"/tmp/there is no such folder", {.end = 200000}, "no room"},
        {"/tmp", {.end = 200000, .failing_at = 150000}, "cannot be read"},
        {"/tmp", {.end = 20, .failing_at = 3}, "cannot be read"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        SpillRoom room = {.directory = rows[i].directory, .limit_bytes = 8 << 20};
        KeptReply kept = {0};
        Request *req = request_new(600000);
        Numbers numbers = rows[i].numbers;
        assert_true(make(&kept, req, &room, &numbers) < 0);
        assert_true(str_contains(req->errors.first->context, str_from(rows[i].text)));
        assert_int_equal(room.used_bytes, 0);
        assert_int_equal(kept_reply_bytes(&kept), 0);
        Numbers few = {.end = 5};
        assert_int_equal(make(&kept, req, &room, &few), 0); /* a fault in its place */
        assert_is_whole(&kept, 5);
        kept_reply_drop(&kept);
        request_free(req);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reply_is_read_as_often_as_it_takes),
        cmocka_unit_test(test_what_finds_no_room_or_cannot_be_read_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
