-- Purpose: begin to capture a table. Attaching it again as it is changes nothing and locks nothing; attaching it again
--          with other columns (after a key was renamed, say) replaces the definition and has the table reconciled.
-- Inputs:  relation        the table; a partitioned table by its root
--          reference_type  what its bills are called in the ledger, such as PHARMACY
--          key_columns     a key that is unique and not null
--          filter_columns  every column that the posting rule maps; an UPDATE that changes none of them leaves no event,
--                          and the consumer may read these and the key, and no other
--          capture_mode    'trigger'; 'wal', without any trigger, which costs the writer nothing; or 'both', where the WAL proves that
--                          the triggers missed nothing. The latter two need wal_level = logical and a replica identity that
--                          covers the key, and publish the table; null: as it is (at first: 'trigger')
--          go_live         bills of an earlier day are out of scope; null: as it is (at first: none are), '-infinity': none are
--          on_delete       what becomes of the entries of a bill whose row is gone: 'reverse' (at first), 'keep', or 'alert', which
--                          keeps them and says so; null: as it is
--          lock_timeout    longest wait for the lock; writers queue behind it meanwhile, so keep it below deadlock_timeout
-- Touches: SHARE ROW EXCLUSIVE on the table (waits for writers, lets readers pass; ACCESS EXCLUSIVE where triggers are to go), two triggers
--          on it (and on its partitions), or publications; SELECT on the named columns for daybook_consumer, one row in sync_source.
-- Rows that exist already are not enqueued (`daybook backfill` does that); to be run by a superuser, or by the table's owner as a member of daybook_owner.
DROP FUNCTION IF EXISTS daybook.attach(regclass, text, text[], text[], text, interval); -- that of an earlier version
CREATE OR REPLACE FUNCTION daybook.attach(
    relation       regclass,
    reference_type text,
    key_columns    text[],
    filter_columns text[],
    capture_mode   text DEFAULT NULL,
    lock_timeout   interval DEFAULT '800 milliseconds',
    go_live        date DEFAULT NULL,
    on_delete      text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $attach$
#variable_conflict use_column
DECLARE
    lock_timeout_before text := current_setting('lock_timeout');
    wanted daybook.sync_source;
    present daybook.sync_source;
    part regclass;
    is_as_wanted boolean;
    has_triggers boolean;
BEGIN
    wanted.capture_mode := coalesce(attach.capture_mode,
                                    (SELECT s.capture_mode FROM daybook.sync_source AS s WHERE s.relation = attach.relation), 'trigger');
    PERFORM daybook.check_attachable(attach.relation, attach.reference_type, attach.key_columns,
                                     attach.filter_columns, wanted.capture_mode);
    IF wanted.capture_mode <> 'trigger' THEN
        PERFORM daybook.check_publishable(attach.relation, attach.key_columns);
    END IF;
    wanted.relation := attach.relation;
    wanted.relation_name := attach.relation::text;
    SELECT config_value INTO STRICT wanted.source FROM daybook.sync_configuration WHERE config_key = 'source_name';
    wanted.reference_type := attach.reference_type;
    wanted.key_columns := attach.key_columns;
    SELECT array_agg(a.atttypid::regtype ORDER BY k.position) INTO wanted.key_types
    FROM unnest(attach.key_columns) WITH ORDINALITY AS k (c, position)
    JOIN pg_attribute AS a ON a.attrelid = attach.relation AND a.attname = k.c;
    wanted.filter_columns := attach.filter_columns;
    IF attach.go_live = 'infinity' OR attach.on_delete NOT IN ('reverse', 'keep', 'alert') THEN
        RAISE EXCEPTION 'go_live % or on_delete % is not usable', attach.go_live, attach.on_delete
            USING HINT = 'go_live is a day, or ''-infinity''; on_delete is ''reverse'', ''keep'' or ''alert''.';
    END IF;

    -- Its row, or that of a table of the same reference type which was dropped, and which this one replaces.
    SELECT * INTO present FROM daybook.sync_source AS s
    WHERE s.relation = attach.relation
       OR (s.reference_type = attach.reference_type AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = s.relation));
    wanted.go_live := nullif(coalesce(attach.go_live, present.go_live), '-infinity');
    wanted.on_delete := coalesce(attach.on_delete, present.on_delete, 'reverse');
    is_as_wanted :=
       (present.relation, present.source, present.relation_name, present.reference_type, present.key_columns,
        present.key_types, present.filter_columns, present.capture_mode, present.go_live, present.on_delete)
       IS NOT DISTINCT FROM
       (wanted.relation, wanted.source, wanted.relation_name, wanted.reference_type, wanted.key_columns,
        wanted.key_types, wanted.filter_columns, wanted.capture_mode, wanted.go_live, wanted.on_delete)
       AND daybook.capture_is_whole(attach.relation, 'daybook_capture')
       -- Published again by hand, it missed what was changed before.
       AND NOT EXISTS (SELECT FROM daybook.sync_alerts AS a
                       WHERE a.alert_type = 'CAPTURE_STOPPED' AND a.cause = attach.reference_type AND a.state <> 'resolved')
       AND daybook.consumer_can_read(attach.relation, attach.key_columns || attach.filter_columns);
    IF is_as_wanted AND daybook.capture_is_whole(attach.relation, 'daybook_capture_truncate') THEN
        RAISE NOTICE '% is attached as % already; nothing was changed', attach.relation, attach.reference_type;
        RETURN;
    END IF;
    IF present.reference_type <> attach.reference_type THEN
        RAISE EXCEPTION '% is attached as %, and the ledger knows its bills by that name',
            attach.relation, present.reference_type
            USING HINT = format('Detach it first: SELECT daybook.detach(%L);', attach.relation::text);
    END IF;

    -- The bill table first, before anything of ours: the order in which an application's writes take their locks.
    has_triggers := EXISTS (SELECT FROM daybook.relation_parts(attach.relation) AS p
                            WHERE daybook.has_trigger(p, 'daybook_capture') OR daybook.has_trigger(p, 'daybook_capture_truncate'));
    PERFORM daybook.lock_relation(attach.relation, CASE WHEN wanted.capture_mode = 'wal' AND has_triggers
                                                        THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END, attach.lock_timeout);

    UPDATE daybook.sync_source AS s SET relation = attach.relation WHERE s.relation = present.relation;
    INSERT INTO daybook.sync_source AS s (relation, relation_name, source, reference_type, key_columns, key_types,
                                     filter_columns, capture_mode, capture_mode_since, go_live, on_delete)
    VALUES (wanted.relation, wanted.relation_name, wanted.source, wanted.reference_type, wanted.key_columns,
            wanted.key_types, wanted.filter_columns, wanted.capture_mode, pg_current_wal_insert_lsn(), wanted.go_live, wanted.on_delete)
    ON CONFLICT (relation) DO UPDATE
        SET capture_mode = excluded.capture_mode,
            capture_mode_since = CASE WHEN s.capture_mode = excluded.capture_mode THEN s.capture_mode_since
                                      ELSE excluded.capture_mode_since END,
            capture_mode_began_at = CASE WHEN s.capture_mode = excluded.capture_mode THEN s.capture_mode_began_at
                                         ELSE clock_timestamp() END,
            relation_name = excluded.relation_name, key_columns = excluded.key_columns,
            key_types = excluded.key_types, filter_columns = excluded.filter_columns, go_live = excluded.go_live,
            on_delete = excluded.on_delete;
    PERFORM daybook.write_capture_function(attach.relation);

    IF wanted.capture_mode = 'wal' THEN
        PERFORM daybook.drop_capture_triggers(wanted.reference_type, attach.lock_timeout);
    ELSE
        -- Row triggers are cloned to partitions, statement triggers are not. No UPDATE OF and no WHEN: they would make the
        -- application's own ALTER TABLE fail.
        IF NOT daybook.has_trigger(attach.relation, 'daybook_capture') THEN
            EXECUTE format('CREATE TRIGGER daybook_capture AFTER INSERT OR UPDATE OR DELETE ON %s '
                           || 'FOR EACH ROW EXECUTE FUNCTION daybook.%I()',
                           attach.relation, 'capture_' || lower(attach.reference_type));
        END IF;
        FOR part IN SELECT daybook.relation_parts(attach.relation) LOOP
            IF NOT daybook.has_trigger(part, 'daybook_capture_truncate') THEN
                EXECUTE format('CREATE TRIGGER daybook_capture_truncate AFTER TRUNCATE ON %s '
                               || 'FOR EACH STATEMENT EXECUTE FUNCTION daybook.%I()',
                               part, 'capture_' || lower(attach.reference_type));
            END IF;
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER daybook_capture, '
                           || 'ENABLE ALWAYS TRIGGER daybook_capture_truncate', part);
        END LOOP;
    END IF;
    IF wanted.capture_mode = 'trigger' THEN
        IF present.capture_mode <> 'trigger' THEN
            PERFORM daybook.unpublish(attach.relation);
        END IF;
    ELSE
        PERFORM daybook.publish(attach.relation);
    END IF;
    PERFORM daybook.resolve_alert('CAPTURE_STOPPED', wanted.reference_type);

    -- What is empty has no bills from before, so that a row without entries is one whose change was missed.
    UPDATE daybook.sync_source AS s
    SET partitions = daybook.partition_triggers(attach.relation),
        reconciled_at = CASE WHEN present.relation IS NOT NULL THEN s.reconciled_at
                             WHEN (SELECT sum(pg_relation_size(p)) FROM daybook.relation_parts(attach.relation) AS p) = 0
                             THEN clock_timestamp() END
    WHERE s.relation = attach.relation;

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO daybook_consumer',
                   (SELECT nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.oid = attach.relation));
    IF present.relation IS NOT NULL THEN
        EXECUTE (SELECT format('REVOKE SELECT (%s) ON %s FROM daybook_consumer',
                               string_agg(quote_ident(attname), ', '), attach.relation)
                 FROM pg_attribute WHERE attrelid = attach.relation AND attnum > 0 AND NOT attisdropped);
    END IF;
    EXECUTE format('GRANT SELECT (%s) ON %s TO daybook_consumer',
                   (SELECT string_agg(DISTINCT quote_ident(c), ', ')
                    FROM unnest(attach.key_columns || attach.filter_columns) AS c),
                   attach.relation);

    IF is_as_wanted THEN
        RAISE NOTICE 'TRUNCATE of each partition of % is captured now', attach.relation;
    ELSIF present.relation IS NOT NULL THEN
        PERFORM daybook.reconcile(attach.relation);
        RAISE NOTICE '% was attached as % before; its definition was replaced, and all its bills will be reconciled',
            attach.relation, attach.reference_type;
    ELSIF wanted.capture_mode <> 'trigger' AND NOT EXISTS (SELECT FROM daybook.wal_progress) THEN
        RAISE NOTICE '% is attached as %; when `daybook run` has made the slot, all its bills are posted, those from before, too, but for '
                     'those that go_live leaves out: what was changed between now and then cannot be told from them',
            attach.relation, attach.reference_type;
    ELSE
        RAISE NOTICE '% is attached as %; bills from before are posted when they change, or all by `daybook backfill`',
            attach.relation, attach.reference_type;
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$attach$;
