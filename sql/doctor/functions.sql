-- Purpose: the functions of a schema as the catalog has them. Inputs: $1 schema. Touches: the catalog, read only.
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', p.proname,
    'arguments', oidvectortypes(p.proargtypes),
    'signature', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    'body', p.prosrc,
    'language', l.lanname,
    'security_definer', p.prosecdef,
    'volatility', p.provolatile,
    'settings', coalesce(p.proconfig, '{}'))
    ORDER BY p.oid), '[]')
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_language AS l ON l.oid = p.prolang
WHERE n.nspname = $1 AND NOT (p.prorettype = 'trigger'::regtype AND starts_with(p.proname, 'capture_'))
