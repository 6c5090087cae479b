-- Purpose: about how many rows a table has, for a progress bar. Inputs: $1 the table. Touches: the catalog, read only.
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
FROM daybook.relation_parts($1::text::regclass) AS part
JOIN pg_class AS c ON c.oid = part
