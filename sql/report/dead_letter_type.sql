-- Purpose: the reference type that a person means, of an attached table or of one that was attached once and has dead letters.
-- Inputs: $1 reference type or table. Touches: sync_source, sync_dead_letter, read only.
SELECT s.reference_type
FROM daybook.sync_source AS s
WHERE s.reference_type = upper($1) OR s.relation_name = $1 OR s.relation::text = $1 OR s.relation = to_regclass($1)
UNION ALL
(SELECT d.reference_type FROM daybook.sync_dead_letter AS d WHERE d.reference_type = upper($1) LIMIT 1)
LIMIT 1
