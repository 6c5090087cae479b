-- Purpose: an event of a bill from before its table's go-live date ends as out of scope, and says so. An event that had a whole
-- table enqueued says how many keys it saw and enqueued.
-- NOT VALID: the old rows kept a narrower rule, and reading them all would hold the queue's lock, and with it the application, so long.
ALTER TABLE daybook.sync_audit_log DROP CONSTRAINT sync_audit_log_outcome_check;
ALTER TABLE daybook.sync_audit_log ADD CONSTRAINT sync_audit_log_outcome_check
    CHECK (outcome IN ('posted', 'no_effect', 'covered', 'parked', 'retained', 'out_of_scope')) NOT VALID;
ALTER TABLE daybook.sync_audit_log ADD COLUMN keys_seen bigint, ADD COLUMN keys_enqueued bigint;
