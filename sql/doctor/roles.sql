-- Purpose: daybook's roles in this cluster, and whether the login role may act as the consumer. Touches: the catalog, read only.
SELECT jsonb_build_object(
    'user', current_user,
    'roles', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                  'name', r.rolname, 'can_login', r.rolcanlogin, 'is_superuser', r.rolsuper, 'bypasses_row_security', r.rolbypassrls,
                  'makes_roles', r.rolcreaterole, 'replicates', r.rolreplication) ORDER BY r.rolname), '[]')
              FROM pg_roles AS r
              WHERE r.rolname IN ('daybook_owner', 'daybook_consumer', 'daybook_reader', 'daybook_controller', 'daybook_cashier')),
    'may_consume', CASE WHEN to_regrole('daybook_consumer') IS NOT NULL
                        THEN pg_has_role(current_user, 'daybook_consumer',
                                         CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)
                   END,
    'owner_reads_stats', CASE WHEN to_regrole('daybook_owner') IS NOT NULL
                              THEN pg_has_role('daybook_owner', 'pg_read_all_stats', 'USAGE') END)
