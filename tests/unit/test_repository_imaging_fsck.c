#include "repository/imaging/fsck.h"

#include "tests/unit/imaging_fixture.h"

/** An image whose bytes are there. */
static void store_image(Images *images, const char *sop, const char *bytes)
{
    Request *req = images_request(images);
    BlobWriter *writer;
    uint8_t sha256[32];
    assert_int_equal(blob_writer_open(images->imaging.blobs, req, &writer), 0);
    assert_int_equal(blob_writer_write(writer, req, bytes, strlen(bytes)), 0);
    assert_int_equal(blob_writer_close(writer, req), 0);
    memcpy(sha256, writer->content.sha256, sizeof(sha256));
    assert_int_equal(blob_writers_commit(images->imaging.blobs, req, &writer, 1), 0);
    const Image image = {"1.2.7",        "1.2.7.1",        sop,
                         .bytes = bytes, .sha256 = sha256, .size_bytes = strlen(bytes)};
    assert_int_equal(image_insert(images->service->pool, &image), INSTANCE_ADDED);
    request_free(req);
}

/* The manifest of a study of two instances, as the server notes it. */
static const char manifest[] =
    "INSERT INTO repository_document (size_bytes, digest, kind, source_facility, state, sha256, "
    "sha1, unique_id, patient_id_number) SELECT size_bytes, "
    "encode(substr(sha256(convert_to('1.2.7.7', 'UTF8')), 1, 16), 'hex')::uuid, 1, 1, 1, sha256, "
    "'', '1.2.7.7', 'P1' FROM imaging_instance LIMIT 1;"
    "INSERT INTO repository_document_kind (digest, mime_type, patient_id_authority, class_code, "
    "confidentiality_code) VALUES (gen_random_uuid(), 'application/dicom', '^^^&1&ISO', '', '{}');"
    "UPDATE imaging_study SET manifest_kind = 2, manifest_version = 1, manifest_unique_id = "
    "'1.2.7.7', manifest_entry = '00000000-0000-4000-8000-000000000001', is_manifest_due = false, "
    "manifest_digest = substr(sha256(convert_to(E'1.2.7.1.1\\n1.2.7.1.2\\n', 'UTF8')), 1, 16)";

static RepositoryConfig config; /* of the repository, which is closed meanwhile */

