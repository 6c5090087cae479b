-- Purpose: the attached tables that a person means, by reference type or name, the likeliest first. Inputs: $1 either, or * for all.
-- Touches: sync_source, read only.
SELECT s.reference_type, format('%I.%I', n.nspname, c.relname), s.suspended_at IS NOT NULL
FROM daybook.sync_source AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.reference_type = upper($1) OR s.relation_name = $1 OR s.relation::text = $1 OR s.relation = to_regclass($1) OR $1 = '*'
ORDER BY (s.reference_type = upper($1)) DESC, s.reference_type
