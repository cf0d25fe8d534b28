#include <pthread.h>

#include "lib/xml/read.h"
#include "lib/xml/write.h"

#include "tests/unit/xml_fixture.h"

static XmlNode *read_good(Request *req, const char *text)
{
    XmlNode *root = NULL;
    if (xml_read(req, str_from(text), &root) != 0) {
        fail_msg("%.*s", STR_ARG(req->errors.first->context));
    }
    return root;
}

/* XML 1.0, Namespaces in XML 1.0: names by namespace, never by prefix. */
static void test_a_document_becomes_a_tree(void **state)
{
    XmlNode *root = read_good(
        *state, "<p:a xmlns:p='urn:1' xmlns='urn:2' x='1&amp;2' p:x='q'>\n<b>t</b><p:b/>\n"
                "<b y=' z '> u </b></p:a>");
    assert_true(xml_is(root, "urn:1", "a"));
    assert_null(root->parent);
    assert_int_equal(root->attribute_count, 2);
    assert_str(xml_attribute(root, "x"), "1&2");
    assert_null(xml_attribute(root, "y").data);
    assert_str(root->text, "\n\n");

    XmlNode *first = xml_child(root, "urn:2", "b");
    assert_ptr_equal(first, root->first_child);
    assert_str(first->text, "t");
    assert_int_equal(first->line, 2);
    XmlNode *second = xml_next(first, "urn:2", "b");
    assert_ptr_equal(second, root->last_child);
    assert_ptr_equal(second->parent, root);
    assert_str(xml_attribute(second, "y"), " z ");
    assert_null(xml_next(second, "urn:2", "b"));
    assert_null(xml_child(root, "urn:3", "b"));
    assert_str(xml_child_text(root, "urn:2", "b"), "t");
    assert_str(xml_child_text(root, "urn:3", "b"), "");
    assert_true(str_is_empty(xml_child_text(NULL, "urn:3", "b")));
}

/* a<!---->b is one value. */
static void test_text_is_joined_over_comments_cdata_and_references(void **state)
{
    XmlNode *root = read_good(*state, "<a>1<!-- x -->2<![CDATA[<3>&amp;]]>&#x34;&lt;<b/>5</a>");
    assert_str(root->text, "12<3>&amp;4<5");
}

static void test_text_keeps_the_japanese_it_holds(void **state)
{
    XmlNode *root = read_good(*state, "<a v='\xe9\xab\x99'>\xef\xa8\x91\xe2\x91\xa0</a>");
    assert_str(root->text, "\xef\xa8\x91\xe2\x91\xa0");
    assert_str(xml_attribute(root, "v"), "\xe9\xab\x99");
}

static void test_a_path_counts_siblings_of_the_same_name(void **state)
{
    Request *req = *state;
    XmlNode *root = read_good(req, "<a><c/><b/><b><d/></b></a>");
    assert_str(xml_path(req->arena, xml_child(root->last_child, "", "d")), "/a/b[2]/d");
}

/* Names are chosen by the sender: a path of deep elements with long names stays short. */
static void test_a_path_is_bounded_whatever_the_names(void **state)
{
    enum { DEPTH = 90, NAME = 20000 };
    Request *req = *state;
    StrBuf text = {0};
    char *name = arena_alloc(req->arena, NAME + 1);
    memset(name, 'n', NAME);
    name[NAME] = '\0';
    for (int i = 0; i < DEPTH; i++) {
        strbuf_printf(&text, "<%s>", name);
    }
    strbuf_literal(&text, "<end/>");
    for (int i = 0; i < DEPTH; i++) {
        strbuf_printf(&text, "</%s>", name);
    }
    const XmlNode *node = read_good(req, text.data);
    strbuf_done(&text);
    while (node->first_child) {
        node = node->first_child;
    }
    size_t before_bytes = arena_size_bytes(req->arena);
    Str path = xml_path(req->arena, node);
    assert_true(str_ends_with(path, STR("nnn/end")));
    assert_in_range(path.len, 1000, 4096);
    assert_in_range(arena_size_bytes(req->arena) - before_bytes, 0, 65536);
}

