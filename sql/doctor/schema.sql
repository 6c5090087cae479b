-- Purpose: whether a schema of ours is there, and whether it is ours. Inputs: $1 its name. Touches: the catalog, read only.
SELECT jsonb_build_object(
    'exists', n.oid IS NOT NULL,
    'has_history', EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'schema_history'),
    'may_look', coalesce(has_schema_privilege(n.oid, 'USAGE'), true))
FROM (SELECT $1::text AS name) AS wanted
LEFT JOIN pg_namespace AS n ON n.nspname = wanted.name
