-- Purpose: the canonical text of a key column's value: the same for the same key, whatever the session's settings are.
-- One overload per permitted type. A type without one (float, money, timestamp without zone) finds no function: the
-- capture function then enqueues an event without key instead of guessing. Inlined by the planner, so they cost nothing.
-- Inputs: the value. Touches: no table.
CREATE OR REPLACE FUNCTION daybook.key_text(smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.key_text(integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.key_text(bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.key_text(numeric) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT pg_catalog.trim_scale($1)::pg_catalog.text';
CREATE OR REPLACE FUNCTION daybook.key_text(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1';
CREATE OR REPLACE FUNCTION daybook.key_text(uuid) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT $1::pg_catalog.text';
-- JSON writes dates in ISO form under any DateStyle, infinities and years before Christ included.
CREATE OR REPLACE FUNCTION daybook.key_text(date) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT pg_catalog.to_jsonb($1) OPERATOR(pg_catalog.#>>) '{}'$$;
CREATE OR REPLACE FUNCTION daybook.key_text(timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT (pg_catalog.to_jsonb(pg_catalog.timezone('UTC', $1)) OPERATOR(pg_catalog.#>>) '{}')
                OPERATOR(pg_catalog.||) 'Z'$$;
