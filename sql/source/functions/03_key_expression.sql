-- Purpose: the SQL expression that gives a row's canonical key text: the column's text for a single key, a JSON array of
--          the texts for a composite one. The capture function and the consumer both use it, so they cannot differ.
-- Inputs: how the row is called in the expression (NEW, OLD, a table alias), its key columns. Touches: no table.
CREATE OR REPLACE FUNCTION daybook.key_expression(row_name text, key_columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE cardinality(key_columns)
               WHEN 1 THEN format('daybook.key_text(%s.%I)', row_name, key_columns[1])
               ELSE 'pg_catalog.jsonb_build_array('
                    || (SELECT string_agg(format('daybook.key_text(%s.%I)', row_name, c), ', ' ORDER BY position)
                        FROM unnest(key_columns) WITH ORDINALITY AS k (c, position))
                    || ')::pg_catalog.text'
           END
$$;
