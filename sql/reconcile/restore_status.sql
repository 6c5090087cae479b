-- Purpose: take the status of bills from the journal again, under their locks: live entries, number and last of them. Their digests are
--          forgotten, so that they are judged anew. Inputs: $1 book, $2 source, $3 reference type, $4 ids.
-- Touches: sync_master_status; reads journal_entries.
UPDATE ledger.sync_master_status AS s
SET live_entry_ids = e.live, revision = e.revision, last_entry_id = e.last_entry_id, last_event_seq = e.last_event_seq,
    row_digest = NULL, rule_digest = NULL, fingerprint = NULL
FROM unnest($4::text[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(j.id ORDER BY j.id) FILTER (
               WHERE j.kind <> 'reversal' AND NOT EXISTS (SELECT FROM ledger.journal_entries AS r WHERE r.reverses_id = j.id)), '{}') AS live,
           coalesce(max(j.revision), 0) AS revision, max(j.id) AS last_entry_id, max(j.event_seq) AS last_event_seq
    FROM ledger.journal_entries AS j
    WHERE j.book = $1 AND j.source = $2 AND j.reference_type = $3 AND j.reference_id = k.id) AS e
WHERE s.book = $1 AND s.source = $2 AND s.reference_type = $3 AND s.reference_id = k.id
