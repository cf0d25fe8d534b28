#pragma once

#include "repository/imaging/imaging_state.h"
#include "repository/repository_private.h"

/** Manifests that sources provide (RAD-68, an ITI-41 on the wire): held against what is stored, and
 * remembered, so that this server makes none of the study. */
ManifestCheck manifest_source_check(Imaging *imaging);
