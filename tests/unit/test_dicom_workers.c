#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file_io.h"
#include "lib/dicom/dataset.h"
#include "lib/dicom/part10.h"
#include "lib/dicom/record.h"
#include "lib/dicom/worker_fields.h"
#include "lib/dicom/workers.h"
#include "lib/sandbox/sandbox.h"

#include "tests/unit/child_process.h"

/* Real processes: one of our requestors talks with one of our acceptors over a relay, and this
 * program is the server of both. */

#define SKIPPED 77 /* for meson: valgrind has no seccomp, by which requestors have their peer */
#define SECOND_NS INT64_C(1000000000)
#define PATIENCE_NS (60 * SECOND_NS)
#define CT "1.2.840.10008.5.1.4.1.1.2"
#define CT_CONTEXT CT " 1.2.840.10008.1.2.1"
#define ECHO_CONTEXT "1.2.840.10008.1.1 1.2.840.10008.1.2"
#define INSTANCE "1.2.392.1.1"
#define NESTED_SEQUENCES 20000 /* some 700 KB; a default DCMTK receiver ends at 8000 */

static Arena *arena;
static ErrorList errors;
static DicomWorkers *workers;

/* ---- processes ---- */

static pid_t nursery_pid(void)
{
    return child_of(child_of(getpid()));
}

static WorkerProcess start(WorkerJob job)
{
    WorkerProcess process = {-1, -1, NULL, 0, job};
    assert_int_equal(dicom_worker_start(workers, &errors, job, 0, &process), 0);
    return process;
}

/* ---- messages ---- */

static StrBuf said;
static StrBuf heard;

static void say(int socket, WorkerMessageKind kind)
{
    assert_true(worker_say(socket, kind, strbuf_str(&said)));
    strbuf_clear(&said);
}

static void expect(int socket, WorkerMessageKind expected)
{
    WorkerMessageKind kind = WORKER_SAYS_COUNT;
    assert_int_equal(worker_hear(socket, clock_now_ns() + PATIENCE_NS, &kind, &heard), 1);
    assert_int_equal(kind, expected);
}

static uint64_t number_of(WorkerField field)
{
    uint64_t number = UINT64_MAX;
    (void)worker_get_number(strbuf_str(&heard), field, &number);
    return number;
}

static void assert_field(WorkerField field, const char *expected)
{
    Str value = worker_get(strbuf_str(&heard), field);
    assert_int_equal(value.len, strlen(expected));
    assert_memory_equal(value.data, expected, value.len);
}

/* ---- an association between two workers ---- */

typedef struct Pair {
    WorkerProcess acceptor;
    WorkerProcess requestor;
    pthread_t relay;
} Pair;

static bool pass_on(int from, int to)
{
    char buffer[65536];
    ssize_t len = read(from, buffer, sizeof(buffer));
    if (len <= 0 || io_write_all(to, buffer, (size_t)len) < 0) {
        (void)shutdown(to, SHUT_WR);
        return false;
    }
    return true;
}

static void *relay(void *ctx)
{
    const Pair *pair = ctx;
    struct pollfd sides[] = {{.fd = pair->acceptor.peer, .events = POLLIN},
                             {.fd = pair->requestor.peer, .events = POLLIN}};
    bool is_open = true;
    while (is_open) {
        (void)poll(sides, 2, -1);
        is_open = (!sides[0].revents || pass_on(sides[0].fd, sides[1].fd)) &&
                  (!sides[1].revents || pass_on(sides[1].fd, sides[0].fd));
    }
    return NULL;
}

static void begin(Pair *pair)
{
    pair->acceptor = start(JOB_ACCEPTOR);
    pair->requestor = start(JOB_REQUESTOR);
    assert_int_equal(pthread_create(&pair->relay, NULL, relay, pair), 0);
}

static void put_request(const char *contexts)
{
    Str rest = str_from(contexts);
    Str context;
    worker_put(&said, WORKER_CALLING_AE, STR("GATEWAY"));
    worker_put(&said, WORKER_CALLED_AE, STR("MUSUBI"));
    while (str_split_next(&rest, ',', &context)) {
        worker_put(&said, WORKER_CONTEXT, context);
    }
}

