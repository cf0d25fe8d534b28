/* What real systems write: the files of a reference folder, named by MUSUBI_REFERENCE. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/file_io.h"
#include "lib/dicom/part10.h"
#include "lib/dicom/record.h"

#include "tests/unit/dicom_fixture.h"

/** Files that are refused, and why; all others have to give a record. */
static const struct {
    const char *name;
    const char *fault;
} refused[] = {
    {"pydicom__MR_truncated.dcm", "62 bytes of the value are missing"},
    /* a value that its VR does not have: Number of Frames "1A" */
    {"pydicom__badVR.dcm", "(0028,0008) Number of Frames is no number"},
    {"pydicom__meta_missing_tsyntax.dcm", "has no (0002,0010) Transfer Syntax UID"},
    {"pydicom__no_meta.dcm", "This is no DICOM file"},
    {"pydicom__ExplVR_LitEndNoMeta.dcm", "This is no DICOM file"},
    /* good data sets that are no instance of a study */
    {"pydicom__chrSQEncoding.dcm", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__chrSQEncoding1.dcm", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__empty_charset_LEI.dcm", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__nested_priv_SQ.dcm", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__DICOMDIR", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__DICOMDIR-empty.dcm", "(0020,000D) Study Instance UID is missing"},
    {"pydicom__DICOMDIR-nooffset", "the length of an item reaches beyond"},
};

static const char *fault_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (strcmp(name, refused[i].name) == 0) {
            return refused[i].fault;
        }
    }
    return NULL;
}

static int read_instance(Arena *arena, ErrorList *errors, Str file, InstanceRecord *ret_record)
{
    FileMeta meta;
    size_t offset;
    error_list_init(errors, arena);
    if (part10_read(arena, errors, file, &meta, &offset) != 1) {
        return -ERR_DICOM_FILE;
    }
    DicomScanned scanned;
    const char *syntax = str_cstr(arena, meta.transfer_syntax);
    if (fixture_scan(arena, errors, syntax, str_from_offset(file, offset), 1000, &scanned) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    return instance_record_make(arena, errors, &scanned, transfer_syntax_find(meta.transfer_syntax),
                                ret_record);
}

static void check_record(const char *path, const InstanceRecord *record)
{
    bool is_key_object = str_equal(record->sop_class, STR(UID_KEY_OBJECT_SELECTION));
    bool is_plausible = record->patient_name.len > 0 && record->modality.len > 0 &&
                        (!record->has_pixel_data || record->rows > 0) &&
                        is_key_object == (record->selection.reference_count > 0) &&
                        !record->text.contradicts;
    if (!is_plausible) {
        fail_msg("%s: name %.*s, modality %.*s, %lld rows, %zu references", path,
                 STR_ARG(record->patient_name), STR_ARG(record->modality), (long long)record->rows,
                 record->selection.reference_count);
    }
}

static void check_file(const char *folder, const char *name)
{
    Arena *arena = arena_new();
    const char *path = str_cstr(arena, str_printf(arena, "%s/%s", folder, name));
    StrBuf file = {0};
    assert_int_equal(io_read_file(path, (size_t)64 << 20, &file), 0);
    ErrorList errors;
    InstanceRecord record;
    int r = read_instance(arena, &errors, strbuf_str(&file), &record);
    const char *fault = fault_of(name);
    Str faults = fixture_faults(arena, &errors);
    if ((r < 0) != (fault != NULL) || (fault && !str_contains(faults, str_from(fault)))) {
        fail_msg("%s: expected \"%s\", found \"%.*s\"", path, fault ? fault : "", STR_ARG(faults));
    }
    if (r == 0) {
        check_record(path, &record);
    }
    strbuf_done(&file);
    arena_free(arena);
}

/** @return how many instances were looked at */
static size_t check_folder(const char *folder)
{
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        Str name = str_from(entry->d_name);
        if (name.data[0] == '.' || str_ends_with(name, STR(".tsv")) ||
            str_ends_with(name, STR(".txt")) || str_ends_with(name, STR(".xml"))) {
            continue;
        }
        check_file(folder, entry->d_name);
        count++;
    }
    closedir(directory);
    return count;
}

static void test_good_files_give_records_and_broken_ones_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        size_t count;
    } folders[] = {{"charset", 12},
                   {"dcm4che", 2},
                   {"dicomdir", 6},
                   {"pydicom", 26},
                   {"study-IDS-DEPT001-a", 1},
                   {"study-IDS-DEPT002-a", 37},
                   {"study-IDS-DEPT022-a", 2},
                   {"study-IDS-DEPT024-a", 11}};
    const char *reference = getenv("MUSUBI_REFERENCE");
    if (!reference) {
        print_message("MUSUBI_REFERENCE is not set; no file was looked at\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/dicom/%s", reference, folders[i].folder);
        assert_true(check_folder(path) >= folders[i].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_files_give_records_and_broken_ones_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
