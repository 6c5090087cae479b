-- Purpose: the types that a table's columns have now, and its policies, for comparison with those it was prepared for. Asked
--          while the table is locked against DDL. Inputs: $1 the table's OID. Touches: sync_source and the catalog, read only.
SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}') AS columns,
       coalesce(array_agg(atttypid ORDER BY attnum), '{}') AS column_types,
       (SELECT ARRAY[s.go_live::text, s.on_delete, s.attached_at::text] FROM daybook.sync_source AS s WHERE s.relation = $1) AS policies
FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