static void associate(Pair *pair, const char *contexts)
{
    begin(pair);
    put_request(contexts);
    say(pair->requestor.control, WORKER_SAYS_REQUEST);
    expect(pair->acceptor.control, WORKER_SAYS_ASSOCIATE);
    assert_field(WORKER_CALLING_AE, "GATEWAY");
    assert_field(WORKER_CALLED_AE, "MUSUBI");
    say(pair->acceptor.control, WORKER_SAYS_ACCEPT);
    expect(pair->requestor.control, WORKER_SAYS_ASSOCIATED);
}

static void end(Pair *pair)
{
    (void)shutdown(pair->acceptor.peer, SHUT_RDWR);
    (void)shutdown(pair->requestor.peer, SHUT_RDWR);
    (void)pthread_join(pair->relay, NULL);
    dicom_worker_end(&pair->acceptor);
    dicom_worker_end(&pair->requestor);
}

static void release(Pair *pair)
{
    say(pair->requestor.control, WORKER_SAYS_RELEASE);
    expect(pair->acceptor.control, WORKER_SAYS_RELEASED);
    assert_field(WORKER_TEXT, "released");
    expect(pair->requestor.control, WORKER_SAYS_RELEASED);
    end(pair);
}

/* ---- data sets ---- */

static DicomDataset *instance(const char *uid)
{
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, DICOM_TAG(0x0008, 0x0016), DICOM_VR_UI, STR(CT));
    dicom_put(arena, dataset, DICOM_TAG(0x0008, 0x0018), DICOM_VR_UI, str_from(uid));
    dicom_put(arena, dataset, DICOM_TAG(0x0010, 0x0020), DICOM_VR_LO, STR("P1"));
    dicom_put(arena, dataset, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, STR("1.2.392.1"));
    dicom_put(arena, dataset, DICOM_TAG(0x0020, 0x000E), DICOM_VR_UI, STR("1.2.392.2"));
    return dataset;
}

static Str written(const DicomDataset *dataset)
{
    StrBuf buf = {0};
    dicom_write(dataset, transfer_syntax_find(STR(UID_EXPLICIT_LITTLE_ENDIAN)), &buf);
    Str copy = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return copy;
}

/** Content sequences of unknown length inside each other, all of them ended. */
static Str nested(void)
{
    static const char down[] =
        "\x40\x00\x30\xA7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";
    static const char up[] = "\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0";
    StrBuf buf = {0};
    strbuf_append(&buf, written(instance(INSTANCE)));
    for (int i = 0; i < NESTED_SEQUENCES; i++) {
        strbuf_append_bytes(&buf, down, sizeof(down) - 1);
    }
    for (int i = 0; i < NESTED_SEQUENCES; i++) {
        strbuf_append_bytes(&buf, up, sizeof(up) - 1);
    }
    Str copy = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return copy;
}

static void send_bytes(int socket, Str bytes)
{
    while (bytes.len > 0) {
        Str piece = str_slice(bytes, 0, 30000);
        strbuf_append(&said, piece);
        say(socket, WORKER_SAYS_DATA_OUT);
        bytes = str_from_offset(bytes, piece.len);
    }
    say(socket, WORKER_SAYS_SENT);
}

/** Lets the requestor send, up to the acceptor's STORE. */
static void send_instance(const Pair *pair, Str bytes)
{
    worker_put(&said, WORKER_SOP_CLASS, STR(CT));
    worker_put(&said, WORKER_SOP_INSTANCE, STR(INSTANCE));
    worker_put(&said, WORKER_TRANSFER_SYNTAX, STR(UID_EXPLICIT_LITTLE_ENDIAN));
    worker_put(&said, WORKER_ORIGINATOR_AE, STR("VIEWER"));
    worker_put_number(&said, WORKER_ORIGINATOR_ID, 7);
    say(pair->requestor.control, WORKER_SAYS_SEND);
    send_bytes(pair->requestor.control, bytes);
    expect(pair->acceptor.control, WORKER_SAYS_STORE);
}

