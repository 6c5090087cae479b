-- Purpose: tests: a schema of the application's in which everything is called as in pg_catalog, and trips a wire when anybody but
--          the application runs it: functions, operators, types and tables. What trips first is kept, whatever is rolled back.
-- Inputs: none; whoever runs it lets the application own it. Touches: the schema app, which it creates.
CREATE SCHEMA app;
CREATE TABLE app.wires (id bigint GENERATED ALWAYS AS IDENTITY, wire text);
CREATE SEQUENCE app.tripped;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT SELECT, USAGE, UPDATE ON SEQUENCE app.tripped TO PUBLIC;

CREATE FUNCTION app.trip(wire bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF session_user <> 'desk' OR current_user <> 'desk' THEN
        IF NOT (SELECT is_called FROM app.tripped) THEN
            PERFORM pg_catalog.setval('app.tripped', wire);
        END IF;
    END IF;
    RETURN NULL;
END
$$ SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION app.lay(wire text) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
    'INSERT INTO app.wires (wire) VALUES ($1) RETURNING id';

DO $wires$
DECLARE
    f record;
    arguments text;
    body text;
BEGIN
    FOR f IN
        SELECT p.*, format_type(p.prorettype, NULL) AS gives
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.proargmodes IS NULL
          AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'cstring'::regtype)
          AND p.proname IN (SELECT DISTINCT m[1] FROM regexp_matches(current_setting('wires.sql'), '([a-z_0-9]+)\(', 'g') AS m)
    LOOP
        arguments := (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, f.pronargs) AS n);
        body := format('BEGIN PERFORM app.trip(%s); %s pg_catalog.%I(%s); %s END', app.lay(f.oid::regprocedure::text),
                       CASE WHEN f.prorettype = 'void'::regtype THEN 'PERFORM' WHEN f.proretset THEN 'RETURN QUERY SELECT * FROM'
                            ELSE 'RETURN' END, f.proname, arguments, CASE WHEN f.proretset THEN 'RETURN;' ELSE '' END);
        BEGIN
            EXECUTE format('CREATE FUNCTION app.%I(%s) RETURNS %s %s LANGUAGE plpgsql %s AS %L', f.proname,
                           oidvectortypes(f.proargtypes), CASE WHEN f.proretset THEN 'SETOF' ELSE '' END, f.gives,
                           CASE f.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE '' END, body);
        EXCEPTION WHEN OTHERS THEN
            NULL; -- a pseudo-type that PL/pgSQL takes no argument of
        END;
    END LOOP;

    FOR f IN
        SELECT o.*, format_type(o.oprleft, NULL) AS l, format_type(o.oprright, NULL) AS r, format_type(o.oprresult, NULL) AS gives
        FROM pg_catalog.pg_operator AS o
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
          AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '||', '~', '!~', '+', '-', '*', '->>', '#>>', '~~')
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION app.%I(%s, %s) RETURNS %s LANGUAGE plpgsql IMMUTABLE AS %L', 'operator_' || f.oid, f.l, f.r,
                           f.gives, format('BEGIN PERFORM app.trip(%s); RETURN $1 OPERATOR(pg_catalog.%s) $2; END',
                                           app.lay(f.oid::regoperator::text), f.oprname));
            EXECUTE format('CREATE OPERATOR app.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = app.%I)', f.oprname, f.l, f.r,
                           'operator_' || f.oid);
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;

    -- What fits better than anything in pg_catalog wins even behind it.
    FOR f IN
        SELECT o.name, l.t AS l, r.t AS r
        FROM unnest(ARRAY['=', '<>', '||']) AS o (name),
             unnest(ARRAY['oid', 'regclass', 'regtype', 'regrole', 'name', 'text', 'varchar', '"char"', 'int2', 'int4', 'int8', 'bool']) AS l (t),
             unnest(ARRAY['oid', 'regclass', 'regtype', 'regrole', 'name', 'text', 'varchar', '"char"', 'int2', 'int4', 'int8', 'bool']) AS r (t)
        WHERE to_regoperator(format('app.%s(%s, %s)', o.name, l.t, r.t)) IS NULL
    LOOP
        arguments := format('better_%s', app.lay(format('%s %s %s', f.l, f.name, f.r)));
        EXECUTE format('CREATE FUNCTION app.%I(%s, %s) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS %L', arguments, f.l, f.r,
                       format('BEGIN PERFORM app.trip(%s); RETURN $1::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text; END',
                              substr(arguments, 8)));
        EXECUTE format('CREATE OPERATOR app.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = app.%I)', f.name, f.l, f.r, arguments);
    END LOOP;
    FOR f IN SELECT a.t FROM unnest(ARRAY['text, text', 'text, name', 'text, text, text', 'text, oid', 'text, regclass', 'text, text, text, text',
                                          'text, regprocedure', 'text, name, name', 'text, unknown', 'text, bigint', 'text, text, bigint']) AS a (t)
             WHERE a.t <> 'text, unknown' LOOP
        EXECUTE format('CREATE FUNCTION app.format(%s) RETURNS text LANGUAGE plpgsql IMMUTABLE AS %L', f.t,
                       format('BEGIN PERFORM app.trip(%s); RETURN $1; END', app.lay('format(' || f.t || ')')));
    END LOOP;

    -- Tables and types, too.
    FOR f IN SELECT c.relname FROM pg_catalog.pg_class AS c
             WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')
               AND c.relname IN ('pg_class', 'pg_namespace', 'pg_attribute', 'pg_trigger', 'pg_proc', 'pg_roles', 'pg_index', 'pg_type',
                                 'pg_settings', 'pg_timezone_names', 'pg_inherits', 'pg_stat_activity', 'pg_locks', 'pg_database', 'pg_cast') LOOP
        EXECUTE format('CREATE VIEW app.%I AS SELECT %s FROM pg_catalog.%I WHERE app.trip(%s) IS NULL', f.relname,
                       (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_catalog.pg_attribute AS a
                        WHERE a.attrelid = format('pg_catalog.%I', f.relname)::regclass AND a.attnum > 0 AND a.atttypid <> 'anyarray'::regtype),
                       f.relname, app.lay(f.relname));
    END LOOP;
    FOR f IN SELECT t.name FROM unnest(ARRAY['text', 'name', 'date', 'jsonb', 'timestamptz', 'regclass', 'regrole', 'oid', 'uuid', 'xid8']) AS t (name) LOOP
        EXECUTE format('CREATE DOMAIN app.%I AS pg_catalog.%I CHECK (app.trip(%s) IS NULL)', f.name, f.name, app.lay('type ' || f.name));
    END LOOP;
END
$wires$;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO PUBLIC;
