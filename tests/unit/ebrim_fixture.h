#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/ebrim/codes.h"
#include "lib/ebrim/metadata.h"
#include "lib/xml/read.h"

/* What the tests of lib/ebrim share: a valid submission, changed in one place at a time. */

#define FIXTURE_FILE_MAX (1u << 20)

/** A text of the message and what stands there instead; all its occurrences. */
typedef struct Change {
    const char *from;
    const char *to;
} Change;

#define CHANGES_MAX 6

static inline const char *fixture_path(char *path, size_t size, const char *name)
{
    const char *source = getenv("MUSUBI_SOURCE");
    (void)snprintf(path, size, "%s/tests/fixtures/ebrim/%s", source ? source : ".", name);
    return path;
}

static inline Str fixture_file(Arena *arena, const char *path)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        fail_msg("cannot open %s", path);
    }
    char *bytes = arena_alloc(arena, FIXTURE_FILE_MAX);
    size_t len = fread(bytes, 1, FIXTURE_FILE_MAX, file);
    (void)fclose(file);
    assert_true(len > 0 && len < FIXTURE_FILE_MAX);
    return (Str){bytes, len};
}

static inline Str fixture_changed(Arena *arena, Str text, Change change)
{
    StrBuf buf = {0};
    Str from = str_from(change.from);
    size_t at;
    unsigned count = 0;
    while ((at = str_find(text, from)) != SIZE_MAX) {
        strbuf_append(&buf, str_slice(text, 0, at));
        strbuf_append(&buf, str_from(change.to));
        text = str_from_offset(text, at + from.len);
        count++;
    }
    strbuf_append(&buf, text);
    if (count == 0) {
        fail_msg("the message does not contain: %s", change.from);
    }
    Str result = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return result;
}

/** submission.xml after up to CHANGES_MAX changes; changes may be NULL. */
static inline Str fixture_message(Arena *arena, const Change *changes)
{
    char path[512];
    Str text = fixture_file(arena, fixture_path(path, sizeof(path), "submission.xml"));
    for (size_t i = 0; changes && i < CHANGES_MAX && changes[i].from; i++) {
        text = fixture_changed(arena, text, changes[i]);
    }
    return text;
}

static inline Submission *fixture_read(Request *req, Str message)
{
    XmlNode *root;
    Submission *submission = NULL;
    if (xml_read(req, message, &root) < 0 || submission_read(req, root, &submission) < 0) {
        fail_msg("cannot be read: %.*s", STR_ARG(req->errors.first->context));
    }
    return submission;
}

static inline Submission *fixture_submission(Request *req, const Change *changes)
{
    return fixture_read(req, fixture_message(req->arena, changes));
}

static inline CodeSets *fixture_codes(void)
{
    char path[512];
    char problem[256] = "";
    CodeSets *codes =
        code_sets_load(fixture_path(path, sizeof(path), "codes.xml"), problem, sizeof(problem));
    if (!codes) {
        fail_msg("%s", problem);
    }
    return codes;
}

static inline void assert_str(Str actual, const char *expected)
{
    if (!str_equal(actual, str_from(expected))) {
        fail_msg("expected \"%s\", got \"%.*s\"", expected, STR_ARG(actual));
    }
}

static inline int fixture_set_up(void **state)
{
    xml_init();
    *state = request_new(600000);
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    request_free(*state);
    return 0;
}

#define EBRIM_TEST(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)
