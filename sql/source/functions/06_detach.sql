-- Purpose: take our triggers off wherever they stand, also off partitions that were detached from the table meanwhile, with their function.
-- Touches: ACCESS EXCLUSIVE on each table that has one.
CREATE OR REPLACE FUNCTION daybook.drop_capture_triggers(reference_type text, lock_timeout interval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part regclass;
    part_trigger name;
BEGIN
    FOR part, part_trigger IN
        SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger AS t
        WHERE t.tgfoid = to_regprocedure(format('daybook.%I()', 'capture_' || lower(reference_type)))
          AND t.tgparentid = 0
    LOOP
        PERFORM daybook.lock_relation(part, 'ACCESS EXCLUSIVE', lock_timeout);
        EXECUTE format('DROP TRIGGER %I ON %s', part_trigger, part);
    END LOOP;
    EXECUTE format('DROP FUNCTION IF EXISTS daybook.%I()', 'capture_' || lower(reference_type));
END
$$;

-- Purpose: stop capturing a table and take everything of ours off it.
-- Inputs:  relation            the table; where it was dropped, its row's relation from sync_source
--          discard_unfinished  false: refuse while events of it are unfinished; true: drop them, so that the ledger
--                              stays behind the bills
-- Touches: ACCESS EXCLUSIVE on the table for an instant (DROP TRIGGER), the consumer's privileges on it, sync_source, the publications
--          and the slot where it was the last one that they were for, and the table's open dead letters and alerts, which are
--          resolved.
CREATE OR REPLACE FUNCTION daybook.detach(
    relation           regclass,
    discard_unfinished boolean DEFAULT false,
    lock_timeout       interval DEFAULT '800 milliseconds'
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $detach$
#variable_conflict use_column
DECLARE
    lock_timeout_before text := current_setting('lock_timeout');
    definition daybook.sync_source;
    unfinished bigint;
    parked bigint;
    schema_name name;
BEGIN
    SELECT * INTO definition FROM daybook.sync_source AS s WHERE s.relation = detach.relation;
    IF definition.relation IS NULL THEN
        RAISE NOTICE '% is not attached; nothing was changed', detach.relation;
        RETURN;
    END IF;
    SELECT n.nspname INTO schema_name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = detach.relation;
    IF schema_name IS NOT NULL THEN
        PERFORM daybook.lock_relation(detach.relation, 'ACCESS EXCLUSIVE', detach.lock_timeout);
    END IF;

    SELECT count(*) INTO unfinished FROM daybook.sync_queue AS q WHERE q.reference_type = definition.reference_type;
    SELECT count(*) INTO parked FROM daybook.sync_dead_letter AS d
    WHERE d.reference_type = definition.reference_type AND d.resolved_at IS NULL;
    IF unfinished + parked > 0 AND NOT detach.discard_unfinished THEN
        RAISE EXCEPTION '% events of % are not posted yet, and % of its bills are parked', unfinished,
            definition.reference_type, parked
            USING HINT = format('Run `daybook drain` first and mend what is parked, or give them up: '
                                || 'SELECT daybook.detach(%L, discard_unfinished => true);', definition.relation_name);
    END IF;
    DELETE FROM daybook.sync_queue AS q WHERE q.reference_type = definition.reference_type;

    IF schema_name IS NOT NULL THEN
        -- By columns, as it was granted: revoking from the table would make its default privileges explicit, a trace.
        EXECUTE (SELECT format('REVOKE SELECT (%s) ON %s FROM daybook_consumer',
                               string_agg(quote_ident(attname), ', '), detach.relation)
                 FROM pg_attribute
                 WHERE attrelid = detach.relation AND attnum > 0 AND NOT attisdropped);
        IF NOT EXISTS (SELECT FROM daybook.sync_source AS s JOIN pg_class AS c ON c.oid = s.relation
                       WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = schema_name) AND s.relation <> detach.relation) THEN
            EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM daybook_consumer', schema_name);
        END IF;
    END IF;
    PERFORM daybook.drop_capture_triggers(definition.reference_type, detach.lock_timeout);
    IF definition.capture_mode <> 'trigger' THEN
        PERFORM daybook.unpublish(detach.relation);
    END IF;

    UPDATE daybook.sync_dead_letter SET resolved_at = clock_timestamp(), resolution = 'resolved',
                                        resolved_by = session_user, note = 'the table was detached'
    WHERE reference_type = definition.reference_type AND resolved_at IS NULL;
    UPDATE daybook.sync_alerts SET state = 'resolved', resolved_at = clock_timestamp()
    WHERE cause = definition.reference_type AND state <> 'resolved';
    DELETE FROM daybook.sync_source AS s WHERE s.relation = detach.relation;
    PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$detach$;
