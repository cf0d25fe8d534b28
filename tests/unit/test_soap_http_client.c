#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/soap/http_client.h"

/* Against a server that does what a script says, over plain HTTP on loopback. */

/** Far more than anything takes here, unless it waits for what never comes. */
#define PATIENCE_NS INT64_C(60000000000)

#define OK(body_len)                                                                               \
    "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: " body_len "\r\n\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/** One request of the client, in order over all connections. */
typedef struct Step {
    const char *reply;   /* NULL: none */
    size_t filler_bytes; /* of 'x' behind it */
    bool is_in_pieces;   /* byte by byte */
    bool is_closed;      /* the connection, after it */
} Step;

typedef struct Fixture {
    int listener;
    char url[64];
    const Step *steps;
    size_t count;
    unsigned connection_count;
    StrBuf requests; /* all that came */
    pthread_t thread;
    bool is_started;
    HttpClient *client;
    Request *req;
} Fixture;

static bool is_whole(Str request)
{
    size_t end = str_find(request, STR("\r\n\r\n"));
    size_t at = str_find(request, STR("Content-Length: "));
    if (end == SIZE_MAX) {
        return false;
    }
    return at == SIZE_MAX ? str_ends_with(request, STR("\r\n0\r\n\r\n"))
                          : request.len >= end + 4 + strtoul(request.data + at + 16, NULL, 10);
}

static bool take_request(Fixture *fixture, int fd)
{
    StrBuf request = {0};
    bool is_open = true;
    while (is_open && !is_whole(strbuf_str(&request))) {
        char *room = strbuf_reserve(&request, 65537);
        ssize_t len = read(fd, room, 65536);
        is_open = len > 0;
        request.len += (size_t)(is_open ? len : 0);
        request.data[request.len] = '\0';
    }
    strbuf_append(&fixture->requests, strbuf_str(&request));
    strbuf_done(&request);
    return is_open;
}

static void send_reply(int fd, const Step *step)
{
    char filler[65536];
    memset(filler, 'x', sizeof(filler));
    size_t len = step->reply ? strlen(step->reply) : 0;
    for (size_t at = 0; at < len; at += step->is_in_pieces ? 1 : len) {
        (void)!send(fd, step->reply + at, step->is_in_pieces ? 1 : len, MSG_NOSIGNAL);
        usleep(step->is_in_pieces ? 500 : 0); /* so that the client reads it alone */
    }
    for (size_t sent = 0; sent < step->filler_bytes;) {
        ssize_t some =
            send(fd, filler, MIN(sizeof(filler), step->filler_bytes - sent), MSG_NOSIGNAL);
        if (some <= 0) {
            return;
        }
        sent += (size_t)some;
    }
}

static void *serve(void *ctx)
{
    Fixture *fixture = ctx;
    for (size_t next = 0; next < fixture->count;) {
        int fd = accept(fixture->listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        fixture->connection_count++;
        bool is_open = true;
        while (is_open && next < fixture->count && take_request(fixture, fd)) {
            const Step *step = &fixture->steps[next++];
            send_reply(fd, step);
            is_open = !step->is_closed;
        }
        close(fd);
    }
    return NULL;
}

static int set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char problem[256] = "";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listener, 8), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&address, &size), 0);
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%u/a?b=c",
             ntohs(address.sin_port));
    const HttpClientConfig config = {.url = fixture->url, .may_be_plain = true};
    fixture->client = http_client_new(&config, problem, sizeof(problem));
    assert_non_null(fixture->client);
    fixture->req = request_new(2 * PATIENCE_NS / 1000000);
    *state = fixture;
    return 0;
}

