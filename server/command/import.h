#pragma once

#include "server/options.h"

/** musubi submission import: the metadata of another registry, by the rules of ITI-42. */
int command_submission_import(const Options *options);
