#pragma once

/**
 * SQL of whether a patient takes part, false where nothing says so: the last decision that has
 * begun about any of these rows of patient_identifier (an XAD-PID and all that were merged into it)
 * counts. A participation ends with its validity; a withdrawal does not.
 */
#define ENROLMENT_IS_ENROLLED(patients)                                                            \
    "coalesce((SELECT d.is_enrolled AND (d.valid_to IS NULL OR d.valid_to > now())"                \
    " FROM enrolment d WHERE d.patient = ANY (" patients ")"                                       \
    " AND (d.valid_from IS NULL OR d.valid_from <= now()) ORDER BY d.id DESC LIMIT 1), false)"
