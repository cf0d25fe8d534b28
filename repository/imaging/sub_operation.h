#pragma once

#include "lib/dicom/pixels_job.h"
#include "lib/dicom/worker_fields.h"
#include "repository/imaging/index.h"

/**
 * Sub-operations of C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): an instance goes out by C-STORE, through
 * the worker whose association has presentation contexts for it. One thread uses it.
 */
typedef struct SubOperations {
    Imaging *imaging;
    int control;       /* of that worker */
    int asking;        /* control of the worker whose peer asked; C-GET: the same */
    Str contexts;      /* fields CONTEXT whose first transfer syntax was agreed */
    Str originator_ae; /* C-MOVE: who asked; C-GET: empty */
    uint64_t originator_id;
    StrBuf heard;
    PixelsLine line;
    bool is_cancelled; /* the peer that asked wants no more */
    int64_t cancelled_ns;
    bool is_gone; /* the association on which the instances go */
    bool is_asker_gone;
} SubOperations;

void sub_operations_done(SubOperations *operations);

/** What became of one. */
typedef struct SubOperationOutcome {
    uint16_t
        status; /* of C-STORE-RSP; 0122: no presentation context, 0110: nothing could be read */
    bool is_warning; /* it is there, not quite as it was sent (PS3.4 B.2.3) */
} SubOperationOutcome;

/** Sends the instance as stored, every block checked before it leaves; without a presentation
 * context for that, in another transfer syntax that loses nothing. */
SubOperationOutcome sub_operation_send(SubOperations *operations, Request *req,
                                       const ImagingInstance *instance);

/** Whether the peer that asked has said something meanwhile: sets the flags. */
void sub_operations_look(SubOperations *operations);