static void start(Fixture *fixture, const Step *steps, size_t count)
{
    fixture->steps = steps;
    fixture->count = count;
    fixture->is_started = true;
    assert_int_equal(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
}

/** All steps were taken. */
static void finish(Fixture *fixture)
{
    assert_int_equal(pthread_join(fixture->thread, NULL), 0);
    fixture->is_started = false;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    http_client_free(fixture->client);
    (void)shutdown(fixture->listener, SHUT_RDWR);
    if (fixture->is_started) {
        pthread_join(fixture->thread, NULL);
    }
    close(fixture->listener);
    strbuf_done(&fixture->requests);
    request_free(fixture->req);
    free(fixture);
    return 0;
}

/** @return as http_client_send() */
static int post(Fixture *fixture, HttpReply *reply)
{
    Str problem = STR_EMPTY;
    int rc =
        http_client_post(fixture->client, fixture->req, "text/y", STR("question"), reply, &problem);
    assert_true((rc < 0) == !str_is_empty(problem));
    assert_int_equal(fixture->req->errors.error_count, 0);
    return rc;
}

/* ---- replies ---- */

static void test_replies_of_every_form_are_read(void **state)
{
    Fixture *fixture = *state;
    static const struct {
        Step step;
        int status;
        const char *body;
    } rows[] = {
        {{.reply = OK("5") "hello"}, 200, "hello"},
        {{.reply = OK("5") "hello", .is_in_pieces = true}, 200, "hello"},
        {{.reply = OK("0")}, 200, ""},
        {{.reply = CHUNKED "5\r\nhello\r\n0\r\n\r\n"}, 200, "hello"},
        {{.reply =
              CHUNKED "3;x=y\r\nhel\r\n0A\r\nlo and all\r\n000\r\nTrailer: 1\r\nMore: 2\r\n\r\n",
          .is_in_pieces = true},
         200,
         "hello and all"},
        {{.reply = "HTTP/1.1 202 Accepted\r\n\r\n"}, 202, ""},
        {{.reply = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"}, 202, "ok"},
        {{.reply = "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
         202,
         ""},
        {{.reply = "HTTP/1.1 204 No Content\r\n\r\n"}, 204, ""},
        {{.reply = "HTTP/1.1 100 Continue\r\n\r\n" OK("2") "ok"}, 200, "ok"},
        {{.reply = "HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"},
         307,
         ""},
        {{.reply = "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"}, 500, "no"},
    };
    Step steps[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        steps[i] = rows[i].step;
    }
    start(fixture, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        HttpReply reply;
        if (post(fixture, &reply) < 0 || reply.status != rows[i].status ||
            !str_equal(reply.body, str_from(rows[i].body))) {
            fail_msg("row %zu: status %d, %zu bytes", i, reply.status, reply.body.len);
        }
    }
    finish(fixture);
    assert_int_equal(fixture->connection_count, 1);
    assert_true(
        str_starts_with(strbuf_str(&fixture->requests), STR("POST /a?b=c HTTP/1.1\r\nHost: ")));
}

static void test_replies_that_break_the_rules_are_none(void **state)
{
    Fixture *fixture = *state;
    static const char *const rows[] = {
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        "FTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        CHUNKED "5\r\nhello",
        CHUNKED "5\r\nhelloo\r\n0\r\n\r\n",
        CHUNKED "\r\nhello\r\n0\r\n\r\n",
        CHUNKED "-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED "0x5\r\nhello\r\n0\r\n\r\n",
        CHUNKED "123456789\r\nhello\r\n0\r\n\r\n",
        CHUNKED "5\r\nhello\r\n0\r\n",
    };
    Step steps[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        steps[i] = (Step){.reply = rows[i], .is_closed = true};
    }
    start(fixture, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        HttpReply reply;
        if (post(fixture, &reply) == 0) {
            fail_msg("row %zu: status %d, %zu bytes", i, reply.status, reply.body.len);
        }
    }
    finish(fixture);
    assert_int_equal(fixture->connection_count, ARRAY_LEN(rows)); /* none is repeated */
}

static void test_headers_and_trailers_are_bounded(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {
        {.reply = "HTTP/1.1 200 OK\r\nX: ", .filler_bytes = 1 << 20, .is_closed = true},
        {.reply = CHUNKED, .filler_bytes = 1 << 20, .is_closed = true},
        {.reply = CHUNKED "0\r\nX: ", .filler_bytes = 1 << 20, .is_closed = true},
    };
    start(fixture, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        HttpReply reply;
        assert_true(post(fixture, &reply) < 0);
    }
    finish(fixture);
}

/* ---- receivers ---- */

typedef struct Counted {
    int status;
    Str content_type;
    uint64_t bytes;
    size_t largest;
    uint64_t refused_from; /* 0: nothing is refused */
} Counted;

static int counted_begin(void *ctx, int status, Str content_type)
{
    Counted *counted = ctx;
    counted->status = status;
    counted->content_type = content_type;
    return 0;
}

static int counted_bytes(void *ctx, const void *bytes, size_t len)
{
    Counted *counted = ctx;
    assert_non_null(memchr(bytes, 'x', len));
    counted->bytes += len;
    counted->largest = MAX(counted->largest, len);
    return counted->refused_from && counted->bytes >= counted->refused_from;
}

static int receive(Fixture *fixture, Counted *counted, HttpReply *reply)
{
    Str problem;
    const HttpMessage message = {.content_type = "text/y", .text = STR("question")};
    const HttpReceiver receiver = {counted, counted_begin, counted_bytes};
    return http_client_send(fixture->client, fixture->req, &message, &receiver, reply, &problem);
}

static void test_a_long_reply_passes_through_a_receiver(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {
        {.reply = OK("67108864"), .filler_bytes = 67108864},
        {.reply = OK("67108864"), .filler_bytes = 67108864, .is_closed = true}};
    start(fixture, steps, ARRAY_LEN(steps));
    Counted counted = {0};
    HttpReply reply;
    assert_int_equal(receive(fixture, &counted, &reply), 0);
    assert_int_equal(counted.status, 200);
    assert_true(str_equal(counted.content_type, STR("text/x")));
    assert_int_equal(counted.bytes, 67108864);
    assert_true(counted.largest <= 131072);
    assert_int_equal(reply.body.len, 0);
    assert_true(arena_size_bytes(fixture->req->arena) < 131072);
    Counted refusing = {.refused_from = 100000};
    assert_true(receive(fixture, &refusing, &reply) < 0);
    assert_true(refusing.bytes < 1000000);
    finish(fixture);
}

static void test_a_reply_for_the_arena_is_bounded(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {
        {.reply = OK("67108864"), .filler_bytes = 67108864, .is_closed = true}};
    start(fixture, steps, ARRAY_LEN(steps));
    HttpReply reply;
    assert_true(post(fixture, &reply) < 0);
    finish(fixture);
}

/* ---- sources ---- */

typedef struct Pieces {
    unsigned left;
    bool has_failed;
} Pieces;

static int next_piece(void *ctx, StrBuf *buf)
{
    Pieces *pieces = ctx;
    if (pieces->has_failed && pieces->left == 1) {
        return -(int)ERR_CORRUPT;
    }
    strbuf_literal(buf, "0123456789");
    return --pieces->left > 0;
}

static int send_pieces(Fixture *fixture, Pieces *pieces, int64_t bytes)
{
    Str problem;
    HttpReply reply;
    const BodySource source = {.ctx = pieces, .next = next_piece};
    const HttpMessage message = {
        .content_type = "text/y", .text = STR("head "), .source = &source, .source_bytes = bytes};
    return http_client_send(fixture->client, fixture->req, &message, NULL, &reply, &problem);
}

static void test_a_source_is_sent_with_its_length_or_in_chunks(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = OK("0")}, {.reply = OK("0")}};
    start(fixture, steps, ARRAY_LEN(steps));
    Pieces known = {3, false};
    assert_int_equal(send_pieces(fixture, &known, 30), 0);
    http_client_free(fixture->client); /* the server looks at one connection at a time */
    const HttpClientConfig config = {.url = fixture->url, .may_be_plain = true};
    fixture->client = http_client_new(&config, (char[64]){0}, 64);
    Pieces unknown = {2, false};
    assert_int_equal(send_pieces(fixture, &unknown, -1), 0);
    finish(fixture);
    assert_true(str_contains(strbuf_str(&fixture->requests),
                             STR("Content-Length: 35\r\n\r\nhead 012345678901234567890123456789")));
    assert_true(
        str_contains(strbuf_str(&fixture->requests), STR("\r\nTransfer-Encoding: chunked\r\n")));
    assert_true(str_ends_with(
        strbuf_str(&fixture->requests),
        STR("\r\n\r\n5\r\nhead \r\na\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n")));
}

static void test_a_source_that_fails_ends_the_message_where_it_is(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = OK("0")}};
    start(fixture, steps, ARRAY_LEN(steps));
    Pieces failing = {2, true};
    assert_true(send_pieces(fixture, &failing, -1) < 0);
    HttpReply reply;
    assert_int_equal(post(fixture, &reply), 0);
    finish(fixture);
    assert_int_equal(fixture->connection_count, 2);
    assert_false(str_contains(strbuf_str(&fixture->requests), STR("\r\n0\r\n\r\n")));
}

