-- Purpose: what the consumer must know of an attached table: its definition, and the columns that it has at present, each
--          with its type and whether reading it as text runs nobody's code: a base type does not, nor an enum without casts.
-- Inputs: $1 reference type. Touches: sync_source and the catalog, read only.
SELECT s.source, s.reference_type, s.relation_name, s.key_columns, s.filter_columns, s.rules IS NULL AS is_first,
       r.oid IS NOT NULL AS relation_exists,
       CASE WHEN r.oid IS NULL THEN s.relation_name ELSE format('%I.%I', n.nspname, r.relname) END AS qualified_name,
       s.relation::oid AS relation, daybook.key_expression('bill', s.key_columns) AS key_expression,
       c.columns, c.column_types, c.unsafe_columns,
       CASE WHEN r.oid IS NULL THEN '{}' ELSE daybook.code_in_plans(s.relation) END AS code_in_plans, ARRAY[s.go_live::text, s.on_delete, s.attached_at::text, s.capture_mode] AS policies,
       -- The unique index by which the table can be read in key order, in chunks.
       (SELECT array_agg(a.attname::text ORDER BY k.position)
        FROM (SELECT i.indkey::smallint[] AS attnums, i.indnkeyatts FROM pg_index AS i
              WHERE i.indrelid = s.relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                AND NOT EXISTS (SELECT FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, position)
                                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                                WHERE k.position <= i.indnkeyatts AND a.attname <> ALL (s.key_columns))
              ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) AS u
        CROSS JOIN LATERAL unnest(u.attnums) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum = k.attnum
        WHERE k.position <= u.indnkeyatts) AS order_columns,
       (SELECT coalesce(array_agg(format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, -1)
                                  ORDER BY k.position), '{}')
        FROM unnest(s.key_columns) WITH ORDINALITY AS k (c, position)
        JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = k.c AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid) AS key_types
FROM daybook.sync_source AS s
LEFT JOIN pg_class AS r ON r.oid = s.relation AND r.relkind IN ('r', 'p') -- before PostgreSQL 16 a table can become a view
LEFT JOIN pg_namespace AS n ON n.oid = r.relnamespace
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') AS columns,
           coalesce(array_agg(a.atttypid ORDER BY a.attnum), '{}') AS column_types,
           coalesce(array_agg(a.attname::text) FILTER (
               WHERE NOT (t.typtype = 'b'
                          OR t.typtype = 'e' AND NOT EXISTS (SELECT FROM pg_cast AS k WHERE k.castsource = t.oid)
                          OR t.typtype = 'd' AND (SELECT b.typtype FROM pg_type AS b WHERE b.oid = t.typbasetype) = 'b')),
               '{}') AS unsafe_columns
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped) AS c
WHERE s.reference_type = $1
