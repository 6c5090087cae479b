-- Purpose: the state of a bill in the ledger. Its reason and advice outlive the parking, for a crash; they are shown while it
--          is parked.
-- Inputs: $1 book, $2 source, $3 reference type, $4 reference id. Touches: sync_master_status, read only, by key.
SELECT state, live_entry_ids, last_event_seq,
       CASE state WHEN 'parked' THEN reason END AS reason, CASE state WHEN 'parked' THEN advice END AS advice
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = $4