/* libxml2 leaves wellFormed at 1 for a repeated namespaced attribute. */
static void test_what_is_not_well_formed_is_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "<a><b></a></b>",
        "<a/><b/>",
        "<a/>text",
        "<a b='1' b='2'/>",
        "<a b='1'c='2'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<a:b:c xmlns:a='u'/>",
        "<a xmlns:p=''/>",
        "<a b='<'/>",
        "<a b='&c;'/>",
        "<a>\x01</a>",
        "<a>\xff</a>",
        "<a b='\xc0\x80'/>",
        "<a>\xed\xa0\x80</a>",
        "<a>&#0;</a>",
        "<a>]]></a>",
        "<1/>",
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        XmlNode *root = NULL;
        if (xml_read(req, str_from(CASES[i]), &root) == 0) {
            fail_msg("case %zu was accepted: %s", i, CASES[i]);
        }
        assert_int_equal(req->errors.count, 1);
        assert_error(req, ERR_SOAP_SENDER, "line 1: ");
        request_free(req);
    }
}

/* Encoder errors reach stderr despite NOERROR, unless the functions are set; also
 * in a new thread. */
static void *read_bad(void *ret_was_refused)
{
    Request *req = request_new(600000);
    XmlNode *root = NULL;
    *(bool *)ret_was_refused = xml_read(req, STR("<a>\xff\xfe</a>"), &root) != 0;
    request_free(req);
    return NULL;
}

static void test_threads_can_read_at_the_same_time(void **state)
{
    (void)state;
    pthread_t threads[8];
    bool was_refused[8] = {0};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_bad, &was_refused[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(was_refused[i]);
    }
}

/* No input may cost more than linear time. A second is far above linear, far below
 * quadratic. */
static void test_hostile_repetition_takes_linear_time(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        const char *unit;
        const char *tail;
    } CASES[] = {
        {"<a>", "&amp;", "</a>"},
        {"<a><![CDATA[", "]]<", "]]></a>"},
        {"<a><!-- ", "- x", " --></a>"},
        {"<a>", "x", "</a>"},
        {"<Document xmlns='urn:ihe:iti:xds-b:2007'>", "Zm9v", "</Document>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        StrBuf text = {0};
        strbuf_append(&text, str_from(CASES[i].head));
        while (text.len < 2 << 20) {
            strbuf_append(&text, str_from(CASES[i].unit));
        }
        strbuf_append(&text, str_from(CASES[i].tail));
        XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
        int64_t started_ns = req->started_ns;
        for (size_t at = 0; at < text.len; at += 1000) {
            Str piece = str_slice(strbuf_str(&text), at, 1000);
            assert_int_equal(xml_reader_push(reader, piece.data, piece.len), 0);
        }
        XmlNode *root = NULL;
        assert_int_equal(xml_reader_finish(reader, &root), 0);
        Request *after = request_new(600000);
        if (after->started_ns - started_ns > 5000000000) {
            fail_msg("case %zu took %lld ms", i,
                     (long long)(after->started_ns - started_ns) / 1000000);
        }
        request_free(after);
        xml_reader_free(reader);
        strbuf_done(&text);
        request_free(req);
    }
}

static void test_written_text_reads_back_the_same(void **state)
{
    static const char TEXT[] = "a & b < c > d \" e ' \t\r\n \xe9\xab\x99";
    StrBuf buf = {0};
    strbuf_literal(&buf, "<a b=\"");
    xml_append_escaped(&buf, str_from(TEXT));
    strbuf_literal(&buf, "\">");
    xml_append_escaped(&buf, str_from(TEXT));
    strbuf_literal(&buf, "</a>");
    XmlNode *root = read_good(*state, buf.data);
    assert_str(root->text, TEXT);
    assert_str(xml_attribute(root, "b"), TEXT);
    strbuf_done(&buf);
}

