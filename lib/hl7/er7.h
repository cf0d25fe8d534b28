#pragma once

#include "lib/base/error.h"
#include "lib/base/str.h"
#include "lib/hl7/charset.h"

/**
 * HL7 v2 messages in ER7 encoding (HL7 v2.5 2.5 to 2.7; ITI TF-2 C.2.2).
 *
 * Read in this order: MSH as octets, because it names delimiters and character set; the whole
 * message to UTF-8, because octets of kanji look like delimiters; then the split into segments.
 * Fields and what is below them are cut when asked for, so memory does not grow with delimiters.
 * Leaf values are unescaped last (er7_text).
 *
 * Numbers of fields, repetitions, components and subcomponents begin at 1, as in the standard. What
 * is not there is empty; what is there and not asked for is ignored.
 */

#define ER7_SEGMENTS_MAX 100000

/** What MSH-1 and MSH-2 declare; 0 where MSH-2 ends early. */
typedef struct Er7Delimiters {
    char field;
    char component;
    char repetition;
    char escape;
    char subcomponent;
} Er7Delimiters;

/** | ^ ~ \ & : what replies and stored CX values use. */
extern const Er7Delimiters er7_standard_delimiters;

typedef struct Er7Segment {
    Str name; /* up to the first field separator; "PID" */
    Str text; /* with its name, without CR */
} Er7Segment;

typedef struct Er7Message {
    Arena *arena;
    Er7Delimiters delimiters;
    Hl7Charset charset;
    const Er7Segment *segments; /* the first is MSH */
    size_t segment_count;
} Er7Message;

/**
 * Reads one message; the payload of an MLLP frame.
 *
 * @param payload  borrowed; not needed after the call
 * @return the message in the arena. NULL with an error if MSH cannot be read, so that nobody can be
 * answered by name. When errors has grown the message holds what came before the fault: enough for
 * an acknowledgement.
 */
Er7Message *er7_read(Arena *arena, ErrorList *errors, Str payload);

/** The n-th segment of this name, NULL if there is none. */
const Er7Segment *er7_segment(const Er7Message *message, Str name, size_t number);

/** The raw field, delimiters and escapes included; empty for segment NULL. */
Str er7_field(const Er7Message *message, const Er7Segment *segment, size_t number);

/** 1 for an empty field. */
size_t er7_repetition_count(const Er7Delimiters *delimiters, Str field);
Str er7_repetition(const Er7Delimiters *delimiters, Str field, size_t number);
Str er7_component(const Er7Delimiters *delimiters, Str repetition, size_t number);
Str er7_subcomponent(const Er7Delimiters *delimiters, Str component, size_t number);

/**
 * The text of a leaf: escape sequences F S T R E and X replaced, others kept as they are. X octets
 * are read in the charset and kept as they are where they cannot be.
 */
Str er7_text(Arena *arena, const Er7Delimiters *delimiters, Hl7Charset charset, Str leaf);

/** The text of the first subcomponent of field-1.component, the usual case. */
Str er7_value(const Er7Message *message, const Er7Segment *segment, size_t field, size_t component);

/** Appends a text as a leaf in standard delimiters: delimiters escaped, CR and LF as hexadecimal.
 */
void er7_append_text(StrBuf *buf, Str text);

/** A raw field, or part of one, in standard delimiters; in the arena, or as it is. */
Str er7_standardize(const Er7Message *message, Str raw);
