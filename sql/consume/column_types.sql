-- Purpose: the types that a table's columns have now, and its policies, for comparison with those it was prepared for; and whether
--          the name still means that table, and planning a query of it runs nobody's code. Asked before the table is locked against
--          DDL, and again afterwards. Inputs: $1 the table's OID, $2 its name. Touches: sync_source and the catalog, read only.
SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}') AS columns,
       coalesce(array_agg(atttypid ORDER BY attnum), '{}') AS column_types,
       (SELECT ARRAY[s.go_live::text, s.on_delete, s.attached_at::text, s.capture_mode] FROM daybook.sync_source AS s WHERE s.relation = $1) AS policies,
       EXISTS (SELECT FROM pg_class AS c WHERE c.oid = $1 AND c.oid = to_regclass($2) AND c.relkind IN ('r', 'p'))
       AND daybook.code_in_plans($1::oid::regclass) = '{}' AS is_still_harmless
FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
