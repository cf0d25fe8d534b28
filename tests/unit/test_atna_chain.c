/* The hash chain and its signed heads (DESIGN: a change, removal or cut is found), and syslog
 * frames (RFC 5425 4.3). */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "atna/batch.h"
#include "atna/chain_files.h"
#include "atna/loader.h"
#include "atna/syslog_frame.h"
#include "lib/xml/read.h"

static char directory[] = "/tmp/musubi-chain-XXXXXX";

static void path_in(char ret_path[128], const char *name)
{
    (void)snprintf(ret_path, 128, "%s/%s", directory, name);
}

/* A head is what was signed by this key, in every field. */
static void test_a_head_with_any_other_byte_is_not_signed(void **state)
{
    char path[128];
    char problem[256];
    char line[HEAD_LINE_SIZE];
    Head head = {.chain = uuid_new(), .sequence = 4711};
    Head again;
    struct stat info;
    (void)state;
    path_in(path, "head.key");
    assert_null(head_key_open(path, false, problem, sizeof(problem)));
    HeadKey *key = head_key_open(path, true, problem, sizeof(problem));
    assert_non_null(key);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    chain_hash_first(head.chain, &head.hash);
    head_sign(&head, key);
    assert_true(head_is_signed(&head));
    head_write(&head, line);
    assert_true(head_read(str_from(line), &again));
    assert_true(head_is_signed(&again));
    assert_int_equal(again.sequence, 4711);
    for (size_t i = 0; line[i]; i++) {
        char kept = line[i];
        line[i] = kept == '0' ? '1' : '0';
        if (head_read(str_from(line), &again) && head_is_signed(&again)) {
            fail_msg("byte %zu may be changed", i);
        }
        line[i] = kept;
    }
    head_key_free(key);
    key = head_key_open(path, false, problem, sizeof(problem)); /* the same key again */
    assert_non_null(key);
    Head second = head;
    head_sign(&second, key);
    assert_memory_equal(second.key, head.key, HEAD_KEY_BYTES);
    head_key_free(key);
}

/* The chain goes on where it ended, and every record takes part in what follows. */
static void test_each_record_changes_every_hash_behind_it(void **state)
{
    Batch first;
    Batch second;
    ChainEnd end = {.received_us = INT64_MIN};
    (void)state;
    batch_init(&first);
    batch_init(&second);
    batch_begin(&first, 1, &end);
    batch_add(&first, 1000000, STR("tls:a@b"), 0, STR("one"));
    batch_add(&first, 2000000, STR("tls:a@b"), 0, STR("two"));
    batch_begin(&second, 1, &end);
    batch_add(&second, 1000000, STR("tls:a@b"), 0, STR("one"));
    ChainEnd middle = second.end;
    batch_begin(&second, 1, &middle);
    batch_add(&second, 2000000, STR("tls:a@b"), 0, STR("two"));
    assert_true(chain_hash_equal(&first.end.hash, &second.end.hash));
    assert_int_equal(second.end.sequence, 2);
    batch_begin(&second, 1, &end);
    batch_add(&second, 1000000, STR("tls:a@c"), 0, STR("one"));
    batch_add(&second, 2000000, STR("tls:a@b"), 0, STR("two"));
    assert_false(chain_hash_equal(&first.end.hash, &second.end.hash));
    assert_int_equal(second.sender_count, 2);
    batch_done(&first);
    batch_done(&second);
}

/* Retention removes months whole: no record lies in an earlier month than the one before it. */
static void test_months_never_go_back(void **state)
{
    const int64_t april_us = INT64_C(1775001600000000); /* 2026-04-01T00:00:00Z */
    Batch batch;
    ChainEnd end = {.received_us = INT64_MIN};
    (void)state;
    batch_init(&batch);
    batch_begin(&batch, 1, &end);
    batch_add(&batch, april_us - 1, STR("tls:a@b"), 0, STR("x"));
    batch_add(&batch, april_us + 5, STR("tls:a@b"), 0, STR("x"));
    assert_int_equal(batch.new_month_count, 2);
    batch_add(&batch, april_us - 1, STR("tls:a@b"), 0, STR("late"));
    assert_int_equal(batch.end.received_us, april_us);
    assert_int_equal(batch.new_month_count, 2);
    batch_done(&batch);
}

/* A chain that was given up leaves its head. */
static void test_the_head_of_a_lost_chain_is_kept(void **state)
{
    Uuid chain;
    Uuid fresh;
    Head head;
    char path[160];
    char urn[UUID_URN_LEN];
    (void)state;
    assert_int_equal(chain_files_read(directory, &chain), 0);
    assert_int_equal(chain_files_open(directory, &chain), 0);
    assert_int_equal(chain_files_open(directory, &fresh), 0);
    assert_true(uuid_equal(chain, fresh));
    assert_int_equal(chain_files_read_head(directory, &head), 0);
    head = (Head){.chain = chain, .sequence = 9};
    assert_int_equal(chain_files_write_head(directory, &head), 0);
    assert_int_equal(chain_files_read_head(directory, &head), 1);
    assert_int_equal(head.sequence, 9);
    (void)snprintf(path, sizeof(path), "%s/chain.new",
                   directory); /* the new name cannot be written */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chain_files_renew(directory, &fresh), -EISDIR);
    assert_int_equal(chain_files_read_head(directory, &head),
                     1); /* the old chain is not bare of it */
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(chain_files_renew(directory, &fresh), 0);
    assert_false(uuid_equal(chain, fresh));
    uuid_format_urn(chain, urn);
    (void)snprintf(path, sizeof(path), "%s/head.%.*s", directory, UUID_URN_LEN - 9, urn + 9);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(chain_files_read_head(directory, &head), 0);
}

