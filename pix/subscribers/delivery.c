#include "pix/subscribers/delivery.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/hl7/er7.h"
#include "lib/hl7/mllp_client.h"
#include "lib/hl7/v3.h"
#include "lib/soap/client.h"
#include "lib/xml/namespaces.h"

#define ACTION_NOTIFY NS_HL7_V3 ":PRPA_IN201302UV02"
#define QUOTED_MAX_BYTES ((size_t)300)

struct Delivery {
    Arena *arena; /* what the clients borrow */
    Str url;
    MllpClient *mllp; /* one of the two */
    HttpClient *http;
};

Delivery *delivery_new(const SubscribersConfig *config, const Subscriber *subscriber,
                       char *ret_problem, size_t problem_size)
{
    Delivery *delivery = HEAP_NEW(Delivery);
    delivery->arena = arena_new();
    const char *url = str_cstr(delivery->arena, subscriber->url);
    const char *fingerprint = str_cstr(delivery->arena, subscriber->fingerprint);
    delivery->url = str_from(url);
    if (subscriber->kind != SUBSCRIBER_CONSUMER_V3) {
        const MllpClientConfig mllp = {.url = url, .tls = config->tls, .fingerprint = fingerprint};
        delivery->mllp = mllp_client_new(&mllp, ret_problem, problem_size);
    } else if (!config->tls) {
        snprintf(ret_problem, problem_size, "%s needs tls_certificate, tls_key and tls_ca", url);
    } else {
        const HttpClientConfig http = {.url = url, .tls = config->tls, .fingerprint = fingerprint};
        delivery->http = http_client_new(&http, ret_problem, problem_size);
    }
    if (!delivery->mllp && !delivery->http) {
        delivery_free(delivery);
        return NULL;
    }
    return delivery;
}

void delivery_free(Delivery *delivery)
{
    if (!delivery) {
        return;
    }
    mllp_client_free(delivery->mllp);
    http_client_free(delivery->http);
    arena_free(delivery->arena);
    free(delivery);
}

bool delivery_connect(Delivery *delivery, Request *req, Str *ret_problem)
{
    return !delivery->mllp || mllp_client_connect(delivery->mllp, req, ret_problem) == 0;
}

/* ---- answers ---- */

/** AA or CA, AE or CE; anything else is to be sent again. */
static DeliveryOutcome outcome_of(Str code)
{
    bool is_known = code.len == 2 && (code.data[0] == 'A' || code.data[0] == 'C');
    char verdict = is_known ? code.data[1] : (char)0;
    return verdict == 'A' ? DELIVERY_ACCEPTED : verdict == 'E' ? DELIVERY_REFUSED : DELIVERY_FAILED;
}

static Str quoted(Arena *arena, Str text)
{
    return str_shown(arena, str_slice(text, 0, QUOTED_MAX_BYTES));
}

/** MSA-1, and what ERR or MSA-3 say (TF-2 C.2.3). */
static DeliveryOutcome read_acknowledgement(Request *req, Str message_id, Str reply,
                                            Str *ret_problem)
{
    ErrorList ignored;
    error_list_init(&ignored, req->arena);
    const Er7Message *message = er7_read(req->arena, &ignored, reply);
    const Er7Segment *msa = message ? er7_segment(message, STR("MSA"), 1) : NULL;
    if (!msa) {
        *ret_problem = STR("the answer is no HL7 v2 acknowledgement with an MSA segment");
        return DELIVERY_FAILED;
    }
    Str code = er7_value(message, msa, 1, 1);
    Str answered = er7_value(message, msa, 2, 1);
    if (!str_equal(answered, message_id)) {
        *ret_problem = STR("MSA-2 of the answer is not MSH-10 of the message");
        return DELIVERY_FAILED;
    }
    const Er7Segment *err = er7_segment(message, STR("ERR"), 1);
    *ret_problem = str_printf(req->arena, "%.*s %.*s%.*s", STR_ARG(quoted(req->arena, code)),
                              STR_ARG(quoted(req->arena, er7_field(message, msa, 3))),
                              STR_ARG(quoted(req->arena, err ? err->text : STR_EMPTY)));
    return outcome_of(code);
}

/** acknowledgement/typeCode of MCCI_IN000002UV01, or a fault. */
static DeliveryOutcome read_reply(Request *req, const XmlNode *reply, Str *ret_problem)
{
    if (xml_is(reply, NS_SOAP12, "Fault")) {
        *ret_problem = str_printf(req->arena, "SOAP fault: %.*s",
                                  STR_ARG(quoted(req->arena, soap_fault_reason(reply))));
        return soap_fault_is_of_sender(reply) ? DELIVERY_REFUSED : DELIVERY_FAILED;
    }
    const XmlNode *ack = xml_child(reply, NS_HL7_V3, "acknowledgement");
    Str code = xml_attribute(xml_child(ack, NS_HL7_V3, "typeCode"), "code");
    const XmlNode *detail = xml_child(ack, NS_HL7_V3, "acknowledgementDetail");
    Str text = xml_child_text(detail, NS_HL7_V3, "text");
    *ret_problem = str_is_empty(code)
                       ? STR("the answer has no acknowledgement/typeCode")
                       : str_printf(req->arena, "%.*s %.*s", STR_ARG(quoted(req->arena, code)),
                                    STR_ARG(quoted(req->arena, text)));
    return outcome_of(code);
}

static DeliveryOutcome send_v3(Delivery *delivery, Request *req, Str content, Str *ret_problem)
{
    StrBuf envelope = {0};
    soap_request_open(req->arena, ACTION_NOTIFY, delivery->url, &envelope);
    strbuf_append(&envelope, content);
    soap_request_close(&envelope);
    const XmlNode *reply =
        soap_call(delivery->http, req, ACTION_NOTIFY, strbuf_str(&envelope), ret_problem);
    strbuf_done(&envelope);
    return reply ? read_reply(req, reply, ret_problem) : DELIVERY_FAILED;
}

DeliveryOutcome delivery_send(Delivery *delivery, Request *req, Str message_id, Str content,
                              Str *ret_problem)
{
    Str reply;
    if (delivery->http) {
        return send_v3(delivery, req, content, ret_problem);
    }
    if (mllp_client_exchange(delivery->mllp, req, content, &reply, ret_problem) < 0) {
        return DELIVERY_FAILED;
    }
    return read_acknowledgement(req, message_id, reply, ret_problem);
}
