-- Purpose: of events whose entries were posted before a crash: whether each bill had entries by the same rule before, or none at all. The
--          status of before is gone by then.
-- Inputs: $1 book, $2 source, $3 reference type; $4 reference ids and $5 seqs, pairwise. Touches: the journal, read only.
SELECT k.seq, coalesce(b.rule_hash = e.rule_hash, false) AS is_same_rule, b.rule_hash IS NULL AS is_first
FROM unnest($4::text[], $5::bigint[]) AS k (reference_id, seq)
CROSS JOIN LATERAL (
    SELECT rule_hash, min(revision) OVER () AS first_revision FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = k.reference_id AND event_seq = k.seq
    ORDER BY revision DESC
    LIMIT 1) AS e
LEFT JOIN LATERAL (
    SELECT rule_hash FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = k.reference_id AND revision < e.first_revision AND kind <> 'reversal'
    ORDER BY revision DESC
    LIMIT 1) AS b ON true
