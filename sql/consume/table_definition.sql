-- Purpose: what the consumer must know of an attached table: its definition, and the columns that it has at present.
-- Inputs: $1 reference type. Touches: sync_source and the catalog, read only.
SELECT s.source, s.relation_name, s.key_columns, s.filter_columns,
       c.oid IS NOT NULL AS relation_exists,
       CASE WHEN c.oid IS NULL THEN s.relation_name ELSE format('%I.%I', n.nspname, c.relname) END AS qualified_name,
       daybook.key_expression('bill', s.key_columns) AS key_expression,
       (SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_attribute AS a
        WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT coalesce(array_agg(format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, NULL)
                                  ORDER BY k.position), '{}')
        FROM unnest(s.key_columns) WITH ORDINALITY AS k (c, position)
        JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = k.c AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid) AS key_types
FROM daybook.sync_source AS s
LEFT JOIN pg_class AS c ON c.oid = s.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.reference_type = $1
