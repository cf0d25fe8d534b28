#pragma once

#include "lib/ebrim/metadata.h"

/**
 * The rendered form of a stored object: its canonical XML with marks where values are put in later
 * (entryUUID, lid, status, version, patientId, uniqueId, hash, size, repositoryUniqueId, derived
 * ids of Classifications), compressed with zstd and a dictionary. The values themselves are
 * columns, so they are stored once; what changes (status, version, patientId after a merge,
 * lastUpdateTime) changes only there.
 */

/** What is put in at the marks. Values are not yet XML-escaped. */
typedef struct RenderValues {
    Uuid entry_uuid;
    Uuid lid;
    int32_t version; /* VersionInfo/@versionName */
    AvailabilityStatus status;
    Str patient_id;                /* CX of the surviving patient; empty for Associations */
    Str unique_id;                 /* empty for Associations */
    Str hash;                      /* 40 hexadecimal digits; DocumentEntry */
    int64_t size_bytes;            /* DocumentEntry; -1 none */
    Str repository_unique_id;      /* DocumentEntry */
    Str last_update_time;          /* Folder: DTM */
    Str home;                      /* @home to add; empty none */
    int16_t submission_set_status; /* Association: 0 none, 1 Original, 2 Reference */
} RenderValues;

/** zstd dictionaries, by id; those that the database holds and the built-in one. */
typedef struct RenderDictionaries RenderDictionaries;
RenderDictionaries *render_dictionaries_new(void);
void render_dictionaries_free(RenderDictionaries *dictionaries);
/** Bytes and id of the built-in (newest) dictionary, for the table that keeps them for ever. */
Str render_dictionary_builtin(uint32_t *ret_id);
/** Adds one that the database holds; false if the bytes are not a dictionary of that id. */
bool render_dictionary_add(RenderDictionaries *dictionaries, uint32_t id, Str bytes);

/**
 * Renders and compresses an object for its row. In the arena. Empty for an Association that is no
 * more than its columns; with more Slots or a documentation Classification its blob holds these.
 */
Str rendered_make(Arena *arena, RenderDictionaries *dictionaries, ObjectKind kind,
                  const RimObject *object, Uuid entry_uuid);

/**
 * Appends the object's XML: rim:ExtrinsicObject, rim:RegistryPackage or rim:Association, prefix
 * "rim" declared by the caller. Thread-safe. @return 0 or -ERR_CORRUPT if the blob cannot be read
 */
int rendered_append(RenderDictionaries *dictionaries, ObjectKind kind, Str blob,
                    const RenderValues *values, StrBuf *buf) MUST_CHECK;

/** @return true: found, look no further */
typedef bool (*RenderedTextFn)(void *ctx, Str text);

/**
 * Hands the authorPerson (XCN) of each author of a DocumentEntry or SubmissionSet to is_wanted(),
 * until that says true. Thread-safe.
 * @return 1 one is wanted, 0 none is, -ERR_CORRUPT
 *
 * Spec: TF-3 4.2.3.1.4
 */
int rendered_find_author_person(RenderDictionaries *dictionaries, ObjectKind kind, Str blob,
                                RenderedTextFn is_wanted, void *ctx) MUST_CHECK;

/**
 * Hands each value of a Slot of the object itself to is_wanted(), until that says true.
 * @return 1 one is wanted, 0 none is, -ERR_CORRUPT
 */
int rendered_find_slot_value(RenderDictionaries *dictionaries, Str blob, Str slot,
                             RenderedTextFn is_wanted, void *ctx) MUST_CHECK;

/**
 * The same object with another value in a Slot that it has with one value, and that no column holds
 * (sourcePatientId). In the arena.
 * @return 0, or -ERR_CORRUPT: the blob cannot be read, or has no such Slot
 */
int rendered_set_slot(Arena *arena, RenderDictionaries *dictionaries, Str blob, const char *slot,
                      Str value, Str *ret_blob) MUST_CHECK;

/**
 * The same object with ids of Classifications and ExternalIdentifiers that follow from its
 * entryUUID, as those are that came symbolic: for a new version, whose parts are not those of the
 * version before. In the arena.
 * @return 1, 0 if nothing had to change (ret_blob is blob), or -ERR_CORRUPT
 */
int rendered_renew_ids(Arena *arena, RenderDictionaries *dictionaries, Str blob,
                       Str *ret_blob) MUST_CHECK;

/** An Association is written from its columns; extra is its blob, or empty. */
int rendered_append_association(RenderDictionaries *dictionaries, AssociationType type, Uuid source,
                                Uuid target, Str extra, const RenderValues *values,
                                StrBuf *buf) MUST_CHECK;
