#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/removal_rules.h"

/* Remove Metadata and Documents 3.62.4.1.3: what must go together, and how its absence is called.
 */

static const Uuid SET = {{1}};
static const Uuid DOCUMENT = {{2}};
static const Uuid MEMBERSHIP = {{3}};
static const Uuid OTHER = {{9}};

/** A state with these three objects, all of them named. */
typedef struct Case {
    Request *req;
    RemovalObject objects[3];
    RemovalState state;
    Str ids[3];
} Case;

static void case_init(Case *c)
{
    const Uuid uuids[] = {SET, DOCUMENT, MEMBERSHIP};
    static const ObjectKind kinds[] = {OBJECT_SUBMISSION_SET, OBJECT_DOCUMENT_ENTRY,
                                       OBJECT_ASSOCIATION};
    *c = (Case){.req = request_new(600000)};
    for (size_t i = 0; i < 3; i++) {
        c->objects[i].object = (StoredObject){.entry_uuid = uuids[i], .kind = kinds[i]};
        c->ids[i] = uuid_urn(c->req->arena, uuids[i]);
    }
    c->state.objects = c->objects;
    c->state.object_count = 3;
}

/** Judges; exactly these errors, each with the id that it is about. */
static void expect(Case *c, ErrorCode code, Uuid about)
{
    int rc = removal_rules_check(c->req, c->ids, 3, &c->state);
    if (code == ERR_NONE) {
        assert_int_equal(rc, 0);
        assert_int_equal(c->req->errors.error_count, 0);
    } else {
        assert_int_equal(rc, -(int)code);
        assert_int_equal(c->req->errors.error_count, 1);
        Str urn = uuid_urn(c->req->arena, about);
        assert_non_null(strstr(str_cstr(c->req->arena, c->req->errors.first->context),
                               str_cstr(c->req->arena, urn)));
    }
    request_free(c->req);
}

static void test_what_belongs_together_may_go_together(void **state)
{
    (void)state;
    Case c;
    case_init(&c);
    expect(&c, ERR_NONE, OTHER);
}

static void test_an_id_of_nothing_is_an_unresolved_reference(void **state)
{
    (void)state;
    Case c;
    case_init(&c);
    c.ids[1] = uuid_urn(c.req->arena, OTHER);
    expect(&c, ERR_UNRESOLVED_REFERENCE, OTHER);
}

static void test_what_is_no_uuid_is_an_unresolved_reference(void **state)
{
    (void)state;
    static const char *const ids[] = {"", "x", "urn:oid:1.2.3",
                                      "urn:uuid:00000000-0000-0000-0000-00000000000G"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        Case c;
        case_init(&c);
        c.ids[1] = str_from(ids[i]);
        assert_int_equal(removal_rules_check(c.req, c.ids, 3, &c.state),
                         -(int)ERR_UNRESOLVED_REFERENCE);
        request_free(c.req);
    }
}

static void test_what_is_hidden_looks_as_if_it_were_not_there(void **state)
{
    (void)state;
    Case hidden;
    Case absent;
    case_init(&hidden);
    case_init(&absent);
    hidden.objects[1].object.is_hidden = true;
    absent.state.object_count = 1;
    absent.ids[2] = absent.ids[0];
    assert_int_equal(removal_rules_check(hidden.req, hidden.ids, 3, &hidden.state),
                     removal_rules_check(absent.req, absent.ids, 3, &absent.state));
    assert_true(str_equal(hidden.req->errors.first->context, absent.req->errors.first->context));
    request_free(hidden.req);
    request_free(absent.req);
}

static void test_an_association_that_stays_holds_its_ends(void **state)
{
    (void)state;
    RemovalReference reference = {.association = OTHER, .removed_end = DOCUMENT};
    Case c;
    case_init(&c);
    c.state.references = &reference;
    c.state.reference_count = 1;
    expect(&c, ERR_REFERENCES_EXIST, OTHER);
}

static void test_what_stays_must_be_held(void **state)
{
    (void)state;
    static const ObjectKind kinds[] = {OBJECT_DOCUMENT_ENTRY, OBJECT_FOLDER, OBJECT_SUBMISSION_SET};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        RemovalEnd end = {.entry_uuid = OTHER, .kind = kinds[i]};
        Case c;
        case_init(&c);
        c.state.ends = &end;
        c.state.end_count = 1;
        expect(&c, ERR_XDS_UNREFERENCED_OBJECT, OTHER);
        end.is_held = true;
        case_init(&c);
        c.state.ends = &end;
        c.state.end_count = 1;
        expect(&c, ERR_NONE, OTHER);
    }
}

static void test_versions_go_together(void **state)
{
    (void)state;
    RemovalVersion version = {.entry_uuid = OTHER, .lid = DOCUMENT};
    Case c;
    case_init(&c);
    c.state.versions = &version;
    c.state.version_count = 1;
    expect(&c, ERR_XDS_METADATA_MODEL, OTHER);
}

static void test_what_is_unknown_is_told_alone(void **state)
{
    (void)state;
    RemovalReference reference = {.association = OTHER, .removed_end = DOCUMENT};
    Case c;
    case_init(&c);
    c.state.references = &reference;
    c.state.reference_count = 1;
    c.ids[0] = uuid_urn(c.req->arena, OTHER);
    expect(&c, ERR_UNRESOLVED_REFERENCE, OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_belongs_together_may_go_together),
        cmocka_unit_test(test_an_id_of_nothing_is_an_unresolved_reference),
        cmocka_unit_test(test_what_is_no_uuid_is_an_unresolved_reference),
        cmocka_unit_test(test_what_is_hidden_looks_as_if_it_were_not_there),
        cmocka_unit_test(test_an_association_that_stays_holds_its_ends),
        cmocka_unit_test(test_what_stays_must_be_held),
        cmocka_unit_test(test_versions_go_together),
        cmocka_unit_test(test_what_is_unknown_is_told_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
