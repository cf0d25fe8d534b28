#pragma once

#include "lib/base/str.h"
#include "lib/dicom/dcmtk/association.h"

/** Presentation contexts that peers propose: which we take, and for what. */

typedef enum ContextService {
    SERVICE_NONE, /* ours is no such service */
    SERVICE_STORE,
    SERVICE_ECHO,
    SERVICE_COMMIT,
    SERVICE_FIND,
    SERVICE_MOVE,
    SERVICE_GET,
} ContextService;

/**
 * Storage is what is known as such, and what is nobody's known service: classes of vendors.
 * @param ret_model  P, S or empty
 */
ContextService context_service(Str sop_class, const char **ret_model);

/** Accepts or refuses each context that was proposed: instances in the first transfer syntax, for
 * all are kept; commands' data sets in one that is read and written here. */
void contexts_negotiate(DicomAssociation *association);