static void answer(const Pair *pair, uint64_t status)
{
    worker_put_number(&said, WORKER_STATUS, status);
    worker_put(&said, WORKER_COMMENT, STR("as the server says"));
    say(pair->acceptor.control, WORKER_SAYS_STATUS);
    expect(pair->requestor.control, WORKER_SAYS_OUTCOME);
    assert_int_equal(number_of(WORKER_STATUS), status);
    assert_field(WORKER_COMMENT, "as the server says");
}

/** Collects DATA; the message after it stays in heard. @return its kind */
static WorkerMessageKind receive_data(int socket, StrBuf *ret_bytes)
{
    WorkerMessageKind kind = WORKER_SAYS_DATA;
    for (;;) {
        assert_int_equal(worker_hear(socket, clock_now_ns() + PATIENCE_NS, &kind, &heard), 1);
        if (kind != WORKER_SAYS_DATA) {
            return kind;
        }
        strbuf_append(ret_bytes, strbuf_str(&heard));
    }
}

/* ---- tests ---- */

/* PS3.4 A (Verification), PS3.8 7.2 (release) */
static void test_an_echo_is_answered(void **state)
{
    Pair pair;
    (void)state;
    associate(&pair, ECHO_CONTEXT);
    assert_field(WORKER_CONTEXT, ECHO_CONTEXT);
    say(pair.requestor.control, WORKER_SAYS_ECHO);
    expect(pair.requestor.control, WORKER_SAYS_OUTCOME);
    assert_int_equal(number_of(WORKER_STATUS), 0);
    release(&pair);
}

/* PS3.8 9.3.4: result, source and reason are the server's */
static void test_an_association_is_rejected_with_the_reason_of_the_server(void **state)
{
    Pair pair;
    (void)state;
    begin(&pair);
    put_request(ECHO_CONTEXT);
    say(pair.requestor.control, WORKER_SAYS_REQUEST);
    expect(pair.acceptor.control, WORKER_SAYS_ASSOCIATE);
    worker_put_number(&said, WORKER_REJECTION, 0x010107);
    say(pair.acceptor.control, WORKER_SAYS_ACCEPT);
    expect(pair.requestor.control, WORKER_SAYS_ASSOCIATED);
    assert_int_equal(number_of(WORKER_REJECTION), 0x010107);
    assert_field(WORKER_CONTEXT, "");
    end(&pair);
}

/* PS3.4 B: storage of every class and transfer syntax; no service that is not ours */
static void test_contexts_of_storage_are_taken_and_of_unknown_services_are_not(void **state)
{
    static const struct {
        const char *proposed;
        const char *accepted;
    } rows[] = {
        {CT_CONTEXT, CT_CONTEXT},
        {CT " 1.2.840.10008.1.2.4.90 1.2.840.10008.1.2", CT " 1.2.840.10008.1.2.4.90"},
        {CT " 1.3.6.1.4.1.9.9.9", CT " 1.3.6.1.4.1.9.9.9"}, /* private syntax */
        {"1.3.12.2.1107.5.9.1 1.2.840.10008.1.2", "1.3.12.2.1107.5.9.1 1.2.840.10008.1.2"},
        {"1.2.840.10008.5.1.4.1.2.2.1 1.2.840.10008.1.2.2 1.2.840.10008.1.2",
         "1.2.840.10008.5.1.4.1.2.2.1 1.2.840.10008.1.2"}, /* answers are not big endian */
        {"1.2.840.10008.5.1.4.31 1.2.840.10008.1.2", ""},  /* worklist */
        {"1.2.840.10008.5.1.1.9 1.2.840.10008.1.2", ""},   /* print */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Pair pair;
        associate(&pair, str_printf(arena, "%s,%s", rows[i].proposed, ECHO_CONTEXT).data);
        Str first = worker_get(strbuf_str(&heard), WORKER_CONTEXT);
        const char *expected = rows[i].accepted[0] ? rows[i].accepted : ECHO_CONTEXT;
        if (!str_equal(first, str_from(expected))) {
            fail_msg("row %zu: %.*s", i, STR_ARG(first));
        }
        release(&pair);
    }
}

