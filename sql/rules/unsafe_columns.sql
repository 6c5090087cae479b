-- Purpose: of these columns of a table, those whose type is the application's own: reading one as text could run the application's
--          code with the reader's rights. Inputs: $1 the table, $2 columns. Touches: the catalog, read only.
SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = $1::text::regclass AND a.attname = ANY ($2) AND NOT a.attisdropped
  AND NOT (t.typtype = 'b'
           OR t.typtype = 'e' AND NOT EXISTS (SELECT FROM pg_cast AS k WHERE k.castsource = t.oid)
           OR t.typtype = 'd' AND (SELECT b.typtype FROM pg_type AS b WHERE b.oid = t.typbasetype) = 'b')