/* XML 1.0 section 2.2; U+FF3D and U+FFE5 begin as U+FFFE does */
static void test_what_xml_cannot_write_does_not_break_what_is_written(void **state)
{
#define REPLACED "\xef\xbf\xbd"
    static const struct {
        Str text;
        const char *read;
    } cases[] = {
        {{"\x01z\0", 3}, REPLACED "z" REPLACED},
        {STR_INIT("a\xef\xbf\xbez\xef\xbf\xbf"), "a" REPLACED "z" REPLACED},
        {STR_INIT("\xef\xbf\xbe\xef\xbf\xbe<"), REPLACED REPLACED "<"},
        {STR_INIT("\xef\xbc\xbd\xef\xbf\xbd\xef\xbf\xa5"), "\xef\xbc\xbd\xef\xbf\xbd\xef\xbf\xa5"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        StrBuf buf = {0};
        strbuf_literal(&buf, "<a>");
        xml_append_escaped(&buf, cases[i].text);
        strbuf_literal(&buf, "</a>");
        assert_str(read_good(*state, buf.data)->text, cases[i].read);
        strbuf_done(&buf);
    }
}

static int set_up_xml(void **state)
{
    (void)state;
    xml_init();
    return 0;
}

/* What one document declares, opens or breaks is not there in the next one. */
static void test_a_reader_that_begins_again_is_as_a_new_one(void **state)
{
    static const struct {
        const char *text;
        bool is_good;
    } rows[] = {
        {"<a xmlns='urn:1' x='1'><b>t</b></a>", true},
        {"<a><b>", false},
        {"<b/>", true},
        {"<p:a xmlns:p='urn:1'><p:b/></p:a>", true},
        {"<p:a/>", false},
        {"<a xmlns='urn:1'><b>text</c></a>", false},
        {"<a>", false},
        {"<a x='1' x='2'/>", false},
        {"", false},
        {"<!-- c --><a><![CDATA[<]]>&amp;</a>", true},
    };
    (void)state;
    Arena *arena = arena_new();
    ErrorList errors;
    error_list_init(&errors, arena);
    XmlReader *reader = xml_reader_new(arena, &errors, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(rows); i++) {
        size_t row = i / 2 % 2 ? i % ARRAY_LEN(rows) : i / ARRAY_LEN(rows);
        Str text = str_from(rows[row].text);
        XmlNode *root = NULL;
        Arena *next = arena_new();
        error_list_init(&errors, next);
        xml_reader_restart(reader, next, &errors);
        bool is_good = xml_reader_push(reader, text.data, text.len) == 0 &&
                       xml_reader_finish(reader, &root) == 0;
        assert_int_equal(is_good, rows[row].is_good);
        assert_int_equal(errors.first == NULL, is_good);
        assert_true(!is_good || !root->next);
        arena_free(arena);
        arena = next;
    }
    xml_reader_free(reader);
    arena_free(arena);
}

/* A sender that invents names does not fill the memory of a reader. */
static void test_a_reader_that_begins_again_forgets_names(void **state)
{
    Request *req = *state;
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    for (int i = 0; i < 5000; i++) {
        XmlNode *root = NULL;
        Arena *arena = arena_new();
        Str text = str_printf(arena, "<name%d xmlns='urn:%d' a%d='%d'/>", i, i, i, i);
        xml_reader_restart(reader, arena, &req->errors);
        assert_int_equal(xml_reader_push(reader, text.data, text.len), 0);
        assert_int_equal(xml_reader_finish(reader, &root), 0);
        assert_true(
            xml_is(root, str_printf(arena, "urn:%d", i).data, str_printf(arena, "name%d", i).data));
        arena_free(arena);
    }
    xml_reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_a_document_becomes_a_tree),
        REQUEST_TEST(test_text_is_joined_over_comments_cdata_and_references),
        REQUEST_TEST(test_text_keeps_the_japanese_it_holds),
        REQUEST_TEST(test_a_path_counts_siblings_of_the_same_name),
        REQUEST_TEST(test_a_path_is_bounded_whatever_the_names),
        REQUEST_TEST(test_what_is_not_well_formed_is_refused),
        REQUEST_TEST(test_a_reader_that_begins_again_is_as_a_new_one),
        REQUEST_TEST(test_a_reader_that_begins_again_forgets_names),
        REQUEST_TEST(test_threads_can_read_at_the_same_time),
        REQUEST_TEST(test_hostile_repetition_takes_linear_time),
        REQUEST_TEST(test_written_text_reads_back_the_same),
        REQUEST_TEST(test_what_xml_cannot_write_does_not_break_what_is_written),
    };
    return cmocka_run_group_tests(tests, set_up_xml, NULL);
}
