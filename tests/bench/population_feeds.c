/*
 * Writes the records of an invented population as ITI-8 messages in MLLP frames, in random order,
 * each with a number of its own in the domain of its hospital: what load --frames sends.
 *
 *   population_feeds NAMES_CSV PERSONS SEED COUNT ARC > FILE
 *
 * Hospital h, from 0 on, has the domain ARC.h and sends as TEST|HOSPITAL.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/population.h"

static void write_feed(Arena *arena, const PatientRecord *record, size_t number, const char *arc)
{
    Str fields = demographics_write(arena, &record->demographics);
    printf("\x0bMSH|^~\\&|TEST|HOSPITAL|MUSUBI|CENTER|20260301090000+0900||ADT^A04|%012zu|P|2.3.1"
           "||||||UNICODE UTF-8\rEVN||20260301090000+0900\r"
           "PID|||M%09zu^^^&%s.%u&ISO||%.*s\rPV1||O\r\x1c\r",
           number, number, arc, record->hospital, STR_ARG(fields));
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: population_feeds NAMES_CSV PERSONS SEED COUNT ARC\n");
        return 2;
    }
    Arena *arena = arena_new();
    const Names *names = names_read(arena, argv[1]);
    if (!names) {
        fprintf(stderr, "%s: no names\n", argv[1]);
        return 3;
    }
    const Population *population =
        population_new(arena, names, strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    size_t count = MIN(population->record_count, strtoul(argv[4], NULL, 10));
    for (size_t i = 0; i < count; i++) {
        write_feed(arena, &population->records[i], i, argv[5]);
    }
    arena_free(arena);
    return 0;
}
