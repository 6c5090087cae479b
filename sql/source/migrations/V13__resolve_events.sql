-- Purpose: an operator's word that a parked bill needs nothing more is an event, too: it reaches the ledger under the bill's lock.
-- NOT VALID: the old rows kept a narrower rule, and reading them all would hold the queue's lock, and with it the application, so long.
ALTER TABLE daybook.sync_queue DROP CONSTRAINT sync_queue_operation_check;
ALTER TABLE daybook.sync_queue ADD CONSTRAINT sync_queue_operation_check
    CHECK (operation IN ('insert', 'update', 'delete', 'truncate', 'synchronise', 'release', 'reconcile', 'resolve')) NOT VALID;
