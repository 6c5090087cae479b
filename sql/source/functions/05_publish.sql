-- Purpose: what the stream of changes needs in this database: two publications, which daybook_owner owns, so that a table can be taken
--          out of them by itself before the application's writes fail; and a slot, which `daybook run` makes, or a DBA by the
--          statement of daybook.slot_statement().
-- Only tables of the modes 'wal' and 'both' are published, all columns of them: a column list would make the application's own DDL fail.

CREATE OR REPLACE FUNCTION daybook.slot_name() RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('daybook_' || oid)::name FROM pg_database WHERE datname = current_database()
$$;

-- Purpose: the statement that makes the slot, for psql. From PostgreSQL 17 on a standby keeps it, too.
CREATE OR REPLACE FUNCTION daybook.slot_statement() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('SELECT pg_create_logical_replication_slot(%L, ''pgoutput''%s)', daybook.slot_name(),
                  CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN ', false, false, true' ELSE '' END)
$$;

-- Purpose: what keeps the WAL from naming the key of a changed or deleted row, and the statement that mends it; null where nothing does.
--          To publish such a table would make the application's UPDATE fail.
CREATE OR REPLACE FUNCTION daybook.replica_identity_advice(attached regclass, key_columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('ALTER TABLE %s REPLICA IDENTITY %s;', part, coalesce(
               (SELECT format('USING INDEX %I', x.relname)
                FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                WHERE i.indrelid = part AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND key_columns <@ ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) AS k (attnum)
                                           JOIN pg_attribute AS a ON a.attrelid = part AND a.attnum = k.attnum)
                  AND NOT EXISTS (SELECT FROM unnest(i.indkey::smallint[]) AS k (attnum)
                                  JOIN pg_attribute AS a ON a.attrelid = part AND a.attnum = k.attnum WHERE NOT a.attnotnull)
                ORDER BY i.indnkeyatts, i.indexrelid LIMIT 1), 'FULL'))
    FROM daybook.relation_parts(attached) AS part
    JOIN pg_class AS c ON c.oid = part AND c.relkind = 'r'
    WHERE c.relreplident <> 'f'
      AND NOT EXISTS (
          SELECT FROM pg_index AS i
          WHERE i.indrelid = part AND i.indisvalid AND i.indimmediate
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
            AND key_columns <@ ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) AS k (attnum)
                                     JOIN pg_attribute AS a ON a.attrelid = part AND a.attnum = k.attnum))
    ORDER BY part LIMIT 1
$$;

-- Purpose: whether a table can be captured from the WAL; each refusal says what to do. Touches: the catalog, read only.
CREATE OR REPLACE FUNCTION daybook.check_publishable(relation regclass, key_columns text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    advice text := daybook.replica_identity_advice(relation, key_columns);
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION 'capture from the WAL needs PostgreSQL 14 or newer' USING HINT = 'Use capture_mode ''trigger''.';
    ELSIF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'wal_level is %, and capture from the WAL needs logical', current_setting('wal_level')
            USING HINT = 'ALTER SYSTEM SET wal_level = logical; and restart the server. Or use capture_mode ''trigger''.';
    ELSIF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
          AND NOT has_database_privilege('daybook_owner', current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'publishing % takes a superuser, or daybook_owner the right to make publications', relation
            USING HINT = format('GRANT CREATE ON DATABASE %I TO daybook_owner;', current_database());
    ELSIF EXISTS (SELECT FROM daybook.relation_parts(relation) AS part JOIN pg_class AS c ON c.oid = part WHERE c.relpersistence <> 'p') THEN
        RAISE EXCEPTION '%, or a partition of it, is unlogged, and leaves nothing in the WAL', relation
            USING HINT = 'Use capture_mode ''trigger''.';
    ELSIF (SELECT relkind FROM pg_class WHERE oid = relation) = 'p'
          AND NOT EXISTS (SELECT FROM pg_index AS i
                          WHERE i.indrelid = relation AND i.indisprimary AND i.indimmediate
                            AND key_columns <@ ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) AS k (attnum)
                                                     JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = k.attnum)) THEN
        -- What else identifies rows is not handed down: a partition that the application makes later could not be changed by it.
        RAISE EXCEPTION '% has partitions, and no primary key that covers its key', relation
            USING HINT = format('ALTER TABLE %s ADD PRIMARY KEY (%s), with the columns that it is partitioned by. Or use capture_mode ''trigger''.',
                                relation, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(key_columns) AS c));
    ELSIF advice IS NOT NULL THEN
        RAISE EXCEPTION 'the replica identity of % does not cover its key, so that the WAL does not say which row was changed', relation
            USING HINT = advice;
    END IF;
END
$$;

