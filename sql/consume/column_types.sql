-- Purpose: the types that a table's columns have now, for comparison with those it was prepared for. Asked while the table is
--          locked against DDL. Inputs: $1 the table's OID. Touches: the catalog, read only.
SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}') AS columns,
       coalesce(array_agg(atttypid ORDER BY attnum), '{}') AS column_types
FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
