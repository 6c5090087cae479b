-- Purpose: which claimed events an entry of the journal names as its cause already, because a worker that had not claimed the
--          event posted on its account, or a crash came before the acknowledgement; the last such entry for each.
-- Inputs: $1 book, $2 source, $3 reference type; $4 reference ids and $5 seqs, pairwise. Touches: the journal, read only.
SELECT k.seq, e.id
FROM unnest($4::text[], $5::bigint[]) AS k (reference_id, seq)
CROSS JOIN LATERAL (
    SELECT id FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = k.reference_id AND event_seq = k.seq
    ORDER BY revision DESC
    LIMIT 1) AS e