-- Purpose: publish an attached table. Touches: the publications, SHARE UPDATE EXCLUSIVE on the table. The caller holds SHARE ROW EXCLUSIVE
--          on it: a transaction that wrote before would be half missing in the stream.
CREATE OR REPLACE FUNCTION daybook.publish(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'daybook') THEN
        CREATE PUBLICATION daybook WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
        ALTER PUBLICATION daybook OWNER TO daybook_owner;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'daybook_queue') THEN
        -- What the triggers enqueued, and, before 15 adds row filters, what daybook itself did.
        EXECUTE 'CREATE PUBLICATION daybook_queue FOR TABLE daybook.sync_queue'
             || CASE WHEN current_setting('server_version_num')::integer >= 150000 THEN ' WHERE (origin = ''trigger'')' ELSE '' END
             || ' WITH (publish = ''insert'')';
        ALTER PUBLICATION daybook_queue OWNER TO daybook_owner;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
                   WHERE p.pubname = 'daybook' AND r.prrelid = relation) THEN
        EXECUTE format('ALTER PUBLICATION daybook ADD TABLE %s', relation);
    END IF;
    IF NOT daybook.is_published(relation) THEN
        -- Somebody altered what it tells, so that changes of all its tables were missed.
        ALTER PUBLICATION daybook SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
        PERFORM daybook.reconcile(s.relation) FROM daybook.sync_source AS s
        WHERE s.capture_mode <> 'trigger' AND s.relation <> publish.relation AND s.suspended_at IS NULL;
    END IF;
END
$$;

-- Purpose: take a table out of the stream. With the last one go publications and slot. Touches: the publications, the slot.
CREATE OR REPLACE FUNCTION daybook.unpublish(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
               WHERE p.pubname = 'daybook' AND r.prrelid = relation) THEN
        EXECUTE format('ALTER PUBLICATION daybook DROP TABLE %s', relation);
    END IF;
    IF NOT EXISTS (SELECT FROM daybook.sync_source AS s WHERE s.capture_mode <> 'trigger' AND s.relation <> unpublish.relation) THEN
        DROP PUBLICATION IF EXISTS daybook;
        DROP PUBLICATION IF EXISTS daybook_queue;
        PERFORM daybook.drop_slot();
    END IF;
END
$$;

-- Purpose: drop the slot; one that is streamed from at the moment is left to whoever streams, who drops it when no table wants it any more.
-- What of it needs another right is said. Touches: the slot, wal_progress, sync_alerts. Returns whether it is gone.
CREATE OR REPLACE FUNCTION daybook.drop_slot() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slot name := daybook.slot_name();
BEGIN
    IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = slot AND database = current_database() AND active) THEN
        RETURN false;
    END IF;
    DELETE FROM daybook.wal_progress;
    UPDATE daybook.sync_alerts SET state = 'resolved', resolved_at = clock_timestamp()
    WHERE alert_type IN ('SLOT_LOST', 'STREAM_STOPPED') AND state <> 'resolved';
    PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = slot AND database = current_database();
    RETURN true;
EXCEPTION WHEN insufficient_privilege OR object_in_use THEN
    RAISE WARNING 'slot % stays, and keeps WAL until it is dropped: %', slot, SQLERRM
        USING HINT = format('As a superuser, with `daybook run` stopped: SELECT pg_drop_replication_slot(%L);', slot);
    RETURN false;
END
$$;

-- Purpose: an application that drops the primary key of a published table could change none of its rows any more. Such a table is taken
--          out of the stream, and everybody is told. Called by each process every two seconds. Runs as the owner of the publications.
-- Touches: the publication; the catalog, read only. Returns the reference types.
CREATE OR REPLACE FUNCTION daybook.unpublish_unidentified() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    attached daybook.sync_source;
BEGIN
    FOR attached IN
        SELECT s.* FROM daybook.sync_source AS s
        WHERE s.capture_mode <> 'trigger' AND daybook.is_published(s.relation)
          AND EXISTS (SELECT FROM daybook.relation_parts(s.relation) AS part JOIN pg_class AS c ON c.oid = part AND c.relkind = 'r'
                      WHERE c.relreplident <> 'f'
                        AND NOT EXISTS (SELECT FROM pg_index AS i
                                        WHERE i.indrelid = part AND i.indisvalid AND i.indimmediate
                                          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END))
    LOOP
        EXECUTE format('ALTER PUBLICATION daybook DROP TABLE %s', attached.relation);
        PERFORM daybook.raise_alert('CAPTURE_STOPPED', attached.reference_type, 'critical', format(
            '%s has no replica identity any more, so that its rows could not have been changed while it was captured from the WAL: it is '
            || 'captured no longer. Give it a key or REPLICA IDENTITY FULL, and run its file in triggers/ again',
            attached.relation_name));
        RETURN NEXT attached.reference_type;
    END LOOP;
END
$$;
