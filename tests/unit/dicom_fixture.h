#pragma once

/* For tests of data sets: bytes in, what was scanned out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/dicom/scan.h"

#define IMPLICIT UID_IMPLICIT_LITTLE_ENDIAN
#define EXPLICIT UID_EXPLICIT_LITTLE_ENDIAN
#define BIG_ENDIAN_EXPLICIT "1.2.840.10008.1.2.2"
#define JPEG "1.2.840.10008.1.2.4.50"

/** Scans in pieces of step bytes. @return as dicom_scan_end(); errors in errors */
static inline int fixture_scan(Arena *arena, ErrorList *errors, const char *syntax, Str bytes,
                               size_t step, DicomScanned *ret_scanned)
{
    error_list_init(errors, arena);
    DicomScan *scan = dicom_scan_new(arena, transfer_syntax_find(str_from(syntax)));
    int r = 0;
    for (size_t at = 0; r == 0 && at < bytes.len; at += step) {
        r = dicom_scan_push(scan, errors, bytes.data + at, MIN(step, bytes.len - at));
    }
    if (r == 0) {
        r = dicom_scan_end(scan, errors, ret_scanned);
    }
    dicom_scan_free(scan);
    return r;
}

/** Scans what has to be good. */
static inline DicomScanned fixture_good(Arena *arena, const char *syntax, Str bytes)
{
    ErrorList errors;
    DicomScanned scanned = {0};
    if (fixture_scan(arena, &errors, syntax, bytes, bytes.len + 1, &scanned) < 0) {
        fail_msg("%.*s", STR_ARG(errors.first->context));
    }
    return scanned;
}

/** All context texts, one per line. */
static inline Str fixture_faults(Arena *arena, const ErrorList *errors)
{
    Str text = STR_EMPTY;
    for (const Error *e = errors->first; e; e = e->next) {
        text = str_printf(arena, "%.*s%.*s\n", STR_ARG(text), STR_ARG(e->context));
    }
    return text;
}
