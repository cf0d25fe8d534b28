#include "lib/fhir/patient_codes.h"

typedef struct CodePair {
    FhirCodeMap map;
    Str fhir;
    Str v2;
} CodePair;

static const CodePair pairs[] = {
#define CODE(map, fhir, v2) {FHIR_##map, STR_INIT(fhir), STR_INIT(v2)},
#include "lib/fhir/patient_codes.def"
#undef CODE
};

Str fhir_code_to_v2(FhirCodeMap map, Str code)
{
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i].map == map && str_equal(pairs[i].fhir, code)) {
            return pairs[i].v2;
        }
    }
    return STR_EMPTY;
}

Str fhir_code_from_v2(FhirCodeMap map, Str code)
{
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i].map == map && str_equal(pairs[i].v2, code)) {
            return pairs[i].fhir;
        }
    }
    return STR_EMPTY;
}