/* Bit for bit: what the peer sends is what the server gets */
static void test_an_instance_comes_as_it_was_sent(void **state)
{
    Pair pair;
    StrBuf bytes = {0};
    InstanceRecord record;
    DicomDataset *dataset = instance(INSTANCE);
    (void)state;
    dicom_put(arena, dataset, DICOM_TAG(0x0009, 0x1001), DICOM_VR_OB,
              (Str){memset(arena_alloc(arena, 200000), 'x', 200000), 200000});
    Str sent = written(dataset);
    associate(&pair, CT_CONTEXT);
    send_instance(&pair, sent);
    assert_field(WORKER_SOP_INSTANCE, INSTANCE);
    assert_field(WORKER_ORIGINATOR_AE, "VIEWER");
    assert_int_equal(number_of(WORKER_ORIGINATOR_ID), 7);
    assert_int_equal(receive_data(pair.acceptor.control, &bytes), WORKER_SAYS_STORED);
    assert_int_equal(bytes.len, sent.len);
    assert_memory_equal(bytes.data, sent.data, sent.len);
    assert_true(instance_record_read(arena, strbuf_str(&heard), &record));
    assert_true(str_equal(record.sop_instance, STR(INSTANCE)));
    assert_true(str_equal(record.study_uid, STR("1.2.392.1")));
    answer(&pair, 0);
    strbuf_done(&bytes);
    release(&pair);
}

/* PS3.4 B.2.3: refused with Cxxx or A9xx, and the association goes on */
static void test_a_data_set_that_cannot_be_kept_is_refused_and_the_association_goes_on(void **state)
{
    Pair pair;
    Str good = written(instance(INSTANCE));
    const struct {
        const char *name;
        Str bytes;
        unsigned status;
    } rows[] = {
        {"nested sequences", nested(), 0xC000},
        {"cut off", str_slice(good, 0, good.len - 2), 0xC000},
        {"no data set", STR("\x08\x00"), 0xC000},
        {"another instance", written(instance("1.2.392.9")), 0xA900},
        {"no UIDs", written(dicom_dataset_new(arena)), 0xA900},
    };
    (void)state;
    associate(&pair, CT_CONTEXT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        StrBuf bytes = {0};
        send_instance(&pair, rows[i].bytes);
        assert_int_equal(receive_data(pair.acceptor.control, &bytes), WORKER_SAYS_FAULT);
        if (number_of(WORKER_STATUS) != rows[i].status) {
            fail_msg("%s: %x", rows[i].name, (unsigned)number_of(WORKER_STATUS));
        }
        expect(pair.acceptor.control, WORKER_SAYS_STORED);
        assert_int_equal(heard.len, 0);
        answer(&pair, rows[i].status);
        strbuf_done(&bytes);
    }
    release(&pair);
    assert_int_equal(dicom_workers_crashes(workers), 0);
}

/* C-STORE without an agreed context (PS3.4 C.4.2.2.2: counts as failed) */
static void test_an_instance_without_a_context_is_not_sent(void **state)
{
    Pair pair;
    (void)state;
    associate(&pair, ECHO_CONTEXT);
    worker_put(&said, WORKER_SOP_CLASS, STR(CT));
    worker_put(&said, WORKER_SOP_INSTANCE, STR(INSTANCE));
    worker_put(&said, WORKER_TRANSFER_SYNTAX, STR(UID_EXPLICIT_LITTLE_ENDIAN));
    say(pair.requestor.control, WORKER_SAYS_SEND);
    send_bytes(pair.requestor.control, STR("anything"));
    expect(pair.requestor.control, WORKER_SAYS_OUTCOME);
    assert_int_equal(number_of(WORKER_STATUS), 0x0122);
    release(&pair);
}

