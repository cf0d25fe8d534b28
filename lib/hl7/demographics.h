#pragma once

#include "lib/hl7/er7.h"

/**
 * What is known of a patient besides identifiers, in the one form that all surfaces share: the
 * fields of PID, each as ER7 in UTF-8 with standard delimiters, so that nothing that a feed said is
 * lost and an HL7 v2 answer is what was fed. HL7 v3 and FHIR read and write it through PersonName,
 * Address and Telecom.
 */

/** Rows of demographics.def. */
typedef enum DemographicField {
#define DEMOGRAPHIC(name, pid, repeats) DEMOGRAPHIC_##name,
#include "lib/hl7/demographics.def"
#undef DEMOGRAPHIC
    DEMOGRAPHIC_COUNT
} DemographicField;

/** Longest text of demographics_write(). */
#define DEMOGRAPHICS_MAX_BYTES 32768

typedef struct Demographics {
    Str fields[DEMOGRAPHIC_COUNT]; /* raw ER7, repetitions included; empty: nothing known, or, in
                                      a feed, no change; "" (two quotes): delete */
} Demographics;

/** The fields of a PID segment; in message->arena. */
void demographics_from_pid(const Er7Message *message, const Er7Segment *pid,
                           Demographics *ret_demographics);

/** Puts a feed's fields over what is held: an empty field changes nothing, "" deletes (ITI TF-2
 * Appendix C). Texts are borrowed. */
void demographics_update(Demographics *held, const Demographics *fed);

/** One text for a database column: fields joined by '|' in the order of rows, trailing separators
 * left out. In the arena. */
Str demographics_write(Arena *arena, const Demographics *demographics);
/** What demographics_write() made; texts are borrowed from it. */
void demographics_read(Str text, Demographics *ret_demographics);

/** Appends fields PID-first to PID-last of a PID segment, with a separator before each: what
 * follows "PID|...": used by answers. */
void demographics_append_pid(StrBuf *buf, const Demographics *demographics, size_t first,
                             size_t last);

/* ---- parts of fields; all texts unescaped, in the arena or borrowed ---- */

/** XPN. An unvalued part is empty. */
typedef struct PersonName {
    Str family; /* XPN-1.1 */
    Str given;
    Str further_given;
    Str suffix;
    Str prefix;
    Str type;           /* XPN-7: L legal, M maiden, A alias, D display, ... */
    Str representation; /* XPN-8: I ideographic, P phonetic (kana), A alphabetic; empty: not said */
} PersonName;

/** XAD. */
typedef struct Address {
    Str street; /* XAD-1.1 */
    Str other;  /* XAD-2 */
    Str city;
    Str state;
    Str postal_code;
    Str country;
    Str type; /* XAD-7: H home, B business, M mailing, ... */
} Address;

/** XTN. number is XTN-12, else XTN-1, else put together of the parts 5 to 8. */
typedef struct Telecom {
    Str number;
    Str use;          /* XTN-2: PRN, WPN, NET, ... */
    Str equipment;    /* XTN-3: PH, CP, FX, Internet */
    Str email;        /* XTN-4 */
    bool is_business; /* of PID-14 */
} Telecom;

/** The names of a field (name, alias, mothers_maiden_name), in their order; an empty repetition is
 * left out. */
size_t demographics_names(Arena *arena, const Demographics *demographics, DemographicField field,
                          PersonName **ret_names);
size_t demographics_addresses(Arena *arena, const Demographics *demographics,
                              Address **ret_addresses);
/** Of PID-13, then of PID-14. */
size_t demographics_telecoms(Arena *arena, const Demographics *demographics,
                             Telecom **ret_telecoms);
/** The text of component 1 of a field that has one value: birth_time, sex, ... */
Str demographics_value(Arena *arena, const Demographics *demographics, DemographicField field);
/** PID-7 in digits, without time and offset: YYYY, YYYYMM or YYYYMMDD; empty if it is none of
 * them. */
Str demographics_birth_date(Arena *arena, const Demographics *demographics);

/** Set a field from parts, in the arena; for HL7 v3 and FHIR. */
void demographics_set_names(Arena *arena, Demographics *demographics, DemographicField field,
                            const PersonName *names, size_t count);
void demographics_set_addresses(Arena *arena, Demographics *demographics, const Address *addresses,
                                size_t count);
void demographics_set_telecoms(Arena *arena, Demographics *demographics, const Telecom *telecoms,
                               size_t count);
void demographics_set_value(Arena *arena, Demographics *demographics, DemographicField field,
                            Str text);
