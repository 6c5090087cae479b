-- Purpose: what stands on the tables of a schema of ours and decides what becomes of a write: triggers, rules, row security,
--          inheritance. Inputs: $1 schema. Touches: the catalog, read only.
WITH ours AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relname, c.relrowsecurity
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
)
SELECT jsonb_build_object(
    'triggers', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                     'table', o.name, 'name', t.tgname, 'enabled', t.tgenabled::text, 'kind', t.tgtype, 'new_table', t.tgnewtable,
                     'function', format('%I.%I', n.nspname, p.proname),
                     'is_plain', t.tgqual IS NULL AND t.tgnargs = 0 AND cardinality(t.tgattr::smallint[]) = 0 AND NOT t.tgdeferrable
                                 AND t.tgoldtable IS NULL) ORDER BY o.name, t.tgname), '[]')
                 FROM ours AS o
                 JOIN pg_trigger AS t ON t.tgrelid = o.oid AND NOT t.tgisinternal
                 JOIN pg_proc AS p ON p.oid = t.tgfoid
                 JOIN pg_namespace AS n ON n.oid = p.pronamespace),
    'rules', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', o.name, 'name', r.rulename)), '[]')
              FROM ours AS o JOIN pg_rewrite AS r ON r.ev_class = o.oid),
    'row_security', (SELECT coalesce(jsonb_agg(o.name), '[]') FROM ours AS o WHERE o.relrowsecurity),
    -- A child or a partition is written past the statement triggers of its parent.
    'inheritance', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                        'child', format('%I.%I', cn.nspname, c.relname), 'parent', format('%I.%I', pn.nspname, p.relname),
                        'is_partition', c.relispartition)), '[]')
                    FROM pg_inherits AS i
                    JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
                    JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
                    WHERE (i.inhrelid IN (SELECT oid FROM ours WHERE relname !~ '^sync_(audit_log|health_figures)_')
                           OR i.inhparent IN (SELECT oid FROM ours WHERE relname NOT IN ('sync_audit_log', 'sync_health_figures')))
                      AND c.relkind IN ('r', 'p', 'f')))
