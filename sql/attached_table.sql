-- Purpose: the attached table that a person means, by its reference type or its name. Inputs: $1 either.
-- Touches: sync_source, read only.
SELECT s.reference_type, s.relation::text
FROM daybook.sync_source AS s
WHERE s.reference_type = $1 OR s.relation_name = $1 OR s.relation::text = $1 OR s.relation = to_regclass($1)
ORDER BY (s.reference_type = $1) DESC
LIMIT 1
