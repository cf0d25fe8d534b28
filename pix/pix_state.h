#pragma once

#include "pix/authorities.h"
#include "pix/pix.h"

/** What the files of this folder share. */
struct Pix {
    PixConfig config;
    AuthorityDirectory *authorities;
    const PatientMover *mover;       /* NULL: no registry here */
    struct Subscribers *subscribers; /* NULL: nobody is told */
    Str authority_oid;               /* of the affinity domain */
    Str authority_namespace;         /* empty: none */
    int32_t authority_id;            /* row of assigning_authority */
};
