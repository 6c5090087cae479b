-- Purpose: second of two: lock the bills in key order, and read their state as it is after the wait.
-- Inputs: $1 book, $2 source, $3 reference type, $4 ids. Touches: row locks in ledger.sync_master_status. The number of
-- rows must be the number of ids; the caller looks.
SELECT reference_id, state, synchronisation, revision, live_entry_ids, last_entry_id, last_event_seq, parked_spell,
       parked_at, reason, advice
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = ANY ($4)
ORDER BY reference_id COLLATE "C"
FOR UPDATE