/* ---- connections ---- */

static void test_a_connection_is_kept_unless_the_server_says_otherwise(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {
        {.reply = OK("2") "ok"},
        {.reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
         .is_closed = true},
        {.reply = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", .is_closed = true},
        {.reply = OK("0")},
    };
    start(fixture, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        HttpReply reply;
        assert_int_equal(post(fixture, &reply), 0);
    }
    finish(fixture);
    assert_int_equal(fixture->connection_count, 3);
}

/** A certificate of the server that was changed or revoked counts from the next connection on. */
static void test_a_connection_is_not_kept_for_ever(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = OK("0")}, {.reply = OK("0")}, {.reply = OK("0")}};
    const HttpClientConfig config = {.url = fixture->url, .may_be_plain = true, .kept_ms = 1};
    char problem[256] = "";
    http_client_free(fixture->client);
    fixture->client = http_client_new(&config, problem, sizeof(problem));
    assert_non_null(fixture->client);
    start(fixture, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        HttpReply reply;
        assert_int_equal(post(fixture, &reply), 0);
        usleep(3000); /* longer than a connection is kept */
    }
    finish(fixture);
    assert_int_equal(fixture->connection_count, ARRAY_LEN(steps));
}

static void test_a_kept_connection_that_has_ended_is_replaced_once(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = OK("0"), .is_closed = true},
                                 {.reply = OK("2") "ok"},
                                 {.reply = OK("0"), .is_closed = true}};
    start(fixture, steps, ARRAY_LEN(steps));
    HttpReply reply;
    assert_int_equal(post(fixture, &reply), 0);
    assert_int_equal(post(fixture, &reply), 0);
    assert_true(str_equal(reply.body, STR("ok")));
    assert_int_equal(fixture->connection_count, 2);
    Pieces pieces = {1, false}; /* a source cannot be sent twice: it has a connection of its own */
    http_client_free(fixture->client);
    const HttpClientConfig config = {.url = fixture->url, .may_be_plain = true};
    fixture->client = http_client_new(&config, (char[64]){0}, 64);
    assert_int_equal(send_pieces(fixture, &pieces, 10), 0);
    finish(fixture);
    assert_int_equal(fixture->connection_count, 3);
}