static int set_up(void **state)
{
    int rc = images_set_up(state);
    Images *images = *state;
    store_image(images, "1.2.7.1.1",
                "the bytes of one instance, more than a header of 300 would "
                "take, so that its data set begins within them: "
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890");
    store_image(images, "1.2.7.1.2",
                "the bytes of another one, just as long as that a header of "
                "300 bytes and some of its data set fit into them as well: "
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890"
                "0123456789012345678901234567890123456789012345678901234567890");
    service_run(images->service->pool, manifest);
    config = images->service->repository->config;
    repository_free(images->service->repository);
    images->service->repository = NULL;
    return rc;
}

typedef struct Lines {
    StrBuf text;
} Lines;

static void take_line(void *ctx, const char *line)
{
    Lines *lines = ctx;
    strbuf_printf(&lines->text, "%s\n", line);
}

/** All findings about images, one per line. */
static int64_t check(Images *images, Lines *lines)
{
    Request *req = images_request(images);
    int64_t count = repository_fsck(&config, req, take_line, lines);
    if (count < 0) {
        fail_msg("%s", db_last_failure());
    }
    request_free(req);
    return count;
}

/** What is wrong is found, with one line that names study and instance, and no patient. */
static void test_each_broken_relation_is_one_line(void **state)
{
    Images *images = *state;
    static const struct {
        const char *damage;
        const char *expected; /* in its line */
    } cases[] = {
        {"UPDATE imaging_study SET flags = 1", NULL},
        {"UPDATE imaging_instance SET size_bytes = size_bytes + 1 WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 (segments/0000000001.seg"},
        {"UPDATE imaging_instance SET sha256 = sha256('') WHERE sop_instance = '1.2.7.1.2'",
         "image 1.2.7.1.2 of study 1.2.7 (no file, offset 0): its bytes are missing"},
        {"INSERT INTO imaging_study SELECT (jsonb_populate_record(NULL::imaging_study, to_jsonb(s) "
         "|| '{\"id\": 99, \"study_uid\": \"1.2.8\", \"manifest_kind\": 0, \"manifest_unique_id\": "
         "\"\"}')).* FROM imaging_study s; "
         "UPDATE imaging_instance SET study = 99 WHERE sop_instance = '1.2.7.1.2'; "
         "UPDATE imaging_study SET is_manifest_due = true; "
         "INSERT INTO imaging_series SELECT (jsonb_populate_record(NULL::imaging_series, "
         "to_jsonb(r) || '{\"id\": 99, \"study\": 99, \"series_uid\": \"1.2.8.1\"}')).* "
         "FROM imaging_series r; INSERT INTO imaging_instance SELECT (jsonb_populate_record("
         "NULL::imaging_instance, to_jsonb(i) || '{\"id\": 99, \"study\": 99, \"series\": 99, "
         "\"facility\": 1, \"sop_instance\": \"1.2.7.1.1\", \"variant\": 1}')).* "
         "FROM imaging_instance i WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.2 of study 1.2.8 is of a series of another study"},
        {"UPDATE imaging_instance SET facility = 2 WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 is of another facility than its study"},
        {"UPDATE imaging_instance SET variant = 1 WHERE sop_instance = '1.2.7.1.1'; "
         "UPDATE imaging_study SET is_manifest_due = true",
         "image 1.2.7.1.1 of study 1.2.7 is kept beside one with other bytes that is not there"},
        {"UPDATE imaging_instance SET rejected = '113001', rejected_by = '1.2.99' "
         "WHERE sop_instance = '1.2.7.1.1'; UPDATE imaging_study SET is_manifest_due = true",
         "image 1.2.7.1.1 of study 1.2.7 is rejected by a note that is not stored"},
        {"INSERT INTO imaging_series SELECT (jsonb_populate_record(NULL::imaging_series, "
         "to_jsonb(r) || '{\"id\": 99, \"series_uid\": \"1.2.7.2\"}')).* FROM imaging_series r",
         "series 1.2.7.2 of study 1.2.7 has no images"},
        {"INSERT INTO imaging_study SELECT (jsonb_populate_record(NULL::imaging_study, to_jsonb(s) "
         "|| '{\"id\": 99, \"study_uid\": \"1.2.8\", \"manifest_kind\": 0, \"manifest_unique_id\": "
         "\"\"}')).* FROM imaging_study s",
         "study 1.2.8 has no series"},
        {"UPDATE imaging_instance SET metadata = '\\x00' WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 has damaged metadata"},
        {"UPDATE imaging_instance SET metadata = (SELECT metadata FROM imaging_instance "
         "WHERE sop_instance = '1.2.7.1.2') WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 has the metadata of another one"},
        {"UPDATE imaging_instance SET pixel_offset = 4096 WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 has frames that do not lie within its bytes"},
        {"UPDATE imaging_instance SET frames = '\\x0000000000000000001000000000000001000000' "
         "WHERE sop_instance = '1.2.7.1.1'",
         "image 1.2.7.1.1 of study 1.2.7 has frames that do not lie within its bytes"},
        {"UPDATE imaging_study SET manifest_kind = 0",
         "manifest 1.2.7.7 of study 1.2.7 is one that the row of the study does not say"},
        {"UPDATE repository_document SET state = 2",
         "manifest 1.2.7.7 of study 1.2.7 is not stored as a registered document"},
        {"DELETE FROM repository_document",
         "manifest 1.2.7.7 of study 1.2.7 is not stored as a registered document"},
        {"UPDATE imaging_study SET manifest_digest = '\\x00'",
         "manifest 1.2.7.7 of study 1.2.7 does not list what is stored, and is not due"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Lines lines = {0};
        service_run(images->service->pool,
                    "CREATE TABLE k_study AS TABLE imaging_study; CREATE TABLE k_series AS TABLE "
                    "imaging_series; CREATE TABLE k_instance AS TABLE imaging_instance; "
                    "CREATE TABLE k_document AS TABLE repository_document; "
                    "ALTER TABLE imaging_study ALTER id SET GENERATED BY DEFAULT; "
                    "ALTER TABLE imaging_series ALTER id SET GENERATED BY DEFAULT; "
                    "ALTER TABLE imaging_instance ALTER id SET GENERATED BY DEFAULT");
        service_run(images->service->pool, cases[i].damage);
        int64_t count = check(images, &lines);
        Str text = strbuf_str(&lines.text);
        bool is_good = cases[i].expected
                           ? count == 1 && str_contains(text, str_from(cases[i].expected))
                           : count == 0;
        if (!is_good || str_contains(text, STR("A1")) || str_contains(text, STR("Yamada"))) {
            fail_msg("%s\n%lld findings instead of %s:\n%.*s", cases[i].damage, (long long)count,
                     cases[i].expected ? cases[i].expected : "none", STR_ARG(text));
        }
        strbuf_done(&lines.text);
        service_run(
            images->service->pool,
            "TRUNCATE imaging_study, imaging_series, imaging_instance, repository_document; "
            "INSERT INTO imaging_study TABLE k_study; INSERT INTO imaging_series TABLE "
            "k_series; INSERT INTO imaging_instance TABLE k_instance; "
            "INSERT INTO repository_document TABLE k_document; "
            "DROP TABLE k_study, k_series, k_instance, k_document");
    }
}

static int find_none(UNUSED void *ctx, UNUSED Request *req, UNUSED DbConn *conn,
                     UNUSED const Str *unique_ids, UNUSED size_t count,
                     UNUSED DocumentRegistration **ret_registrations, size_t *ret_count)
{
    *ret_count = 0;
    return 0;
}

static void test_a_manifest_that_the_registry_does_not_know_is_found(void **state)
{
    Images *images = *state;
    static const DocumentCatalogue empty = {.find = find_none};
    Lines lines = {0};
    config.catalogue = &empty;
    assert_int_equal(check(images, &lines), 1);
    assert_true(str_equal(strbuf_str(&lines.text),
                          STR("manifest 1.2.7.7 of study 1.2.7 is not registered\n")));
    strbuf_done(&lines.text);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_broken_relation_is_one_line, set_up,
                                        images_tear_down),
        cmocka_unit_test_setup_teardown(test_a_manifest_that_the_registry_does_not_know_is_found,
                                        set_up, images_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