/* Files that came another way */
static void test_files_are_inspected_one_after_the_other(void **state)
{
    const FileMeta meta = {STR(CT), STR(INSTANCE), STR(UID_EXPLICIT_LITTLE_ENDIAN), STR_EMPTY};
    WorkerProcess inspector = start(JOB_INSPECTOR);
    InstanceRecord record;
    StrBuf file = {0};
    (void)state;

    part10_write(&meta, &file);
    strbuf_append(&file, written(instance(INSTANCE)));
    say(inspector.control, WORKER_SAYS_INSPECT);
    send_bytes(inspector.control, strbuf_str(&file));
    expect(inspector.control, WORKER_SAYS_STORED);
    assert_true(instance_record_read(arena, strbuf_str(&heard), &record));
    assert_int_equal(record.data_set_bytes, written(instance(INSTANCE)).len);

    strbuf_truncate(&file, file.len - written(instance(INSTANCE)).len);
    strbuf_append(&file, written(instance("1.2.392.9")));
    say(inspector.control, WORKER_SAYS_INSPECT);
    send_bytes(inspector.control, strbuf_str(&file));
    expect(inspector.control, WORKER_SAYS_STORED);
    assert_true(instance_record_read(arena, strbuf_str(&heard), &record));
    assert_true(str_equal(record.sop_instance, STR("1.2.392.9"))); /* the data set counts */
    assert_true(record.warning.len > 0);

    say(inspector.control, WORKER_SAYS_INSPECT);
    send_bytes(inspector.control,
               STR("no file of DICOM, but long enough to see that it is none ......"
                   "..................................................................."));
    expect(inspector.control, WORKER_SAYS_FAULT);
    expect(inspector.control, WORKER_SAYS_STORED);

    worker_put(&said, WORKER_TRANSFER_SYNTAX, STR(UID_EXPLICIT_LITTLE_ENDIAN));
    say(inspector.control, WORKER_SAYS_INSPECT);
    send_bytes(inspector.control, nested());
    expect(inspector.control, WORKER_SAYS_FAULT);
    assert_int_equal(number_of(WORKER_STATUS), 0xC000);
    expect(inspector.control, WORKER_SAYS_STORED);

    strbuf_done(&file);
    dicom_worker_end(&inspector);
}

/** Those of tests before are gone. */
static void await_no_worker(void)
{
    int64_t until = clock_now_ns() + PATIENCE_NS;
    while (child_of(nursery_pid()) != 0 && clock_now_ns() < until) {
    }
    assert_int_equal(child_of(nursery_pid()), 0);
}

static void await_crashes(uint64_t count)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t until = clock_now_ns() + PATIENCE_NS;
    while (dicom_workers_crashes(workers) < count && clock_now_ns() < until) {
        (void)nanosleep(&pause, NULL);
    }
    assert_int_equal(dicom_workers_crashes(workers), count);
}

static void test_a_crash_harms_no_other_association(void **state)
{
    Pair pair;
    WorkerMessageKind kind;
    (void)state;
    await_no_worker();
    WorkerProcess victim = start(JOB_INSPECTOR);
    /* a message that it answers: it is there */
    say(victim.control, WORKER_SAYS_INSPECT);
    say(victim.control, WORKER_SAYS_SENT);
    expect(victim.control, WORKER_SAYS_FAULT);
    expect(victim.control, WORKER_SAYS_STORED);
    pid_t pid = child_of(nursery_pid());
    associate(&pair, ECHO_CONTEXT);

    assert_int_equal(kill(pid, SIGSEGV), 0);
    assert_int_equal(worker_hear(victim.control, clock_now_ns() + PATIENCE_NS, &kind, &heard), 0);
    await_crashes(1);
    say(pair.requestor.control, WORKER_SAYS_ECHO);
    expect(pair.requestor.control, WORKER_SAYS_OUTCOME);
    assert_int_equal(number_of(WORKER_STATUS), 0);
    release(&pair);
    dicom_worker_end(&victim);
}

static void test_a_nursery_that_died_is_there_again(void **state)
{
    Pair pair;
    (void)state;
    assert_int_equal(kill(nursery_pid(), SIGKILL), 0);
    associate(&pair, ECHO_CONTEXT);
    release(&pair);
}

/* What is ended is no crash, also when it would not end by itself */
static void test_an_ended_worker_is_gone_and_no_crash(void **state)
{
    (void)state;
    uint64_t before = dicom_workers_crashes(workers);
    WorkerProcess process = start(JOB_ACCEPTOR);
    dicom_worker_end(&process);
    await_no_worker();
    assert_int_equal(dicom_workers_crashes(workers), before);
}

static int try_start(WorkerJob job, int64_t wait_ns, WorkerProcess *ret_process)
{
    error_list_init(&errors, arena);
    return dicom_worker_start(workers, &errors, job, wait_ns > 0 ? clock_now_ns() + wait_ns : 0,
                              ret_process);
}

