/* Images into the worker that decodes and renders them: our scanner, DCMTK's reader of data sets,
 * its codecs and its renderer. The first byte says in which transfer syntax the data set is, the
 * second what is to be made of it. */

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/macros.h"
#include "lib/dicom/worker_fields.h"
#include "lib/dicom/worker_main.h"

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (64U << 10) /* what a socket takes without a reader */
#define HEAD_BYTES 2

static const char *const syntaxes[] = {
    "1.2.840.10008.1.2",      "1.2.840.10008.1.2.1",    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.5",
};

static void say_wish(int control, const char *source, uint8_t wish)
{
    StrBuf fields = {0};
    bool is_render = wish % 2;
    worker_put(&fields, WORKER_TRANSFER_SYNTAX, str_from(source));
    worker_put(&fields, WORKER_TARGET_SYNTAX, str_from(syntaxes[wish / 2 % ARRAY_LEN(syntaxes)]));
    if (is_render) {
        worker_put(&fields, WORKER_MEDIA_TYPE, wish & 2 ? STR("image/png") : STR("image/jpeg"));
        worker_put_number(&fields, WORKER_FRAME, 1 + (wish >> 7));
        worker_put_number(&fields, WORKER_QUALITY, 50);
        worker_put_number(&fields, WORKER_ROWS, wish & 4 ? 16 : 0);
        worker_put_number(&fields, WORKER_ENLARGE, wish & 8 ? 1 : 0);
        worker_put(&fields, WORKER_REGION, wish & 16 ? STR("0.2,0.2,0.5,0.5") : STR("0,0,1,1"));
        worker_put(&fields, WORKER_WINDOW_CENTER, wish & 32 ? STR("40") : STR_EMPTY);
        worker_put(&fields, WORKER_WINDOW_WIDTH, wish & 32 ? STR("400") : STR_EMPTY);
        worker_put(&fields, WORKER_WINDOW_FUNCTION, wish & 64 ? STR("SIGMOID") : STR("LINEAR"));
    }
    FUZZ_CHECK(worker_say(control, is_render ? WORKER_SAYS_RENDER : WORKER_SAYS_TRANSCODE,
                          strbuf_str(&fields)));
    strbuf_done(&fields);
}

static void *take_answers(void *ctx)
{
    int control = *(const int *)ctx;
    StrBuf content = {0};
    WorkerMessageKind kind;
    while (worker_hear(control, INT64_MAX, &kind, &content) == 1) {
        FUZZ_CHECK(kind == WORKER_SAYS_DATA || kind == WORKER_SAYS_STORED ||
                   kind == WORKER_SAYS_PROBLEM);
    }
    strbuf_done(&content);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static bool is_prepared;
    int control[2];
    pthread_t thread;

    if (len < HEAD_BYTES || len > INPUT_MAX) {
        return 0;
    }
    if (!is_prepared) {
        is_prepared = true;
        (void)signal(SIGPIPE, SIG_IGN);
        worker_prepare();
    }
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, control) == 0);
    say_wish(control[0], syntaxes[bytes[0] % ARRAY_LEN(syntaxes)], bytes[1]);
    Str data_set = {(const char *)bytes + HEAD_BYTES, len - HEAD_BYTES};
    FUZZ_CHECK(worker_say(control[0], WORKER_SAYS_DATA_OUT, data_set));
    FUZZ_CHECK(worker_say(control[0], WORKER_SAYS_SENT, STR_EMPTY));
    FUZZ_CHECK(shutdown(control[0], SHUT_WR) == 0); /* no more instances */
    FUZZ_CHECK(pthread_create(&thread, NULL, take_answers, &control[0]) == 0);
    worker_pixels(control[1], -1);
    (void)close(control[1]);
    (void)pthread_join(thread, NULL);
    (void)close(control[0]);
    return 0;
}
