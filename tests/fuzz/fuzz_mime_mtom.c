/* MTOM messages: whatever arrives, the result is the same however the bytes are cut, and every
 * content that was opened is closed or abandoned. */

#include "lib/soap/receive.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

/** All that the receiver told its sink and its caller. */
typedef struct Seen {
    StrBuf log;
    unsigned open_count;
} Seen;

static int see_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    (void)req;
    Seen *seen = ctx;
    seen->open_count++;
    strbuf_literal(&seen->log, "[open]");
    *ret_content = calloc(1, sizeof(DocumentContent));
    FUZZ_CHECK(*ret_content != NULL);
    return 0;
}

static int see_write(void *ctx, Request *req, DocumentContent *content, const void *bytes,
                     size_t len)
{
    (void)req;
    content->size_bytes += len;
    strbuf_append_bytes(&((Seen *)ctx)->log, bytes, len);
    return 0;
}

static int see_close(void *ctx, Request *req, DocumentContent *content)
{
    (void)req;
    (void)content;
    strbuf_literal(&((Seen *)ctx)->log, "[close]");
    return 0;
}

static void see_abandon(void *ctx, DocumentContent *content)
{
    ((Seen *)ctx)->open_count--;
    free(content);
}

static void see_message(Seen *seen, const SoapMessage *message)
{
    for (size_t i = 0; i < message->document_count; i++) {
        const SoapDocument *document = &message->documents[i];
        strbuf_printf(&seen->log, "{%.*s %.*s %d}", STR_ARG(document->content_id),
                      STR_ARG(document->content_type), document->is_referenced);
    }
    strbuf_append(&seen->log, message->action);
}

/** @return true if the message was accepted */
static bool receive(const uint8_t *bytes, size_t len, size_t step, Seen *seen)
{
    Request *req = request_new(1000);
    DocumentSink sink = {.ctx = seen,
                         .open = see_open,
                         .write = see_write,
                         .close = see_close,
                         .abandon = see_abandon};
    SoapReceiver *receiver = soap_receiver_new(
        req, STR("multipart/related; type=\"application/xop+xml\"; start=\"<r>\"; boundary=b"),
        &sink);
    FUZZ_CHECK(receiver != NULL);
    int r = 0;
    for (size_t at = 0; r == 0 && at < len; at += step) {
        r = soap_receiver_push(receiver, bytes + at, len - at < step ? len - at : step);
    }
    SoapMessage *message = NULL;
    r = soap_receiver_finish(receiver, &message);
    FUZZ_CHECK(r == 0 || error_list_has_errors(&req->errors));
    if (r == 0) {
        see_message(seen, message);
    }
    soap_receiver_free(receiver);
    request_free(req);
    FUZZ_CHECK(seen->open_count == 0);
    return r == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    xml_init();
    Seen whole = {0};
    Seen cut = {0};
    bool is_good = receive(bytes, len, len + 1, &whole);
    FUZZ_CHECK(receive(bytes, len, 1 + len % 7, &cut) == is_good);
    FUZZ_CHECK(!is_good || str_equal(strbuf_str(&whole.log), strbuf_str(&cut.log)));
    strbuf_done(&whole.log);
    strbuf_done(&cut.log);
    return 0;
}
