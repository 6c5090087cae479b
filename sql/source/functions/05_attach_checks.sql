-- Purpose: what daybook.attach needs to know before it changes anything; each refusal says what to do.
-- Touches: the catalog, read only; lock_relation takes the lock that it is named for.

-- The table itself and all partitions below it.
CREATE OR REPLACE FUNCTION daybook.relation_parts(attached regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT attached
    UNION
    SELECT relid FROM pg_partition_tree(attached)
$$;

CREATE OR REPLACE FUNCTION daybook.has_trigger(relation regclass, trigger_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND tgname = trigger_name)
$$;

-- A partitioned table and its partitions, each with a mark that is another one whenever it was attached anew: the OID of our row trigger on
-- it; where it has none, captured from the WAL alone, a digest of it and of the transaction that attached it.
CREATE OR REPLACE FUNCTION daybook.partition_marks(attached regclass) RETURNS TABLE (part regclass, mark oid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p, coalesce(t.oid, (hashtextextended(concat_ws(' ', p::oid, i.xmin), 0) & 4294967295)::oid)
    FROM daybook.relation_parts(attached) AS p
    LEFT JOIN pg_trigger AS t ON t.tgrelid = p AND t.tgname = 'daybook_capture'
    LEFT JOIN pg_inherits AS i ON i.inhrelid = p
$$;

CREATE OR REPLACE FUNCTION daybook.partition_triggers(attached regclass) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(mark ORDER BY mark), '{}') FROM daybook.partition_marks(attached)
$$;

-- Whether every change of a table is published.
CREATE OR REPLACE FUNCTION daybook.is_published(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
                   WHERE p.pubname = 'daybook' AND r.prrelid = relation
                     AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot)
$$;

-- Whether a table is captured in the way of its mode. By trigger: one of ours stands on the table and its partitions and fires always, for
-- every event: a namesake that calls something else, or looks at some rows or columns only, is none. From the WAL: it is published.
CREATE OR REPLACE FUNCTION daybook.capture_is_whole(attached regclass, trigger_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (s.capture_mode = 'trigger' OR daybook.is_published(attached))
       AND (s.capture_mode = 'wal' OR NOT EXISTS (
            SELECT
            FROM daybook.relation_parts(attached) AS part
            WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                              WHERE t.tgrelid = part AND t.tgname = trigger_name AND t.tgenabled = 'A'
                                AND t.tgfoid = to_regprocedure(format('daybook.%I()', 'capture_' || lower(s.reference_type)))
                                AND t.tgqual IS NULL AND cardinality(t.tgattr::smallint[]) = 0 AND t.tgconstraint = 0
                                AND t.tgtype = CASE trigger_name WHEN 'daybook_capture' THEN 29 ELSE 32 END)))
    FROM daybook.sync_source AS s
    WHERE s.relation = attached
$$;

-- Whether the consumer still may read the columns: a privilege goes with the column when the vendor drops and remakes it.
CREATE OR REPLACE FUNCTION daybook.consumer_can_read(attached regclass, columns text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT has_schema_privilege('daybook_consumer', (SELECT relnamespace FROM pg_class WHERE oid = attached), 'USAGE')
       AND NOT EXISTS (SELECT FROM unnest(columns) AS c
                       WHERE NOT has_column_privilege('daybook_consumer', attached, c, 'SELECT'))
$$;

-- Waits for the lock no longer than told, so that writers do not queue up behind us. The short lock_timeout stays for what follows
-- while the lock is held, until the caller puts back the one from before.
CREATE OR REPLACE FUNCTION daybook.lock_relation(relation regclass, lock_mode text, longest_wait interval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('lock_timeout', (extract(epoch FROM longest_wait) * 1000)::bigint::text, true);
    EXECUTE format('LOCK TABLE %s IN %s MODE', relation, lock_mode);
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'somebody is using %, and its lock was not free within %; nothing was changed', relation, longest_wait
        USING ERRCODE = 'lock_not_available',
              HINT = format('Try again at a quieter moment. Who holds it: SELECT pid, usename, state, xact_start, query '
                            || 'FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE relation = %L::regclass);',
                            relation::text);
END
$$;

CREATE OR REPLACE FUNCTION daybook.check_attachable(
    relation regclass, reference_type text, key_columns text[], filter_columns text[], capture_mode text
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $check$
#variable_conflict use_variable
DECLARE
    class pg_class;
    schema_name name;
    other regclass;
    column_name text;
    attribute pg_attribute;
    base_type oid;
BEGIN
    SELECT c.* INTO class FROM pg_class AS c WHERE c.oid = relation;
    schema_name := (SELECT nspname FROM pg_namespace WHERE oid = class.relnamespace);
    IF class.oid IS NULL THEN
        RAISE EXCEPTION 'there is no table to attach' USING HINT = 'Name an existing table.';
    ELSIF class.relkind IN ('v', 'm') THEN
        RAISE EXCEPTION '% is a view, and rows are written to tables', relation
            USING HINT = 'Attach the table beneath it.';
    ELSIF class.relkind NOT IN ('r', 'p') OR class.relpersistence = 't' THEN
        RAISE EXCEPTION '% is not an ordinary or partitioned table', relation
            USING HINT = 'Attach a permanent table of this database.';
    ELSIF schema_name IN ('daybook', 'ledger', 'pg_catalog', 'information_schema') THEN
        RAISE EXCEPTION '% is not a bill table', relation USING HINT = 'Attach a table of the application.';
    ELSIF class.relispartition THEN
        RAISE EXCEPTION '% is a partition', relation
            USING HINT = 'Attach the partitioned table that it belongs to.';
    ELSIF class.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation) THEN
        RAISE EXCEPTION '% has inheriting tables, and writes to those fire no trigger of it', relation
            USING HINT = 'Attach tables without children, or make it a partitioned table.';
    END IF;

    IF capture_mode IS NULL OR capture_mode NOT IN ('trigger', 'wal', 'both') THEN
        RAISE EXCEPTION 'capture_mode % is not known', quote_nullable(capture_mode)
            USING HINT = 'Use ''trigger''; or ''wal'' or ''both'', where wal_level is logical.';
    ELSIF reference_type IS NULL OR reference_type !~ '^[A-Z][A-Z0-9_]{0,39}$' THEN
        RAISE EXCEPTION 'reference_type % is not usable', quote_nullable(reference_type)
            USING HINT = 'Use up to 40 capital letters, digits and underscores, beginning with a letter: PHARMACY.';
    ELSIF reference_type = 'CASH_CLOSURE' THEN
        RAISE EXCEPTION 'reference_type CASH_CLOSURE is that of days of cash, and of no bill' USING HINT = 'Take another.';
    END IF;
    other := (SELECT s.relation FROM daybook.sync_source AS s WHERE s.reference_type = check_attachable.reference_type);
    IF other <> relation AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = other) THEN
        RAISE EXCEPTION 'reference_type % belongs to % already', reference_type, other
            USING HINT = 'Each table has its own: choose another one, or detach the other table first.';
    END IF;

    IF coalesce(cardinality(key_columns), 0) = 0 OR filter_columns IS NULL THEN
        RAISE EXCEPTION 'key_columns and filter_columns are needed for %', relation
            USING HINT = 'Name the columns of its primary key, and those that the posting rule maps.';
    END IF;
    FOREACH column_name IN ARRAY key_columns || filter_columns LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = column_name
                       AND a.attnum > 0 AND NOT a.attisdropped) THEN
            RAISE EXCEPTION '% has no column %', relation, quote_ident(coalesce(column_name, 'NULL'))
                USING HINT = format('Its columns are: %s.',
                    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped));
        END IF;
    END LOOP;

    FOREACH column_name IN ARRAY key_columns LOOP
        SELECT a.* INTO attribute FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = column_name;
        base_type := (SELECT CASE typtype WHEN 'd' THEN typbasetype ELSE oid END FROM pg_type
                      WHERE oid = attribute.atttypid);
        IF NOT base_type = ANY (ARRAY['int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar', 'uuid', 'date',
                                      'timestamptz']::regtype[]) THEN
            RAISE EXCEPTION 'key column %.% is of type %, whose values have no one text that names them', relation,
                quote_ident(column_name), format_type(attribute.atttypid, NULL)
                USING HINT = 'A key is an integer, numeric, text, uuid, date or timestamp with time zone. Use another '
                             || 'unique column, or add one: GENERATED ALWAYS AS IDENTITY UNIQUE.';
        ELSIF NOT coalesce((SELECT collisdeterministic FROM pg_collation WHERE oid = attribute.attcollation), true) THEN
            RAISE EXCEPTION 'key column %.% has a collation that takes different texts as equal', relation,
                quote_ident(column_name)
                USING HINT = 'Use a unique column with a deterministic collation.';
        ELSIF NOT attribute.attnotnull THEN
            RAISE EXCEPTION 'key column %.% may be null', relation, quote_ident(column_name)
                USING HINT = format('A key is unique and not null: ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;',
                                    relation, column_name);
        END IF;
    END LOOP;

    IF NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT EXISTS (
              SELECT FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, position)
              JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = k.attnum
              WHERE k.position <= i.indnkeyatts AND a.attname <> ALL (key_columns))
    ) THEN
        RAISE EXCEPTION 'no unique index of % covers the key (%)', relation, array_to_string(key_columns, ', ')
            USING HINT = format('Name the columns of its primary key, or add one: ALTER TABLE %s ADD UNIQUE (%s);', relation,
                                (SELECT string_agg(quote_ident(c), ', ') FROM unnest(key_columns) AS c));
    END IF;
END
$check$;
