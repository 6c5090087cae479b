-- Purpose: second of two: lock the bills in key order, and read their state as it is after the wait.
-- Inputs: $1 book, $2 source, $3 reference type, $4 ids, sorted. Touches: row locks in ledger.sync_master_status. The number
-- of rows must be the number of ids; the caller looks.
-- The LATERAL query is one probe of the primary key per bill, whatever the statistics say.
SELECT s.*
FROM (SELECT id FROM unnest($4::text[]) WITH ORDINALITY AS k (id, position) ORDER BY position) AS k
CROSS JOIN LATERAL (
    SELECT reference_id, state, synchronisation, revision, live_entry_ids, last_entry_id, last_event_seq, parked_spell,
           parked_at, reason, advice, retained_because, warning, row_digest, rule_digest, fingerprint
    FROM ledger.sync_master_status
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = k.id
    FOR UPDATE) AS s
