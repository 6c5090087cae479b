-- Purpose: note what bills that were looked at and found equal were judged from, where no synchronisation came in between.
-- Inputs: $1 book, $2 source, $3 reference type; $4 ids, $5 synchronisations, $6 digests of rows, $7 of rules, $8 fingerprints.
-- Touches: ledger.sync_master_status.
UPDATE ledger.sync_master_status AS s
SET row_digest = n.row_digest, rule_digest = n.rule_digest, fingerprint = n.fingerprint
FROM (SELECT * FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
          AS n (reference_id, synchronisation, row_digest, rule_digest, fingerprint) ORDER BY reference_id COLLATE "C") AS n
WHERE s.book = $1 AND s.source = $2 AND s.reference_type = $3 AND s.reference_id = n.reference_id
  AND s.synchronisation = n.synchronisation AND s.state = 'current'
