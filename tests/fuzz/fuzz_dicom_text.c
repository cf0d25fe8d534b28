/* Texts of DICOM data sets. The first line is (0008,0005); the others are values, in turn of each
 * kind, each other one in an item. All that comes out must be UTF-8, of any bytes by any
 * declaration. */
#include "lib/dicom/text.h"

#include "tests/fuzz/fuzz.h"

#define SPECIFIC_CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define SEQUENCE DICOM_TAG(0x0040, 0x0275)
#define VALUES_MAX 200U

static const DicomVr kinds[] = {DICOM_VR_PN, DICOM_VR_LO, DICOM_VR_LT, DICOM_VR_CS};

static void check_text(Arena *arena, const TextReading *reading, const DicomDataset *dataset,
                       uint32_t tag)
{
    Str text = dicom_text_of(arena, reading, dataset, tag);
    FUZZ_CHECK(str_is_utf8(text));
    PersonName name = dicom_person_name(text);
    for (size_t i = 0; i < ARRAY_LEN(name.groups); i++) {
        FUZZ_CHECK(str_is_utf8(name.groups[i]));
    }
    Str value;
    while (dicom_text_next(&text, &value)) {
        FUZZ_CHECK(str_is_utf8(value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    Str rest = {(const char *)bytes, len};
    Str value = STR_EMPTY;
    (void)str_split_next(&rest, '\n', &value);
    dicom_put(arena, dataset, SPECIFIC_CHARACTER_SET, DICOM_VR_CS, value);
    DicomDataset *item = dicom_add_item(arena, dataset, SEQUENCE);
    uint32_t count = 0;
    while (count < VALUES_MAX && str_split_next(&rest, '\n', &value)) {
        dicom_put(arena, count % 2 ? item : dataset, DICOM_TAG(0x0010, count),
                  kinds[count % ARRAY_LEN(kinds)], value);
        count++;
    }
    TextReading reading = dicom_text_reading(arena, dataset);
    FUZZ_CHECK(reading.confidence >= 0 && reading.confidence <= 1);
    FUZZ_CHECK(reading.declared < CHARSET_COUNT && reading.used < CHARSET_COUNT);
    for (uint32_t i = 0; i < count; i++) {
        check_text(arena, &reading, i % 2 ? item : dataset, DICOM_TAG(0x0010, i));
    }
    arena_free(arena);
    return 0;
}
