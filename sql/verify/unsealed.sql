-- Purpose: how many entries a range has, and which of them are in no block. Inputs: $1 book, $2 after which id, $3 up to which.
-- Touches: the journal and its blocks, read only.
WITH sealed AS MATERIALIZED (
    SELECT i.id
    FROM ledger.blocks AS b CROSS JOIN LATERAL unnest(b.entry_ids) AS i (id)
    WHERE b.book = $1 AND b.highest_entry_id > $2 AND b.lowest_entry_id <= $3
)
SELECT e.id, e.source, e.reference_type, e.reference_id, s.id IS NOT NULL AS is_sealed
FROM ledger.journal_entries AS e
LEFT JOIN (SELECT DISTINCT id FROM sealed) AS s ON s.id = e.id
WHERE e.book = $1 AND e.id > $2 AND e.id <= $3
