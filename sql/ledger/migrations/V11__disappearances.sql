-- Purpose: why a bill's entries are retained although its row is gone; what was odd about a bill that was posted all the
-- same; and the brake: how many bills of a table were reversed within the hour because their rows were gone.
ALTER TABLE ledger.sync_master_status
    ADD COLUMN retained_because text CHECK (retained_because IN ('truncate', 'keep', 'alert', 'brake')),
    ADD COLUMN warning text;
UPDATE ledger.sync_master_status SET retained_because = 'truncate' WHERE state = 'retained';
ALTER TABLE ledger.sync_master_status
    ADD CONSTRAINT retained_has_a_cause CHECK ((state = 'retained') = (retained_because IS NOT NULL));
-- Few bills are anything but current: parked ones keep a period from being closed, held ones wait for release.
CREATE INDEX sync_master_status_not_current_idx ON ledger.sync_master_status (book, source, reference_type, reference_id)
    WHERE state <> 'current';

CREATE TABLE ledger.reversal_brakes (
    book           text NOT NULL,
    source         text NOT NULL,
    reference_type text NOT NULL,
    hour_began_at  timestamptz NOT NULL,
    reversed       integer NOT NULL,
    PRIMARY KEY (book, source, reference_type)
);
