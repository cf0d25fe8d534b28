/* Messages between server and workers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/dicom/worker_fields.h"

static void test_fields_come_back_in_their_order(void **state)
{
    (void)state;
    StrBuf content = {0};
    worker_put(&content, WORKER_CONTEXT, STR("1.2 1.3"));
    worker_put_number(&content, WORKER_STATUS, 0xA700);
    worker_put(&content, WORKER_CONTEXT, STR(""));
    Str rest = strbuf_str(&content);
    WorkerField field;
    Str value;
    assert_true(worker_next(&rest, &field, &value));
    assert_int_equal(field, WORKER_CONTEXT);
    assert_true(str_equal(value, STR("1.2 1.3")));
    assert_true(worker_next(&rest, &field, &value));
    assert_int_equal(field, WORKER_STATUS);
    assert_true(worker_next(&rest, &field, &value));
    assert_int_equal(value.len, 0);
    assert_false(worker_next(&rest, &field, &value));
    assert_null(rest.data);
    uint64_t status = 0;
    assert_true(worker_get_number(strbuf_str(&content), WORKER_STATUS, &status));
    assert_int_equal(status, 0xA700);
    assert_int_equal(worker_get(strbuf_str(&content), WORKER_TAG).len, 0);
    assert_false(worker_get_number(strbuf_str(&content), WORKER_CONTEXT, &status));
    strbuf_done(&content);
}

static void test_what_is_no_field_is_left_over(void **state)
{
    (void)state;
    static const Str rows[] = {
        STR_INIT("\0\1\0\0"),
        STR_INIT("\0\2\0\0\0a"),
        STR_INIT("\0\xff\xff\xff\xff"),
        STR_INIT("\xff\0\0\0\0"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str rest = rows[i];
        WorkerField field;
        Str value;
        assert_false(worker_next(&rest, &field, &value));
        assert_int_equal(rest.len, rows[i].len);
    }
}

typedef struct Speech {
    int socket;
    Str content;
    bool is_said;
} Speech;

static void *say(void *arg)
{
    Speech *speech = arg;
    speech->is_said = worker_say(speech->socket, WORKER_SAYS_DATA, speech->content) &&
                      worker_say(speech->socket, WORKER_SAYS_SENT, STR_EMPTY);
    close(speech->socket);
    return NULL;
}

static void test_messages_larger_than_the_socket_arrive_whole(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    StrBuf large = {0};
    while (large.len < (size_t)3 << 20) {
        strbuf_printf(&large, "%zu,", large.len);
    }
    Speech speech = {.socket = ends[0], .content = strbuf_str(&large)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, say, &speech), 0);
    StrBuf heard = {0};
    WorkerMessageKind kind;
    assert_int_equal(worker_hear(ends[1], INT64_MAX, &kind, &heard), 1);
    assert_int_equal(kind, WORKER_SAYS_DATA);
    assert_true(str_equal(strbuf_str(&heard), strbuf_str(&large)));
    assert_int_equal(worker_hear(ends[1], INT64_MAX, &kind, &heard), 1);
    assert_int_equal(kind, WORKER_SAYS_SENT);
    assert_int_equal(heard.len, 0);
    assert_int_equal(worker_hear(ends[1], INT64_MAX, &kind, &heard), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(speech.is_said);
    close(ends[1]);
    strbuf_done(&heard);
    strbuf_done(&large);
}

static void test_what_is_no_message_is_refused(void **state)
{
    (void)state;
    static const Str rows[] = {
        STR_INIT("\1\0"),         /* cut off in its head */
        STR_INIT("\5\0\0\0\0ab"), /* in its content */
        STR_INIT("\0\0\0\0\0"),   /* no room for its kind */
        STR_INIT("\1\0\0\x04\0"), /* more than 64 MiB */
        STR_INIT("\1\0\0\0\xff"), /* no such kind */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        assert_int_equal(write(ends[0], rows[i].data, rows[i].len), rows[i].len);
        close(ends[0]);
        StrBuf heard = {0};
        WorkerMessageKind kind;
        assert_int_equal(worker_hear(ends[1], INT64_MAX, &kind, &heard), -EPROTO);
        strbuf_done(&heard);
        close(ends[1]);
    }
}

static void test_waiting_ends_with_the_deadline_and_speaking_with_the_other_side(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    StrBuf heard = {0};
    WorkerMessageKind kind;
    assert_int_equal(worker_hear(ends[1], clock_now_ns() + 1000000, &kind, &heard), -ETIMEDOUT);
    close(ends[1]);
    assert_false(worker_say(ends[0], WORKER_SAYS_SENT, STR_EMPTY));
    close(ends[0]);
    strbuf_done(&heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_come_back_in_their_order),
        cmocka_unit_test(test_what_is_no_field_is_left_over),
        cmocka_unit_test(test_messages_larger_than_the_socket_arrive_whole),
        cmocka_unit_test(test_what_is_no_message_is_refused),
        cmocka_unit_test(test_waiting_ends_with_the_deadline_and_speaking_with_the_other_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
