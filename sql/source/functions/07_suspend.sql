-- Purpose: the switch for three in the morning: stop capturing a table at once, without any lock on it.
-- Inputs: the attached table. Touches: its row in sync_source and its capture function, which is replaced by an empty one.
-- What is written meanwhile is not captured; daybook.resume has the whole table reconciled.
CREATE OR REPLACE FUNCTION daybook.suspend(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE daybook.sync_source AS s SET suspended_at = clock_timestamp()
    WHERE s.relation = suspend.relation AND s.suspended_at IS NULL;
    IF FOUND THEN
        PERFORM daybook.write_capture_function(suspend.relation);
    ELSIF EXISTS (SELECT FROM daybook.sync_source AS s WHERE s.relation = suspend.relation) THEN
        RAISE NOTICE '% is suspended already; nothing was changed', suspend.relation;
    ELSE
        RAISE EXCEPTION '% is not attached', suspend.relation USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
END
$$;