static void *end_soon(void *ctx)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    (void)nanosleep(&pause, NULL);
    dicom_worker_end(ctx);
    return NULL;
}

/* One who lets many images be decoded at once takes nothing from associations */
static void test_of_one_job_no_more_run_than_may_and_who_comes_later_waits(void **state)
{
    WorkerProcess running[2];
    WorkerProcess late;
    pthread_t ender;
    (void)state;
    dicom_workers_limit(workers, JOB_PIXELS, 2);
    running[0] = start(JOB_PIXELS);
    running[1] = start(JOB_PIXELS);
    assert_int_equal(try_start(JOB_PIXELS, 0, &late), -ERR_DICOM_BUSY);
    int64_t begun_ns = clock_now_ns();
    assert_int_equal(try_start(JOB_PIXELS, SECOND_NS / 10, &late), -ERR_DICOM_BUSY);
    assert_true(clock_now_ns() - begun_ns >= SECOND_NS / 10);
    WorkerProcess acceptor = start(JOB_ACCEPTOR);
    assert_int_equal(pthread_create(&ender, NULL, end_soon, &running[0]), 0);
    assert_int_equal(try_start(JOB_PIXELS, PATIENCE_NS, &late), 0);
    (void)pthread_join(ender, NULL);

    uint64_t id = running[1].id;
    dicom_worker_park(&running[1]);
    assert_true(dicom_worker_unpark(workers, id, &running[1]));
    dicom_worker_park(&running[1]);
    assert_int_equal(try_start(JOB_PIXELS, 0, &running[0]), 0); /* in its place */
    assert_false(dicom_worker_unpark(workers, id, &running[1]));
    dicom_worker_end(&running[0]);
    dicom_worker_end(&late);
    dicom_worker_end(&acceptor);
    dicom_workers_limit(workers, JOB_PIXELS, DICOM_WORKERS_MAX);
}

static int oom_score_of(pid_t pid)
{
    char path[64];
    char text[16] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    return (int)strtol(text, NULL, 10);
}

/* One small file may decode to gigabytes, in many processes at once */
static void test_a_worker_goes_first_when_memory_runs_out(void **state)
{
    (void)state;
    await_no_worker();
    WorkerProcess process = start(JOB_PIXELS);
    int64_t until = clock_now_ns() + PATIENCE_NS;
    while ((child_of(nursery_pid()) == 0 || oom_score_of(child_of(nursery_pid())) != 1000) &&
           clock_now_ns() < until) {
    }
    assert_int_equal(oom_score_of(child_of(nursery_pid())), 1000);
    assert_true(oom_score_of(getpid()) < 1000);
    dicom_worker_end(&process);
}

static int start_nursery(void **state)
{
    char problem[256];
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    workers = dicom_workers_start(problem, sizeof(problem));
    arena = arena_new();
    error_list_init(&errors, arena);
    return workers ? 0 : -1;
}

static int stop_nursery(void **state)
{
    (void)state;
    dicom_workers_stop(workers);
    arena_free(arena);
    strbuf_done(&said);
    strbuf_done(&heard);
    return child_of(getpid()) == 0 ? 0 : -1;
}

int main(void)
{
    if (!sandbox_support().has_seccomp) {
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_echo_is_answered),
        cmocka_unit_test(test_an_association_is_rejected_with_the_reason_of_the_server),
        cmocka_unit_test(test_contexts_of_storage_are_taken_and_of_unknown_services_are_not),
        cmocka_unit_test(test_an_instance_comes_as_it_was_sent),
        cmocka_unit_test(
            test_a_data_set_that_cannot_be_kept_is_refused_and_the_association_goes_on),
        cmocka_unit_test(test_an_instance_without_a_context_is_not_sent),
        cmocka_unit_test(test_files_are_inspected_one_after_the_other),
        cmocka_unit_test(test_a_crash_harms_no_other_association),
        cmocka_unit_test(test_a_nursery_that_died_is_there_again),
        cmocka_unit_test(test_an_ended_worker_is_gone_and_no_crash),
        cmocka_unit_test(test_of_one_job_no_more_run_than_may_and_who_comes_later_waits),
        cmocka_unit_test(test_a_worker_goes_first_when_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, start_nursery, stop_nursery);
}