/* What the spool of received messages holds is read as it was written. */
static void test_received_messages_keep_sender_and_defects(void **state)
{
    StrBuf buf = {0};
    ReceivedMessage message = {STR("tls:a@192.0.2.7"), 0x8000000000000001, STR("x\ny")};
    ReceivedMessage again;
    AuditSender sender;
    (void)state;
    received_write(&buf, &message);
    assert_true(received_read(strbuf_str(&buf), &again));
    assert_true(str_equal(again.sender, message.sender));
    assert_true(again.defects == message.defects);
    assert_true(str_equal(again.raw, message.raw));
    assert_false(received_read(STR("a\nb"), &again));
    assert_false(received_read(STR("a\n\nb"), &again));
    assert_false(received_read(STR("a\nX\nb"), &again));
    assert_true(audit_sender_parse(message.sender, &sender));
    assert_int_equal(sender.transport, AUDIT_TLS);
    assert_true(str_equal(sender.node, STR("a")));
    assert_true(str_equal(sender.address, STR("192.0.2.7")));
    assert_true(audit_sender_parse(STR("tls:CN=a@b,O=c@::1"), &sender));
    assert_true(str_equal(sender.node, STR("CN=a@b,O=c")));
    assert_false(audit_sender_parse(STR("tls:a"), &sender));
    strbuf_done(&buf);
}

/** Pushes the stream in pieces; messages in brackets, and how it ended. */
static void frames_of(Str stream, size_t piece, StrBuf *log)
{
    SyslogFramer framer = {0};
    SyslogFrameResult result = SYSLOG_FRAME_MORE;
    for (size_t at = 0; at < stream.len && result != SYSLOG_FRAME_BROKEN; at += piece) {
        Str part = str_slice(stream, at, piece);
        memcpy(syslog_framer_reserve(&framer, part.len), part.data, part.len);
        syslog_framer_add(&framer, part.len);
        Str message = STR_EMPTY;
        uint64_t defects = 0;
        const char *problem = "";
        while ((result = syslog_framer_next(&framer, &message, &defects, &problem)) ==
               SYSLOG_FRAME_MESSAGE) {
            strbuf_printf(log, "[%.*s]%s", STR_ARG(message), defects ? "!" : "");
        }
    }
    strbuf_literal(log, "");
    if (result == SYSLOG_FRAME_BROKEN) {
        strbuf_literal(log, "broken");
    } else if (syslog_framer_is_in_frame(&framer)) {
        strbuf_literal(log, "open");
    }
    syslog_framer_done(&framer);
}

/* RFC 5425 4.3: MSG-LEN = NONZERO-DIGIT *DIGIT; RFC 6587 3.4.2 tolerated. The cut must not matter.
 */
static void test_frames_are_the_same_wherever_the_stream_is_cut(void **state)
{
    static const struct {
        const char *stream;
        const char *expected;
    } rows[] = {
        {"3 abc2 de", "[abc][de]"},
        {"3 ab", "open"},
        {"12", "open"},
        {"4 ab\n3 x y", "[ab\n3]broken"},
        {"<a>\n3 abc", "[<a>]![abc]"},
        {"<a>", "open"},
        {"0 ", "broken"},
        {"03 abc", "broken"},
        {"x", "broken"},
        {"3abc", "broken"},
        {" 3 abc", "broken"},
        {"12345678 a", "broken"},
        {"1048577 a", "broken"},
        {"1048576 a", "open"},
        {"-1 a", "broken"},
        {"2 a\n", "[a\n]!"},
        {"3 abc\n2 de\n", "[abc][de]!"},
        {"\n\r\n3 abc2 de", "[abc]![de]"},
        {"<a>\n\n3 abc\nx", "[<a>]![abc]!broken"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str stream = str_from(rows[i].stream);
        for (size_t piece = 1; piece <= stream.len; piece++) {
            StrBuf log = {0};
            frames_of(stream, piece, &log);
            if (!str_equal(strbuf_str(&log), str_from(rows[i].expected))) {
                fail_msg("%zu in pieces of %zu: %s", i, piece, log.data);
            }
            strbuf_done(&log);
        }
    }
}

static int clean_up(void **state)
{
    char command[64];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_with_any_other_byte_is_not_signed),
        cmocka_unit_test(test_each_record_changes_every_hash_behind_it),
        cmocka_unit_test(test_months_never_go_back),
        cmocka_unit_test(test_the_head_of_a_lost_chain_is_kept),
        cmocka_unit_test(test_received_messages_keep_sender_and_defects),
        cmocka_unit_test(test_frames_are_the_same_wherever_the_stream_is_cut),
    };
    xml_init();
    if (!mkdtemp(directory)) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
