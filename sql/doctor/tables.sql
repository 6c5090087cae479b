-- Purpose: each attached table as it is at present, beside what was attached.
-- Touches: sync_source, sync_queue and the catalog, read only. What its rule makes of its columns is asked elsewhere.
WITH attached AS (
    SELECT s.*, c.oid IS NOT NULL AS is_there, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relowner, n.oid AS schema,
           format('%I.%I', n.nspname, c.relname) AS name, p.oid AS function
    FROM daybook.sync_source AS s
    LEFT JOIN pg_class AS c ON c.oid = s.relation
    LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_proc AS p ON p.pronamespace = 'daybook'::regnamespace AND p.proname = 'capture_' || lower(s.reference_type)
                          AND p.pronargs = 0
)
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'reference_type', s.reference_type,
    'relation_name', s.relation_name,
    'is_there', s.is_there,
    'name', CASE WHEN s.is_there THEN s.name ELSE s.relation_name END,
    'namesake', CASE WHEN NOT s.is_there THEN (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c
                                               JOIN pg_namespace AS n ON n.oid = c.relnamespace
                                               WHERE c.oid = to_regclass(s.relation_name) AND c.relkind IN ('r', 'p')) END,
    'is_suspended', s.suspended_at IS NOT NULL,
    'key_columns', s.key_columns,
    'filter_columns', s.filter_columns,
    'keys', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                 'column', k.c, 'attached_type', format_type(k.t, NULL), 'type', format_type(a.atttypid, NULL),
                 'is_same_type', a.atttypid = k.t, 'is_not_null', a.attnotnull,
                 'can_be_key', CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
                               = ANY (ARRAY['int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar', 'uuid', 'date',
                                            'timestamptz']::regtype[])
                               AND coalesce((SELECT l.collisdeterministic FROM pg_collation AS l WHERE l.oid = a.attcollation), true))
                 ORDER BY k.position), '[]')
             FROM unnest(s.key_columns, s.key_types) WITH ORDINALITY AS k (c, t, position)
             JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = k.c AND NOT a.attisdropped
             JOIN pg_type AS t ON t.oid = a.atttypid),
    'has_unique_index', EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = s.relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT EXISTS (SELECT FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, position)
                          JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                          WHERE k.position <= i.indnkeyatts AND a.attname <> ALL (s.key_columns))),
    'columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
                WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped),
    -- A privilege stays with a column that is renamed: this is how a new name is recognised.
    'granted_columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
                        WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped
                          AND EXISTS (SELECT FROM aclexplode(a.attacl) AS g
                                      WHERE g.grantee = to_regrole('daybook_consumer') AND g.privilege_type = 'SELECT')),
    'unreadable_columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
                           WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped
                             AND a.attname = ANY (s.key_columns || s.filter_columns)
                             AND NOT has_column_privilege('daybook_consumer', a.attrelid, a.attnum, 'SELECT')),
    'unreadable_schema', (SELECT quote_ident(n.nspname) FROM pg_namespace AS n
                          WHERE n.oid = s.schema AND NOT has_schema_privilege('daybook_consumer', n.oid, 'USAGE')),
    -- With row_security = off a policy is an error even where it lets every row pass; an owner is exempt unless it is forced.
    'row_security_refuses', coalesce(s.relrowsecurity
        AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles AS r WHERE r.rolname = 'daybook_consumer')
        AND (s.relforcerowsecurity OR NOT pg_has_role('daybook_consumer', s.relowner, 'USAGE')), false),
    'has_row_security', coalesce(s.relrowsecurity, false),
    -- One that is captured from the WAL alone has no triggers; whether it is published is asked with the stream.
    'capture_is_whole', s.is_there AND (s.capture_mode = 'wal' OR daybook.capture_is_whole(s.relation, 'daybook_capture')),
    'truncate_is_whole', s.is_there AND (s.capture_mode = 'wal' OR daybook.capture_is_whole(s.relation, 'daybook_capture_truncate')),
    'wrong_triggers', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', format('%I.%I', n.nspname, c.relname), 'name', t.tgname,
                                                                    'is_clone', t.tgparentid <> 0)), '[]')
                       FROM daybook.relation_parts(s.relation) AS part
                       JOIN pg_class AS c ON c.oid = part JOIN pg_namespace AS n ON n.oid = c.relnamespace
                       JOIN pg_trigger AS t ON t.tgrelid = part AND t.tgname IN ('daybook_capture', 'daybook_capture_truncate')
                       WHERE (t.tgfoid = s.function AND t.tgqual IS NULL AND cardinality(t.tgattr::smallint[]) = 0 AND t.tgnargs = 0
                              AND t.tgconstraint = 0
                              AND t.tgtype = CASE t.tgname WHEN 'daybook_capture' THEN 29 ELSE 32 END) IS NOT TRUE),
    -- One that is captured from the WAL alone needs none.
    'has_function', s.capture_mode = 'wal' OR s.function IS NOT NULL,
    'function_is_ours', CASE WHEN s.capture_mode = 'wal' THEN true WHEN s.is_there AND s.function IS NOT NULL THEN (
        SELECT p.prosrc = daybook.capture_function_body(s.relation) AND p.prosecdef AND l.lanname = 'plpgsql'
               AND p.proconfig = ARRAY['search_path=pg_catalog, pg_temp'] AND pg_get_userbyid(p.proowner) = 'daybook_owner'
               AND has_function_privilege('public', p.oid, 'EXECUTE')
        FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang WHERE p.oid = s.function) END,
    'partitions_changed', s.is_there AND s.relkind = 'p' AND s.partitions IS DISTINCT FROM
        daybook.partition_triggers(s.relation),
    'inheriting_tables', (SELECT coalesce(jsonb_agg(format('%I.%I', n.nspname, c.relname)), '[]')
                          FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
                          WHERE i.inhparent = s.relation AND s.relkind = 'r'),
    'was_enqueued', s.reconciled_at IS NOT NULL,
    'is_being_enqueued', EXISTS (SELECT FROM daybook.sync_queue AS q
                                 WHERE q.reference_type = s.reference_type AND q.operation = 'reconcile'),
    -- As far as statistics tell: asking for the size would wait for whoever has the table locked.
    'has_rows', s.is_there AND EXISTS (SELECT FROM daybook.relation_parts(s.relation) AS part JOIN pg_class AS c ON c.oid = part
                                       WHERE c.reltuples > 0 OR pg_stat_get_live_tuples(part) > 0))
    ORDER BY s.reference_type), '[]')
FROM attached AS s
