-- Purpose: what bills were last judged from, and amount to: for comparison with their rows. Inputs: $1 book, $2 source, $3 reference type,
--          $4 ids. Touches: ledger.sync_master_status, read only, one probe of the primary key a bill.
SELECT k.position, s.state = 'current', s.row_digest, s.fingerprint
FROM unnest($4::text[]) WITH ORDINALITY AS k (id, position)
CROSS JOIN LATERAL (
    SELECT state, row_digest, fingerprint
    FROM ledger.sync_master_status
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = k.id LIMIT 1) AS s
