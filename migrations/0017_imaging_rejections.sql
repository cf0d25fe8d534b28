-- What rejection notes name and was not here yet (IOCM; RAD TF-2 4.66): it is not given out when it comes. Locks: none, a new table.

CREATE TABLE imaging_rejection (
    facility     integer NOT NULL,
    sop_instance text COLLATE "C" NOT NULL,
    study_uid    text COLLATE "C" NOT NULL,
    rejected     text NOT NULL,
    rejected_by  text NOT NULL,
    PRIMARY KEY (sop_instance, facility, study_uid)
);
COMMENT ON COLUMN imaging_rejection.study_uid IS 'empty: the note names the instance without its study';
COMMENT ON COLUMN imaging_rejection.rejected IS 'code of the note, and its SOP Instance UID in rejected_by, as in imaging_instance';
