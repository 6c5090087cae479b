-- Purpose: a bill whose row cannot be posted, and of which an operator has said that it need not be: it keeps no period from being
-- closed. And the bills with a warning can be found, so that its alert ends when there is none any more.
-- NOT VALID: the old rows kept a narrower rule.
ALTER TABLE ledger.sync_master_status DROP CONSTRAINT sync_master_status_state_check;
ALTER TABLE ledger.sync_master_status ADD CONSTRAINT sync_master_status_state_check
    CHECK (state IN ('current', 'parked', 'resolved', 'retained')) NOT VALID;
CREATE INDEX sync_master_status_warning_idx ON ledger.sync_master_status (book, source, reference_type, reference_id)
    WHERE warning IS NOT NULL;
