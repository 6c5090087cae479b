-- Purpose: capture a suspended table again, and reconcile it: its event has every key of the table enqueued, and every bill
--          of it that the ledger knows, as soon as each transaction and snapshot that is older than this one has ended,
--          prepared ones too, for they may still write without being captured.
-- Inputs: the suspended table. Touches: its row in sync_source, its capture function, sync_queue; no lock on the table.
CREATE OR REPLACE FUNCTION daybook.resume(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE daybook.sync_source AS s SET suspended_at = NULL
    WHERE s.relation = resume.relation AND s.suspended_at IS NOT NULL;
    IF FOUND THEN
        PERFORM daybook.write_capture_function(resume.relation);
        PERFORM daybook.reconcile(resume.relation);
    ELSIF EXISTS (SELECT FROM daybook.sync_source AS s WHERE s.relation = resume.relation) THEN
        RAISE NOTICE '% is not suspended; nothing was changed', resume.relation;
    ELSE
        RAISE EXCEPTION '% is not attached', resume.relation USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
END
$$;
