-- Purpose: how the consumer reads a bill's columns: as exact text, amounts and dates by overloads, so that a column whose
--          type the vendor changes is read by its new meaning or refused, never by a stale plan.
-- Inputs: the value; for local_date the book's time zone. Touches: no table.

-- A text that is too long to mean anything is cut short, so that a batch has a bound in memory; the dots keep what is left
-- of it from being taken for a value.
CREATE OR REPLACE FUNCTION daybook.bounded_text(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT CASE WHEN pg_catalog.length($1) OPERATOR(pg_catalog.>) 1000
                     THEN pg_catalog.left($1, 1000) OPERATOR(pg_catalog.||) '...' ELSE $1 END$$;

CREATE OR REPLACE FUNCTION daybook.amount_text(numeric) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
-- A float's shortest text is exact, and becomes plain notation (1e+06) by way of numeric, which knows no Infinity before 14.
CREATE OR REPLACE FUNCTION daybook.amount_text(double precision) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT CASE WHEN pg_catalog.abs($1) OPERATOR(pg_catalog.=) 'Infinity' THEN $1::pg_catalog.text
                     ELSE $1::pg_catalog.text::pg_catalog.numeric::pg_catalog.text END$$;
CREATE OR REPLACE FUNCTION daybook.amount_text(real) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT CASE WHEN pg_catalog.abs($1) OPERATOR(pg_catalog.=) 'Infinity' THEN $1::pg_catalog.text
                     ELSE $1::pg_catalog.text::pg_catalog.numeric::pg_catalog.text END$$;
CREATE OR REPLACE FUNCTION daybook.amount_text(smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.amount_text(integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.amount_text(bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.amount_text(money) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.numeric::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.amount_text(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT daybook.bounded_text($1)';

-- The day in the book's zone, in ISO form; a timestamp without zone counts as local. Infinite dates pass as
-- 'infinity' for the posting core to park.
CREATE OR REPLACE FUNCTION daybook.local_date(timestamptz, zone text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT pg_catalog.to_jsonb(pg_catalog.timezone($2, $1)::pg_catalog.date) OPERATOR(pg_catalog.#>>) '{}'$$;
CREATE OR REPLACE FUNCTION daybook.local_date(timestamp, zone text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT pg_catalog.to_jsonb($1::pg_catalog.date) OPERATOR(pg_catalog.#>>) '{}'$$;
CREATE OR REPLACE FUNCTION daybook.local_date(date, zone text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT pg_catalog.to_jsonb($1) OPERATOR(pg_catalog.#>>) '{}'$$;
