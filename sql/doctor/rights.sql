-- Purpose: who owns a schema of ours and what is in it, and who may write there. Inputs: $1 schema.
-- Touches: the catalog, read only.
WITH ours AS (
    SELECT c.oid, c.relkind, c.relowner, c.relacl, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'S', 'm', 'f')
      -- A column's own sequence goes with its table.
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
), routines AS (
    SELECT p.oid, p.proowner, p.proacl, p.proname, p.prorettype,
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.prokind = 'f'
), granted AS (
    SELECT o.name, o.relkind, NULL::text AS of_column, a.grantee, a.privilege_type, o.relowner AS owner
    FROM ours AS o CROSS JOIN LATERAL aclexplode(o.relacl) AS a
    UNION ALL
    SELECT o.name, o.relkind, quote_ident(t.attname), a.grantee, a.privilege_type, o.relowner
    FROM ours AS o
    JOIN pg_attribute AS t ON t.attrelid = o.oid AND NOT t.attisdropped
    CROSS JOIN LATERAL aclexplode(t.attacl) AS a
)
SELECT jsonb_build_object(
    'owner', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = $1),
    'schema_grants', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'grantee', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END,
                          'is_public', a.grantee = 0, 'privilege', a.privilege_type)), '[]')
                      FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
                      WHERE n.nspname = $1 AND a.grantee <> n.nspowner),
    'strangers_objects', (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'name', name, 'owner', pg_get_userbyid(owner))
                                                    ORDER BY name), '[]')
                          FROM (SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                                    WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, name, relowner FROM ours
                                UNION ALL SELECT 'FUNCTION', name, proowner FROM routines) AS o (kind, name, owner)
                          WHERE pg_get_userbyid(owner) <> 'daybook_owner'),
    'grants', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'name', name, 'is_sequence', relkind = 'S', 'column', of_column, 'is_public', grantee = 0,
                   'grantee', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, 'privilege', privilege_type)
                   ORDER BY name, privilege_type), '[]')
               FROM granted WHERE grantee <> owner),
    'function_grants', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                            'name', r.name, 'is_public', a.grantee = 0,
                            'grantee', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END)), '[]')
                        FROM routines AS r CROSS JOIN LATERAL aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) AS a
                        WHERE a.grantee <> r.proowner
                          AND NOT (r.prorettype = 'trigger'::regtype AND starts_with(r.proname, 'capture_'))))