static void test_nothing_is_repeated_once_bytes_have_come(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = OK("0")},
                                 {.reply = "HTTP/1.1 2", .is_closed = true},
                                 {.reply = OK("5") "h", .is_closed = true},
                                 {.reply = OK("0")}};
    start(fixture, steps, ARRAY_LEN(steps));
    HttpReply reply;
    assert_int_equal(post(fixture, &reply), 0);
    assert_true(post(fixture, &reply) < 0);
    assert_int_equal(fixture->connection_count, 1);
    assert_true(post(fixture, &reply) < 0);
    assert_int_equal(fixture->connection_count, 2);
    assert_int_equal(post(fixture, &reply), 0);
    finish(fixture);
}

/* ---- limits of time, and whom it reaches ---- */

static void test_every_wait_ends_at_the_deadline(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = "HTTP/1.1 200 OK\r\n"}, {.reply = OK("0")}};
    start(fixture, steps, ARRAY_LEN(steps));
    int64_t began_ns = clock_now_ns();
    HttpReply reply;
    fixture->req->deadline_ns = began_ns + 300000000;
    assert_true(post(fixture, &reply) < 0);
    int64_t took_ns = clock_now_ns() - began_ns;
    assert_true(took_ns >= 290000000 && took_ns < PATIENCE_NS);
    fixture->req->deadline_ns = clock_now_ns() + 2 * PATIENCE_NS;
    assert_int_equal(post(fixture, &reply), 0);
    finish(fixture);
}

static void *interrupt(void *ctx)
{
    usleep(200000);
    http_client_interrupt(ctx);
    return NULL;
}

static void test_an_exchange_can_be_interrupted(void **state)
{
    Fixture *fixture = *state;
    static const Step steps[] = {{.reply = "HTTP/1.1 200 OK\r\n"}};
    pthread_t thread;
    start(fixture, steps, ARRAY_LEN(steps));
    int64_t began_ns = clock_now_ns();
    assert_int_equal(pthread_create(&thread, NULL, interrupt, fixture->client), 0);
    HttpReply reply;
    assert_true(post(fixture, &reply) < 0);
    assert_true(clock_now_ns() - began_ns < PATIENCE_NS);
    pthread_join(thread, NULL);
    finish(fixture);
}

static void test_plain_http_is_for_loopback_and_who_asks_for_it(void **state)
{
    Fixture *fixture = *state;
    char problem[256] = "";
    HttpClientConfig config = {.url = fixture->url};
    assert_null(http_client_new(&config, problem, sizeof(problem)));
    config = (HttpClientConfig){.url = "http://192.0.2.1/", .may_be_plain = true};
    HttpClient *client = http_client_new(&config, problem, sizeof(problem));
    HttpReply reply;
    Str text;
    assert_non_null(client);
    assert_true(http_client_post(client, fixture->req, "text/y", STR("x"), &reply, &text) < 0);
    assert_true(clock_now_ns() - fixture->req->started_ns < PATIENCE_NS); /* nobody was called */
    http_client_free(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_replies_of_every_form_are_read),
        TEST(test_replies_that_break_the_rules_are_none),
        TEST(test_headers_and_trailers_are_bounded),
        TEST(test_a_long_reply_passes_through_a_receiver),
        TEST(test_a_reply_for_the_arena_is_bounded),
        TEST(test_a_source_is_sent_with_its_length_or_in_chunks),
        TEST(test_a_source_that_fails_ends_the_message_where_it_is),
        TEST(test_a_connection_is_kept_unless_the_server_says_otherwise),
        TEST(test_a_connection_is_not_kept_for_ever),
        TEST(test_a_kept_connection_that_has_ended_is_replaced_once),
        TEST(test_nothing_is_repeated_once_bytes_have_come),
        TEST(test_every_wait_ends_at_the_deadline),
        TEST(test_an_exchange_can_be_interrupted),
        TEST(test_plain_http_is_for_loopback_and_who_asks_for_it),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
